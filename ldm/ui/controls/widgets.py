"""How one widget of a field is made, so that all of a kind are made alike."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from ...settings import LIMITS, WHOLE


@dataclass(frozen=True, eq=False)
class Layout:
    """Lays widgets out where it is called, and keeps them.

    Attributes:
        values: field of `Settings` -> what its widget holds at first.
        gone: fields that are hidden at first.
        only: those of them that this model leaves no choice about -> their value.
        of: field -> its widget.
        notes: field -> the line under its widget.
    """

    values: Mapping[str, Any]
    gone: frozenset[str]
    only: Mapping[str, Any] = field(default_factory=dict)
    of: dict[str, Any] = field(default_factory=dict)
    notes: dict[str, gr.Markdown] = field(default_factory=dict)

    def slider(
        self,
        name: str,
        label: str,
        info: str,
        ends: tuple[float, float] | None = None,
        step: float | None = None,
    ) -> None:
        """A number between two ends, which are those of the field if not given."""
        low, high = LIMITS[name] if ends is None else ends
        whole = name in WHOLE
        self.of[name] = gr.Slider(
            low,
            high,
            step=(1 if whole else 0.05) if step is None else step,
            precision=0 if whole else None,
            buttons=[],
            **self._about(name, label, info),
        )

    def number(self, name: str, label: str, info: str) -> None:
        """A whole number without ends to show."""
        self.of[name] = gr.Number(precision=0, **self._about(name, label, info))

    def menu(self, name: str, choices: Iterable[Any], label: str, info: str, *, typed: bool = False) -> None:
        """One of several; `typed` for so many that one looks for them by their letters."""
        self.of[name] = gr.Dropdown(list(choices), filterable=typed, **self._about(name, label, info))

    def radio(self, name: str, choices: Iterable[Any], label: str, info: str) -> None:
        """One of a few."""
        self.of[name] = gr.Radio(list(choices), **self._about(name, label, info))

    def text(self, name: str, label: str, info: str, placeholder: str) -> None:
        """Numbers that are typed, or left out."""
        about = self._about(name, label, info)
        self.of[name] = gr.Textbox(placeholder=placeholder, lines=1, max_lines=4, **about)

    def note(self, name: str, text: str) -> None:
        """A line under the widget of a field that says what its choice is."""
        self.notes[name] = gr.Markdown(text, elem_classes="ld-note", elem_id=f"note-{name}")

    def _about(self, name: str, label: str, info: str) -> dict[str, Any]:
        return {
            "value": self.values[name],
            "label": label,
            "info": info,
            "elem_id": name,
            "visible": name not in self.gone,
        }
