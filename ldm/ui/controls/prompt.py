"""What says what to draw: words, a class, boxes, neighbours, or nothing."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from ...errors import LdmError
from ...latent_diffusion import LatentDiffusion
from ..boxes import words_box
from ..names import named, names_drop
from ..unknown import name_unknown
from . import boxes, neighbours, picture
from .by_model import UNCONDITIONAL, fixed, has_words
from .picture import Start

FIRST_CLASS = {"imagenet": "207"}  # what the menu shows first, by the list of names; else 0


@dataclass(frozen=True, eq=False)
class Given:
    """What stands above the button that draws.

    Attributes:
        of: field of `Settings` -> its widget: the prompts.
        start: the picture, of a model that draws nothing without one; None of others.
    """

    of: dict[str, Any]
    start: Start | None = None


def prompts(model: LatentDiffusion) -> Given:
    """The prompts, each with the line that says what is not read, and the picture that must be there."""
    gone = fixed(model)
    start = picture.place(model) if picture.is_needed(model) else None
    layout = getattr(model.config.text, "layout", False)
    editor = boxes.editor(model) if layout else None
    prompt = prompt_box(model, "prompt", most_lines=5, autofocus=True)
    if "prompt" not in gone:
        name_unknown(prompt, model)
    if editor is not None:
        boxes.wire(editor, prompt, model)
    if model.config.text.kind == "neighbours":
        neighbours.drop(model, prompt)
    if model.config.text.kind == "class" and not model.conditioner.names:  # type: ignore[attr-defined]
        _wire_names(model, prompt)
    negative_prompt = negative_box(model, "negative_prompt")
    if "negative_prompt" not in gone:
        name_unknown(negative_prompt, model, "In the negative prompt")
    return Given({"prompt": prompt, "negative_prompt": negative_prompt}, start)


def prompt_box(
    model: LatentDiffusion,
    elem_id: str,
    most_lines: int = 3,
    autofocus: bool = False,
    fresh: bool = True,
    any_value: bool = False,
) -> Any:  # noqa: ANN401 - a box, or a menu
    """Where this model is told what to draw; hidden where it cannot be told.

    Args:
        fresh: a menu begins with a class; else with nothing, for what copies another one.
        any_value: a menu may hold what is not in it, for what shows prompts as somebody wrote them.
    """
    text, examples = model.config.text, model.config.examples
    if text.kind == "none":
        return gr.Textbox(UNCONDITIONAL, label="Prompt", visible=False, elem_id=elem_id)
    if text.kind == "class":
        first = examples[0] if examples else FIRST_CLASS.get(getattr(text, "names", ""), "0")
        return gr.Dropdown(
            classes(model),
            value=shown_prompt(model, first) if fresh else None,
            label="Class",
            info="Type to find one, by its name or its number.",
            filterable=True,
            allow_custom_value=any_value,
            elem_id=elem_id,
        )
    if getattr(text, "layout", False):
        return words_box("Boxes as text", elem_id, "17 0.1 0.2 0.5 0.9; 3 0 0.6 1 1", most_lines)
    if text.kind == "neighbours":
        return words_box("Prompt", elem_id, "@neighbours", most_lines, autofocus)
    return words_box("Prompt", elem_id, examples[0] if examples else "What to draw", most_lines, autofocus)


def shown_prompt(model: LatentDiffusion, prompt: str) -> str | None:
    """A prompt as the box or the menu holds it; None of a menu for a class that this model has not."""
    if model.config.text.kind != "class":
        return prompt
    reads: Any = model.conditioner
    try:
        number = reads.number(prompt)
    except LdmError:
        return None
    return str(reads.labels()[number]) if 0 <= number < reads.classes else None


def negative_box(model: LatentDiffusion, elem_id: str) -> gr.Textbox:
    """For a negative prompt; hidden where it means nothing."""
    there = model.conditioner.guides and has_words(model)
    return words_box("Negative prompt", elem_id, "What to stay away from", visible=there)


def classes(model: LatentDiffusion, names: dict[int, str] | None = None) -> list[tuple[str, str]]:
    """What the menu of classes shows, and what each of them is as a prompt.

    Args:
        names: of classes whose names the model does not know, so that the prompt is a number.
    """
    reads: Any = model.conditioner
    if names is None:
        return [(label, label) for label in reads.labels()]
    return [(named(number, names), str(number)) for number in range(reads.classes)]


def _wire_names(model: LatentDiffusion, menu: gr.Dropdown) -> None:
    reads: Any = model.conditioner

    def renamed(names: dict[int, str]) -> dict[str, Any]:
        return gr.update(choices=classes(model, names))

    names_drop(reads.classes, menu, renamed)
