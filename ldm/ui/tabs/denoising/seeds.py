"""Many seeds, a few steps each: see what each of them comes to, and go on with those that are chosen.

Every seed is an ordinary run that is paused early, so what is chosen goes on from its own steps.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from threading import Event
from typing import Any

import gradio as gr

from ....errors import SettingsError
from ....settings import LIMITS, Settings
from ... import files
from ...events import PRIVATE, owner_of, session, shows_errors, visitor
from ...parts import part
from ...scrubber import Shown
from ...tray import SEEDS
from . import family
from .asking import Asking, Values, alone, asked, needed, tellable, told
from .bench import Bench, Updates
from .board import Board, Looked, Pace, how_far, summary
from .live import Turns
from .muting import whole

TITLE = "Seeds"
COUNT, AHEAD = (2, 16), (1, 10)  # seeds, steps to look ahead: least and most
NOTHING = "Choose a seed first: click on its picture."
WORDS = "Each seed is a run of its own that pauses early; what you choose goes on from its own steps."


Begun = tuple[Looked, str, str]  # what was looked at with it, its id, where it is among the others


class Seeds:
    """What the buttons do.

    Args:
        count, steps: how many seeds, how far ahead.
        looked: a State, the `Looked` of this page.
    """

    def __init__(
        self,
        bench: Bench,
        count: gr.Slider,
        steps: gr.Slider,
        board: gr.HTML,
        looked: gr.State,
        stop: gr.Button,
    ) -> None:
        self.bench, self.engine, self.turns = bench, bench.app.engine, Turns()
        self._halts: dict[str, Event] = {}  # of each open page: ends what it has in progress
        self.count, self.steps, self.board, self.looked, self.halt = count, steps, board, looked, stop

    def look(self, values: Values) -> Iterator[Updates]:
        """A few steps of every seed, one after the other."""
        count = whole("The number of seeds", values[self.count], *COUNT)
        steps = whole("The number of steps to look ahead", values[self.steps], *AHEAD)
        asking = asked(self.bench, values)
        each = seeds_of(asking.settings, count)
        self.forget(asking.owner, values[self.looked], values[self.bench.app.run])
        seeds = tuple(files.seed_of(settings, 0) for settings in each)
        looked = Looked(seeds, steps, each[0].width / each[0].height)
        yield told(self.bench, asking)
        owner = asking.owner
        yield from self._follow(owner, looked, self._started(looked, asking, each), self._forgotten(owner))

    def go_on(
        self, token: object, looked: Looked, run_id: str | None, other: Shown | None, event: gr.EventData
    ) -> Iterator[Updates]:
        """The chosen ones to their end, one after the other."""
        owner, chosen = owner_of(token), chosen_of(event, looked)
        yield from self._follow(owner, looked, self._taken_up(looked, chosen), self.engine.pause)
        beside = None if other is None else other.run_id
        yield {self.bench.tree: family.tree(self.engine.runs(owner), run_id, beside)}

    def stop(self, token: object, looked: Looked) -> None:
        """Begin no more of them; the one in progress pauses, or is forgotten where it has no step yet."""
        owner = owner_of(token)
        halt = self._halts.get(session())
        if halt is not None:
            halt.set()
        for run in self.engine.runs(owner):
            if run.id in looked.runs and not run.resting:
                if run.step:
                    self.engine.pause(run.id)
                else:
                    self.engine.delete(run.id, owner)

    def forget(self, owner: str, looked: Looked, shown: str | None) -> None:
        """Let go of what this page looked at before and did not go on with, but for what the player shows."""
        for run in self.engine.runs(owner):
            begun = run.id in looked.runs and run.status == "paused" and run.step <= looked.steps
            if begun and not run.name and run.id != shown:
                self.engine.delete(run.id, owner)

    def _started(self, looked: Looked, asking: Asking, each: list[Settings]) -> Iterator[Begun]:
        for i, settings in enumerate(each):
            run_id = self.engine.start(
                settings,
                asking.owner,
                asking.image,
                mask=asking.mask,
                visitor=visitor(),
                draft=asking.draft,
                until=looked.steps,
                group=SEEDS,
            )
            looked = replace(looked, runs=(*looked.runs, run_id))
            yield looked, run_id, f"Seed {i + 1} of {len(each)}"

    def _taken_up(self, looked: Looked, chosen: list[str]) -> Iterator[Begun]:
        for i, run_id in enumerate(chosen):
            self.engine.go_on(run_id, visitor=visitor())
            seed = looked.seeds[looked.runs.index(run_id)]
            yield looked, run_id, f"Seed {seed}, {i + 1} of {len(chosen)}"

    def _forgotten(self, owner: str) -> Callable[[str], None]:
        return lambda run_id: self.engine.delete(run_id, owner)

    def _follow(
        self, owner: str, looked: Looked, begun: Iterator[Begun], undo: Callable[[str], None]
    ) -> Iterator[Updates]:
        """Runs one after the other; the next is begun when the one before rests.

        Args:
            undo: what becomes of a run that was begun while another event of this page took over.
        """
        board, due = Board(self.engine, owner), Pace()
        self._halts[session()] = halt = Event()
        with self.turns.take() as mine:
            try:
                for looked, run_id, where in begun:
                    if halt.is_set() or not mine():
                        undo(run_id)
                        break
                    yield {self.looked: looked, self.halt: gr.update(interactive=True)}
                    for run in self.engine.follow(run_id):
                        if mine() and due(run):
                            yield {self.board: board.value(looked, how_far(run, where), busy=True)}
                    if halt.is_set() or not mine():
                        break
            except Exception:
                if mine():
                    yield self._rest(board, looked)
                raise
            finally:
                if self._halts.get(session()) is halt:
                    del self._halts[session()]
            if mine():
                yield self._rest(board, looked)

    def _rest(self, board: Board, looked: Looked) -> Updates:
        value = board.value(looked, "")
        value["said"] = summary(value["tiles"], len(looked.seeds))
        return {self.board: value, self.looked: looked, self.halt: gr.update(interactive=False)}


def build(bench: Bench) -> None:
    """Lay out the tool and wire it."""
    with gr.Row(elem_id="seeds", elem_classes="ld-tool"):
        count = gr.Slider(*COUNT, value=16, step=1, precision=0, label="Seeds", elem_id="seeds-count")
        steps = gr.Slider(*AHEAD, value=3, step=1, precision=0, label="Steps ahead", elem_id="seeds-steps")
        go = gr.Button("Look ahead", variant="primary", elem_id="seeds-look", size="md", min_width=130)
        stop = gr.Button("Stop", elem_id="seeds-stop", size="md", min_width=84, interactive=False)
    gr.Markdown(WORDS, elem_classes="ld-note", elem_id="seeds-note")
    board, looked = part("atlas", None), gr.State(Looked())
    does = Seeds(bench, count, steps, board, looked, stop)
    app, states = bench.app, [board, looked, stop]
    inputs = {count, steps, looked, *needed(bench)}
    go.click(shows_errors(does.look), inputs, [*tellable(bench), *states], trigger_mode="once", **PRIVATE)
    chosen = [app.owner, looked, app.run, bench.other]
    board.proceed(shows_errors(does.go_on), chosen, [*states, bench.tree], trigger_mode="once", **PRIVATE)
    stop.click(shows_errors(does.stop), [app.owner, looked], None, **PRIVATE)
    looks = [app.owner, *bench.inputs]
    board.look(shows_errors(bench.look), looks, bench.outputs, trigger_mode="always_last", **PRIVATE)


def seeds_of(settings: Settings, count: int) -> list[Settings]:
    """What draws the asked seed and those after it, each alone.

    Raises:
        SettingsError: there are not so many.
    """
    first, most = settings.seed, int(LIMITS["seed"][1])
    if first + count - 1 > most:
        raise SettingsError(f"seed must be at most {most - count + 1} to look at {count} seeds, got {first}.")
    return [replace(alone(settings), seed=first + i) for i in range(count)]


def chosen_of(event: gr.EventData, looked: Looked) -> list[str]:
    """The runs that are to go on, in the order of their seeds.

    Raises:
        SettingsError: there are none.
    """
    given: Any = getattr(event, "_data", None)
    runs = given.get("runs") if isinstance(given, dict) else None
    if isinstance(runs, list):
        found = [run_id for run_id in looked.runs if run_id in runs]
        if found:
            return found
    raise SettingsError(NOTHING)
