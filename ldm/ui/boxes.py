"""Boxes that several places of the page have: for words, and for files that are dropped in."""

from collections.abc import Sequence

import gradio as gr

from ..settings import MAX_PROMPT


def words_box(
    label: str,
    elem_id: str,
    placeholder: str = "",
    most_lines: int = 3,
    autofocus: bool = False,
    visible: bool = True,
) -> gr.Textbox:
    """For a prompt: one line that grows, and ends where the settings' limit is."""
    return gr.Textbox(
        label=label,
        placeholder=placeholder,
        lines=1,
        max_lines=most_lines,
        max_length=MAX_PROMPT,
        elem_id=elem_id,
        autofocus=autofocus,
        visible=visible,
    )


def drop_box(label: str, elem_id: str, kinds: Sequence[str] = ("image",), height: int = 96) -> gr.File:
    """For one file of those kinds; its value is a path."""
    return gr.File(
        label=label,
        file_types=list(kinds),
        type="filepath",
        height=height,
        elem_id=elem_id,
        elem_classes="ld-drop",
    )
