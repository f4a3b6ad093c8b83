"""How the prompt is weighed against its absence, and where on the way."""

from collections.abc import Mapping
from typing import Any

import gradio as gr

from ...diffusion.guidance import CFG_SCHEDULES, METHODS
from ...diffusion.samplers import CFG_PP
from .widgets import Layout

METHOD_NOTES: dict[str, str] = {
    "cfg": "Classifier-free guidance: from the prediction without the prompt towards the one with it.",
    "cfg_pp": "CFG++: the guided picture, the unguided noise. Takes a guidance of 0 to 1.",
    "perpendicular": "Perp-Neg: away from the negative prompt, but never against the prompt.",
    "two_scale": "InstructPix2Pix: a scale for the words, a scale for the picture; for models that edit.",
}
SCHEDULE_NOTES: dict[str, str] = {
    "constant": "The same guidance all the way.",
    "interval": "Guidance between start and stop; outside the prompt alone, at half the work.",
    "linear": "Evenly from the guidance above to the final one, between start and stop.",
    "cosine": "From the guidance above to the final one, slow at both ends, between start and stop.",
}


def group(layout: Layout) -> None:
    """The methods and their weights."""
    there = "cfg_method" not in layout.gone
    with gr.Accordion("Guidance", open=False, elem_id="guidance", visible=there):
        with gr.Row(elem_classes="ld-pair"):
            layout.menu("cfg_method", METHODS, "Method", "How they are combined.")
            layout.menu("cfg_schedule", CFG_SCHEDULES, "Schedule", "How it changes on the way.")
        layout.note("cfg_method", method_note(layout.values))
        layout.note("cfg_schedule", schedule_note(layout.values))
        with gr.Row(elem_classes="ld-pair"):
            layout.slider("cfg_start", "Start", "Share of the way, from 0.")
            layout.slider("cfg_stop", "Stop", "Share of the way, to 1.")
        layout.slider("cfg_final", "Final guidance", "What it ends with.", ends=(0, 15), step=0.1)
        layout.slider(
            "negative_scale", "Negative scale", "Weight of the negative prompt.", ends=(0, 5), step=0.1
        )
        layout.slider("image_cfg_scale", "Picture guidance", "Weight of the picture.", ends=(0, 5), step=0.1)
        with gr.Row(elem_classes="ld-pair"):
            layout.slider("cfg_rescale", "Rescale", "Less contrast; 0 is off.")
            layout.slider("dynamic_threshold", "Threshold", "Percentile kept; 0 is off.", step=0.005)
        layout.text(
            "cfg_scales", "Guidance per picture", "One for each picture of the batch; empty is one for all.",
            "7.5, 3, 1",
        )  # fmt: skip


def mute(layout: Layout) -> None:
    """Words that are not listened to."""
    there = "muted_tokens" not in layout.gone
    with gr.Accordion("Mute a word", open=False, elem_id="mute", visible=there):
        layout.text(
            "muted_tokens", "Positions", "Tokens of the prompt nobody listens to; 0 is the start.", "2, 3"
        )
        with gr.Row(elem_classes="ld-pair"):
            layout.slider("mute_start", "Mute from", "Share of the way, from 0.")
            layout.slider("mute_stop", "Mute to", "Share of the way, to 1.")


def method_note(given: Mapping[str, Any]) -> str:
    """What the chosen method is, and whether the sampler has it."""
    method, sampler = str(given["cfg_method"]), str(given["sampler"])
    note = METHOD_NOTES.get(method, "")
    if method == "cfg_pp" and sampler not in CFG_PP:
        return f"{note} **Not for {sampler}**; its samplers are {', '.join(sorted(CFG_PP))}."
    return note


def schedule_note(given: Mapping[str, Any]) -> str:
    """What the chosen schedule is."""
    return SCHEDULE_NOTES.get(str(given["cfg_schedule"]), "")
