"""The line under a prompt box that names words the model never saw; a click takes the nearest it knows."""

from dataclasses import asdict
from typing import Any

import gradio as gr

from ..models.config import ModelConfig
from ..settings import MAX_PROMPT
from ..words import pieces, unknown_words
from .events import PRIVATE, shows_errors
from .parts import part
from .words import replace

# of each change the line hears in the browser; it asks the server once there is a pause (assets/unknown.js)
TELL = "() => document.querySelector('#LINE p')?.dispatchEvent(new Event('typed'))"


def name_unknown(box: gr.Textbox, config: ModelConfig, where: str = "") -> None:
    """Lay out the line here and wire it; nothing for a model that does not say which words it learned.

    Args:
        where: for the sentence, unless it is about the prompt, such as "In the negative prompt".
    """
    if not config.words:
        return
    line = part("unknown", [], elem_id=f"ld-unknown-{box.elem_id}")
    box.change(None, None, None, js=TELL.replace("LINE", str(line.elem_id)), **PRIVATE)

    def ask(prompt: str | None) -> list[dict[str, Any]]:
        return found(prompt, config, where)

    def taken(prompt: str | None, event: gr.EventData) -> str:
        return replace(_text(prompt), _text(event.word), _text(event.by), config)

    line.ask(shows_errors(ask), box, line, trigger_mode="always_last", queue=False, **PRIVATE)
    line.replace(shows_errors(taken), box, box, **PRIVATE)


def found(prompt: object, config: ModelConfig, where: str = "") -> list[dict[str, Any]]:
    """The sentence about a prompt in parts, as JSON for the page."""
    return [asdict(piece) for piece in pieces(unknown_words(_text(prompt), config), config, where)]


def _text(value: object) -> str:
    """A visitor's text, as far as a prompt can be long."""
    return str(value or "")[:MAX_PROMPT]
