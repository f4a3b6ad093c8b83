"""Which noise levels are visited, and what the network is told there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import gradio as gr

from ...diffusion.samplers import stretches
from ...diffusion.spacing import DEFAULT_RHO, FINAL_SIGMAS, SPACING_NOTES, SPACINGS
from ...errors import LdmError
from ...generation import check, levels_of
from ...generation.start import first_step
from ...latent_diffusion import LatentDiffusion
from ...settings import LIMITS, Settings
from ..parts import part
from .by_model import some_prompt
from .rules import as_meant, hidden, numbers
from .widgets import Layout

TOLD_BY = ("steps", "sampler", "spacing", "final_sigma", "rho", "sigmas", "steps_per_level", "strength")
"""Fields that say what the network is told."""
MOST = 24  # timesteps written out; of more the first and the last ones
KEPT = (15, 7)


@dataclass(frozen=True, eq=False)
class Levels:
    """What the network is told.

    Attributes:
        display: its value is `levels_value`'s.
        group: what holds it, closed at first.
    """

    display: gr.HTML
    group: gr.Accordion


def group(layout: Layout, model: LatentDiffusion) -> Levels:
    """The spacing and its numbers, and the display of what comes of them."""
    with gr.Accordion("Noise levels", open=False, elem_id="levels") as accordion:
        with gr.Row(elem_classes="ld-pair"):
            layout.menu("spacing", SPACINGS, "Spacing", "Which levels are visited.")
            layout.menu("final_sigma", FINAL_SIGMAS, "Final sigma", "Where the last step ends.")
        layout.note("spacing", spacing_note(layout.values))
        layout.text("rho", "Rho", "Bends the spacing; empty is its own.", "its own")
        layout.text(
            "sigmas", "Noise levels", "Falling, one for each step; a 0 at the end is where it ends.",
            "14.6, 7, 3.2, 1.4, 0.5",
        )  # fmt: skip
        display = part("levels", levels_value(model, layout.values, False, layout.only))
    return Levels(display, accordion)


def spacing_note(given: Mapping[str, Any]) -> str:
    """What the chosen spacing is."""
    spacing = str(given["spacing"])
    note = SPACING_NOTES.get(spacing, "")
    own = f" Its own rho is {DEFAULT_RHO[spacing]:g}." if spacing in DEFAULT_RHO else ""
    return f"{note[:1].upper()}{note[1:]}.{own}" if note else ""


def levels_value(
    model: LatentDiffusion,
    given: Mapping[str, Any],
    from_picture: bool,
    only: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What the display shows: the timestep of each step, or a sentence where there are none.

    Args:
        given: what the widgets hold: field -> value, unchecked.
        from_picture: whether there is a picture to start from.
        only: as `Controls.fixed`.
    """
    last = model.n_steps - 1
    try:
        settings = _settings(model, given, from_picture, only or {})
        check(model, settings)
        levels: list[float] = levels_of(model, settings).tolist()
    except LdmError as error:
        return {"said": str(error), "told": [], "passed": [], "line": "", "last": last}
    timesteps = [model.schedule.timestep(sigma) for sigma, *_ in stretches(levels)]
    first = first_step(settings) if from_picture else 0
    told = timesteps[first:]
    said = "" if told else "Nothing: at strength 0 the picture only goes through the autoencoder and back."
    return {"said": said, "told": told, "passed": timesteps[:first], "line": written(told), "last": last}


def _settings(
    model: LatentDiffusion, given: Mapping[str, Any], from_picture: bool, only: Mapping[str, Any]
) -> Settings:
    gone, best = hidden(given, from_picture), model.config.recommended
    asked = {name: as_meant(name, given[name]) for name in TOLD_BY if name not in gone}
    size = {"width": best.width, "height": best.height}
    return Settings(**{"prompt": some_prompt(model), **size, **asked, **only})


def written(timesteps: Sequence[float]) -> str:
    """Timesteps in a row, fractions with one decimal; those that stay are counted, of many some left out."""
    each = [f"{t:.1f}".removesuffix(".0") for t in timesteps]
    counts = [(text, len(list(same))) for text, same in groupby(each)]
    words = [text if count == 1 else f"{count} × {text}" for text, count in counts]
    if len(words) <= MOST:
        return ", ".join(words)
    start, end = KEPT
    return f"{', '.join(words[:start])} … {len(words) - start - end} more … {', '.join(words[-end:])}"


def steps_of_list(text: str | None) -> dict[str, Any]:
    """The steps slider as long as a list of noise levels that was typed."""
    try:
        found = numbers("sigmas", text)
    except LdmError:  # the display says so
        return gr.skip()
    count = sum(sigma != 0 for sigma in found or ())
    return gr.update(value=count) if 1 <= count <= LIMITS["steps"][1] else gr.skip()
