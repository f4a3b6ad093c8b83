"""Another model in place of the one that is open, which stays in use until the other one is whole."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import gradio as gr

from ....engine import Opened
from ....errors import LdmError, check_choice
from ... import first_stages
from ...events import PRIVATE, shows_errors, visitor
from ...shelf import identified
from .desk import AVERAGED, DTYPES, RAW, SUITS, Desk, Updates, path_of


def wire(desk: Desk) -> None:
    """Which event calls what."""

    def go(chosen: str, ema: str, stage: str, dtype: str) -> Iterator[Updates]:
        yield from open_it(desk, asked(desk, path_of(chosen), ema, stage, dtype))

    # once: while one is opened another click does nothing
    desk.go.click(
        shows_errors(go),
        [desk.chosen, *desk.options],
        [desk.status, desk.go],
        trigger_mode="once",
        **PRIVATE,
    )


def asked(desk: Desk, path: Path, ema: str, stage: str, dtype: str) -> Opened:
    """What is to be opened, and how; a first stage alone goes into the model that is open.

    Raises:
        SettingsError: there is no such choice.
    """
    identity = identified(path)
    if identity.family == "first_stage":
        return replace(desk.app.engine.opened, vae=path)
    check_choice("weights", ema, (AVERAGED, RAW))
    check_choice("dtype", dtype, DTYPES)
    return Opened(
        path,
        ema=ema == AVERAGED if identity.ema else None,
        vae=first_stages.path_of(stage),
        dtype=None if dtype == SUITS else dtype,
    )


def open_it(desk: Desk, wanted: Opened) -> Iterator[Updates]:
    """Open it and have the page built anew; the page loads itself again once that is served."""
    engine, renewing = desk.app.engine, desk.app.renewing
    layout = 0 if renewing is None else renewing.count
    name = wanted.path.name if wanted.vae is None else f"{wanted.path.name} with {wanted.vae.name}"
    yield {
        desk.status: {"state": "busy", "said": f"Opening {name} ..."},
        desk.go: gr.update(interactive=False),
    }
    try:
        engine.open(wanted, visitor())
    except LdmError as error:
        said = f"{str(error).strip()} {engine.model.name} stays open."
        yield {desk.status: {"state": "failed", "said": said}, desk.go: gr.update(interactive=True)}
        return
    except Exception:
        yield {desk.status: {"state": "idle", "said": ""}, desk.go: gr.update(interactive=True)}
        raise
    if renewing is not None:
        renewing.soon()
    said = f"{engine.model.name} is open; the page loads itself again."
    yield {desk.status: {"state": "opened", "said": said, "layout": layout}}
