"""A network shown drawn pictures under known noise, and how well its answers read in each way."""

import math
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from ..diffusion.denoiser import PREDICTION_TYPES, PredictionType, to_x0
from ..diffusion.schedule import build_schedule
from ..errors import SettingsError
from ..generation.asked import condition_of
from ..generation.shown import INDEXED, channels, noise_level
from ..generation.start import fitted
from ..images import to_tensor
from ..latent_diffusion import LatentDiffusion
from ..models.condition import Condition
from ..settings import Settings
from .cards import cards

LEVELS = (0.3, 1.0, 2.5, 6.0)  # noise levels asked about, of latents with unit variance
PICTURES = 3
HOLES = ("inpaint", "inpaint_signed")  # kinds of `models.config.PICTURES` that read a mask
LARGEST_SIDE = 256  # pixels: behaviour shows at any size, and this is quick
PROMPTS = ("", "0", "a picture")  # the first that can be read


@dataclass(frozen=True, eq=False)
class Shown:
    """What a network is asked with, one row for each picture.

    Attributes:
        latents: (N, C, H, W) float32, not scaled.
        concat: (N, c, H, W) what it reads after them; None of most.
        condition: of a prompt that says as little as possible.
    """

    latents: Tensor
    concat: Tensor | None
    condition: Condition


def show(model: LatentDiffusion) -> Shown:
    """Drawn pictures as this model reads them.

    Raises:
        SettingsError: its network needs what cannot be made up here.
    """
    step = model.config.size_multiple
    best = model.config.recommended
    width, height = (max(min(side, LARGEST_SIDE) // step, 1) * step for side in (best.width, best.height))
    images = cards(PICTURES, width, height)
    posterior = model.first_stage_model.posterior(
        to_tensor(images).to(model.device, model.first_stage_model.dtype)
    )
    latents: Tensor = posterior.mode().float()
    settings = Settings(prompt="a picture", width=width, height=height)
    concat = None
    if model.config.picture is not None:
        shown = [Image.new("L", i.size) if model.config.picture in INDEXED else i for i in images]
        # a hole as large as the picture, so that nothing of the answer is given away
        hole = Image.new("L", (width, height), 255) if model.config.picture in HOLES else None
        made = [channels(model, settings, fitted(settings, image, hole, model)) for image in shown]
        concat = torch.cat([part for part in made if part is not None]).to(latents)
    condition = _condition(model, settings)
    level = noise_level(model, settings)
    if level is not None:
        condition = Condition(condition.context, torch.full((PICTURES,), level))
    return Shown(latents, concat, condition)


def _condition(model: LatentDiffusion, settings: Settings) -> Condition:
    for prompt in PROMPTS:
        try:
            return condition_of(model, settings, [prompt] * PICTURES)
        except SettingsError as error:
            refused = error
    if model.config.unet.context_dim is None:
        raise refused
    return Condition(torch.zeros(PICTURES, model.conditioner.length or 1, model.config.unet.context_dim))


def answer(model: LatentDiffusion, shown: Shown, inputs: Tensor, t: int) -> Tensor:
    """(N, C, H, W) what the network says of inputs of unit variance, as it says it, in float32."""
    if shown.concat is not None:
        inputs = torch.cat([inputs, shown.concat], dim=1)
    condition, device = shown.condition, inputs.device
    vector = None if condition.vector is None else condition.vector.to(device)
    time = torch.full((len(inputs),), float(t), device=device)
    return model(inputs, time, condition.context.to(device), vector).float()


def noise_like(latents: Tensor, seed: int = 0) -> Tensor:
    """The same noise every time, drawn on the CPU."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(latents.shape, generator=generator).to(latents)


def scores(model: LatentDiffusion, shown: Shown, factor: float) -> dict[PredictionType, float]:
    """Reading -> mean error of the clean latents it gives, as a multiple of Wiener's; geometric over levels.

    Shrinking what is seen by var / (var + sigma**2) leaves var * sigma**2 / (var + sigma**2), and nothing
    linear that looks at latents one by one leaves less.  What denoises is below 1 at every level; what is
    read wrongly is above it at some, and by much: an eps answer read as x0 is wrong by all of the picture.

    Args:
        factor: makes the latents unit variance.
    """
    x0 = shown.latents * factor
    variance = float(x0.square().mean())
    logs: dict[PredictionType, list[float]] = {kind: [] for kind in PREDICTION_TYPES}
    for number, t in enumerate(timesteps(model)):
        sigma = float(model.schedule.sigmas[t])
        x = x0 + sigma * noise_like(x0, number)
        output = answer(model, shown, x / (1 + sigma**2) ** 0.5, t)
        shrunk = variance * sigma**2 / (variance + sigma**2)
        for kind in PREDICTION_TYPES:
            error = float((to_x0(x, sigma, output, kind) - x0).square().mean())
            logs[kind].append(math.log(max(error / shrunk, 1e-6)) if math.isfinite(error) else math.inf)
    return {kind: math.exp(min(sum(found) / len(found), 50.0)) for kind, found in logs.items()}


def timesteps(model: LatentDiffusion) -> list[int]:
    """Those of `LEVELS` in the model's own schedule; of levels outside it, its ends."""
    return sorted({round(model.schedule.timestep(sigma)) for sigma in LEVELS})


def leak(model: LatentDiffusion, shown: Shown, factor: float, kind: PredictionType) -> tuple[float, float]:
    """How much of a picture hidden in noise is found at the last timestep, and a little before; about 0 to 1.

    A schedule that keeps a little of the picture at its end teaches a network to look for it; one that ends
    in pure noise teaches it that at the last timestep nothing is there, while it does look just before.  Two
    inputs with the same noise, and a picture and its negative as faint as the first kind of schedule leaves
    it, tell the two apart.

    Source of the effect: Lin et al. 2023 (arXiv:2305.08891), section 3.1.
    """
    own = vars(model.config.schedule)
    keeping, ending = (build_schedule(**own | {"zero_terminal_snr": ends}) for ends in (False, True))
    sigma = float(keeping.sigmas[-1])
    kept = 1 / (1 + sigma**2)
    # its coarsest part, which alone survives so much noise
    coarse = (factor * shown.latents).mean(dim=(2, 3), keepdim=True).expand_as(shown.latents)
    noise = (1 - kept) ** 0.5 * noise_like(coarse, 99)
    inputs = [noise + sign * kept**0.5 * coarse for sign in (1, -1)]

    def found(t: int) -> float:
        answers = [answer(model, shown, part, t) for part in inputs]
        difference = (answers[0] - answers[1]) / 2
        if kind == "v":  # v = sqrt(kept) * eps - sqrt(1 - kept) * x0
            difference = -difference / (1 - kept) ** 0.5
        return float((difference * coarse).sum() / coarse.square().sum())

    return found(len(keeping) - 1), found(int(ending.timestep(sigma)))
