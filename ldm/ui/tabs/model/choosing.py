"""Which file is looked at: one of the shelf, one that is dropped in, or one that is named."""

from collections.abc import Iterator
from typing import Any

import gradio as gr

from ....checkpoints.hub import Fetched
from ....errors import SettingsError
from ...events import PRIVATE, shows_errors
from ...identities import size
from ...shelf import Progress, dropped, is_local, named, shelf
from ...watching import Watched
from .desk import Desk, Updates


def wire(desk: Desk, tab: gr.Tab) -> list[Any]:
    """Which event calls what; gives those after which another file may lie on the desk."""

    def pick(event: gr.EventData) -> Updates:
        path = shelf().get(str(event.name))
        if path is None:
            raise SettingsError(f"{str(event.name)[:80]!r} is not on the shelf any more.")
        return desk.put(path)

    def drop(paths: list[str] | None) -> Updates:
        return desk.put(dropped(list(paths or [])))

    def name(text: str) -> Iterator[Updates]:
        yield from look(desk, text)

    def visit(chosen: str | None) -> Updates:
        asks = {box: gr.update(visible=is_local()) for box in (desk.name, desk.look)}
        path = desk.opened if chosen is None else None
        if path is not None and path.exists():
            return {**asks, **desk.put(path)}
        return {**asks, desk.shelf: desk.listed(None)}

    outputs = desk.outputs
    asks = [desk.name, desk.look]
    again = {"trigger_mode": "always_last", **PRIVATE}
    return [
        desk.shelf.pick(shows_errors(pick), None, outputs, **again),
        desk.drop.upload(shows_errors(drop), desk.drop, outputs, **again),
        gr.on([desk.look.click, desk.name.submit], shows_errors(name), desk.name, outputs, **PRIVATE),
        tab.select(shows_errors(visit), desk.chosen, [*asks, *outputs], **PRIVATE),
    ]


def look(desk: Desk, text: str) -> Iterator[Updates]:
    """What a name stands for, with what is fetched for it on the way."""
    if not is_local():
        yield desk.put(named(text))
        return

    def work(tell: Progress) -> object:
        return named(text, tell)

    watched: Watched[Fetched, object] = Watched(work)
    try:
        for fetched in watched.told():
            yield {desk.status: fetching(fetched)}
    except Exception:
        yield {desk.status: {"state": "idle", "said": desk.kept()}}
        raise
    yield desk.put(watched.made)  # type: ignore[arg-type]


def fetching(fetched: Fetched) -> dict[str, object]:
    """How far it is, for the page."""
    share = fetched.done / fetched.total if fetched.total else None
    far = f"{size(fetched.done)} of {size(fetched.total)}" if fetched.total else size(fetched.done)
    said = f"Fetching {fetched.file}, file {fetched.number} of {fetched.count}: {far}."
    return {"state": "busy", "said": said, "share": share}
