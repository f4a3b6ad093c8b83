"""Noise levels as they were walked down."""

from typing import Any

from ...trace import Trace
from ...views.schedule import schedule_columns, schedule_warnings
from .context import Context


def schedule(trace: Trace, context: Context) -> dict[str, Any]:
    """Columns and warnings as `views.schedule`; total: the model's training timesteps."""
    return {
        "columns": schedule_columns(trace),
        "warnings": schedule_warnings(trace),
        "total": context.n_steps,
    }
