"""From settings to steps to a trace: `generate`, `run`, `resume`.

A run is an iterator of `Step`s.  Asking for no more of them stops it; the steps so far with `finish` are a
`Trace`, from which `resume` goes on at any step.
"""

import time
from collections.abc import Iterator, Sequence

import torch
from PIL import Image
from torch import Tensor

from ..diffusion.samplers import SAMPLERS
from ..diffusion.spacing import FINAL_SIGMAS
from ..errors import SettingsError
from ..images import to_images
from ..latent_diffusion import LatentDiffusion
from ..settings import Settings
from ..trace import Step, Trace
from .asked import check, denoiser_of, levels_of, noise_stream, options_of
from .inversion import invert
from .record import on_cpu
from .start import Picture, Start, first_step, fitted, position, start_of

__all__ = [
    "check",
    "denoiser_of",
    "finish",
    "generate",
    "invert",
    "levels_of",
    "noise_stream",
    "options_of",
    "resume",
    "run",
]


def generate(
    model: LatentDiffusion,
    settings: Settings,
    *,
    init_image: Image.Image | None = None,
    mask: Image.Image | None = None,
    latents: Tensor | None = None,
    record_attention: bool = True,
) -> Iterator[Step]:
    """Check the settings, then denoise, yielding every step as it happens; close the iterator to stop.

    Args:
        init_image: start from this picture, noised as far as `settings.strength` says, instead of from noise.
            Strength 0 makes no step: what `finish` then decodes is the round trip.
        mask: which part of the picture to paint anew, white; what is black stays byte for byte.
        latents: (B, C, H, W) to start from in place of the seed's noise, at the first noise level: what
            `invert` ends with, or noise of your own times `sqrt(1 + sigma**2)`.  Not with a picture.
        record_attention: keep cross-attention maps; changes no bit of the picture.

    Raises:
        SettingsError: at once, if the model cannot do what was asked.
    """
    check(model, settings)
    if latents is not None and init_image is not None:
        raise SettingsError("A run starts from a picture or from latents, and both were given.")
    start = start_of(model, settings, fitted(settings, init_image, mask), latents)
    return _denoise(model, settings, start, (), record_attention)


def resume(
    model: LatentDiffusion,
    trace: Trace,
    at: int,
    settings: Settings | None = None,
    *,
    record_attention: bool = True,
) -> Iterator[Step]:
    """Take a run up again before step `at`, with the same bits if nothing is changed.

    Args:
        at: 0 is before the first step, len(trace.steps) after the last one made.
        settings: what to change from there on; None is as before.  With another number of steps, spacing or
            sampler the rest of the way is divided anew: settings.steps - at steps from this noise level down.

    Returns:
        The steps from `at` on; put `trace.steps[:at]` before them for the whole run.

    Raises:
        SettingsError: at once, if `at` or the settings do not fit the trace.
    """
    settings = settings or trace.settings
    check(model, settings)
    before = trace.settings
    if not 0 <= at <= len(trace.steps) or not trace.steps:
        raise SettingsError(f"at must be between 0 and {len(trace.steps)}, the steps made; got {at}.")
    for name in ("width", "height", "batch_size"):
        old, new = getattr(before, name), getattr(settings, name)
        if new != old:
            raise SettingsError(f"{name} must stay {old} when a run is taken up again, got {new}.")
    if settings.steps <= at:
        raise SettingsError(f"steps must be more than {at}, the steps already made; got {settings.steps}.")
    x = trace.steps[at].x if at < len(trace.steps) else trace.steps[-1].x_next
    picture = None if trace.init_image is None else Picture(trace.init_image, trace.mask)
    conditions = start_of(model, settings, picture)
    start = Start(_levels(model, trace, at, settings), x, conditions.concat, conditions.keep)
    return _denoise(model, settings, start, trace.steps[:at], record_attention)


def run(
    model: LatentDiffusion,
    settings: Settings,
    *,
    init_image: Image.Image | None = None,
    mask: Image.Image | None = None,
) -> Trace:
    """Generate to the end and keep everything."""
    start = time.perf_counter()
    steps = list(generate(model, settings, init_image=init_image, mask=mask))
    seconds = time.perf_counter() - start
    return finish(model, settings, steps, seconds, init_image=init_image, mask=mask)


