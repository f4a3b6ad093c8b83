"""What the page shows of seeds that were looked at: a tile each, and a line."""

import time
from dataclasses import dataclass
from typing import Any

from ....engine import Engine, Run
from ... import files
from .live import small

PICTURE = 192  # pixels of a tile's height, for fine screens
EVERY = 0.25  # seconds between two values, of which each lays all tiles anew
AGAIN = 3  # pictures that are sent once more: two values that come close together may be seen as one
Key = tuple[str, bool, int]  # a run, whether it is a preview, and which one


@dataclass(frozen=True)
class Looked:
    """What a page has looked at.

    Attributes:
        seeds: all that were asked for, as people read them.
        steps: how far ahead.
        ratio: width / height of a picture.
        runs: ids, of as many seeds as were begun.
    """

    seeds: tuple[str, ...] = ()
    steps: int = 0
    ratio: float = 1.0
    runs: tuple[str, ...] = ()


class Board:
    """What the page shows of them while one event goes on; each small picture is made once.

    While something goes on the page is sent only the pictures that are new to it, and the last few again: all
    of them at every step are more than a browser keeps up with.

    Args:
        owner: whose runs they are.
    """

    def __init__(self, engine: Engine, owner: str) -> None:
        self._engine, self._owner = engine, owner
        self._urls: dict[Key, str] = {}
        self._sent: list[Key] = []

    def value(self, looked: Looked, said: str, busy: bool = False) -> dict[str, Any]:
        """The component's value.

        Args:
            said: how far it is, or what to do now.
            busy: nothing can be chosen now.
        """
        there = {run.id: run for run in self._engine.runs(self._owner)}
        runs = [there.get(run_id) for run_id in looked.runs]
        runs += [None] * (len(looked.seeds) - len(runs))
        known = set(self._sent[:-AGAIN]) if busy else set()
        tiles = [self._tile(seed, run, known) for seed, run in zip(looked.seeds, runs, strict=True)]
        if not busy:  # what was never begun, or is gone, is not waited for any more
            tiles = [tile for tile in tiles if tile["run"]]
        return {"said": said, "busy": busy, "ratio": looked.ratio, "tiles": tiles}

    def _tile(self, seed: str, run: Run | None, known: set[Key]) -> dict[str, Any]:
        if run is None:
            return {"run": "", "seed": seed, "src": "", "state": "waiting", "step": ""}
        step = "" if run.over else f"{run.step} of {run.steps}"
        return {"run": run.id, "seed": seed, "src": self._src(run, known), "state": run.status, "step": step}

    def _src(self, run: Run, known: set[Key]) -> str | None:
        """The picture inside a URL; None where the page has it."""
        made = run.trace.images if run.trace is not None and run.trace.images else run.preview
        if not made:
            return ""
        key = (run.id, made is run.preview, len(run.frames) if made is run.preview else 0)
        if key not in self._urls:
            self._urls[key] = files.data_url(small(made[0], PICTURE))
            self._sent.append(key)
        return None if key in known else self._urls[key]


class Pace:
    """When the page is to be told of a run: as it rests, and no more often than EVERY before."""

    def __init__(self) -> None:
        self._due = 0.0

    def __call__(self, run: Run) -> bool:
        """Whether it is to be told of the run as it stands."""
        now = time.monotonic()
        if not run.resting and now < self._due:
            return False
        self._due = now + EVERY
        return True


def how_far(run: Run, where: str) -> str:
    """The line while a run goes on."""
    if run.status == "waiting":
        return f"{where}: in the queue, " + (
            "next." if run.ahead <= 1 else f"{run.ahead} works are before it."
        )
    return f"{where}: step {run.step} of {run.steps}."


def summary(tiles: list[dict[str, Any]], asked_for: int) -> str:
    """The line at rest: what there is, and what to do with it."""
    paused = sum(tile["state"] == "paused" for tile in tiles)
    done = sum(tile["state"] == "done" for tile in tiles)
    if not tiles:
        return "Nothing was begun."
    some = f"{len(tiles)} of {asked_for} seeds" if len(tiles) < asked_for else f"{len(tiles)} seeds"
    parts = [some + (f", {done} drawn to the end." if done else ".")]
    if paused:
        parts.append("Choose those that are to go on.")
    return " ".join(parts)
