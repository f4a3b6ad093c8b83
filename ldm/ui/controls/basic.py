"""What every run is asked for: the words, the steps, the seed, the size."""

from typing import Any

import gradio as gr

from ...latent_diffusion import LatentDiffusion
from ...settings import LIMITS
from ..boxes import negative_box, words_box
from ..unknown import name_unknown
from .widgets import Layout

COMMON_STEPS = 60  # the slider's end; a restored picture may ask for more


def prompts(model: LatentDiffusion) -> dict[str, Any]:
    """Prompt and negative prompt, each with the line that names its unknown words."""
    examples = model.config.examples
    example = examples[0] if examples else "What to draw"
    prompt = words_box("Prompt", "prompt", example, most_lines=5, autofocus=True)
    name_unknown(prompt, model.config)
    negative_prompt = negative_box("negative_prompt")
    name_unknown(negative_prompt, model.config, "In the negative prompt")
    return {"prompt": prompt, "negative_prompt": negative_prompt}


def work(layout: Layout) -> None:
    """How long and how hard."""
    with gr.Row(elem_classes="ld-pair"):
        layout.slider("steps", "Steps", "More is slower and finer.", ends=(1, COMMON_STEPS))
        layout.slider("cfg_scale", "Guidance", "How hard the prompt pulls; 1 is off.", ends=(0, 15), step=0.1)


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
