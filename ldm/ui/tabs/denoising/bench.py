"""What the whole tab shares: the player, what it shows, and how a run gets there."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from threading import Semaphore
from typing import Any

import gradio as gr

from ....engine import Run
from ....errors import LdmError
from ....generation.forks import started_from_picture
from ....trace import Trace
from ....views.predictions import Decode
from ...events import PRIVATE, owner_of, shows_errors
from ...scrubber import Pack, Packs, Shown, build_player
from ...shared import App
from . import decoding, family, pair
from .live import Pressed, Strip, Turns, light
from .progress import Background
from .row import Row, build_asks

Updates = dict[Any, Any]
Mine = Callable[[], bool]
AT_ONCE = 2  # runs that are drawn at a time, of everybody together
OFTEN = 5  # of so many snapshots of a run in progress one tells the buttons too
STILL = {"keep": True, "live": None}  # the player keeps what it shows, and nothing is in progress


@dataclass(frozen=True, eq=False)
class Bench:
    """The player and what belongs to it.

    Attributes:
        row: what is to be drawn, and the buttons that draw it.
        tree: the runs of this browser.
        shown: a State, the `Shown` in the player; None before the first run.
        other: a State, the `Shown` that it is compared with; None without one.
        packs: runs as the player takes them.
        following: events that follow a run; what looks elsewhere cancels them.
    """

    app: App
    row: Row
    player: gr.HTML
    tree: gr.HTML
    shown: gr.State
    other: gr.State
    picture: gr.Dropdown
    exact: gr.Checkbox
    noised: gr.Checkbox
    packs: Packs
    following: list[Any] = field(default_factory=list)
    turns: Turns = field(default_factory=Turns)
    drawing: Semaphore = field(default_factory=lambda: Semaphore(AT_ONCE))
    pressed: Pressed = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "pressed", Pressed(self.goes_on))

    @property
    def inputs(self) -> list[Any]:
        """What `show` is given after the run's id, and `follow` after its owner."""
        return [self.shown, self.other, self.picture, self.exact]

    @property
    def outputs(self) -> list[Any]:
        """What showing a run changes, and following one."""
        of_run = [self.player, self.shown, self.other, self.picture, self.noised, self.app.run]
        return [*of_run, self.tree, *self.row.buttons]

    def follow(
        self,
        run_id: str | None,
        owner: str,
        before: Shown | None,
        other: Shown | None,
        picture: int,
        exact: bool,
        forward: bool | None = None,
    ) -> Iterator[Updates]:
        """A run as it goes on, then as `show` shows it; one that rests already is shown at once.

        Args:
            owner: whose runs the tree lists.
            forward: as `show`.
        """
        yield {self.player: gr.skip()}  # an event that says nothing would empty all that it may change
        if run_id is None:
            return
        with self.turns.take() as mine:
            try:
                yield from self._live(run_id, owner, mine, None if other is None else other.run_id)
                yield from self._show(run_id, before, other, picture, exact, mine, forward=forward)
            except Exception:
                if mine():
                    yield {self.player: STILL, **self.row.held(None)}
                    raise

    def show(
        self,
        run_id: str | None,
        before: Shown | None,
        other: Shown | None,
        picture: int,
        exact: bool,
        again: bool = False,
        forward: bool | None = None,
    ) -> Iterator[Updates]:
        """A run in the player, unless it is there already: the first lanes at once, then everything.

        Args:
            before: what is there now.
            other: what it is compared with; given up where that cannot be compared with this run.
            again: also where it is there already, for `other` is another one.
            forward: with the noising of the picture that it started from; None is as it is shown now.
        """
        yield {self.player: gr.skip()}
        if run_id is None:
            return
        with self.turns.take() as mine:
            try:
                yield from self._show(run_id, before, other, picture, exact, mine, again, forward)
            except Exception:
                if mine():
                    yield {self.player: STILL}
                    raise

    def look(
        self,
        token: object,
        before: Shown | None,
        other: Shown | None,
        picture: int,
        exact: bool,
        event: gr.EventData,
    ) -> Iterator[Updates]:
        """The run that was clicked on, wherever that was, in progress or not."""
        yield from self.follow(str(event.run), owner_of(token), before, other, picture, exact)

    def run_of(self, run_id: str) -> Run:
        """A run as it stands.

        Raises:
            LdmError: there is no such run, or it failed.
        """
        return next(self.app.engine.follow(run_id))

    def goes_on(self, run_id: str) -> bool:
        """Whether a run is in progress."""
        try:
            return not self.run_of(run_id).resting
        except LdmError:
            return False

    def _live(self, run_id: str, owner: str, mine: Mine, other: str | None) -> Iterator[Updates]:
        strip, listed = Strip(run_id), False
        for i, run in enumerate(self.app.engine.follow(run_id)):
            if run.resting or not mine():
                if listed and mine():  # nothing else tells of one that made no step more
                    yield {self.tree: family.tree(self.app.engine.runs(owner), run_id, other)}
                return
            more: Updates = {}
            if i == 0:
                more = {self.app.run: run_id}
            if not listed and (run.frames or i > 0):  # nothing comes before the first picture
                more[self.tree] = family.tree(self.app.engine.runs(owner), run_id, other)
                listed = True
            if i < OFTEN or i % OFTEN == 0:  # a page that is still being laid out misses the first ones
                more |= self.row.held(run)
            yield {self.player: strip.value(run), **more}

    def _show(  # noqa: PLR0913 - as `show`
        self,
        run_id: str,
        before: Shown | None,
        other: Shown | None,
        picture: int,
        exact: bool,
        mine: Mine,
        again: bool = False,
        forward: bool | None = None,
    ) -> Iterator[Updates]:
        if not mine():
            return
        run = self.run_of(run_id)
        updates: Updates = {self.app.run: run_id, **self.row.held(run)}
        trace = self.app.engine.trace(run_id)
        shown = wanted(run, trace, before, picture, exact, forward)
        updates[self.noised] = gr.update(visible=noised_before(trace), value=shown.forward)
        if shown == before and not again:
            yield {**updates, self.player: STILL}
            return
        if not trace.steps and not trace.images:
            raise LdmError("This run has no steps to show.")
        decoding.check_fits(self.app.engine.model, trace)
        second = None if other is None else self._second(other, shown, trace)
        count = trace.settings.batch_size
        choices = [(str(i + 1), i) for i in range(count)]
        updates[self.picture] = gr.update(choices=choices, value=shown.picture, visible=count > 1)
        drawn = partial(self._drawn, shown, run, trace, second)
        traces = [trace, *([] if second is None else [second.trace])]
        for made in Background(drawn).follow() if shown.exact else drawn():
            if not mine():
                return
            if isinstance(made, int):
                yield {**updates, self.player: decoding.progress_value(shown, traces, made)}
            else:
                pack, beside = made
                states = {self.shown: shown, self.other: None if second is None else second.look}
                given = {"run": light(pack, run_id), "other": None}
                if beside is not None and second is not None:
                    given["other"] = light(beside, second.look.run_id)
                yield {**updates, **states, self.player: given}
            updates = {}

    def _drawn(
        self, shown: Shown, run: Run, trace: Trace, second: pair.Second | None
    ) -> Iterator[tuple[Pack, Pack | None]]:
        """The packs of a run, the last one with that of the run it is compared with."""
        with self.drawing:
            for pack in self.packs.show(shown, trace):
                if second is None or "parts" not in pack:
                    yield pack, None
                    continue
                *_, theirs = self.packs.show(second.look, second.trace)
                titled = {**pack, "title": pair.name(run)}
                yield titled, pair.beside(theirs, second, run, shown, trace)

    def _second(self, other: Shown, shown: Shown, trace: Trace) -> pair.Second | None:
        """What `trace` is compared with; None where it is the same run, is gone, or cannot be compared."""
        if other.run_id == shown.run_id:
            return None
        try:
            run, theirs = self.run_of(other.run_id), self.app.engine.trace(other.run_id)
            pair.check(trace, theirs)
        except LdmError:
            return None
        picture = min(shown.picture, theirs.settings.batch_size - 1)
        return pair.Second(Shown(other.run_id, len(theirs.steps), picture, shown.exact), run, theirs)

    def with_noising(
        self,
        wanted: bool,
        run_id: str | None,
        before: Shown | None,
        other: Shown | None,
        picture: int,
        exact: bool,
    ) -> Iterator[Updates]:
        """The run in the player with the noising before it, or without."""
        yield from self.show(run_id, before, other, picture, exact, forward=wanted is True)

    def decoder(self) -> Decode:
        """The autoencoder, a few latents at a time through the queue: others get their turn between."""
        return decoding.decoder(self.app.engine)


