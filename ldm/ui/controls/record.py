"""The widgets of one tab, and the way between them and `Settings`."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from ...settings import LIMITS, Settings
from . import guidance, levels, noise, sampler
from .picture import Start, names_of
from .prompt import shown_prompt
from .rules import HIDEABLE, START_STRENGTH, as_meant, as_shown, hidden

Updates = dict[Any, Any]
NOTES = {
    "sampler": sampler.sampler_note,
    "spacing": levels.spacing_note,
    "cfg_method": guidance.method_note,
    "cfg_schedule": guidance.schedule_note,
    "noise": noise.noise_note,
}


@dataclass(frozen=True, eq=False)
class Controls:
    """The widgets of one tab.

    Attributes:
        of: field of `Settings` -> its widget.
        fresh: draw a new seed each time.
        start: a picture to start from.
        notes: field -> the line that says what its choice is.
        levels: what the network is told.
        fixed: fields that this model leaves no choice about -> their value.
    """

    of: dict[str, Any]
    fresh: gr.Checkbox
    start: Start
    notes: dict[str, gr.Markdown]
    levels: levels.Levels
    fixed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def inputs(self) -> set[Any]:
        """What an event must carry for `read`."""
        return {*self.of.values(), self.fresh, self.start.file, self.start.paint}

    @property
    def outputs(self) -> list[Any]:
        """What `write` changes."""
        return [*self.of.values(), self.fresh, self.start.file, self.start.paint, *self.notes.values()]

    def held(self, values: Mapping[Any, Any]) -> dict[str, Any]:
        """Field -> what its widget holds, of those that are in `values`."""
        return {name: values[widget] for name, widget in self.of.items() if widget in values}

    def has_picture(self, values: Mapping[Any, Any]) -> bool:
        """Whether the page has a picture to start from, as far as it would."""
        return "strength" not in self.fixed and values[self.start.file] is not None

    def read(self, values: Mapping[Any, Any]) -> Settings:
        """What the page asks for.  What is hidden is not asked for: its field has its default, or `fixed`.

        Raises:
            SettingsError: a value cannot be used.
        """
        given = self.held(values)
        gone = self.gone(given, self.has_picture(values))
        meant = {name: as_meant(name, value) for name, value in given.items() if name not in gone}
        if values[self.fresh]:
            meant["seed"] = secrets.randbelow(2**31)
        return Settings(**{**meant, **self.fixed})

    def gone(self, given: Mapping[str, Any], from_picture: bool) -> frozenset[str]:
        """Fields that are hidden, as `rules.hidden`; they are not read."""
        return hidden(given, from_picture) | self.fixed.keys()

    def write(self, settings: Settings, picture: str | None = None, plate: object = None) -> Updates:
        """Updates that make the page ask for `settings`.

        Args:
            picture: file to start from; without one the page starts from noise.
            plate: what to paint on, as `Start.plate` gives it.
        """
        values = as_shown(settings) | {"prompt": shown_prompt(self.start.model, settings.prompt)}
        if picture is None and settings.strength == 1:
            values["strength"] = START_STRENGTH  # for the next picture
        updates = {widget: self._holding(name, values[name]) for name, widget in self.of.items()}
        updates[self.fresh] = gr.update(value=False)
        updates[self.start.file] = gr.update(value=picture)
        if plate is None:
            plate = self.start.empty(settings.width, settings.height)
        updates[self.start.paint] = gr.update(value=plate)
        return merged(updates, self.fit(values, picture is not None))

    def take(self, values: Mapping[Any, Any], path: str | None) -> Updates:
        """Updates for another picture to start from, or none; what was painted goes with the one before.

        Raises:
            ImageError: the file is no picture.
        """
        size = (values[self.of[name]] for name in ("width", "height"))
        plate = self.start.empty(*size) if path is None else self.start.laid_out(path, *size)
        if plate is not None:
            plate |= names_of(values.get(self.start.paint))
        return {**self.fit(self.held(values), path is not None), self.start.paint: plate}

    def fit(self, given: Mapping[str, Any], from_picture: bool) -> Updates:
        """Updates that show what means something beside the other choices, and say what those are.

        Args:
            given: what the widgets hold: field -> value, unchecked.
            from_picture: whether there is a picture to start from.
        """
        gone = self.gone(given, from_picture)
        updates = {self.of[name]: gr.update(visible=name not in gone) for name in HIDEABLE}
        updates[self.of["order"]] = gr.update(visible="order" not in gone, choices=sampler.orders(given))
        for name, note in NOTES.items():
            updates[self.notes[name]] = gr.update(value=note(given))
        updates[self.notes["options"]] = gr.update(value=sampler.options_note(gone))
        return updates

    def _holding(self, name: str, value: object) -> Updates:
        """The widget of a field with a value, made longer for one beyond its ends."""
        widget = self.of[name]
        if not isinstance(widget, gr.Slider) or not isinstance(value, int | float):
            return gr.update(value=value)
        low, high = LIMITS[name]
        ends: dict[str, Any] = {} if value <= widget.maximum else {"maximum": high}
        ends |= {} if value >= widget.minimum else {"minimum": low}
        return gr.update(value=value, **ends)


def merged(updates: Updates, more: Updates) -> Updates:
    """Both; what a widget is told twice is told together."""
    return {**updates, **{widget: {**updates.get(widget, {}), **told} for widget, told in more.items()}}
