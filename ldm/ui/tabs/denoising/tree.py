"""The runs of this browser as a tree: look at one, name it, delete it, compare it with the one shown."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from ...events import PRIVATE, owner_of, shows_errors
from ...parts import part
from ...scrubber import Shown
from . import compare, family
from .bench import Bench, Updates


def build() -> gr.HTML:
    """The component, laid out where it is called."""
    return part("tree", {"roots": []})


class Tree:
    """What a click does."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.app = bench, bench.app

    def refresh(self, token: object, run_id: str | None, other: Shown | None) -> dict[str, Any]:
        """The tree as it is now.

        Args:
            run_id: the run that is looked at.
            other: what it is compared with.
        """
        runs = self.app.engine.runs(owner_of(token))
        return family.tree(runs, run_id, None if other is None else other.run_id)

    def rename(
        self, token: object, run_id: str | None, other: Shown | None, event: gr.EventData
    ) -> dict[str, Any]:
        """Call a run something."""
        self.app.engine.rename(str(event.run), str(event.name), owner_of(token))
        return self.refresh(token, run_id, other)

    def delete(
        self,
        token: object,
        run_id: str | None,
        before: Shown | None,
        other: Shown | None,
        event: gr.EventData,
    ) -> Iterator[Updates]:
        """Forget a run; the player lets go of it."""
        gone, bench = str(event.run), self.bench
        self.app.engine.delete(gone, owner_of(token))
        updates: Updates = {}
        if gone in (run_id, None if before is None else before.run_id):
            with bench.turns.take():  # whoever follows it gives up
                updates = {bench.player: None, bench.shown: None, bench.other: None, self.app.run: None}
                run_id, other = None, None
                updates |= bench.row.held(None)
        elif other is not None and other.run_id == gone:
            updates = {bench.other: None}
            other = None
            if before is not None:
                asked = (before.run_id, before, None, before.picture, before.exact)
                yield from bench.show(*asked, again=True)
        yield {**updates, bench.tree: self.refresh(token, run_id, other)}

    def beside(
        self,
        token: object,
        before: Shown | None,
        other: Shown | None,
        picture: int,
        exact: bool,
        event: gr.EventData,
    ) -> Iterator[Updates]:
        """Compare the run in the player with another one, or no longer."""
        run_id = None if other is not None and other.run_id == str(event.run) else str(event.run)
        yield from compare.comparison(self.bench, run_id, before, picture, exact)


def wire(bench: Bench, tab: gr.Tab) -> None:
    """Which event calls what."""
    does, tree, owner, run = Tree(bench), bench.tree, bench.app.owner, bench.app.run
    outputs, latest = bench.outputs, {**PRIVATE, "trigger_mode": "always_last"}
    looks = [owner, *bench.inputs]
    # the run goes on, only this page looks elsewhere
    tree.pick(shows_errors(bench.look), looks, outputs, cancels=[*bench.following], **latest)
    tree.beside(shows_errors(does.beside), looks, outputs, **latest)
    tree.called(shows_errors(does.rename), [owner, run, bench.other], tree, **PRIVATE)
    deleted = [owner, run, bench.shown, bench.other]
    tree.discard(shows_errors(does.delete), deleted, outputs, **PRIVATE)
    fresh, states = shows_errors(does.refresh), [owner, run, bench.other]
    for happens in (bench.shown.change, bench.other.change, tab.select, bench.app.page.load):
        happens(fresh, states, tree, **latest)
