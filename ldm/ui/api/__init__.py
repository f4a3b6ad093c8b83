"""The public endpoints, for programs: /generate and /branch, /roundtrip, /steps, /page and /inspect.

Parameters carry the names of `Settings`.  The widgets behind them are plain and without ranges, so that what
is wrong is refused by `Settings`, in its own words, and not by a widget.
"""

import gradio as gr

from ..shared import App
from . import branch, generate, inspect, page, roundtrip, steps


def build(app: App) -> None:
    """Lay out hidden widgets and bind the endpoints to them."""
    with gr.Row(visible=False):
        for endpoint in (generate, roundtrip, steps, page, branch, inspect):
            endpoint.build(app)
