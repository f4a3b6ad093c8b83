"""One race while it goes on: the runs one after the other, and what the page shows of those that are over."""

import math
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from .... import player
from ....diffusion.samplers import DEFAULT_ETA
from ....engine import Run
from ....errors import LdmError
from ....settings import Settings
from ....trace import Trace
from ....views.layout import atlas
from ....views.race import Runner, aligned, race
from ....writing import write_file
from ... import files
from ...events import visitor
from .asking import Asking
from .bench import Bench
from .board import Pace, how_far

GROUP = "race"
AREA = 160 * 160  # pixels of a predicted picture, about
FRESH = "{} fresh noise on the way, and so {} not aim at this picture."
Board = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Entrant:
    """A run that is over, and how near it came.

    Attributes:
        sheet: what the page shows of its predicted pictures.
    """

    run_id: str
    name: str
    trace: Trace
    runner: Runner
    sheet: dict[str, Any]

    @property
    def draws(self) -> bool:
        """Whether its sampler draws fresh noise on the way."""
        return DEFAULT_ETA[self.trace.settings.sampler] > 0


class Heat:
    """One race.

    Args:
        asking: for whom, and after which picture where the model needs one.
        planned: all that is to be drawn.
        mine: whether the page still waits for it.

    Attributes:
        runs: ids of those that were begun, without the fine one where that is over.
    """

    def __init__(
        self, bench: Bench, asking: Asking, planned: Sequence[Settings], mine: Callable[[], bool]
    ) -> None:
        self._bench, self._engine, self._owner, self._mine = bench, bench.app.engine, asking.owner, mine
        self._asking = asking
        self._total, self._work = len(planned) - 1, sum(settings.steps for settings in planned)
        self._made = 0  # steps of runs that are over
        self._fine: Trace | None = None
        self._entrants: list[Entrant] = []
        self._failed: list[str] = []
        self._board: Board = {"fine": None, "runs": [], "rows": {"calls": [], "sigma": []}, "note": ""}
        self.runs: tuple[str, ...] = ()

    def lead(self, settings: Settings) -> Iterator[Board]:
        """The fine run; gives the component's value while it is drawn.

        Raises:
            LdmError: it could not be drawn to its end.
        """
        run_id = yield from self._drawn(settings, f"The run of {settings.steps} steps")
        if run_id is None:
            return
        trace = self._engine.trace(run_id)
        self._engine.delete(run_id, self._owner)  # long, and of no use to anybody but this race
        self.runs = ()
        if not trace.finished:
            raise LdmError("The run to measure against was stopped, so there is no race.")
        self._fine = trace
        self._board["fine"] = {
            "name": f"{settings.sampler}, {settings.spacing}",
            "steps": settings.steps,
            "src": files.data_url(trace.images[0].resize(player.fitted(trace, 4 * AREA))),
        }

    def enter(self, name: str, settings: Settings) -> Iterator[Board]:
        """One of the others; what cannot be drawn is named in the end."""
        where = f"{name}, {len(self._entrants) + len(self._failed) + 1} of {self._total}"
        if self._fine is None:
            return
        try:
            run_id = yield from self._drawn(settings, where)
            if run_id is not None:
                self._add(run_id, name, self._engine.trace(run_id), self._fine)
        except LdmError as error:
            self._failed.append(f"{name} could not be drawn: {error}")

    def result(self) -> Board:
        """The component's value in the end."""
        begun = len(self._entrants) + len(self._failed)
        said = []
        if begun < self._total:
            said.append(f"Stopped after {begun} of {self._total}.")
        return self._value(" ".join([*said, *self._failed]), 1.0, busy=False)

    def _drawn(self, settings: Settings, where: str) -> Generator[Board, None, str | None]:
        """Draw a run; gives its id, None where nobody waits for it any more."""
        if not self._mine():
            return None
        image, mask = self._asking.image, self._asking.mask
        run_id = self._engine.start(settings, self._owner, image, mask=mask, visitor=visitor(), group=GROUP)
        self.runs, due = (*self.runs, run_id), Pace()
        for run in self._engine.follow(run_id):
            if not self._mine():
                self._let_go(run)
                return None
            if due(run):
                share = (self._made + run.step) / self._work
                yield self._value(how_far(run, where), share, busy=True)
        self._made += settings.steps
        return run_id

    def _let_go(self, run: Run) -> None:
        if not run.over and run.id in {each.id for each in self._engine.runs(self._owner)}:
            self._engine.delete(run.id, self._owner)
        self.runs = tuple(run_id for run_id in self.runs if run_id != run.id)

    def _value(self, said: str, share: float, busy: bool) -> Board:
        return {**self._board, "said": said, "fraction": share, "busy": busy}

    def _add(self, run_id: str, name: str, trace: Trace, fine: Trace) -> None:
        runner = race([trace], fine).runs[0]
        self._entrants.append(Entrant(run_id, name, trace, runner, self._sheet(run_id, trace)))
        self._board = {
            **self._board,
            "runs": [shown(entrant) for entrant in self._entrants],
            "rows": {by: rows(self._entrants, by) for by in ("calls", "sigma")},
            "note": note(self._entrants),
        }

    def _sheet(self, run_id: str, trace: Trace) -> dict[str, Any]:
        """Its predicted pictures, small, on one sheet."""
        size = player.fitted(trace, AREA)
        with self._bench.drawing:
            frames = player.frames(trace, "x0", self._engine.model.quick_decode, size)
        sheet, columns, lines = atlas([frames], all_colours=True)
        path = files.folder(run_id) / "race.jpg"
        write_file(path, [sheet])
        return {
            "sheet": files.served(path),
            "columns": columns,
            "rows": lines,
            "width": size[0],
            "height": size[1],
        }


def shown(entrant: Entrant) -> dict[str, Any]:
    """What the page is told of an entrant: what `Runner` has, and its pictures."""
    told = {"run": entrant.run_id, "name": entrant.name, "steps": len(entrant.trace.steps)}
    return {**asdict(entrant.runner), **told, "fresh": entrant.draws, **entrant.sheet}


def rows(entrants: Sequence[Entrant], by: str) -> list[list[Any]]:
    """What stands beside each other, as `aligned`: [network calls or noise level, [a step of each run]]."""
    found = aligned([entrant.trace for entrant in entrants], by)
    runners = [entrant.runner for entrant in entrants]
    if by == "calls":
        at: list[float] = sorted({count for runner in runners for count in runner.calls})
    else:  # by the angle, as there: two levels of one angle are one
        levels = {math.atan(sigma): sigma for runner in runners for sigma in runner.sigma_next}
        at = [levels[angle] for angle in sorted(levels, reverse=True)]
    return [[value, list(row)] for value, row in zip(at, found, strict=True)]


def note(entrants: Sequence[Entrant]) -> str:
    """Which of them do not aim at the fine run's picture."""
    names = [entrant.name for entrant in entrants if entrant.draws]
    if not names:
        return ""
    several = len(names) > 1
    listed = " and ".join([", ".join(names[:-1]), names[-1]] if several else names)
    return f"{listed} {FRESH.format('draw', 'do') if several else FRESH.format('draws', 'does')}"
