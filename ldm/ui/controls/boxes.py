"""Boxes that are drawn on a square and become a prompt: "17 0.1 0.2 0.5 0.6; 3 0 0 1 1"."""

from typing import Any

import gradio as gr

from ...latent_diffusion import LatentDiffusion
from ...models.layout import most_boxes
from ..events import PRIVATE
from ..names import names_drop
from ..parts import part

# what is drawn is written into the prompt, and what is typed there is drawn, both in the browser; the last
# value is what the editor wrote itself
TO_PROMPT = "(held) => held?.text ?? ''"
TO_EDITOR = "(text, held) => ({ ...held, text: text ?? '' })"


def editor(model: LatentDiffusion) -> gr.HTML:
    """Lay out the square, and the place for a file of names."""
    reads: Any = model.conditioner
    classes = reads.config.vocab_size - 1
    names = {str(number): name for number, name in enumerate(reads.names)}
    value = {"text": "", "classes": classes, "most": most_boxes(reads.length), "names": names}
    return part("boxes", value)


def wire(square: gr.HTML, prompt: gr.Textbox, model: LatentDiffusion) -> None:
    """Keep the square and the prompt alike; lay out the place for names, where they are not known."""
    reads: Any = model.conditioner
    if not reads.names:
        names_drop(reads.config.vocab_size - 1, square, _renamed)
    quiet: dict[str, Any] = {**PRIVATE, "queue": False}
    square.draw(None, square, prompt, js=TO_PROMPT, **quiet)
    prompt.change(None, [prompt, square], square, js=TO_EDITOR, **quiet)


def _renamed(names: dict[int, str], held: object) -> dict[str, Any]:
    """What the square shows, with other names."""
    return {**(held if isinstance(held, dict) else {}), "names": {str(k): v for k, v in names.items()}}
