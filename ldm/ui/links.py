"""A run that a page's address names: "?run=" and its id, which is given away with the address."""

from typing import Any

from gradio.context import LocalContext

from ..engine import Engine
from ..errors import LdmError


def linked(request: Any = None) -> str | None:  # noqa: ANN401 - gradio's request, of several kinds
    """The id in the address of the page that asks; None without one."""
    request = LocalContext.request.get(None) if request is None else request
    query = getattr(request, "query_params", None) or {}
    found = query.get("run")
    return found if isinstance(found, str) and 16 <= len(found) <= 64 else None


def kept(engine: Engine, run_id: object) -> bool:
    """Whether there is such a run, and it did not fail."""
    if not isinstance(run_id, str):
        return False
    try:
        next(engine.follow(run_id))
    except LdmError:
        return False
    return True
