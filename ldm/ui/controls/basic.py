"""What every run is asked for: the words, the steps, the seed, the size."""

from typing import Any

import gradio as gr

from ...settings import LIMITS
from .widgets import Layout

COMMON_STEPS = 60  # the slider's end; a restored picture may ask for more
NOISY = (0, 350)  # what Stable Diffusion's upscaler was trained with


def work(layout: Layout) -> None:
    """How long and how hard."""
    with gr.Row(elem_classes="ld-pair"):
        layout.slider("steps", "Steps", "More is slower and finer.", ends=(1, COMMON_STEPS))
        layout.slider("cfg_scale", "Guidance", "How hard the prompt pulls; 1 is off.", ends=(0, 15), step=0.1)
    with gr.Row(elem_classes="ld-pair"):
        layout.slider(
            "noise_level", "Noise on the small picture", "More of it lets the model invent more.", ends=NOISY
        )
        layout.slider(
            "distilled_scale", "Guidance inside", "What the model is told; it draws as if guided so hard.",
            ends=(1, 15), step=0.5,
        )  # fmt: skip


def seed(layout: Layout) -> gr.Checkbox:
    """The seed; gives the box that asks for a new one each time."""
    with gr.Row(elem_classes="ld-seed"):
        layout.number("seed", "Seed", "One seed, one picture, on every machine.")
        dice = gr.Button("Dice", size="sm", elem_id="dice", min_width=72, scale=0)
    fresh = gr.Checkbox(True, label="New seed each time", elem_id="fresh")
    number = layout.of["seed"]
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    dice.click(None, None, [number, fresh], js="() => [Math.floor(Math.random() * 2 ** 31), false]", **quiet)
    number.input(None, None, fresh, js="() => false", **quiet)  # who types a seed wants that one
    return fresh


def size(layout: Layout, multiple: int) -> None:
    """How large, and how many."""
    with gr.Row(elem_classes="ld-pair"):
        for name in ("width", "height"):
            made_for = layout.values[name]
            ends = (multiple, max(2 * made_for, 512))
            layout.slider(name, name.capitalize(), f"Pixels; made for {made_for}.", ends, step=multiple)
    layout.slider(
        "batch_size", "Batch", "Pictures at once; picture i has seed + i.", ends=LIMITS["batch_size"]
    )
