"""What the page shows of a run: the tray the picture comes up in, and the sheet of all pictures so far."""

from typing import Any

import gradio as gr

from ..engine import Run
from ..latent_diffusion import FULL_DECODER
from ..settings import Settings
from ..trace import Trace
from . import files
from .parts import part
from .scrubber import NO_STEPS

SHEET = 24  # runs on the contact sheet
SEEDS = "seeds"  # group of the runs that look ahead, to be chosen from


def build_tray(empty: str) -> gr.HTML:
    """The tray: pictures, a line of progress, a line of words.

    Args:
        empty: what it says while there is nothing in it.
    """
    return part("tray", {"empty": empty})


def build_sheet() -> gr.HTML:
    """The contact sheet; a click on a picture triggers `pick` with its run."""
    return part("sheet", [])


def tray_value(run: Run) -> dict[str, Any]:
    """What the tray shows of a run at this moment."""
    settings = run.settings
    pictures = _finished(run) if _decoded(run) else _previews(run)
    return {
        "state": run.status,
        "over": run.resting,
        "line": status_line(run),
        "note": _note(run),
        "fraction": 1.0 if run.over else run.step / max(1, run.steps),
        "pictures": pictures,
        "count": settings.batch_size,
        "width": settings.width,
        "height": settings.height,
    }


def status_line(run: Run) -> str:
    """How far the run is, in words."""
    settings = run.settings
    seeds = _seeds(settings)
    if run.status == "waiting":
        turn = "next" if run.ahead <= 1 else f"{run.ahead} works are before it"
        return f"In the queue: {turn}. {seeds.capitalize()}."
    if run.status == "running":
        left = "" if run.seconds_left is None else f", {run.seconds_left:.1f} s left"
        return f"Step {run.step} of {run.steps}{left}. {seeds.capitalize()}."
    if run.status == "done" and run.step == 0:
        return NO_STEPS
    if run.status == "done":
        return f"{seeds.capitalize()}. {_steps(run.step)} in {run.seconds:.2f} s."
    if run.status == "paused":
        after = f"after step {run.step} of {run.steps}" if run.step else "before its first step"
        return f"Paused {after}. {seeds.capitalize()}."
    if run.status == "stopped":
        return f"Stopped after step {run.step} of {run.steps}. {seeds.capitalize()}."
    return "This run failed."


def _seeds(settings: Settings) -> str:
    """The seeds of the batch in words."""
    first, last = settings.of_picture(0), settings.of_picture(settings.batch_size - 1)
    what, ends = "seed", [picture.seed for picture in (first, last)]
    if settings.variation_strength > 0:
        what, ends = f"seed {first.seed}, variation", [p.variation_seed or 0 for p in (first, last)]
    return f"{what} {ends[0]}" if ends[0] == ends[1] else f"{what}s {ends[0]} to {ends[1]}"


def sheet_value(runs: list[Run]) -> list[dict[str, Any]]:
    """The newest runs that came to something or still may, newest first."""
    shown = [run for run in listed(runs) if not run.over or (run.trace is not None and run.trace.images)]
    return [_tile(run) for run in shown[:SHEET]]


def listed(runs: list[Run], *also: str | None) -> list[Run]:
    """Runs without those that only look ahead, and were not gone on with to their end.

    Args:
        also: ids of runs that are listed whatever they are.
    """
    return [run for run in runs if run.group != SEEDS or run.over or run.id in also]


def _tile(run: Run) -> dict[str, Any]:
    settings = run.settings
    seed, count = files.seed_of(settings, 0), settings.batch_size
    tile = {"run": run.id, "prompt": settings.prompt, "seed": seed, "count": count}
    if _decoded(run) and run.trace is not None:
        return {**tile, "file": files.served(files.pictures(run.id, run.trace)[0])}
    return {**tile, "src": files.data_url(run.preview[0]) if run.preview else ""}


def _decoded(run: Run) -> bool:
    """Whether there is more to show than previews: a paused run has steps, and no pictures yet."""
    return run.trace is not None and bool(run.trace.images)


def _previews(run: Run) -> list[dict[str, Any]]:
    seeds = [files.seed_of(run.settings, i) for i in range(len(run.preview))]
    return [
        {"src": files.data_url(image), "seed": seed, "alt": "Predicted picture so far"}
        for image, seed in zip(run.preview, seeds, strict=True)
    ]


def _finished(run: Run) -> list[dict[str, Any]]:
    trace: Trace | None = run.trace
    if trace is None:
        return []
    return [
        {"file": files.served(path), "seed": files.seed_of(trace.settings, i), "alt": trace.settings.prompt}
        for i, path in enumerate(files.pictures(run.id, trace))
    ]


def _note(run: Run) -> str:
    if run.over and run.trace is not None:
        return f"Decoded by {FULL_DECODER}" if run.trace.images else ""
    return f"Predicted x0, decoded by {run.decoder}" if run.preview else ""


def _steps(count: int) -> str:
    return f"{count} step" if count == 1 else f"{count} steps"
