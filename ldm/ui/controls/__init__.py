"""The widgets that mirror `Settings`, field by field, and the way between them.

A new field gets its widget in the module of its group, a line in `rules.hidden` if it means something only
beside another choice, and one in `by_model.fixed` if it means something to some models only; a test finds a
field without a widget.
"""

from dataclasses import asdict, fields

from ...latent_diffusion import LatentDiffusion
from ...settings import Settings
from . import basic, guidance, levels, loras, noise, picture, sampler, sizes
from .basic import COMMON_STEPS
from .by_model import fixed, some_prompt, what_to_do
from .prompt import Given, negative_box, prompt_box, prompts, shown_prompt
from .record import Controls, merged
from .rules import START_STRENGTH, as_shown, hidden
from .widgets import Layout
from .wiring import wire

__all__ = [
    "COMMON_STEPS",
    "Controls",
    "Given",
    "fixed",
    "merged",
    "negative_box",
    "prompt_box",
    "prompts",
    "settings",
    "shown_prompt",
    "some_prompt",
    "what_to_do",
    "wire",
]


def settings(model: LatentDiffusion, given: Given) -> Controls:
    """All fields but the prompts, laid out where they are called; `given` is what stands above them."""
    only = fixed(model)
    best = {"prompt": "?", **asdict(model.config.recommended), **only}
    values = as_shown(Settings(**best))
    if "strength" not in only:
        values["strength"] = START_STRENGTH
    layout = Layout(values, hidden(values, from_picture=False) | only.keys(), only, dict(given.of))
    basic.work(layout)
    sampler.choice(layout)
    fresh = basic.seed(layout)
    basic.size(layout, model.config.size_multiple)
    sizes.group(layout)
    sampler.options(layout)
    shown = levels.group(layout, model)
    guidance.group(layout)
    guidance.mute(layout)
    noise.group(layout)
    loras.group(layout, model)
    start = picture.group(layout, model, given.start)
    of = {field.name: layout.of[field.name] for field in fields(Settings)}
    return Controls(of, fresh, start, layout.notes, shown, only)
