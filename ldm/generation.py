"""From settings to steps to a trace: `generate`, `run`, `resume`.

A run is an iterator of `Step`s.  Asking for no more of them stops it; the steps so far with `finish` are a
`Trace`, from which `resume` goes on at any step.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from PIL import Image
from torch import Tensor

from .diffusion.denoiser import Denoiser
from .diffusion.noise import NoiseStream
from .diffusion.samplers import DEFAULT_ETA, SAMPLERS
from .diffusion.schedule import FINAL_SIGMAS, SPACINGS, sampling_sigmas
from .errors import SettingsError, check_choice
from .images import fit_multiple, to_images, to_tensor
from .latent_diffusion import LatentDiffusion
from .settings import Settings
from .trace import AttentionMaps, Prediction, Step, Trace


def generate(
    model: LatentDiffusion,
    settings: Settings,
    *,
    init_image: Image.Image | None = None,
    record_attention: bool = True,
) -> Iterator[Step]:
    """Check the settings, then denoise, yielding every step as it happens; close the iterator to stop.

    Args:
        init_image: start from this picture, noised as far as `settings.strength` says, instead of from noise.
        record_attention: keep cross-attention maps; changes no bit of the picture.

    Raises:
        SettingsError: at once, if the model cannot do what was asked.
    """
    check(model, settings)
    sigmas = sampling_sigmas(model.schedule, settings.steps, settings.spacing, settings.final_sigma)
    noise = noise_stream(model, settings)
    if init_image is None:
        first, x = 0, noise(0) * (1 + float(sigmas[0]) ** 2) ** 0.5
    else:
        first = min(settings.steps - 1, round(settings.steps * (1 - settings.strength)))
        size = (settings.width, settings.height)
        picture = fit_multiple(init_image.convert("RGB").resize(size, Image.Resampling.LANCZOS), 1)
        with torch.no_grad():
            latents = model.autoencoder_encode(to_tensor([picture]), mean=True).float().cpu()
        x = latents + noise(0) * float(sigmas[first])
    return _denoise(model, settings, sigmas[first:], x, (), record_attention)


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
        settings: what to change from there on; None is as before.  With another number of steps the rest of
            the way is divided anew: settings.steps - at steps from this noise level down.

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
    history = trace.steps[:at]
    return _denoise(model, settings, _levels(model, trace, at, settings), x, history, record_attention)


def run(model: LatentDiffusion, settings: Settings, *, init_image: Image.Image | None = None) -> Trace:
    """Generate to the end and keep everything."""
    start = time.perf_counter()
    steps = list(generate(model, settings, init_image=init_image))
    return finish(model, settings, steps, time.perf_counter() - start)


@torch.no_grad()
def finish(
    model: LatentDiffusion,
    settings: Settings,
    steps: Sequence[Step],
    seconds: float,
    finished: bool = True,
    parent: tuple[str, int] | None = None,
) -> Trace:
    """Decode the last step and bind the run into a Trace.

    Args:
        seconds: the steps' time; the decode's is added.
        finished: False for a run that was stopped; its picture is the last predicted x0.

    Raises:
        SettingsError: no step was made.
    """
    if not steps:
        raise SettingsError("The run was stopped before its first step, so there is no picture.")
    start = time.perf_counter()
    latents = steps[-1].x_next if finished else steps[-1].prediction.x0
    images = [to_images(model.autoencoder_decode(z[None]))[0] for z in latents]
    text = model.cond_stage_model
    guided = settings.cfg_scale != 1
    return Trace(
        settings=settings,
        model_name=model.name,
        prediction_type=model.prediction_type,
        tokens=tuple(text.tokens(settings.prompt)),
        negative_tokens=tuple(text.tokens(settings.negative_prompt)) if guided else (),
        steps=tuple(steps),
        images=tuple(images),
        seconds=seconds + time.perf_counter() - start,
        finished=finished,
        parent=parent,
    )


def check(model: LatentDiffusion, settings: Settings) -> None:
    """Raise SettingsError if this model cannot do what is asked."""
    check_choice("sampler", settings.sampler, SAMPLERS)
    check_choice("spacing", settings.spacing, SPACINGS)
    check_choice("final_sigma", settings.final_sigma, FINAL_SIGMAS)
    multiple = model.config.size_multiple
    for name in ("width", "height"):
        size = getattr(settings, name)
        if size % multiple:
            raise SettingsError(f"{name} must be a multiple of {multiple} for {model.name}, got {size}.")
    if settings.steps > model.n_steps:
        raise SettingsError(
            f"steps must be between 1 and {model.n_steps}, the model's training timesteps; "
            f"got {settings.steps}."
        )


def noise_stream(model: LatentDiffusion, settings: Settings) -> NoiseStream:
    """Unit noise of this run, a function of (seed, picture, draw)."""
    f = model.downsampling_factor
    shape = (model.latent_channels, settings.height // f, settings.width // f)
    return NoiseStream(settings.seed, settings.batch_size, shape)


def _levels(model: LatentDiffusion, trace: Trace, at: int, settings: Settings) -> Tensor:
    """(steps + 1,) noise levels: the trace's own up to `at`, then what the settings ask for."""
    before = trace.settings
    made = [step.sigma for step in trace.steps]
    if all(getattr(settings, n) == getattr(before, n) for n in ("steps", "spacing", "final_sigma")):
        asked = sampling_sigmas(model.schedule, settings.steps, settings.spacing, settings.final_sigma)
        if made[0] in asked.tolist():  # a run from a picture began part of the way down
            return asked[asked.tolist().index(made[0]) :]
    here = trace.steps[at].sigma if at < len(trace.steps) else trace.steps[-1].sigma_next
    last = FINAL_SIGMAS[settings.final_sigma](model.schedule)
    if here <= last:
        raise SettingsError(f"There is no noise left to remove after step {at}.")
    remaining, t = settings.steps - at, model.schedule.timestep(here)
    levels = [here] + [model.schedule.sigma_at(t * (1 - k / remaining)) for k in range(1, remaining)]
    return torch.tensor([*made[:at], *levels, last], dtype=torch.float64)


