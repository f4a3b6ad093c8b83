"""Denoising steps: a run, step by step, at the speed of the eye; stopped, changed, and gone on with.

`bench` is what all of the tab shares: the player and how a run gets into it.  What can be done with a run is
a module each with `TITLE` and `build(bench)`; add it to TOOLS.
"""

import gradio as gr

from ....generation.shown import is_start
from ...shared import App
from . import branch, compare, export, forward, heads, race, run, seeds, tree
from .bench import build_bench, wire_bench
from .row import build_row

TITLE = "Denoising steps"
ID = "denoising"
TOOLS = (branch, seeds, race, forward, compare, export)


def build(app: App) -> App:
    """Lay out the tab and wire it."""
    model = app.engine.model
    tools = [tool for tool in TOOLS if tool is not forward or is_start(model)]
    with gr.Tab(TITLE, id=ID) as tab:
        row = build_row(model)
        bench = build_bench(app, row, tree.build)
        with gr.Tabs(elem_id="tools"):
            for tool in tools:
                with gr.Tab(tool.TITLE):
                    tool.build(bench)
    wire_bench(bench)
    run.wire(bench, tab, app)
    tree.wire(bench, tab)
    heads.wire(bench)
    return app
