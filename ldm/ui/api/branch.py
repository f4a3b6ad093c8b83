"""/branch: a run taken up at one of its steps with something changed."""

from collections.abc import Callable, Iterator
from dataclasses import fields
from inspect import Parameter, Signature
from typing import Any

import gradio as gr

from ...images import open_image
from ...settings import Settings
from .. import files
from ..events import PUBLIC, shows_errors, visitor, whole
from ..shared import App
from . import generate

STAY = ("width", "height", "batch_size")  # of the latents that are there
ORDER = ("run_id", "at", *(f.name for f in fields(Settings) if f.name not in STAY), "init_image", "mask")
Made = Iterator[tuple[list[str], int, str]]


def build(app: App) -> None:
    """Bind the endpoint."""
    given = [gr.Textbox(label="run_id"), gr.Number(label="at")]
    given += [generate.widget(name, None) for name in ORDER[2:]]
    outputs = [
        gr.File(label="pictures", file_count="multiple"),
        gr.Number(label="seed_used", precision=0),
        gr.Textbox(label="run_id"),
    ]
    gr.Button().click(shows_errors(_endpoint(app)), given, outputs, api_name="branch", **PUBLIC)


def _endpoint(app: App) -> Callable[..., Made]:
    """The function, its parameters named after `Settings`, described as those of /generate."""

    def branch(*values: Any) -> Made:  # noqa: ANN401 - whatever a program sent
        yield from _branch(app, dict(zip(ORDER, values, strict=True)))

    kind = Parameter.POSITIONAL_OR_KEYWORD
    parameters = [Parameter(name, kind) for name in ORDER[:2]]
    parameters += [Parameter(name, kind, default=None) for name in ORDER[2:]]
    # gradio takes the names of the parameters from it
    branch.__signature__ = Signature(parameters)  # type: ignore[attr-defined]
    said = generate.described()
    branch.__doc__ = DESCRIPTION.format("\n".join(f"    {name}: {said[name]}" for name in ORDER[2:-2]))
    return branch


def _branch(app: App, given: dict[str, Any]) -> Made:
    run_id, at = given.pop("run_id"), given.pop("at")
    init_image, mask = (given.pop(name) for name in ("init_image", "mask"))
    at = whole("at", at)
    engine = app.engine
    changed = {name: value for name, value in given.items() if value is not None}
    settings = Settings.from_dict({**engine.trace(run_id).settings.to_dict(), **changed})
    image, mask = (None if path is None else open_image(path) for path in (init_image, mask))
    owner = f"api {files.fresh_key()}"  # in no list
    new = engine.fork(run_id, at, settings, owner, init_image=image, mask=mask, visitor=visitor())
    try:
        for run in engine.follow(new):
            made = [] if run.trace is None else [str(path) for path in files.pictures(new, run.trace)]
            yield made, settings.seed, new
    finally:
        engine.stop(new)  # nothing, once the run is over; a client that left wants no picture


DESCRIPTION = """Take a run up at one of its steps, with something changed from there on.

Args:
    run_id: as /generate returned it.
    at: how many of its steps stay, 0 to all of them.
{}
    init_image: picture file of what the mask keeps; none is the run's own picture.
    mask: picture file; white is drawn anew from here on, black stays. What is left out stays as it was.

Returns:
    The pictures as PNG files that carry their settings, the seed, and the new run's id for /steps.
"""
