"""Which pages the server still tells what happens, so that no event goes unheard.

gradio tells a page of its events over one stream and ends that with the last of them.  An event that starts
while the end is on its way to the page is told of nowhere: the page takes the old stream to be open and opens
no other, until the next event.  Here the answer to whoever starts an event says whether the stream had ended;
the page (`assets/head.js`) then lets go of the old one before gradio goes on.
"""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

HEADER = b"x-stream"
LAST = b"close_stream"  # in what gradio says last


class Streams:
    """The streams that are open, by the pages' own names."""

    def __init__(self) -> None:
        self._open: dict[str, object] = {}

    async def hold(self, page: str, answer: Callable[[Send], Awaitable[None]], send: Send) -> None:
        """Answer with a stream, which counts as open until its last message."""
        mine = self._open[page] = object()

        def end() -> None:
            if self._open.get(page) is mine:
                del self._open[page]

        async def sends(message: Message) -> None:
            if LAST in message.get("body", b""):
                end()
            await send(message)

        try:
            await answer(sends)
        finally:
            end()

    def told(self, page: str, send: Send) -> Send:
        """`send`, for the answer to a page that starts an event."""

        async def sends(message: Message) -> None:
            if message["type"] == "http.response.start":
                state = b"open" if page in self._open else b"ended"
                message = {**message, "headers": [*message.get("headers", []), (HEADER, state)]}
            await send(message)

        return sends


def page_that_listens(scope: Message) -> str | None:
    """The page that asks for its stream; None for other requests."""
    if scope["method"] != "GET" or not scope["path"].rstrip("/").endswith("/queue/data"):
        return None
    return parse_qs(scope["query_string"].decode("latin-1")).get("session_hash", [None])[0]


def page_that_starts(scope: Message, body: bytes) -> str | None:
    """The page that starts an event; None for other requests."""
    if scope["method"] != "POST" or not scope["path"].rstrip("/").endswith("/queue/join"):
        return None
    try:
        page = json.loads(body)["session_hash"]
    except (ValueError, RecursionError, KeyError, TypeError):
        return None
    return page if isinstance(page, str) else None
