"""The file that is looked at: the widgets that show it, and what all that is done with it has in common."""

from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gradio as gr

from ....checkpoints import Identity
from ....checkpoints.first_stage import read_config
from ....errors import CheckpointError, LdmError
from ... import first_stages
from ...events import session, visitor
from ...identities import LOADS, OPEN, REFUSED, VERDICTS, card, row, verdict_of
from ...parts import part
from ...server import MAX_UPLOAD
from ...shared import App
from ...shelf import identified, shelf, state_of

MOST_PAGES = 4096
AVERAGED, RAW = "averaged", "raw"
SUITS = "what suits"
OWN_ALONE = [("Its own", first_stages.OWN)]
DTYPES = (SUITS, "float32", "bfloat16", "float16")
Updates = dict[Any, Any]


@dataclass(frozen=True, eq=False)
class Desk:
    """The widgets of the tab that are about one file.

    Attributes:
        chosen: its path, as this program found it; nothing that a page sends gets in there.
        problems: of files that look like a model and are none, by `state_of` them.
        newest: of each open page the file it looks at, so that an answer about another one comes too late.
    """

    app: App
    shelf: gr.HTML
    drop: gr.File
    name: gr.Textbox
    look: gr.Button
    card: gr.HTML
    ema: gr.Radio
    stage: gr.Dropdown
    dtype: gr.Radio
    go: gr.Button
    status: gr.HTML
    exam: gr.HTML
    full: gr.Button
    chosen: gr.State
    newest: OrderedDict[str, str] = field(default_factory=OrderedDict)
    problems: dict[tuple[object, ...], str] = field(default_factory=dict)

    def problem(self, path: Path) -> str:
        """What a closer look found that keeps a file from loading; empty where nobody looked yet."""
        return self.problems.get(state_of(path), "")

    @property
    def options(self) -> list[Any]:
        """How to open it."""
        return [self.ema, self.stage, self.dtype]

    @property
    def outputs(self) -> list[Any]:
        """What looking at another file changes."""
        return [self.shelf, self.card, *self.options, self.go, self.status, self.exam, self.full, self.chosen]

    @property
    def opened(self) -> Path:
        """The file of the model that is open."""
        return self.app.engine.opened.path

    def put(self, path: Path) -> Updates:
        """Look at a file from now on."""
        self.newest[session()] = str(path)
        while len(self.newest) > MOST_PAGES:
            self.newest.popitem(last=False)
        identity = identified(path)
        return {
            self.shelf: self.listed(path),
            self.card: card(path, self.opened, self.problem(path)),
            self.status: {"state": "idle", "said": self.kept()},
            self.exam: {"state": "none"},
            self.full: gr.update(interactive=True),
            self.chosen: str(path),
            **self.offered(identity),
        }

    def is_newest(self, path: Path) -> bool:
        """Whether the page that asks still looks at it."""
        return self.newest.get(session(), str(path)) == str(path)

    def listed(self, chosen: Path | None) -> list[dict[str, Any]]:
        """What the weights folder has."""
        there = shelf().items()
        rows = [row(name, path, self.opened, chosen, self.problem(path)) for name, path in there]
        return sorted(rows, key=lambda one: VERDICTS.index(one["verdict"]))

    def kept(self) -> str:
        """Why nothing can be opened; empty where it can."""
        return "" if self.may_switch() else f"This server keeps {self.app.engine.model.name}."

    def may_switch(self) -> bool:
        """Whether who is asking may open another model."""
        return self.app.engine.may_switch(visitor())

    def offered(self, identity: Identity) -> Updates:
        """How this file can be opened."""
        model = self.app.engine.model
        verdict = verdict_of(identity, self.opened)
        whole = verdict in (OPEN, LOADS)
        stage = identity.family == "first_stage"
        stages = self.fitting(identity) if whole else OWN_ALONE
        label = "Open it again" if verdict == OPEN else "Open it"
        able = (whole or (stage and self.replaces(identity.path))) and self.may_switch()
        return {
            self.ema: gr.update(visible=whole and identity.ema, value=AVERAGED),
            self.stage: gr.update(visible=len(stages) > 1, choices=stages, value=first_stages.OWN),
            self.dtype: gr.update(visible=whole and able, value=SUITS),
            self.go: gr.update(
                value=f"Use it in {model.name}" if stage else label,
                interactive=able,
                visible=verdict != REFUSED,
            ),
        }

    def fitting(self, identity: Identity) -> list[tuple[str, str]]:
        """(label, name) of the first stages whose latents are those of a model."""
        found = list(OWN_ALONE)
        if identity.config is None:
            return found
        own = identity.config.autoencoder
        for label, name in first_stages.choices(self.app.engine.model.name):
            path = None if name == first_stages.OWN else first_stages.path_of(name)
            if path is not None and _fits(path, own.embed_dim, own.downsampling_factor):
                found.append((label, name))
        return found

    def replaces(self, path: Path) -> bool:
        """Whether a first stage has the latents of the model that is open."""
        model = self.app.engine.model
        return _fits(path, model.latent_channels, model.downsampling_factor)


