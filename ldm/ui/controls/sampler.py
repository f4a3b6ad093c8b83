"""Which sampler, what it is, and what only some of them can be told."""

from collections.abc import Mapping
from typing import Any

import gradio as gr

from ...diffusion.samplers import SAMPLERS
from .rules import OF_SAMPLERS, OWN_ORDER
from .widgets import Layout

CALLS = ("no network call", "1 network call", "2 network calls", "3 network calls")
NO_OPTIONS = "This sampler has none: the noise levels and the guidance decide everything."


def choice(layout: Layout) -> None:
    """The menu, and the line that says what was chosen."""
    layout.menu(
        "sampler", SAMPLERS, "Sampler", "The way from noise to picture; type to find one.", typed=True
    )
    layout.note("sampler", sampler_note(layout.values))


def options(layout: Layout) -> None:
    """What only some samplers have."""
    with gr.Accordion("Sampler options", open=False, elem_id="sampler-options"):
        with gr.Row(elem_classes="ld-pair"):
            layout.slider("eta", "Eta", "Fresh noise per step; 0 draws none.")
            layout.slider(
                "s_noise", "s_noise", "Spread of fresh noise; 1 is right.", ends=(0.9, 1.1), step=0.001
            )
        with gr.Row(elem_classes="ld-pair"):
            layout.slider(
                "s_churn", "s_churn", "Noise stirred in over the whole run; 0 is none.", ends=(0, 100), step=1
            )
            layout.menu("order", orders(layout.values), "Order", "Higher is finer and less steady.")
        with gr.Row(elem_classes="ld-pair"):
            layout.text("s_tmin", "s_tmin", "Stirred in down to here.", "0")
            layout.text("s_tmax", "s_tmax", "Stirred in from here on.", "the noisiest")
        with gr.Row(elem_classes="ld-pair"):
            layout.slider("steps_per_level", "Steps per level", "Steps at each noise level.", ends=(1, 50))
            layout.text("step_lr", "step_lr", "Size of the last steps.", "0.2 × sigma²")
        layout.note("options", options_note(layout.gone))


def sampler_note(given: Mapping[str, Any]) -> str:
    """What the chosen sampler is, and what a step of it costs."""
    entry = SAMPLERS.get(str(given["sampler"]))
    if entry is None:
        return ""
    first = "" if entry.first_calls is None else f", {entry.first_calls} in the first"
    return f"**{entry.title}**, {CALLS[entry.calls]} a step{first}. {entry.note}"


def options_note(gone: frozenset[str]) -> str:
    """What stands there if there is nothing to choose."""
    return NO_OPTIONS if gone.issuperset(OF_SAMPLERS) else ""


def orders(given: Mapping[str, Any]) -> list[tuple[str, int]]:
    """The orders that the chosen sampler has."""
    entry = SAMPLERS.get(str(given["sampler"]))
    return [("its own", OWN_ORDER), *((str(n), n) for n in (() if entry is None else entry.orders))]
