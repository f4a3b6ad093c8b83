"""/generate: pictures from a prompt, with everything that `Settings` knows, and from a picture."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, fields
from inspect import Parameter, Signature
from typing import Any

import gradio as gr

from ...diffusion.guidance import CFG_SCHEDULES, METHODS
from ...diffusion.noise import NOISES
from ...diffusion.samplers import SAMPLERS
from ...diffusion.spacing import FINAL_SIGMAS, SPACINGS
from ...engine import required
from ...errors import SettingsError
from ...generation.shown import INDEXED
from ...images import NUMBERED, open_image
from ...settings import FULL_STRENGTHS, LISTS, TEXTS, Settings
from ...words import notice
from .. import files
from ..controls import fixed
from ..events import PUBLIC, shows_errors, visitor
from ..shared import App

FIRST = (
    "prompt", "negative_prompt", "steps", "sampler", "spacing", "final_sigma", "cfg_scale", "cfg_rescale",
    "eta", "seed", "batch_size", "width", "height", "draft",
)  # fmt: skip
"""Parameters in the order in which they were first published; what came later follows them."""
ORDER = (*FIRST, *(f.name for f in fields(Settings) if f.name not in FIRST), "init_image", "mask")
Made = Iterator[tuple[list[str], int, str, str]]


def build(app: App) -> None:
    """Bind the endpoint."""
    defaults = _defaults(app)
    given = [widget(name, defaults[name]) for name in ORDER]
    outputs = [
        gr.File(label="pictures", file_count="multiple"),
        gr.Number(label="seed_used", precision=0),
        gr.Textbox(label="run_id"),
        gr.Textbox(label="notice"),
    ]
    gr.Button().click(shows_errors(_endpoint(app, defaults)), given, outputs, api_name="generate", **PUBLIC)


def _defaults(app: App) -> dict[str, Any]:
    """What a program need not say: the model's recommendation, else what `Settings` has."""
    model = app.engine.model
    values = asdict(Settings("?", **asdict(model.config.recommended))) | fixed(model)
    values["loras"] = list(values["loras"])
    return {**values, "prompt": None, "steps": None, "draft": False, "init_image": None, "mask": None}


def widget(name: str, default: Any) -> Any:  # noqa: ANN401 - one of gradio's, and what it holds
    """A plain widget for a parameter, without a range: `Settings` refuses in its own words."""
    if name in TEXTS:
        return gr.Textbox(default, label=name)
    if name in (*LISTS, "loras"):
        return gr.JSON(default, label=name)
    if name in ("init_image", "mask"):
        return gr.File(default, label=name, type="filepath")
    return gr.Checkbox(default, label=name) if name == "draft" else gr.Number(default, label=name)


def _endpoint(app: App, defaults: dict[str, Any]) -> Callable[..., Made]:
    """The function, its parameters named after `Settings`, its description with the names there are."""

    def generate(*values: Any) -> Made:  # noqa: ANN401 - whatever a program sent
        yield from _generate(app, dict(zip(ORDER, values, strict=True)))

    parameters = [
        Parameter(name, Parameter.POSITIONAL_OR_KEYWORD)
        if name == "prompt"
        else Parameter(name, Parameter.POSITIONAL_OR_KEYWORD, default=defaults[name])
        for name in ORDER
    ]
    # gradio takes the names of the parameters from it
    generate.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    generate.__doc__ = DESCRIPTION.format(**{name: _named(there) for name, there in CHOICES.items()})
    return generate


def _named(names: Any) -> str:  # noqa: ANN401 - any of the registries
    *others, last = names
    return f"{', '.join(others)} or {last}"


def described() -> dict[str, str]:
    """What each parameter is, on a line."""
    text = DESCRIPTION.format(**{name: _named(there) for name, there in CHOICES.items()})
    lines = text.partition("Args:\n")[2].partition("\n\n")[0].splitlines()
    return dict(line.strip().split(": ", 1) for line in lines)  # type: ignore[misc]


def _generate(app: App, given: dict[str, Any]) -> Made:
    draft, init_image, mask = (given.pop(name) for name in ("draft", "init_image", "mask"))
    if not isinstance(draft, bool):
        raise SettingsError(f"draft must be true or false, got {draft!r}.")
    engine = app.engine
    chosen = required(engine.draft, engine.model) if draft else None
    best = engine.model.config.recommended if chosen is None else chosen.recommended
    if given["steps"] is None:
        given["steps"] = best.steps
    settings = Settings.from_dict({**given, **({} if chosen is None else chosen.fixed)})
    model = engine.model
    model.conditioner.check(settings.prompt)
    said = notice(settings.prompt, settings.negative_prompt, model.config, model.conditioner.unread)
    numbered = NUMBERED if model.config.picture in INDEXED else ()
    image = None if init_image is None else open_image(init_image, as_is=numbered)
    mask = None if mask is None else open_image(mask)
    owner = f"api {files.fresh_key()}"  # on no sheet
    run_id = engine.start(settings, owner, init_image=image, mask=mask, visitor=visitor(), draft=draft)
    try:
        for run in engine.follow(run_id):
            made = [] if run.trace is None else [str(path) for path in files.pictures(run_id, run.trace)]
            yield made, settings.seed, run_id, said
    finally:
        engine.stop(run_id)  # nothing, once the run is over; a client that left wants no picture


