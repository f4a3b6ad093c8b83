"""Where a run starts: noise, a picture under noise, a picture with a hole."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from PIL import Image, ImageChops, ImageOps
from torch import Tensor

from ..diffusion.denoiser import Keep
from ..errors import SettingsError
from ..images import to_rgb, to_tensor
from ..latent_diffusion import LatentDiffusion
from ..settings import Settings
from .asked import levels_of, noise_stream
from .reads import Reads
from .shown import Picture, channels, channels_uncond, check_hole, is_start, noise_level, sized


@dataclass(frozen=True, eq=False)
class Start:
    """What the first step is given.

    Attributes:
        sigmas: noise levels of the steps to make; only the last one where no step is to be made.
        x: (B, C, H, W) latents, x0 + sigma * eps.
        reads: as `Denoiser`.
    """

    sigmas: Tensor
    x: Tensor
    reads: Reads


def fitted(
    settings: Settings,
    init_image: Image.Image | None,
    mask: Image.Image | None,
    model: LatentDiffusion | None = None,
) -> Picture | None:
    """The picture and the mask at the size of the run.

    Args:
        model: what will look at the picture; None is one that starts from it.

    Raises:
        SettingsError: a mask without a picture, a picture without one where the model paints holes, or a
            picture of a kind the model cannot read.
    """
    if init_image is None:
        if mask is not None:
            raise SettingsError("A mask needs a picture to start from, and there is none.")
        if model is not None:
            check_hole(model, None)
        return None
    size = (settings.width, settings.height)
    if mask is not None:
        mask = _grey(_not_empty(mask))
        mask = mask if mask.size == size else ImageOps.fit(mask, size, Image.Resampling.NEAREST)
    if model is not None and not is_start(model):
        return Picture(sized(model, settings, _not_empty(init_image)), only_shown=True)
    picture = Picture(resized(settings, init_image), mask)
    if model is not None:
        check_hole(model, picture)
    return picture


def _grey(mask: Image.Image) -> Image.Image:
    """How white it is, as "L"; what is transparent is black."""
    if mask.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in mask.info:
        rgba = mask.convert("RGBA")
        return ImageChops.multiply(rgba.convert("RGB").convert("L"), rgba.getchannel("A"))
    return to_rgb(mask).convert("L")


def _not_empty(image: Image.Image) -> Image.Image:
    if not (image.width and image.height):
        raise SettingsError(f"A picture needs pixels, got {image.width} x {image.height}.")
    return image


def resized(settings: Settings, image: Image.Image) -> Image.Image:
    """The picture as RGB at the size the settings name; of another shape it is cut, not stretched."""
    size = (settings.width, settings.height)
    image = to_rgb(_not_empty(image))
    return image if image.size == size else ImageOps.fit(image, size, Image.Resampling.LANCZOS)


def first_step(settings: Settings) -> int:
    """The first step to be made of a run that starts from a picture: none of them at strength 0.

    Source: SDEdit, Meng et al. 2022 (arXiv:2108.01073), algorithm 1.
    """
    if settings.strength == 0:
        return settings.steps
    return min(settings.steps - 1, round(settings.steps * (1 - settings.strength)))


def steps_of(settings: Settings, from_picture: bool) -> int:
    """How many steps a run makes: from a picture those that its strength leaves."""
    return settings.steps - (first_step(settings) if from_picture else 0)


def position(sigmas: Tensor, step: int) -> int:
    """Where in the noise levels a step starts, by its number; a rise is no step but the end of one."""
    levels: list[float] = sigmas.tolist()
    starts = [i for i, (low, high) in enumerate(pairwise(levels)) if high <= low]
    return starts[step] if step < len(starts) else len(levels) - 1


def start_of(
    model: LatentDiffusion, settings: Settings, picture: Picture | None, given: Tensor | None = None
) -> Start:
    """Noise levels and latents to begin with.

    Args:
        given: (B, C, H, W) latents of the first noise level, in place of the seed's noise.

    Raises:
        SettingsError: the network reads channels that nothing here fills.
    """
    sigmas, noise = levels_of(model, settings), noise_stream(model, settings)
    first = 0 if picture is None or not is_start(model) else first_step(settings)
    sigmas = sigmas[position(sigmas, first) :]
    sigma = float(sigmas[0]) if len(sigmas) > 1 else 0.0
    pure = noise(0) * (1 + sigma**2) ** 0.5
    reads = conditions(model, settings, picture)
    if given is not None:
        if given.shape != pure.shape:
            expected, got = tuple(pure.shape), tuple(given.shape)
            raise SettingsError(f"latents must be of shape {expected} for these settings, got {got}.")
        return Start(sigmas, given.to(pure), reads)
    if picture is None or not is_start(model):
        return Start(sigmas, pure, reads)
    x = encoded(model, picture.image) + sigma * noise(0)
    if settings.strength == 1 and settings.full_strength == "noise":
        # what is kept follows its own latents from the start
        x = pure if reads.keep is None else torch.where(reads.keep.mask > 0, pure, x)
    return Start(sigmas, x, reads)


def conditions(model: LatentDiffusion, settings: Settings, picture: Picture | None) -> Reads:
    """What the network reads besides the latents, and what is not to be painted anew.

    Raises:
        SettingsError: the network reads channels that nothing here fills.
    """
    concat, keep = channels(model, settings, picture), None
    if picture is not None and picture.mask is not None and concat is None:
        latents = encoded(model, picture.image).expand(settings.batch_size, -1, -1, -1)
        keep = Keep(latents, latent_mask(picture.mask, model.downsampling_factor))
    return Reads(concat, channels_uncond(model, concat), keep, noise_level(model, settings))


@torch.no_grad()
def encoded(model: LatentDiffusion, image: Image.Image) -> Tensor:
    """(1, C, H, W) latents of a picture, float32 on the CPU: the mean, so nothing is random here."""
    return model.autoencoder_encode(to_tensor([image]), mean=True).float().cpu().contiguous()


def latent_mask(mask: Image.Image, f: int) -> Tensor:
    """(1, 1, H, W) in [0, 1]: the most that is asked for anywhere in the f x f pixels of a latent."""
    pixels = to_tensor([mask])[:, :1] / 2 + 0.5  # (1, 1, f*H, f*W)
    return torch.nn.functional.max_pool2d(pixels, f)
