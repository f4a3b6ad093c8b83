"""Every step as arithmetic, in words for the page."""

import re
from typing import Any

from ...trace import Trace
from ...views.equations import Equation
from ...views.equations import equations as of_step
from .context import Context


def equations(trace: Trace, context: Context) -> dict[str, Any] | None:
    """The equations of every step.

    Returns:
        steps: for each a list of {title, symbols, numbers, note, error, section, anchor}; math: where the
            page finds docs/math.md, which only a server has.
    """
    if not trace.steps:
        return None
    count, picture = len(trace.steps), context.look.picture
    steps = [[_row(each) for each in of_step(trace, k, picture)] for k in range(count)]
    return {"steps": steps, "math": "math"}


def anchor(heading: str) -> str:
    """The name of a heading in an address: "Two scales" is "two-scales"."""
    return re.sub(r"[\s]+", "-", re.sub(r"[^\w\s-]", "", heading.lower()).strip())


def _row(equation: Equation) -> dict[str, Any]:
    return {
        "title": equation.title,
        "symbols": equation.symbols,
        "numbers": equation.numbers,
        "note": equation.note,
        "error": equation.error,
        "section": equation.section.replace("`", ""),
        "anchor": anchor(equation.section),
    }
