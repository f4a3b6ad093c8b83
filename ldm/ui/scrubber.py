"""The scrubber: every step of a run on one sheet of pictures, so that a flip asks no server."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import gradio as gr
from PIL import Image

from ..settings import Settings
from ..trace import Trace
from ..views.curves import curves
from ..views.layout import SHEET_AREA, atlas
from ..views.predictions import LANES, Decode, lane
from ..writing import write_file
from . import files
from .parts import part

NO_STEPS = "No steps at strength 0: the picture went through the autoencoder and back."
DEFAULT_LANES = ("x_t", "x0", "eps")
PER_STEP = ("x_t", "x0", "eps", "x0_cond", "x0_uncond")  # drawn from one step alone
PIECE = 32


def build_scrubber() -> gr.HTML:
    """The component; give it a `scrubber_value`."""
    return part("scrubber", None)


def scrubber_value(
    run_id: str, trace: Trace, lanes: Sequence[str], decode: Decode, decoder: str, picture: int = 0
) -> dict[str, Any]:
    """What the scrubber shows of a run.

    Args:
        lanes: keys of LANES.
        decode: latents to pictures; `decoder` says in words what it is.
        picture: which one of the batch.
    """
    if not trace.steps:
        return _still(run_id, trace, picture)
    size = _cell(trace, len(lanes))
    sheet, columns, rows = atlas([frames(trace, name, decode, size, picture) for name in lanes])
    name = hashlib.sha256(sheet).hexdigest()[:16]
    path = files.folder(run_id) / f"steps-{name}.jpg"
    write_file(path, [sheet])
    numbers = curves(trace, picture)
    settings = trace.settings
    return {
        **_about(run_id, trace, picture),
        "atlas": files.served(path),
        "columns": columns,
        "rows": rows,
        "steps": len(trace.steps),
        "width": settings.width,
        "height": settings.height,
        "lanes": [{"name": n, "title": LANES[n][0], "how": how_drawn(n, decoder)} for n in lanes],
        "sigma": numbers["sigma"],
        "sigma_next": [step.sigma_next for step in trace.steps],
        "timestep": numbers["timestep"],
        "curves": [
            {"title": "Noise level sigma (logarithmic)", "values": numbers["sigma"], "log": True},
            {"title": "Change of x0, share of its size", "values": numbers["relative_change"], "log": False},
            {"title": "How much the prompt moves x0", "values": numbers["guidance"], "log": False},
        ],
    }


def _about(run_id: str, trace: Trace, picture: int) -> dict[str, Any]:
    settings = trace.settings
    return {
        "key": hashlib.sha256(run_id.encode()).hexdigest(),
        "prompt": settings.prompt,
        "facts": facts(trace.model_name, settings, picture),
    }


def _still(run_id: str, trace: Trace, picture: int) -> dict[str, Any]:
    """What the scrubber shows of a run without steps: its picture."""
    shown = files.served(files.pictures(run_id, trace)[picture])
    return {**_about(run_id, trace, picture), "steps": 0, "still": shown, "said": NO_STEPS}


def frames(
    trace: Trace, name: str, decode: Decode, size: tuple[int, int], picture: int = 0
) -> list[Image.Image]:
    """A lane at a smaller size, drawn in pieces: a long run of full pictures fits in no memory."""
    if size == (trace.settings.width, trace.settings.height):
        return lane(trace, name, decode, picture)
    # a lane of amounts has one scale for the whole run
    piece = PIECE if name in PER_STEP else len(trace.steps)
    return [
        image.resize(size, Image.Resampling.BOX)
        for start in range(0, len(trace.steps), piece)
        for image in lane(replace(trace, steps=trace.steps[start : start + piece]), name, decode, picture)
    ]


def fitted(trace: Trace, area: float) -> tuple[int, int]:
    """The size of the run's pictures, shrunk to at most `area` pixels."""
    width, height = trace.settings.width, trace.settings.height
    shrink = min(1.0, (area / (width * height)) ** 0.5)
    return (width, height) if shrink == 1 else (max(16, int(width * shrink)), max(16, int(height * shrink)))


def _cell(trace: Trace, lanes: int) -> tuple[int, int]:
    return fitted(trace, SHEET_AREA / (len(trace.steps) * lanes))


def how_drawn(name: str, decoder: str) -> str:
    """How a lane was made visible, for its label."""
    how = LANES[name][1]
    return how if how.startswith("not decoded") else f"{how} by {decoder}"


def facts(model_name: str, settings: Settings, picture: int) -> str:
    """The run in one line."""
    size = f"{settings.width} x {settings.height}"
    seed = files.seed_of(settings, picture)
    return f"{model_name}, seed {seed}, {settings.sampler}, cfg_scale {settings.cfg_scale:g}, {size}"
