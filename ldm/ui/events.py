"""What every handler needs: errors as sentences on the page, and who is asking."""

import functools
import inspect
import ipaddress
import logging
import os
import secrets
from collections.abc import Callable, Iterator
from threading import Lock
from typing import Any, ParamSpec, TypeVar, cast

import gradio as gr
from gradio.context import LocalContext

from ..engine import LOCAL
from ..errors import LdmError, SettingsError

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger(__name__)
PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "concurrency_limit": None}
"""For the page's own events.  Work is queued by the engine, so gradio may start any number of them."""
PUBLIC: dict[str, Any] = {"api_visibility": "public", "concurrency_limit": None, "show_progress": "hidden"}
"""For the endpoints that programs call."""
HEAVY: dict[str, Any] = {"concurrency_id": "heavy", "concurrency_limit": 2}
"""For events that draw or write a whole run on gradio's own threads: two at a time, of everybody together."""


PAGES = 4096  # whose owners are remembered; by then the first ones hold theirs
_owners: dict[str, str] = {}
_one_at_a_time = Lock()


def shows_errors(handler: Callable[P, T]) -> Callable[P, T]:
    """Turn an `LdmError` into the sentence that gradio shows; anything else is logged and admitted."""

    @functools.wraps(handler)
    def stream(*args: P.args, **kwargs: P.kwargs) -> Iterator[Any]:
        try:
            yield from cast(Iterator[Any], handler(*args, **kwargs))
        except Exception as error:
            raise as_message(error) from error

    @functools.wraps(handler)
    def once(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return handler(*args, **kwargs)
        except Exception as error:
            raise as_message(error) from error

    return cast(Callable[P, T], stream) if inspect.isgeneratorfunction(handler) else once


def as_message(error: Exception) -> gr.Error:
    """The error as the page shows it."""
    if isinstance(error, gr.Error):
        return error
    if isinstance(error, LdmError):
        return gr.Error(str(error), title="", print_exception=False)
    log.error("a handler failed", exc_info=error)
    return gr.Error(f"Something broke inside: {type(error).__name__}. The program's log says more.", title="")


def whole(name: str, value: object) -> int:
    """A whole number that a program sent; 2.0 is one.

    Raises:
        SettingsError: it is none.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and value % 1 == 0:  # not of NaN
        return int(value)
    raise SettingsError(f"{name} must be a whole number, got {value!r:.40}.")


def owner_of(token: object) -> str:
    """The browser's own secret; runs are listed to nobody else.

    A page that has none yet is given one, the same for all its events: the next one may be on its way before
    the page holds what the first one gave it.
    """
    if isinstance(token, str) and 16 <= len(token) <= 64:
        return token
    page, fresh = session(), secrets.token_urlsafe(16)
    if not page:
        return fresh
    with _one_at_a_time:
        if page not in _owners and len(_owners) >= PAGES:
            del _owners[next(iter(_owners))]
        return _owners.setdefault(page, fresh)


def on_a_space() -> bool:
    """Whether this is a Hugging Face Space: behind a proxy, in a frame with scripts of its own."""
    return os.environ.get("SYSTEM") == "spaces"


def visitor() -> str:
    """Who is asking, for the limit of works per visitor: an address, since all else is the client's choice.

    Behind a proxy on this computer, or one named in FORWARDED_ALLOW_IPS, the server has put the visitor's
    address in the place of the proxy's.  On a Space the proxy is not named, and the last hop it noted counts.
    """
    request = LocalContext.request.get(None)
    host = str(getattr(getattr(request, "client", None), "host", None) or "")
    if on_a_space() and request is not None:
        hops = ",".join(request.headers.getlist("x-forwarded-for"))
        host = hops.rpartition(",")[2].strip() or host
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:  # no address, such as a test's
        local = not host
    return LOCAL if local else host


def session() -> str:
    """The open page that asks, as it calls itself; only good for telling its own events from each other."""
    return str(getattr(LocalContext.request.get(None), "session_hash", ""))