@torch.no_grad()  # on the generator, not a `with` around the yield: that would leak to the caller
def _denoise(
    model: LatentDiffusion,
    settings: Settings,
    sigmas: Tensor,
    x: Tensor,
    history: Sequence[Step],
    record_attention: bool,
) -> Iterator[Step]:
    guided = settings.cfg_scale != 1
    prompts = [settings.negative_prompt, settings.prompt] if guided else [settings.prompt]
    contexts = [c.expand(settings.batch_size, -1, -1) for c in model.get_text_conditioning(prompts).split(1)]
    denoise = Denoiser(
        network=lambda x, t, context: model.predict(x, t, context, record=record_attention),
        schedule=model.schedule,
        prediction_type=model.prediction_type,
        context=contexts[-1],
        uncond=contexts[0] if guided else None,
        cfg_scale=settings.cfg_scale,
        cfg_rescale=settings.cfg_rescale,
    )
    eta = DEFAULT_ETA.get(settings.sampler, 0.0) if settings.eta is None else settings.eta
    sampler = SAMPLERS[settings.sampler]
    noise = noise_stream(model, settings)
    steps = sampler(denoise, x.to(model.device), sigmas, eta, noise, history)
    yield from _on_cpu(steps, model.device)


def _on_cpu(steps: Iterator[Step], device: torch.device) -> Iterator[Step]:
    """Steps with their tensors on the CPU.

    On a GPU the copies go to pinned memory without waiting, and a step is handed out when the next one has
    been launched, so that recording does not keep the device idle.
    """
    if device.type != "cuda":
        for step in steps:
            yield _moved(step)
        return
    waiting: tuple[Step, torch.cuda.Event] | None = None
    for step in steps:
        copy = _moved(step)
        event = torch.cuda.Event()
        event.record()
        if waiting is not None:
            waiting[1].synchronize()
            yield waiting[0]
        waiting = (copy, event)
    if waiting is not None:
        waiting[1].synchronize()
        yield waiting[0]


def _moved(step: Step) -> Step:
    p = step.prediction
    prediction = Prediction(
        x0=_cpu(p.x0),
        x0_cond=_cpu(p.x0_cond),
        x0_uncond=None if p.x0_uncond is None else _cpu(p.x0_uncond),
        attention=_moved_maps(p.attention),
        attention_uncond=_moved_maps(p.attention_uncond),
    )
    return replace(step, x=_cpu(step.x), prediction=prediction, x_next=_cpu(step.x_next))


def _moved_maps(attention: AttentionMaps | None) -> AttentionMaps | None:
    """Half precision is plenty for a share of attention, and half the memory."""
    return None if attention is None else AttentionMaps(tuple(_cpu(m.half()) for m in attention.maps))


def _cpu(tensor: Tensor) -> Tensor:
    if tensor.device.type != "cuda":
        return tensor.cpu()
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)
