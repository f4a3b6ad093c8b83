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
from ..errors import SettingsError
from ..images import to_images
from ..latent_diffusion import LatentDiffusion
from ..settings import Settings
from ..trace import Step, Trace
from .after import guided
from .asked import check, denoiser_of, levels_of, noise_stream, options_of
from .forks import check_fork, kept_picture, own_levels, way_on
from .inversion import invert
from .layers import HeadMaps, heads, heads_bytes
from .noising import forward
from .record import on_cpu, recorded_of
from .start import Picture, Start, conditions, encoded, fitted, start_of

__all__ = [
    "HeadMaps",
    "check",
    "denoiser_of",
    "finish",
    "forward",
    "generate",
    "guided",
    "heads",
    "heads_bytes",
    "invert",
    "kept_picture",
    "levels_of",
    "noise_stream",
    "options_of",
    "resume",
    "run",
    "way_on",
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
    start = start_of(model, settings, fitted(settings, init_image, mask, model), latents)
    return _denoise(model, settings, start, (), record_attention)


def resume(
    model: LatentDiffusion,
    trace: Trace,
    at: int,
    settings: Settings | None = None,
    *,
    init_image: Image.Image | None = None,
    mask: Image.Image | None = None,
    record_attention: bool = True,
) -> Iterator[Step]:
    """Take a run up again before step `at`, with the same bits if nothing is changed.

    Args:
        at: 0 is before the first step, len(trace.steps) after the last one made.
        settings: what to change from there on; None is as before.  With another number of steps, spacing or
            sampler the rest of the way is divided anew (`way_on`): as many steps as the settings leave.
        init_image, mask: paint only what is white in the mask anew from here on, and keep the rest of this
            picture (`kept_picture`); None is as before.

    Returns:
        The steps from `at` on; put `trace.steps[:at]` before them for the whole run.

    Raises:
        SettingsError: at once, if `at`, the settings or the pictures do not fit the trace.
    """
    settings = settings or trace.settings
    check(model, settings)
    check_fork(model, trace, at, settings)
    x = trace.steps[at].x if at < len(trace.steps) else trace.steps[-1].x_next
    picture = kept_picture(trace, settings, init_image, mask)
    start = Start(way_on(model, trace, at, settings), x, conditions(model, settings, picture))
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
    sigmas: Tensor | None = None,
    decode: bool = True,
) -> Trace:
    """Decode the last step and bind the run into a Trace.

    Args:
        seconds: the steps' time; the decode's is added.
        finished: False for a run that was stopped; its picture is the last predicted x0.
        init_image, mask: as `generate` was given them.
        sigmas: `way_on` of a run that was taken up with other settings; None is what the settings say.
        decode: False makes no pictures: the run goes on later.

    Raises:
        SettingsError: no step was made, of a run that was to make some.
    """
    picture = fitted(settings, init_image, mask, model)
    start = time.perf_counter()
    images = _decoded(model, settings, steps, finished, picture) if decode else ()
    if sigmas is None:
        sigmas = own_levels(model, settings, steps, picture is not None and not picture.only_shown)
    text = model.conditioner
    return Trace(
        settings=settings,
        model_name=model.name,
        prediction_type=model.prediction_type,
        tokens=tuple(text.tokens(settings.prompt)),
        negative_tokens=tuple(text.tokens(settings.negative_prompt)) if settings.guided else (),
        steps=tuple(steps),
        images=images,
        seconds=seconds + time.perf_counter() - start,
        finished=finished,
        parent=parent,
        init_image=None if picture is None else picture.image,
        mask=None if picture is None else picture.mask,
        sigmas=None if sigmas is None else tuple(sigmas.tolist()),
    )


@torch.no_grad()
def _decoded(
    model: LatentDiffusion,
    settings: Settings,
    steps: Sequence[Step],
    finished: bool,
    picture: Picture | None,
) -> tuple[Image.Image, ...]:
    """The pictures; of a run at strength 0 the round trip."""
    if steps:
        latents = steps[-1].x_next if finished else steps[-1].prediction.x0
    elif picture is not None and settings.strength == 0 and finished:
        latents = encoded(model, picture.image).expand(settings.batch_size, -1, -1, -1)
    else:
        raise SettingsError("The run was stopped before its first step, so there is no picture.")
    images = [to_images(model.autoencoder_decode(z[None]))[0] for z in latents]
    if picture is not None and picture.mask is not None:
        images = [Image.composite(image, picture.image, picture.mask) for image in images]
    return tuple(images)


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
        reads=start.reads,
    )
    if len(start.sigmas) < 2:  # strength 0: not even options that want a step's length are looked at
        return
    noise = noise_stream(model, settings)
    sampler = SAMPLERS[settings.sampler]
    # a file brings latents back without their order in memory, which decides the last bit of a sum
    x = start.x.to(model.device).contiguous()
    steps = sampler.run(denoise, x, start.sigmas, options_of(settings), noise, history)
    yield from on_cpu(steps, model.device, recorded_of(model, settings))
