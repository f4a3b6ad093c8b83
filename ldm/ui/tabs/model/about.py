"""The model that is open: what it is, what its network predicts, its shapes, and what can be added to it."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr

from ....doctor import Row, ledger, totals
from ....errors import LdmError
from ....models.config import ModelConfig
from ....settings import LIMITS
from ...additions import additions
from ...behaviour import asked
from ...events import HEAVY, PRIVATE, shows_errors, visitor, whole
from ...identities import upper
from ...parts import part
from ...shared import App
from ...shelf import identified

Updates = dict[Any, Any]


@dataclass(frozen=True, eq=False)
class About:
    """The widgets that are about the model that is open."""

    app: App
    top: gr.HTML
    ask: gr.Button
    behaviour: gr.HTML
    width: gr.Number
    height: gr.Number
    walk: gr.Button
    ledger: gr.HTML
    measure: gr.Button
    additions: gr.HTML

    def opened(self) -> Updates:
        """What is open, and the LoRAs and words that there are for it."""
        return {self.top: opened(self.app), self.additions: additions(self.app.engine.model)}

    def predicts(self) -> dict[str, Any]:
        """What its network predicts, by asking it."""
        return self.app.engine.call(asked, visitor())

    def shapes(self, width: float, height: float) -> dict[str, Any]:
        """Every block with the shapes of a picture of that size."""
        sides = whole("width", width), whole("height", height)
        return walked(self.app.engine.model.config, *sides)

    def measured(self) -> dict[str, Any]:
        """How strong each LoRA is in each block."""
        return self.app.engine.call(partial(additions, measure=True), visitor())


def build_top() -> gr.HTML:
    """Lay out what is open, above all else."""
    return part("opened", None, also=("bar",))


def build(app: App, top: gr.HTML) -> About:
    """Lay out what is about the model that is open."""
    best = app.engine.model.config.recommended
    with gr.Tabs(elem_id="model-tools"):
        with gr.Tab("What it predicts"):
            ask = gr.Button("Ask the network", elem_id="model-ask", size="md")
            behaviour = part("behaviour", None)
        with gr.Tab("Shapes"):
            with gr.Row(elem_classes="ld-tool"):
                width = gr.Number(best.width, label="Width", precision=0, elem_id="ledger-width")
                height = gr.Number(best.height, label="Height", precision=0, elem_id="ledger-height")
                walk = gr.Button("Show the shapes", elem_id="model-walk")
            table = part("ledger", None)
        with gr.Tab("LoRAs and words"):
            found = part("additions", None)
            measure = gr.Button("Measure how strong they are", elem_id="model-measure", size="md")
    return About(app, top, ask, behaviour, width, height, walk, table, measure, found)


def wire(page: About, tab: gr.Tab) -> None:
    """Which event calls what."""
    tab.select(shows_errors(page.opened), None, [page.top, page.additions], **PRIVATE)
    page.ask.click(shows_errors(page.predicts), None, page.behaviour, **PRIVATE)
    page.walk.click(shows_errors(page.shapes), [page.width, page.height], page.ledger, **PRIVATE | HEAVY)
    page.measure.click(shows_errors(page.measured), None, page.additions, **PRIVATE)


def opened(app: App) -> dict[str, Any]:
    """What is open, as JSON for the page."""
    engine = app.engine
    model, asked_for = engine.model, engine.opened
    parts = {
        "U-Net": model.model.diffusion_model,
        "first stage": model.first_stage_model,
        "conditioner": model.cond_stage_model,
    }
    known = identified(asked_for.path) if asked_for.path.exists() else None
    averaged = known is not None and known.ema
    return {
        "name": model.name,
        "title": "" if known is None else upper(known.title),
        "facts": [
            ["Device", str(model.device)],
            ["Numbers", str(model.dtype).removeprefix("torch.")],
            *([["Weights", "raw" if asked_for.ema is False else "averaged (EMA)"]] if averaged else []),
            ["File", asked_for.path.name],
            *([] if asked_for.vae is None else [["First stage", asked_for.vae.name]]),
            ["Predicts", model.prediction_type],
        ],
        "parts": [
            {"name": name, "numbers": sum(weight.numel() for weight in net.parameters())}
            for name, net in parts.items()
        ],
    }


def walked(config: ModelConfig, width: int, height: int) -> dict[str, Any]:
    """The shape ledger, as JSON for the page.

    Raises:
        SettingsError: the size is none for this model, or too large.
    """
    for name, side in (("width", width), ("height", height)):
        least, most = LIMITS.get(name, (1, 4096))
        if not least <= side <= most:
            raise LdmError(f"{name} must be between {least:g} and {most:g}, got {side}.")
    rows = ledger(config, width, height)
    return {
        "size": f"{width} x {height}",
        "parts": [
            {"name": name, "numbers": count, "rows": [_row(row) for row in rows if row.part == name]}
            for name, count in totals(rows).items()
        ],
    }


def _row(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "kind": row.kind,
        "in": _size(row.shape_in),
        "out": _size(row.shape_out),
        "numbers": row.parameters,
        "queries": "" if row.queries is None else f"{row.queries[0]:,} of {row.queries[1]}",
    }


def _size(shape: tuple[int, ...] | None) -> str:
    """Height, width, channels: 32 x 32 x 4."""
    if shape is None:
        return ""
    return " x ".join(map(str, (*shape[1:], shape[0]) if len(shape) == 3 else shape))
