"""The widgets that mirror `Settings`, field by field, and the way between them.

A new field gets its widget in the module of its group, and a line in `rules.hidden` if it means something
only beside another choice; a test finds a field without a widget.
"""

from dataclasses import asdict, fields
from typing import Any

from ...latent_diffusion import LatentDiffusion
from ...settings import Settings
from . import basic, guidance, levels, noise, picture, sampler
from .basic import COMMON_STEPS, prompts
from .record import Controls, merged
from .rules import START_STRENGTH, as_shown, hidden
from .widgets import Layout
from .wiring import wire

__all__ = ["COMMON_STEPS", "Controls", "merged", "prompts", "settings", "wire"]


def settings(model: LatentDiffusion, given: dict[str, Any]) -> Controls:
    """All fields but the prompts, laid out where they are called; `given` are the prompts."""
    values = as_shown(Settings("?", **asdict(model.config.recommended))) | {"strength": START_STRENGTH}
    layout = Layout(values, hidden(values, from_picture=False), dict(given))
    basic.work(layout)
    sampler.choice(layout)
    fresh = basic.seed(layout)
    basic.size(layout, model.config.size_multiple)
    sampler.options(layout)
    shown = levels.group(layout, model)
    guidance.group(layout)
    guidance.mute(layout)
    noise.group(layout)
    start = picture.group(layout)
    of = {field.name: layout.of[field.name] for field in fields(Settings)}
    return Controls(of, fresh, start, layout.notes, shown)
