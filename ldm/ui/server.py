"""Serving the page: what stands before gradio, and what `launch` is told."""

import json
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any
from urllib.parse import unquote

from starlette.middleware import Middleware

from ..engine import Engine
from .events import on_a_space
from .math_page import math_page
from .renewing import SAID, STALE, Page, Renewing
from .streams import Streams, page_that_listens, page_that_starts
from .theme import FAVICON, STYLESHEET, theme

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
ASGIApp = Callable[[Message, Receive, Send], Awaitable[None]]

MAX_UPLOAD = "256mb"  # of a run file; pictures are smaller, see `images`
MAX_BODY = 272 * 2**20  # bytes of one request: an upload and what is around it
MAX_CALL = 4 * 2**20  # of one that is no upload; files come as uploads, not inside JSON
NO_FETCH = "This server fetches no other server's files. Upload the file instead."
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "same-origin",
    "content-security-policy": (
        "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
        "style-src 'self' 'unsafe-inline'; object-src 'none'; base-uri 'self'"
    ),
}


class Guard:
    """Answers /healthz and /math, refuses what gradio would do for anybody, and names what the page may load.

    Refused: fetching other servers' files through ours (`/file=http...`, or a file in a call's JSON
    whose path is a URL), and calls that go around the queue.
    """

    def __init__(self, app: ASGIApp, engine: Engine, renewing: Renewing) -> None:
        self._app = app
        self._engine = engine
        self._renewing = renewing
        self._streams = Streams()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = unquote(unquote(scope["path"]))
        if path.rstrip("/").endswith("/healthz"):
            state = {
                "status": "ok",
                "checkpoint": self._engine.model.name,
                "device": str(self._engine.model.device),
                "layout": self._renewing.count,
            }
            await _answer(send, 200, state)
        elif scope["method"] == "GET" and path.rstrip("/").endswith("/math") and math_page():
            await _send(_with_headers(send), 200, b"text/html; charset=utf-8", str(math_page()).encode())
        elif _is_fetch(path):
            await _answer(send, 403, {"detail": NO_FETCH})
        else:
            limit = MAX_BODY if path.rstrip("/").endswith("/upload") else MAX_CALL
            if _length(scope) > limit:
                await _drain(receive)
                await _answer(send, 413, {"detail": f"This request may have at most {limit} bytes."})
            else:
                receive = _counted(receive, limit)
                if scope["method"] == "POST" and limit == MAX_CALL:
                    body, receive = await _read(receive)
                    if _names_a_url(body):
                        await _answer(send, 403, {"detail": NO_FETCH})
                        return
                    starts = page_that_starts(scope, body)
                    if starts is not None and self._renewing.is_stale(starts):
                        await _answer(send, STALE, {"detail": SAID})
                        return
                    send = send if starts is None else self._streams.told(starts, send)
                send, listens = _with_headers(send), page_that_listens(scope)
                if listens is None:
                    await self._app(scope, receive, send)
                else:
                    await self._streams.hold(listens, partial(self._app, scope, receive), send)


def launch(
    page: Page, engine: Engine, host: str | None = None, port: int | None = None, **more: bool
) -> None:
    """Serve until interrupted.

    Args:
        host, port: None leaves them to gradio and its environment variables.
        more: for gradio's own `launch`.
    """
    given = {"server_name": host, "server_port": port, **more}
    page.queue(api_open=False, max_size=64, default_concurrency_limit=8).launch(
        **{key: value for key, value in given.items() if value is not None},
        theme=theme(),
        css_paths=STYLESHEET,
        favicon_path=FAVICON,
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        max_file_size=MAX_UPLOAD,
        max_threads=100,  # a follower holds one, asleep
        app_kwargs={"middleware": [Middleware(Guard, engine=engine, renewing=page.renewing)]},
    )


def _is_fetch(path: str) -> bool:
    _, found, wanted = path.partition("file=")
    return bool(found) and wanted.lstrip("/ ").lower().startswith(("http:", "https:"))


def _names_a_url(body: bytes) -> bool:
    """Whether gradio would fetch something for this call: a file's path in its JSON is a URL."""
    found = False

    def look(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal found
        for key, value in pairs:  # as written: a key that is there twice is seen twice
            if key == "path" and isinstance(value, str):
                found = found or value.strip().lower().startswith(("http:", "https:"))
        return dict(pairs)

    try:
        json.loads(body, object_pairs_hook=look)
    except (ValueError, RecursionError):  # no JSON: then gradio reads none either
        return found
    return found


async def _read(receive: Receive) -> tuple[bytes, Receive]:
    """The body, and a `receive` that gives it once more."""
    messages, parts = [], []
    while True:
        message = await receive()
        messages.append(message)
        parts.append(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body", False):
            break
    messages.reverse()

    async def again() -> Message:
        return messages.pop() if messages else await receive()

    return b"".join(parts), again


def _length(scope: Message) -> int:
    sizes = [value for name, value in scope["headers"] if name == b"content-length"]
    return int(sizes[0]) if sizes and sizes[0].isdigit() else 0


async def _drain(receive: Receive) -> None:
    """Read what is refused, as far as it is bearable; else the sender sees a broken line, not the answer."""
    read, more = 0, True
    while more and read <= MAX_BODY:
        message = await receive()
        read += len(message.get("body", b""))
        more = message.get("more_body", False)


def _counted(receive: Receive, limit: int) -> Receive:
    """`receive`, until more came than was announced; then the line is cut."""
    read = 0

    async def receives() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        return message if read <= limit else {"type": "http.disconnect"}

    return receives


async def _answer(send: Send, status: int, body: dict[str, Any]) -> None:
    await _send(send, status, b"application/json", json.dumps(body).encode())


async def _send(send: Send, status: int, kind: bytes, body: bytes) -> None:
    headers = [(b"content-type", kind), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _with_headers(send: Send) -> Send:
    kept = {name: value for name, value in HEADERS.items() if not (on_a_space() and "security" in name)}

    async def sends(message: Message) -> None:
        if message["type"] == "http.response.start":
            there = {name.lower() for name, _ in message.get("headers", [])}
            extra = [(k.encode(), v.encode()) for k, v in kept.items() if k.encode() not in there]
            message = {**message, "headers": [*message.get("headers", []), *extra]}
        await send(message)

    return sends
