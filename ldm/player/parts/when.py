"""When it was decided: how far each place still is from its last colour, and power over frequency."""

from typing import Any

from ...trace import Trace
from ...views.decided import CELL, THRESHOLD, away_from_last
from ...views.spectrum import spectra
from .context import Context


def when(trace: Trace, context: Context) -> dict[str, Any] | None:
    """For the page to say, at any threshold, what `views.decided` says.

    Returns:
        file: (steps, height, width) uint8, the Delta E from the last colour in halves, rounded up, so that
            comparing it with a threshold in halves is exact; covers: [width, height] in pixels of the cells
            on the page's picture; spectrum: as `views.spectrum`.
    """
    if not context.x0:
        return None
    halves = (2 * away_from_last(context.x0, CELL)).ceil().clamp(0, 255).byte()
    steps, height, width = halves.shape
    drawn = context.x0[0].size
    scale = trace.settings.width / drawn[0], trace.settings.height / drawn[1]
    return {
        "file": context.put(f"decided-{context.look.picture}.bin", halves.numpy().tobytes()),
        "width": width,
        "height": height,
        "steps": steps,
        "threshold": THRESHOLD,
        "covers": [width * CELL * scale[0], height * CELL * scale[1]],
        "spectrum": spectra(trace, context.look.picture),
    }
