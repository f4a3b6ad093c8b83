"""What the page has of a run besides lanes and curves, each a function of the trace; see `ldm.player`."""

from typing import Any

from ...trace import Trace
from ..pack import finite
from .context import Context, Part
from .equations import equations
from .guidance import guidance
from .schedule import schedule
from .when import when
from .words import words

__all__ = ["PARTS", "Context", "Part", "noising_parts", "parts_pack"]


def parts_pack(trace: Trace, context: Context) -> dict[str, Any]:
    """Every part that this run has: name -> JSON."""
    made = {name: part(trace, context) for name, part in PARTS.items()}
    return {name: finite(value) for name, value in made.items() if value is not None}


def noising_parts(trace: Trace, context: Context) -> dict[str, Any]:
    """What there is of a run with the noising of its picture before it: only its noise levels."""
    levels = {**schedule(trace, context), "warnings": []}  # that they rise surprises nobody here
    return {"schedule": finite(levels)}


PARTS: dict[str, Part] = {
    "when": when,
    "schedule": schedule,
    "equations": equations,
    "guidance": guidance,
    "words": words,
}
