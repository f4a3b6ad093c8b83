"""A picture into latents and back, and what that cost it."""

import json
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from .checkpoints.first_stage import load_first_stage
from .errors import SettingsError, check_choice
from .first_stage import FirstStage, codebook
from .images import fit_multiple, to_images, to_rgb, to_tensor
from .latent_diffusion import LatentDiffusion
from .metrics import latent_statistics, mae, perplexity, psnr, ssim
from .settings import LIMITS
from .writing import write_tensors

POLICIES = ("pad", "crop")
MAX_SIDE = 1024  # pixels; larger pictures are scaled down
SIDE_LIMITS = (16, 4096)


@dataclass(frozen=True, eq=False)
class Codes:
    """Which codes of a codebook a picture took.

    Attributes:
        indices: (H, W) int64, one for each latent; covers the padding too.
        total: codes in the codebook.
        used: how many different ones the picture took.
        perplexity: how many codes, all taken equally often, would tell as much; 1 to `used`.
    """

    indices: Tensor
    total: int
    used: int
    perplexity: float

    @property
    def bits_per_code(self) -> int:
        """What it takes to name one code of all."""
        return (self.total - 1).bit_length()

    @property
    def bits(self) -> int:
        """What it takes to name the code of every latent: the whole picture."""
        return self.indices.numel() * self.bits_per_code


@dataclass(frozen=True, eq=False)
class RoundTrip:
    """One round trip, on the CPU.

    Attributes:
        name: of the model or the first stage that made it, for people.
        latent_scaling_factor: its own; latents divided by it are on the autoencoder's scale.
        original: the picture that went in, scaled down or cropped where `note` says so, without padding.
        reconstruction: what came back, of the same size, rounded to 8 bits.
        latents: (1, C, H, W) what was decoded, of unit variance; covers the padding too.
        mean, std: (1, C, H, W) what the encoder says about each latent value, on the same scale; std is how
            unsure it is, None where it gives no distribution.  With a codebook the mean is what came before
            the nearest code.
        codes: which codes the latents are; None where there is no codebook.
        note: what was done to fit the picture, and what was assumed of the first stage because its file does
            not say it, in sentences; empty if nothing.
        psnr, ssim: of the reconstruction against the original at 8 bits, padding cut off; psnr is infinite
            for equal pictures.
        mae: mean absolute difference, in levels of 0..255.
        seconds: wall-clock time of encoding and decoding.
        statistics: columns channel, mean, std, min, max of the latents, one row per channel.
    """

    name: str
    latent_scaling_factor: float
    original: Image.Image
    reconstruction: Image.Image
    latents: Tensor
    mean: Tensor
    std: Tensor | None
    codes: Codes | None
    note: str
    psnr: float
    ssim: float
    mae: float
    seconds: float
    statistics: dict[str, list[float]]


@dataclass(frozen=True, eq=False)
class _Passage:
    """What happened between the pixels that went in and those that came out."""

    decoded: Tensor
    latents: Tensor
    mean: Tensor
    std: Tensor | None = None
    codes: Codes | None = None


@torch.no_grad()
def roundtrip(
    model: LatentDiffusion | FirstStage,
    image: Image.Image,
    *,
    policy: str = "pad",
    sample: bool = False,
    seed: int = 0,
    max_side: int = MAX_SIDE,
) -> RoundTrip:
    """Encode a picture, decode the latents, and measure what was lost.

    Args:
        policy: what to do with sides that are no multiple of the downsampling factor: "pad" repeats the edge
            and cuts it off again afterwards, "crop" cuts the centre out.
        sample: decode a sample of what the encoder says instead of its mean, where it gives a distribution.
        seed: of that sample.
        max_side: pixels; a picture with a longer side is scaled down.

    Raises:
        SettingsError: unknown policy, max_side out of range, or a sample where there is no distribution.
    """
    _check(policy, seed, max_side)
    factor = model.downsampling_factor
    scaled, scale_note = _scaled_down(to_rgb(image), max_side)
    fitted = fit_multiple(scaled, factor, policy)
    images = to_tensor([fitted]).to(model.device)

    start = time.perf_counter()
    passage = _passage(model, images, seed if sample else None)
    decoded = passage.decoded.float().cpu()
    seconds = time.perf_counter() - start

    assumed = model.config.note if isinstance(model, FirstStage) else ""
    original, reconstruction = _without_padding(scaled, fitted, to_images(decoded)[0])
    before, after = (to_tensor([picture]) for picture in (original, reconstruction))
    return RoundTrip(
        name=model.name,
        latent_scaling_factor=model.latent_scaling_factor,
        original=original,
        reconstruction=reconstruction,
        latents=passage.latents.cpu(),
        mean=passage.mean.cpu(),
        std=None if passage.std is None else passage.std.cpu(),
        codes=passage.codes,
        note=" ".join(note for note in (scale_note, _fit_note(scaled, fitted, factor), assumed) if note),
        psnr=psnr(before, after),
        ssim=ssim(before, after),
        mae=mae(before, after) * 127.5,
        seconds=seconds,
        statistics=latent_statistics(passage.latents),
    )


