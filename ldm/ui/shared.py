"""What the tabs share: the engine, who is looking, and which run they look at."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from ..engine import Engine
from . import files
from .controls import Controls
from .draft import Switch
from .renewing import Renewing


@dataclass(frozen=True, eq=False)
class App:
    """Handed to every tab's `build`.

    Attributes:
        page: for what happens when it loads.
        owner: the browser's secret, kept by the browser, so that a refreshed page finds its runs.
        run: id of the run in the tray.
        saver: a file given to it is saved by the browser.
        tabs: to go to another one.
        asks: what the first tab asks for; None before that is laid out.
        switch: its switch from the model to the draft; None where there is none.
        renewing: to serve another page when another model is opened; None where nothing is served.
    """

    engine: Engine
    page: gr.Blocks
    owner: gr.BrowserState
    run: gr.State
    saver: gr.HTML
    tabs: gr.Tabs
    asks: Controls | None = None
    switch: Switch | None = None
    renewing: Renewing | None = None

    def save(self, path: Path) -> dict[str, Any]:
        """The saver's value that hands `path` to the browser, also when it is the same file again."""
        return {"file": files.served(path), "n": time.time_ns()}