def build_bench(app: App, row: Row, tree: Callable[[], gr.HTML]) -> Bench:
    """Lay out the player, what chooses what it shows, and the tree beside it.

    Args:
        tree: lays out the tree where it is called.
    """
    shown, other = gr.State(None), gr.State(None)
    with gr.Row(elem_id="steps-bench"):
        with gr.Column(elem_id="steps-player"):
            view = build_player()
            picture, exact, noised = build_asks()
        with gr.Column(elem_id="steps-tree"):
            listed = tree()
    packs = Packs(app.engine, partial(decoding.decoder, app.engine))
    return Bench(app, row, view, listed, shown, other, picture, exact, noised, packs)


def wire_bench(bench: Bench) -> None:
    """Which event shows what."""
    inputs = [bench.app.run, *bench.inputs]
    for ask in (bench.picture, bench.exact):
        bench.following.append(
            ask.input(shows_errors(bench.show), inputs, bench.outputs, trigger_mode="always_last", **PRIVATE)
        )
    bench.following.append(
        bench.noised.input(
            shows_errors(bench.with_noising),
            [bench.noised, *inputs],
            bench.outputs,
            trigger_mode="always_last",
            **PRIVATE,
        )
    )


def wanted(
    run: Run, trace: Trace, before: Shown | None, picture: int, exact: bool, forward: bool | None
) -> Shown:
    """What is to be shown of a run, for one that is there already or branches off it as `before` was."""
    near = before is not None and before.run_id in (run.id, *(run.parent or ()))
    if forward is None:
        forward = before is not None and before.run_id == run.id and before.forward
    which = min(int(picture or 0), trace.settings.batch_size - 1) if near else 0
    return Shown(run.id, len(trace.steps), which, exact is True, forward is True and noised_before(trace))


def noised_before(trace: Trace) -> bool:
    """Whether a run has a noising before it: it started from a picture, and made steps."""
    return bool(trace.steps) and started_from_picture(trace)
