"""What a network reads besides its latents: `ModelConfig.picture`, one function each.

To add a kind, say in `models.config.PICTURES` what it is, write its function and add a line to SHOWN.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn.functional import interpolate, one_hot

from ..diffusion.schedule import build_schedule
from ..errors import SettingsError
from ..images import to_rgb, to_tensor
from ..latent_diffusion import LatentDiffusion
from ..models.study_config import StudyUNetConfig
from ..settings import Settings

ONLY_SHOWN = ("low_resolution", "upscale", "palette", "study_mask")
"""Kinds whose picture is no start: such a run begins with noise alone."""
INDEXED = ("palette", "study_mask")
NEEDS = {
    "edit": "edits a picture",
    "low_resolution": "enlarges a picture",
    "upscale": "enlarges a picture",
    "palette": "draws after a picture of class numbers",
    "study_mask": "draws after a picture of class numbers",
}
NO_HOLE = "{} paints a hole in a picture anew and needs that picture and a mask of it; there is no {}."
MASK_SIDE = 512  # of the study's masks, before they are made as small as latents


@dataclass(frozen=True, eq=False)
class Picture:
    """What a run is given besides noise, at the size the settings name.

    Attributes:
        image: RGB; of `ONLY_SHOWN` kinds as large as the network reads it, "L" of `INDEXED` ones.
        mask: "L", white is painted anew, black stays byte for byte; None paints everything.
        only_shown: no start, only something that the network looks at.
    """

    image: Image.Image
    mask: Image.Image | None = None
    only_shown: bool = False


def is_start(model: LatentDiffusion) -> bool:
    """Whether a picture given to this model is something to start from, not only to look at."""
    return model.config.picture not in ONLY_SHOWN


def sized(model: LatentDiffusion, settings: Settings, image: Image.Image) -> Image.Image:
    """A picture that is only shown, as large as this model reads it.

    Raises:
        SettingsError: class numbers are asked for, and it is a picture of colours.
    """
    kind, f = model.config.picture, model.downsampling_factor
    small, whole = (settings.width // f, settings.height // f), (settings.width, settings.height)
    if kind in INDEXED:
        if image.mode not in ("P", "L", "1"):
            raise SettingsError(
                f"{model.name} reads class numbers, one for each pixel: give a picture with a palette (P) "
                f"or in grey (L), not {image.mode}."
            )
        numbers = Image.fromarray(np.asarray(image).astype(np.uint8), "L")
        size = whole if kind == "palette" else (MASK_SIDE, MASK_SIDE)
        if kind == "study_mask" and image.size in (size, small):
            return numbers
        return numbers if image.size == size else ImageOps.fit(numbers, size, Image.Resampling.NEAREST)
    image = to_rgb(image)
    return image if image.size == small else ImageOps.fit(image, small, Image.Resampling.LANCZOS)


def channels(model: LatentDiffusion, settings: Settings, picture: Picture | None) -> Tensor | None:
    """(B, c, H, W) float32 on the CPU, what the network reads after the latents; None where it reads none.

    Raises:
        SettingsError: it needs a picture, or a picture and a mask, and there is none.
    """
    kind = model.config.picture
    check_hole(model, picture)
    if kind is None:
        more = model.config.unet.in_channels - model.latent_channels
        if more:
            raise SettingsError(
                f"{model.name} reads {more} channels besides its {model.latent_channels} latents, and "
                "nothing says what they are."
            )
        return None
    if picture is None and kind in NEEDS:
        raise SettingsError(f"{model.name} {NEEDS[kind]} and needs one to start from; there is none.")
    with torch.no_grad():
        made = SHOWN[kind](model, settings, picture or _nothing(settings))
    return made.float().cpu().expand(settings.batch_size, -1, -1, -1)


def check_hole(model: LatentDiffusion, picture: Picture | None) -> None:
    """Refuse to paint all anew with a model that never learned to.

    The paper's inpainting model was always shown a picture with a hole in it; Stable Diffusion's also saw
    masks of everything.

    Raises:
        SettingsError: it needs a picture and a mask, and one of them is not there.
    """
    if model.config.picture == "inpaint_signed" and (picture is None or picture.mask is None):
        raise SettingsError(NO_HOLE.format(model.name, "picture" if picture is None else "mask"))


def channels_uncond(model: LatentDiffusion, made: Tensor | None) -> Tensor | None:
    """The same for the half without a prompt, where that is not the same: the study drops its mask too."""
    return torch.zeros_like(made) if made is not None and model.config.picture == "study_mask" else None


def noise_level(model: LatentDiffusion, settings: Settings) -> int | None:
    """The class number that an upscaler is told: how noisy its small picture is."""
    return settings.noise_level if model.config.picture == "upscale" else None


def _nothing(settings: Settings) -> Picture:
    size = (settings.width, settings.height)
    return Picture(Image.new("RGB", size, (127, 127, 127)), Image.new("L", size, 255))


def _hole(picture: Picture) -> Image.Image:
    """The mask as black and white; all white without one."""
    mask = picture.mask if picture.mask is not None else Image.new("L", picture.image.size, 255)
    return mask.point(lambda value: 255 if value >= 128 else 0)


def _with_hole(model: LatentDiffusion, picture: Picture, hole: Image.Image, fill: float) -> Tensor:
    """(1, C, H, W) latents of the picture with its hole filled, 0 is grey and -1 black."""
    images = torch.where(to_tensor([hole])[:, :1] < 0, to_tensor([picture.image]), fill)
    return model.autoencoder_encode(images, mean=True).float().cpu()


def _inpaint(model: LatentDiffusion, _: Settings, picture: Picture) -> Tensor:
    """(1, 1 + C, H, W): the mask, 1 in the hole, then the latents.

    Source: Stable Diffusion's inpainting model.
    """
    hole, f = _hole(picture), model.downsampling_factor
    nearest = to_tensor([hole])[:, :1, ::f, ::f] / 2 + 0.5
    return torch.cat([nearest, _with_hole(model, picture, hole, 0.0)], dim=1)


def _inpaint_signed(model: LatentDiffusion, _: Settings, picture: Picture) -> Tensor:
    """(1, C + 1, H, W): latents of the picture with a black hole, then the mask, 1 in it and -1 elsewhere.

    Source: latent-diffusion's scripts/inpaint.py.
    """
    hole, f = _hole(picture), model.downsampling_factor
    return torch.cat([_with_hole(model, picture, hole, -1.0), to_tensor([hole])[:, :1, ::f, ::f]], dim=1)


def _edit(model: LatentDiffusion, _: Settings, picture: Picture) -> Tensor:
    """(1, C, H, W) latents of the picture, not scaled.

    Source: InstructPix2Pix (arXiv:2211.09800), section 3.2.
    """
    latents = model.autoencoder_encode(to_tensor([picture.image]), mean=True)
    return latents / model.latent_scaling_factor


def _low_resolution(_: LatentDiffusion, __: Settings, picture: Picture) -> Tensor:
    """(1, 3, H, W) the small picture itself.

    Source: Rombach et al. 2022 (arXiv:2112.10752), section 4.4.
    """
    return to_tensor([picture.image])


def _upscale(_: LatentDiffusion, settings: Settings, picture: Picture) -> Tensor:
    """(1, 3, H, W) the small picture under noise of a level that the network is told.

    Source: Stable Diffusion's x4 upscaler, whose picture has a schedule of its own, "linear" in CompVis's
    sense.
    """
    image = to_tensor([picture.image])
    schedule = build_schedule(n_steps=1000, betas="scaled_linear", linear_start=1e-4, linear_end=0.02)
    kept = float(schedule.alphas_cumprod[settings.noise_level])
    noise = torch.randn(image.shape, generator=torch.Generator().manual_seed(settings.seed))
    return kept**0.5 * image + (1 - kept) ** 0.5 * noise


def _numbers(picture: Picture, classes: int, name: str, least: int = 0) -> Tensor:
    """(1, H, W) int64 class numbers of an indexed picture.

    Raises:
        SettingsError: one of them is no class.
    """
    numbers = torch.from_numpy(np.array(picture.image, dtype=np.int64))[None]
    most = int(numbers.max())
    if most > classes - 1 + least:
        raise SettingsError(
            f"{name} knows class numbers 0 to {classes - 1 + least}; the picture holds {most}."
        )
    return numbers


def _palette(model: LatentDiffusion, _: Settings, picture: Picture) -> Tensor:
    """(1, 3, H, W) the class numbers through the model's `SpatialRescaler`."""
    text = model.cond_stage_model
    classes = text.config.rescaler_channels
    hot = one_hot(_numbers(picture, classes, model.name), classes).permute(0, 3, 1, 2)
    made: Tensor = text.rescale(hot.to(model.device, model.dtype))
    return made


def _study_mask(model: LatentDiffusion, settings: Settings, picture: Picture) -> Tensor:
    """(1, classes, H, W) one channel for each class but 0, which is nothing.

    Source: the study's `get_mask`; its U-Net takes the nearest pixels.
    """
    unet, f = model.config.unet, model.downsampling_factor
    classes = unet.mask_channels if isinstance(unet, StudyUNetConfig) and unet.mask_channels else 1
    numbers = _numbers(picture, classes, model.name, least=1)
    hot = one_hot(numbers, classes + 1).permute(0, 3, 1, 2)[:, 1:].float()
    return interpolate(hot, size=(settings.height // f, settings.width // f), mode="nearest")


SHOWN: dict[str, Callable[[LatentDiffusion, Settings, Picture], Tensor]] = {
    "inpaint": _inpaint,
    "inpaint_signed": _inpaint_signed,
    "edit": _edit,
    "low_resolution": _low_resolution,
    "upscale": _upscale,
    "palette": _palette,
    "study_mask": _study_mask,
}