def _fits(path: Path, channels: int, factor: int) -> bool:
    try:
        sizes = read_config(path).autoencoder
    except CheckpointError:
        return False
    return (sizes.embed_dim, sizes.downsampling_factor) == (channels, factor)


def path_of(chosen: object) -> Path:
    """The file that is looked at.

    Raises:
        LdmError: there is none, or it was swept away meanwhile.
    """
    if not isinstance(chosen, str) or not chosen:
        raise LdmError("Choose a file first.")
    path = Path(chosen)
    if not path.exists():
        raise LdmError(f"{path.name} is not there any more.")
    return path


def build_desk(app: App) -> Desk:
    """Lay out what is about one file."""
    with gr.Row(elem_id="model-desk"):
        with gr.Column(elem_id="model-there"):
            listed = part("shelf", [])
            drop = gr.File(
                label=f"Drop a file, up to {MAX_UPLOAD.upper()}",
                file_count="multiple",
                type="filepath",
                height=96,
                elem_id="model-drop",
                elem_classes="ld-drop",
            )
            with gr.Row(elem_id="model-name-row", elem_classes="ld-seed"):
                name = gr.Textbox(
                    label="Path or Hub repository",
                    placeholder="owner/name",
                    max_lines=1,
                    elem_id="model-name",
                    visible=False,
                )
                look = gr.Button("Look", size="md", elem_id="model-look", visible=False)
        with gr.Column(elem_id="model-file"):
            shown = part("card", None, also=("bar",))
            ema, stage, dtype = _options()
            with gr.Row(elem_classes="ld-go"):
                go = gr.Button("Open it", variant="primary", elem_id="model-open", interactive=False)
                full = gr.Button("Read all weights", elem_id="model-full", interactive=False)
            status = part("opening", None)
            exam = part("exam", None)
            chosen = gr.State(None)
    return Desk(app, listed, drop, name, look, shown, ema, stage, dtype, go, status, exam, full, chosen)


def _options() -> tuple[gr.Radio, gr.Dropdown, gr.Radio]:
    with gr.Row(elem_id="model-options"):
        ema = gr.Radio(
            [("averaged (EMA)", AVERAGED), ("raw", RAW)],
            value=AVERAGED,
            label="Weights",
            info="The file has both; the averaged ones draw better.",
            visible=False,
            elem_id="model-ema",
        )
        stage = gr.Dropdown(
            OWN_ALONE,
            value=first_stages.OWN,
            label="First stage",
            info="Another one with the same latents.",
            visible=False,
            elem_id="model-stage",
        )
        dtype = gr.Radio(
            list(DTYPES),
            value=SUITS,
            label="Numbers",
            info="Halves take half the memory.",
            visible=False,
            elem_id="model-dtype",
        )
    return ema, stage, dtype
