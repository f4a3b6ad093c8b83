"""Whose random numbers a seed stands for, and how far it is turned to another one's."""

from collections.abc import Mapping
from typing import Any

import gradio as gr

from ...diffusion.noise import NOISES
from .widgets import Layout

NOISE_NOTES: dict[str, str] = {
    "per_picture": "Ours: every picture has a generator of its own, so each can be made again alone.",
    "diffusers": "diffusers with one CPU generator for the whole batch.",
    "a1111_gpu": 'AUTOMATIC1111 with the source "GPU" or "NV"; its "CPU" starts like per_picture.',
    "comfyui": "ComfyUI on an NVIDIA GPU.",
}


def group(layout: Layout) -> None:
    """The convention and the variation."""
    with gr.Accordion("Noise", open=False, elem_id="noise-group"):
        layout.menu("noise", NOISES, "Convention", "Which program's noise a seed stands for.")
        layout.note("noise", noise_note(layout.values))
        with gr.Row(elem_classes="ld-pair"):
            layout.slider("variation_strength", "Variation", "How far to another seed.", step=0.01)
            layout.number("variation_seed", "Variation seed", "Picture i has this one + i.")


def noise_note(given: Mapping[str, Any]) -> str:
    """What the chosen convention is."""
    return NOISE_NOTES.get(str(given["noise"]), "")
