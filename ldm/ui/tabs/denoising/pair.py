"""Two runs for the player: what each is called, where they part, and what moved in the picture."""

from dataclasses import dataclass
from typing import Any

from ....engine import Run
from ....errors import SettingsError
from ....trace import Trace
from ....views.compare import first_difference, moved
from ... import files
from ...scrubber import Pack, Shown

CELL = 4  # pixels, of the map of what moved
WHAT = {
    "sigma": "the noise level differs",
    "sigma_next": "the noise level that it ends at differs",
    "timestep": "the timestep differs",
    "x": "the latents that go in differ",
    "sigma_asked": "the noise level that the network is asked about differs",
    "x_asked": "the latents that the network is asked about differ",
    "x0_cond": "the prediction with the prompt differs",
    "x0_uncond": "the prediction without the prompt differs",
    "x0_third": "the third prediction differs",
    "keeps_uncond": "they keep different noise",
    "x0": "the guided prediction differs",
    "x_next": "the latents that come out differ",
}


@dataclass(frozen=True, eq=False)
class Second:
    """The run that the one in the player is compared with, and how it is looked at."""

    look: Shown
    run: Run
    trace: Trace


def check(a: Trace, b: Trace) -> None:
    """Refuse two runs that cannot lie over each other.

    Raises:
        SettingsError: says why.
    """
    sizes = [f"{t.settings.width} x {t.settings.height}" for t in (a, b)]
    if sizes[0] != sizes[1]:
        raise SettingsError(f"Only runs of one size can be compared: {sizes[0]} and {sizes[1]}.")
    if not (a.steps and b.steps):
        raise SettingsError("Only runs with steps can be compared.")


def name(run: Run) -> str:
    """What the run in the player is called beside another one."""
    return run.name or "This run"


def beside(pack: Pack, second: Second, run: Run, shown: Shown, trace: Trace) -> Pack:
    """The pack of the run it is compared with: what it is called, where they part, what moved.

    Args:
        run, shown, trace: of the run in the player.
    """
    called = second.run.name or kin(second.run, run)
    made = {**pack, "title": called, "parts_at": parts_at(trace, second.trace)}
    if trace.images and second.trace.images:
        made["moved"] = moved_map(second, shown, trace)
    return made


def kin(run: Run, mine: Run) -> str:
    """What the second run is to the first one."""
    if mine.parent is not None and mine.parent[0] == run.id:
        return "The run it branched off"
    if run.parent is not None and run.parent[0] == mine.id:
        return "Its branch"
    return "The other run"


def parts_at(a: Trace, b: Trace) -> str:
    """Where two runs part, in a sentence; steps are counted from 1, as the player does."""
    found, common = first_difference(a, b), min(len(a.steps), len(b.steps))
    if found is None and len(a.steps) == len(b.steps):
        return f"They never part: all {common} steps are the same, bit for bit."
    if found is None:
        longer = "This run" if len(a.steps) > len(b.steps) else "The other one"
        steps = "step is" if common == 1 else f"{common} steps are"
        return f"The first {steps} the same, bit for bit. {longer} has more."
    by = "" if found.by is None else f" by up to {found.by:.2g}"
    before = "" if found.step == 0 else " Before it they are the same, bit for bit."
    return f"They part at step {found.step + 1}: {WHAT.get(found.what, found.what)}{by}.{before}"


def moved_map(second: Second, shown: Shown, trace: Trace) -> dict[str, Any]:
    """What is not where it was in the finished pictures, and by how much in the mean, in Delta E."""
    theirs = second.trace.images[second.look.picture]
    found = moved(theirs, trace.images[shown.picture], CELL)
    path = files.folder(shown.run_id) / f"moved-{shown.picture}-{second.look.key}.png"
    if not path.exists():
        files.save_png(found.picture, path)
    return {"file": files.served(path), "mean": round(found.mean, 2)}
