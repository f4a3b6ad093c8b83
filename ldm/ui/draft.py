"""The switch from the model to its draft; the widgets show what the draft draws with, and cannot be moved."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import gradio as gr

from ..checkpoints.draft import MOST_STEPS
from ..engine import Draft
from ..models.config import RecommendedSettings
from ..settings import LIMITS, Settings
from .controls import COMMON_STEPS, Controls, merged
from .controls.rules import as_shown
from .events import PRIVATE


@dataclass(frozen=True, eq=False)
class Switch:
    """Beside the button that draws.

    Attributes:
        box: on draws with the draft.
        before: what the widgets held when it was switched on: field of `Settings` -> value.
        plain: what the model is asked for where nothing is known of before.
    """

    draft: Draft
    box: gr.Checkbox
    before: gr.State
    plain: RecommendedSettings
    asks: Controls

    @property
    def inputs(self) -> set[Any]:
        """What an event must carry for `turn`."""
        return {self.box, self.before, *self.asks.inputs}

    @property
    def outputs(self) -> list[Any]:
        """What turning it changes."""
        return [self.before, *self.asks.outputs]

    @property
    def _changed(self) -> tuple[str, ...]:
        return ("steps", *self.draft.fixed)

    def turn(self, values: Mapping[Any, Any]) -> dict[Any, Any]:
        """Show what the draft draws with, or what was there before."""
        on, asks = values[self.box] is True, self.asks
        held = asks.held(values)
        if on:
            before = {name: held[name] for name in self._changed}
            now = as_shown(Settings("?", **asdict(self.draft.recommended) | self.draft.fixed))
        else:
            before = {}
            now = as_shown(Settings("?", **asdict(self.plain))) | values[self.before]
        changed = {name: now[name] for name in self._changed}
        updates = {asks.of[name]: gr.update(value=value) for name, value in changed.items()}
        updates = merged(updates, asks.fit({**held, **changed}, asks.has_picture(values)))
        return {**self._held(updates, on, now["steps"]), self.before: before}

    def hold(self, updates: dict[Any, Any], settings: Settings, on: bool) -> dict[Any, Any]:
        """Updates of `Controls.write`, so that the page asks the draft, or the model."""
        return {**self._held(updates, on, settings.steps), self.box: on}

    def _held(self, updates: dict[Any, Any], on: bool, steps: int) -> dict[Any, Any]:
        """The updates, so that nothing the draft has fixed can be moved while it is on."""
        of = self.asks.of
        for name in (*self.draft.fixed, "negative_prompt"):
            updates[of[name]] = gr.update(**updates.get(of[name], {}), interactive=not on)
        most = MOST_STEPS if on else COMMON_STEPS
        if steps > most:
            most = int(LIMITS["steps"][1])
        updates[of["steps"]] = gr.update(value=steps, maximum=most)
        return updates


def box_for(draft: Draft | None) -> gr.Checkbox | None:
    """The switch itself, laid out where it is called; None where there is no draft."""
    if draft is None:
        return None
    steps = draft.recommended.steps
    return gr.Checkbox(
        False, label=f"Draft, {steps} steps", elem_id="draft", container=False, scale=0, min_width=124
    )


def switch_for(
    draft: Draft | None, box: gr.Checkbox | None, plain: RecommendedSettings, asks: Controls
) -> Switch | None:
    """The switch, wired to the widgets it moves; None where there is no draft."""
    if draft is None or box is None:
        return None
    switch = Switch(draft, box, gr.State({}), plain, asks)
    box.input(switch.turn, switch.inputs, switch.outputs, **PRIVATE)
    return switch
