"""Single layers and heads of one step, which a run does not keep: one more network call, on request."""

from functools import partial
from typing import Any

import gradio as gr

from ....errors import LdmError
from ....generation import heads
from ....player.parts.words import heads_pack
from ...events import HEAVY, PRIVATE, shows_errors, visitor
from ...scrubber import Shown, putter
from .bench import Bench
from .muting import whole


def wire(bench: Bench) -> None:
    """What the player's panel asks for."""

    def on_heads(shown: Shown | None, event: gr.EventData) -> dict[str, Any]:
        if shown is None:
            raise LdmError("There is no run to look into.")
        trace = bench.app.engine.trace(shown.run_id)
        given = getattr(event, "_data", None)
        engine = bench.app.engine
        if trace.model_name != engine.model.name and not engine.is_by_draft(trace.model_name):
            raise LdmError(
                f"This run was drawn by {trace.model_name}; open that on the tab Model to ask it again."
            )
        at = whole("at", given.get("at") if isinstance(given, dict) else None, 0, len(trace.steps) - 1)
        looks = partial(heads, trace=trace, step=at, picture=shown.picture)
        found = engine.call(looks, visitor(), draft=engine.is_by_draft(trace.model_name))
        return {
            "keep": True,
            "live": None,
            "heads": {"at": at, "layers": heads_pack(found, putter(shown.run_id, []))},
        }

    bench.player.heads(shows_errors(on_heads), bench.shown, bench.player, **PRIVATE | HEAVY)
