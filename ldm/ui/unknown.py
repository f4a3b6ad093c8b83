"""The line under a prompt box that says what of it is not read.

Words that the model never saw, where a click takes the nearest it knows; the end of a prompt that is too
long; or why it cannot be read at all.
"""

from dataclasses import asdict
from typing import Any

import gradio as gr

from ..errors import LdmError
from ..latent_diffusion import LatentDiffusion
from ..settings import MAX_PROMPT
from ..words import Piece, cut, pieces, unknown_words
from .events import PRIVATE, shows_errors
from .parts import part
from .words import replace

# of each change the line hears in the browser; it asks the server once there is a pause (assets/unknown.js)
TELL = "() => document.querySelector('#LINE p')?.dispatchEvent(new Event('typed'))"


def name_unknown(box: gr.Textbox | gr.Dropdown, model: LatentDiffusion, where: str = "") -> None:
    """Lay out the line here and wire it.

    Args:
        where: for the sentence, unless it is about the prompt, such as "In the negative prompt".
    """
    line = part("unknown", [], elem_id=f"ld-unknown-{box.elem_id}")
    box.change(None, None, None, js=TELL.replace("LINE", str(line.elem_id)), **PRIVATE)

    def ask(prompt: str | None) -> list[dict[str, Any]]:
        return found(prompt, model, where)

    def taken(prompt: str | None, event: gr.EventData) -> str:
        return replace(_text(prompt), _text(event.word), _text(event.by), model.config)

    line.ask(shows_errors(ask), box, line, trigger_mode="always_last", queue=False, **PRIVATE)
    if model.config.words:  # only of such a model words are offered
        line.replace(shows_errors(taken), box, box, **PRIVATE)


def found(prompt: object, model: LatentDiffusion, where: str = "") -> list[dict[str, Any]]:
    """The sentences about a prompt in parts, as JSON for the page."""
    text, config = _text(prompt), model.config
    if not text.strip():
        return []
    try:
        model.conditioner.check(text)
        end = cut(model.conditioner.unread(text), "negative prompt" if where else "prompt")
    except LdmError as error:
        return [asdict(Piece(str(error)))]
    made = pieces(unknown_words(text, config), config, where)
    if end:
        made.append(Piece(f" {end}" if made else end))
    return [asdict(piece) for piece in made]


def _text(value: object) -> str:
    """A visitor's text, as far as a prompt can be long."""
    return str(value or "")[:MAX_PROMPT]
