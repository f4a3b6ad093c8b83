"""Two runs side by side: the one in the player and another one, where they part, and what moved."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from ....errors import SettingsError
from ...events import PRIVATE, owner_of, shows_errors
from ...scrubber import Shown
from ...tray import listed
from . import family, pair
from .bench import Bench, Updates

TITLE = "Compare"
NOTHING = "There is no run in the player to compare with."


def build(bench: Bench) -> None:
    """Lay out the choice and wire it."""
    with gr.Row(elem_id="compare"):
        choice = gr.Dropdown(
            [],
            value=None,
            label="With",
            info="Another run of this browser. Both appear under the lanes, with their difference.",
            filterable=True,
            elem_id="compare-with",
            scale=4,
        )
        off = gr.Button(
            "Stop comparing", elem_id="compare-off", size="md", interactive=False, scale=0, min_width=150
        )
    does, outputs = Compare(bench), bench.outputs
    asked = [choice, bench.shown, bench.picture, bench.exact]
    choice.input(shows_errors(does.choose), asked, outputs, trigger_mode="always_last", **PRIVATE)
    off.click(shows_errors(does.stop), asked[1:], outputs, **PRIVATE)
    states, widgets = [bench.app.owner, bench.shown, bench.other], [choice, off]
    for state in (bench.shown, bench.other):
        state.change(does.offer, states, widgets, trigger_mode="always_last", **PRIVATE)
    bench.tree.change(does.offer, states, widgets, trigger_mode="always_last", **PRIVATE)


class Compare:
    """What the choice does."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench

    def offer(self, token: object, shown: Shown | None, other: Shown | None) -> tuple[Any, Any]:
        """The runs that can be chosen, and the one that is."""
        chosen = (None if each is None else each.run_id for each in (shown, other))
        there = listed(self.bench.app.engine.runs(owner_of(token)), *chosen)
        runs = [run for run in there if run.trace is not None]
        choices = [(name, key) for name, key in family.names(runs) if shown is None or key != shown.run_id]
        known = {key for _, key in choices}
        value = other.run_id if other is not None and other.run_id in known else None
        return gr.update(choices=choices, value=value), gr.update(interactive=other is not None)

    def choose(
        self, run_id: str | None, before: Shown | None, picture: int, exact: bool
    ) -> Iterator[Updates]:
        """Show another run beside the one in the player."""
        yield from comparison(self.bench, run_id, before, picture, exact)

    def stop(self, before: Shown | None, picture: int, exact: bool) -> Iterator[Updates]:
        """The run in the player alone."""
        yield from comparison(self.bench, None, before, picture, exact)


def comparison(
    bench: Bench, run_id: str | None, before: Shown | None, picture: int, exact: bool
) -> Iterator[Updates]:
    """The run in the player with another one beside it.

    Args:
        run_id: the other one; None is none.

    Raises:
        SettingsError: they cannot be compared.
    """
    if before is None:
        raise SettingsError(NOTHING)
    other = None
    if run_id is not None and run_id != before.run_id:
        trace = bench.app.engine.trace(run_id)
        pair.check(bench.app.engine.trace(before.run_id), trace)
        other = Shown(run_id, len(trace.steps))
    yield from bench.show(before.run_id, before, other, picture, exact, again=True)
