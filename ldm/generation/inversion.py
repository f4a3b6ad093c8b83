"""From a picture to the noise it would have been drawn from."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from PIL import Image
from torch import Tensor

from ..diffusion.denoiser import Denoiser
from ..diffusion.inversion import encode
from ..errors import SettingsError
from ..latent_diffusion import LatentDiffusion
from ..settings import Settings
from ..trace import Step
from .asked import check, denoiser_of, levels_of
from .reads import Reads
from .record import Recorded, on_cpu, recorded_of
from .shown import Picture, is_start
from .start import conditions, encoded, resized

MAX_REFINEMENTS = 50


@torch.no_grad()
def invert(
    model: LatentDiffusion,
    settings: Settings,
    image: Image.Image,
    *,
    refinements: int = 0,
    record_attention: bool = False,
) -> Iterator[Step]:
    """Walk from a picture up to the first noise level, yielding every step; no random number is drawn.

    `generate` with the last step's `x_next` as `latents`, the same settings and a deterministic sampler leads
    back, the more exactly the more refinements.  Strong guidance makes that hard: invert with cfg_scale 1.

    Args:
        settings: steps, spacing and guidance; the sampler is DDIM's, upwards.
        refinements: fixed-point iterations of each step, 0 to MAX_REFINEMENTS, at a network call each.

    Raises:
        SettingsError: at once, if the model cannot do what was asked.
    """
    if not isinstance(refinements, int) or not 0 <= refinements <= MAX_REFINEMENTS:
        raise SettingsError(f"refinements must be between 0 and {MAX_REFINEMENTS}, got {refinements}.")
    settings = replace(settings, sampler="ddim", eta=0.0, s_churn=0.0, order=None)
    check(model, settings)
    if settings.cfg_method == "cfg_pp":
        raise SettingsError(
            "cfg_method 'cfg_pp' has no inversion: its steps keep other noise than they find."
        )
    if not is_start(model):
        raise SettingsError(
            f"{model.name} draws after a picture that is no start, so there is nothing to invert."
        )
    picture = Picture(resized(settings, image))
    count = settings.batch_size
    denoise = denoiser_of(
        model,
        settings,
        [settings.prompt] * count,
        record_attention=record_attention,
        reads=Reads(concat=conditions(model, settings, picture).concat),
    )
    x = encoded(model, picture.image).expand(count, -1, -1, -1).contiguous().to(model.device)
    sigmas = levels_of(model, settings).flip(0)
    return _encode(denoise, x, sigmas, refinements, recorded_of(model, settings))


@torch.no_grad()  # on the generator, as in `generate`
def _encode(
    denoise: Denoiser, x: Tensor, sigmas: Tensor, refinements: int, recorded: Recorded
) -> Iterator[Step]:
    yield from on_cpu(encode(denoise, x, sigmas, refinements=refinements), x.device, recorded)