def _check(policy: str, seed: int, max_side: int) -> None:
    check_choice("policy", policy, POLICIES)
    if isinstance(seed, bool) or not 0 <= seed <= LIMITS["seed"][1]:
        raise SettingsError(f"seed must be between 0 and {LIMITS['seed'][1]:.0f}, got {seed}.")
    low, high = SIDE_LIMITS
    if not low <= max_side <= high:
        raise SettingsError(f"max_side must be between {low} and {high}, got {max_side}.")


def roundtrip_with(
    model: LatentDiffusion,
    first_stage: Path | None,
    image: Image.Image,
    *,
    policy: str = "pad",
    sample: bool = False,
    seed: int = 0,
) -> RoundTrip:
    """A round trip by the first stage in a file, on the model's device; by the model's own if there is none.

    Raises:
        CheckpointError: the file is no first stage.
        SettingsError: as `roundtrip`.
    """
    by = model if first_stage is None else load_first_stage(first_stage, model.device)
    return roundtrip(by, image, policy=policy, sample=sample, seed=seed)


def _passage(model: LatentDiffusion | FirstStage, images: Tensor, seed: int | None) -> _Passage:
    """By what the encoder says: its mean, the draw from it that `seed` makes, or the nearest codes."""
    net, scale = model.first_stage_model, model.latent_scaling_factor
    if codebook(net) is not None:
        if seed is not None:
            raise _no_sample(model, "a VQ first stage names codes, it gives no distribution")
        return _by_codes(model, images)
    posterior = net.posterior(images)
    z = posterior.mode()
    if seed is not None:
        if posterior.std is None:
            raise _no_sample(model, "its encoder gives latents, no distribution")
        noise = torch.randn(posterior.mean.shape, generator=torch.Generator().manual_seed(seed))
        z = posterior.sample(noise)
    latents = z * scale
    std = None if posterior.std is None else posterior.std * scale
    return _Passage(model.autoencoder_decode(latents), latents, posterior.mean * scale, std)


def _by_codes(model: LatentDiffusion | FirstStage, images: Tensor) -> _Passage:
    """By the nearest codes."""
    net, scale = model.first_stage_model, model.latent_scaling_factor
    z = net.prequantised(images)
    found = net.quantize(z)
    latents, indices = found.latents * scale, found.indices[0].cpu()  # (H, W)
    total = len(net.quantize.embedding.weight)
    codes = Codes(indices, total, len(indices.unique()), perplexity(indices))
    return _Passage(model.autoencoder_decode(latents), latents, z * scale, codes=codes)


def _no_sample(model: LatentDiffusion | FirstStage, why: str) -> SettingsError:
    return SettingsError(f"sample must be False for {model.name}: {why}.")


def save_latents(latents: Tensor, path: str | Path, model_name: str, factor: float) -> None:
    """Write latents of unit variance as .safetensors, tensor "latents".

    Args:
        factor: the model's latent_scaling_factor, kept in the metadata; divide by it for the autoencoder's
            own scale.

    Raises:
        LdmError: the file cannot be written.
    """
    record = {"model": model_name, "latent_scaling_factor": factor, "scaled": True}
    write_tensors(path, {"latents": latents}, {"ldm_latents": json.dumps(record)})


def _scaled_down(image: Image.Image, max_side: int) -> tuple[Image.Image, str]:
    longest = max(image.size)
    if longest <= max_side:
        return image, ""
    width, height = (max(1, round(side * max_side / longest)) for side in image.size)
    note = (
        f"The picture was scaled down from {_size(image)} to {width} x {height}, "
        f"because a round trip takes at most {max_side} pixels a side."
    )
    return image.resize((width, height), Image.Resampling.LANCZOS), note


def _fit_note(before: Image.Image, after: Image.Image, factor: int) -> str:
    if before.size == after.size:
        return ""
    grown, shrunk = (
        any(sign * (a - b) > 0 for a, b in zip(after.size, before.size, strict=True)) for sign in (1, -1)
    )
    done = "cropped and padded" if grown and shrunk else "padded" if grown else "cropped"
    return f"The picture was {done} from {_size(before)} to {_size(after)}, a multiple of {factor}."


def _without_padding(
    scaled: Image.Image, fitted: Image.Image, decoded: Image.Image
) -> tuple[Image.Image, Image.Image]:
    """What went in and what came out, both cut to the pixels that the picture itself has."""
    width, height = (min(a, b) for a, b in zip(scaled.size, fitted.size, strict=True))
    box = (0, 0, width, height)
    return fitted.crop(box), decoded.crop(box)


def _size(image: Image.Image) -> str:
    return f"{image.width} x {image.height}"
