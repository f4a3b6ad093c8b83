"""The interface.  The only folder that imports gradio; it holds layout and wiring, no arithmetic.

A tab is a module in `tabs/`; what several of them need is in `shared`, the widgets that mirror `Settings` in
`controls`, our own components in `parts` and `assets/`, the public endpoints in `api`.
"""

from functools import partial

import gradio as gr

from ..engine import Engine
from . import api
from .parts import part
from .renewing import Page, Renewing
from .server import launch
from .shared import App
from .tabs import TABS

__all__ = ["build_app", "launch"]

STORAGE = "latent-darkroom"  # the browser's key; fixed, so that a restarted server finds its visitors
SWEEP = (1800, 6 * 3600)  # seconds: how often files are swept, and how old they get


def build_app(engine: Engine) -> Page:
    """The whole page; `launch` serves it, and another one in its place when another model is opened."""
    renewing = Renewing(partial(_layout, engine))
    renewing.page.renewing = renewing
    return renewing.page


def _layout(engine: Engine, renewing: Renewing) -> Page:
    """The page for the model that is open."""
    model = engine.model
    device = f"{model.device.type}, {str(model.dtype).removeprefix('torch.')}"
    with Page(title="Latent Darkroom", analytics_enabled=False, delete_cache=SWEEP) as page:
        owner = gr.BrowserState(None, storage_key=STORAGE, secret=STORAGE)
        part("head", {"checkpoint": model.name, "device": device})
        saver = part("saver", None)
        run = gr.State(None)
        with gr.Tabs(selected=TABS[0].ID) as tabs:
            app = App(engine, page, owner, run, saver, tabs, renewing=renewing)
            for tab in TABS:
                app = tab.build(app)
        api.build(app)
    return page
