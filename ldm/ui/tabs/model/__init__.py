"""Model: what is open, what a file is and why, opening another one, and what the open one does.

`desk` holds the widgets and what lies on it, the file that is looked at; `choosing`, `opening` and
`examining` are what can be done with that.  `about` asks the model that is open.
"""

import gradio as gr

from ...shared import App
from . import about, choosing, examining, opening
from .desk import build_desk

TITLE = "Model"
ID = "model"


def build(app: App) -> App:
    """Lay out the tab and wire it."""
    with gr.Tab(TITLE, id=ID) as tab:
        top = about.build_top()
        desk = build_desk(app)
        page = about.build(app, top)
    examining.wire(desk, choosing.wire(desk, tab))
    opening.wire(desk)
    about.wire(page, tab)
    return app
