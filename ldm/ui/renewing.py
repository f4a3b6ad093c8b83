"""The page built anew while it is served: another model has other words, sizes and choices.

gradio can take another layout in the place of the one it serves, as it does for those who edit an app while
it runs.  A page that was loaded before knows the old layout only, so its next event is answered with `STALE`
and the page loads itself again (`assets/head.js`).
"""

import threading
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import gradio as gr
from gradio.utils import BaseReloader

STALE = 409
SAID = "Another model was opened since this page was loaded; load it again."
SOON = 0.4  # seconds in which the event that opened the model gets its answer to the page
MOST_PAGES = 4096


LAUNCHED = (
    "app", "server", "server_app", "server_name", "server_port", "local_url", "local_api_url", "protocol",
    "share", "share_url", "root_path", "app_id", "favicon_path", "footer_links", "run_history", "auth",
    "auth_message", "enable_monitoring", "show_error", "max_threads", "quiet", "debug", "inline", "ssr_mode",
    "node_server_name", "node_port", "node_process", "i18n_instance", "pwa", "is_colab", "mcp_server",
    "is_hosted_notebook", "static_worker_pool",
)  # fmt: skip
"""What a layout learns when it is served, besides what gradio itself hands over."""


class _Swap(BaseReloader):
    """gradio's own way to another layout."""

    def __init__(self, app: Any) -> None:  # noqa: ANN401 - gradio's App
        self._app = app

    @property
    def running_app(self) -> Any:  # noqa: ANN401
        return self._app


class Page(gr.Blocks):
    """A layout that knows how it is renewed."""

    renewing: "Renewing"


class Renewing:
    """Which layout is served, and which pages know it.

    Args:
        build: makes the layout for the model that is open now; given this, for the tab that opens another.

    Attributes:
        count: how often the layout was renewed.
        page: the layout that is served.
    """

    def __init__(self, build: "Callable[[Renewing], Page]") -> None:
        self._build = build
        self._known: OrderedDict[str, int] = OrderedDict()  # page in a browser -> the layout it has
        self._lock = threading.Lock()
        self.count = 0
        self.page = build(self)

    def soon(self) -> None:
        """Have another layout served, once the event that this is called from was answered."""
        timer = threading.Timer(SOON, self.now)
        timer.daemon = True
        timer.start()

    def now(self) -> None:
        """Have another layout served."""
        with self._lock:
            old, page = self.page, self._build(self)
            for name in LAUNCHED:
                if hasattr(old, name):
                    setattr(page, name, getattr(old, name))
            _Swap(old.app).swap_blocks(page)
            page.config = page.get_config_file()
            page._queue.blocks = page
            old.app.all_app_info = old.app.api_info = None
            old.app.page_api_info.clear()  # the public functions' defaults are the model's
            self.page = page
            self.count += 1

    def is_stale(self, name: str) -> bool:
        """Whether a page has another layout than the one that is served; it is remembered when first seen."""
        with self._lock:
            known = self._known.setdefault(name, self.count)
            self._known.move_to_end(name)
            while len(self._known) > MOST_PAGES:
                self._known.popitem(last=False)
            return known != self.count
