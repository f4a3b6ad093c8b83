"""The strict report of a file: at once whether all of it is there, and whether it is sound on request."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import gradio as gr

from ....doctor import Report, examine
from ....errors import LdmError
from ...events import HEAVY, PRIVATE, shows_errors
from ...identities import card, exam
from ...shelf import identified, state_of
from ...watching import Watched
from .desk import Desk, Updates, path_of


def wire(desk: Desk, after: list[Any]) -> None:
    """Which event calls what.

    Args:
        after: events that put another file on the desk.
    """

    def compare(chosen: str | None) -> Updates:
        return compared(desk, chosen) if chosen else {desk.exam: gr.skip()}

    def read(chosen: str) -> Iterator[Updates]:
        yield from examined(desk, chosen)

    outputs = [desk.exam, desk.card, desk.go, desk.shelf]
    for event in after:
        event.success(shows_errors(compare), desk.chosen, outputs, **PRIVATE | HEAVY)
    desk.full.click(
        shows_errors(read), desk.chosen, [desk.exam, desk.full], trigger_mode="once", **PRIVATE | HEAVY
    )


def compared(desk: Desk, chosen: str) -> Updates:
    """Every name and shape beside those that the model needs; no weight is read."""
    path = path_of(chosen)
    if not desk.is_newest(path):
        return {desk.exam: gr.skip()}
    report = examine(path, beside=None)
    if not desk.is_newest(path):
        return {desk.exam: gr.skip()}
    updates: Updates = {desk.exam: exam(report)}
    problem = report.problem if identified(path).loads else ""
    if problem:
        desk.problems[state_of(path)] = problem
        updates |= {
            desk.shelf: desk.listed(path),
            desk.card: card(path, desk.opened, problem),
            desk.go: gr.update(interactive=False),
        }
    return updates


def examined(desk: Desk, chosen: str) -> Iterator[Updates]:
    """The same, and every weight: NaN, infinite, zero; with the file's hash."""
    path = path_of(chosen)
    watched: Watched[float, Report] = Watched(partial(_examine, str(path)))
    yield {desk.exam: {"state": "reading", "share": 0.0}, desk.full: gr.update(interactive=False)}
    try:
        for share in watched.told():
            if not desk.is_newest(path):
                return
            yield {desk.exam: {"state": "reading", "share": share}}
    except LdmError:
        yield {desk.exam: {"state": "none"}, desk.full: gr.update(interactive=True)}
        raise
    if desk.is_newest(path):
        yield {desk.exam: exam(watched.made), desk.full: gr.update(interactive=True)}


def _examine(path: str, tell: Callable[[float], None]) -> Report:
    return examine(path, weights=True, progress=tell)
