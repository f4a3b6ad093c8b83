"""Denoising steps: a run, step by step, at the speed of the eye; stopped, changed, and gone on with.

`bench` is what all of the tab shares: the player and how a run gets into it.  What can be done with a run is
a module each with `TITLE` and `build(bench)`; add it to TOOLS.
"""

import gradio as gr

from ...shared import App
from . import export
from .bench import Bench, build_bench, wire_bench

TITLE = "Denoising steps"
ID = "denoising"
TOOLS = (export,)


def build(app: App) -> None:
    """Lay out the tab and wire it."""
    with gr.Tab(TITLE, id=ID) as tab:
        bench: Bench = build_bench(app)
        with gr.Tabs(elem_id="tools"):
            for tool in TOOLS:
                with gr.Tab(tool.TITLE):
                    tool.build(bench)
    wire_bench(bench, tab)