@torch.no_grad()
def finish(  # noqa: PLR0913 - the steps, and how they came about
    model: LatentDiffusion,
    settings: Settings,
    steps: Sequence[Step],
    seconds: float,
    finished: bool = True,
    parent: tuple[str, int] | None = None,
    *,
    init_image: Image.Image | None = None,
    mask: Image.Image | None = None,
) -> Trace:
    """Decode the last step and bind the run into a Trace.

    Args:
        seconds: the steps' time; the decode's is added.
        finished: False for a run that was stopped; its picture is the last predicted x0.
        init_image, mask: as `generate` was given them.

    Raises:
        SettingsError: no step was made, of a run that was to make some.
    """
    picture = fitted(settings, init_image, mask)
    roundtrip = picture is not None and settings.strength == 0
    if not steps and not (roundtrip and finished):
        raise SettingsError("The run was stopped before its first step, so there is no picture.")
    start = time.perf_counter()
    if steps:
        latents = steps[-1].x_next if finished else steps[-1].prediction.x0
    else:
        latents = start_of(model, settings, picture).x
    images = [to_images(model.autoencoder_decode(z[None]))[0] for z in latents]
    if picture is not None and picture.mask is not None:
        images = [Image.composite(image, picture.image, picture.mask) for image in images]
    text = model.cond_stage_model
    return Trace(
        settings=settings,
        model_name=model.name,
        prediction_type=model.prediction_type,
        tokens=tuple(text.tokens(settings.prompt)),
        negative_tokens=tuple(text.tokens(settings.negative_prompt)) if settings.guided else (),
        steps=tuple(steps),
        images=tuple(images),
        seconds=seconds + time.perf_counter() - start,
        finished=finished,
        parent=parent,
        init_image=None if picture is None else picture.image,
        mask=None if picture is None else picture.mask,
    )


PLAN = (
    "steps",
    "sampler",
    "spacing",
    "final_sigma",
    "rho",
    "sigmas",
    "steps_per_level",
)  # what levels follow


def _levels(model: LatentDiffusion, trace: Trace, at: int, settings: Settings) -> Tensor:
    """Noise levels of which step number `at` is the next: the run's own, or what the settings ask for now."""
    made = [step.sigma for step in trace.steps]
    if all(getattr(settings, name) == getattr(trace.settings, name) for name in PLAN):
        whole = levels_of(model, settings)
        own = whole[position(whole, 0 if trace.init_image is None else first_step(trace.settings)) :]
        if [float(own[position(own, k)]) for k in range(len(made))] == made:
            return own
        if trace.finished:  # divided anew before
            return torch.tensor([*made, trace.steps[-1].sigma_next], dtype=torch.float64)
        forked = 0 if trace.parent is None else min(trace.parent[1], len(made) - 1)
        again = _divided(model, settings, made[forked], forked)
        if again[forked : len(made)].tolist() == made[forked:]:
            return again
    return _divided(model, settings, made[at] if at < len(made) else trace.steps[-1].sigma_next, at)


def _divided(model: LatentDiffusion, settings: Settings, here: float, at: int) -> Tensor:
    """Levels evenly spaced in timesteps from `here`, where step `at` begins, to the end."""
    last = FINAL_SIGMAS[settings.final_sigma](model.schedule)
    if here <= last:
        raise SettingsError(f"There is no noise left to remove after step {at}.")
    remaining, t = settings.steps - at, model.schedule.timestep(here)
    levels = [here] + [model.schedule.sigma_at(t * (1 - k / remaining)) for k in range(1, remaining)]
    above = [here * (1 + at - k) for k in range(at)]  # of steps made: only their number is looked at
    return torch.tensor([*above, *levels, last], dtype=torch.float64)


@torch.no_grad()  # on the generator, not a `with` around the yield: that would leak to the caller
def _denoise(
    model: LatentDiffusion,
    settings: Settings,
    start: Start,
    history: Sequence[Step],
    record_attention: bool,
) -> Iterator[Step]:
    denoise = denoiser_of(
        model,
        settings,
        [settings.prompt] * settings.batch_size,
        record_attention=record_attention,
        concat=start.concat,
        keep=start.keep,
    )
    noise = noise_stream(model, settings)
    sampler = SAMPLERS[settings.sampler]
    x = start.x.to(model.device)
    steps = sampler.run(denoise, x, start.sigmas, options_of(settings), noise, history)
    yield from on_cpu(steps, model.device)