CHOICES = {
    "samplers": SAMPLERS,
    "spacings": SPACINGS,
    "final_sigmas": FINAL_SIGMAS,
    "methods": METHODS,
    "schedules": CFG_SCHEDULES,
    "noises": NOISES,
    "full_strengths": FULL_STRENGTHS,
}
# a parameter on a line: gradio reads no more of it
DESCRIPTION = """Draw pictures from a prompt with the latent diffusion model, from noise or from a picture.

Args:
    prompt: text the picture should match; of other models a class, boxes or @neighbours, of some ignored.
    negative_prompt: text guidance pushes away from.
    steps: denoising steps, 1 to 1000, of a draft 1 to 8; none is the model's own choice.
    sampler: {samplers}.
    spacing: {spacings}.
    final_sigma: {final_sigmas}.
    cfg_scale: classifier-free guidance; 1 is off.
    cfg_rescale: 0 to 1, how much of the contrast that guidance adds is taken back.
    eta: fresh noise per step, 0 to 1; none is the sampler's own choice.
    seed: 0 to 4294967295; picture i of a batch has seed + i.
    batch_size: pictures, 1 to 16.
    width: pixels, a multiple of what the model needs.
    height: pixels, a multiple of what the model needs.
    draft: draw with the model's draft, in a few steps; its sampler, spacing and guidance replace those given.
    rho: bend of the spacings karras and polyexponential; none is their own.
    sigmas: list of falling noise levels, one for each step, of the spacing custom.
    cfg_scales: list of guidances, one for each picture of the batch, in place of cfg_scale.
    cfg_method: {methods}.
    cfg_schedule: {schedules}.
    cfg_start: 0 to 1, the share of the way where the schedule begins.
    cfg_stop: 0 to 1, the share of the way where the schedule ends.
    cfg_final: guidance that the schedules linear and cosine end with.
    dynamic_threshold: percentile of the picture's values that guidance may not pass; 0 is off.
    negative_scale: weight of the negative prompt with perpendicular.
    image_cfg_scale: weight of the picture with two_scale.
    s_churn: noise stirred in over the whole run, of samplers that can; 0 is none.
    s_tmin: the lowest noise level at which it is stirred in.
    s_tmax: the highest noise level at which it is stirred in; none is without end.
    s_noise: spread of all fresh noise; 1 is right.
    order: of the samplers that have several; none is the sampler's own.
    step_lr: size of the steps of langevin at the last noise level; none is 0.2 times its square.
    steps_per_level: steps of langevin at each noise level.
    strength: 0 to 1, how much of init_image is replaced; 0 only sends it through the autoencoder and back.
    full_strength: what strength 1 starts from, {full_strengths}.
    noise: whose random numbers a seed stands for, {noises}.
    variation_seed: the seed to whose noise the start is turned; picture i has variation_seed + i.
    variation_strength: 0 to 1, how far it is turned.
    muted_tokens: list of positions in the prompt, as the text encoder reads it, that are not listened to.
    mute_start: 0 to 1, the share of the way where that begins.
    mute_stop: 0 to 1, the share of the way where it ends.
    original_width: pixels of the picture that Stable Diffusion XL is told this is cut from; none is width.
    original_height: the same, its height.
    crop_left: pixels from the left where it is told the cut begins.
    crop_top: pixels from the top where it is told the cut begins.
    aesthetic_score: 0 to 10, what the refiner of Stable Diffusion XL is told of how beautiful it is.
    noise_level: 0 to 999, the noise that an upscaler puts on the small picture.
    distilled_scale: 1 to 30, the guidance that a model is told which was distilled to need none.
    loras: list of pairs of a LoRA's name and its weight, -4 to 4.
    init_image: picture file to start from or to look at, cut to the proportions of width and height.
    mask: picture file, cut and scaled likewise; white is drawn anew, black stays byte for byte; none is all.

Returns:
    The pictures as PNG files that carry their settings, the seed used, the run's id for /steps, and
    a sentence about words of the prompts that the model never saw, empty if there are none.
"""
