"""What the whole tab shares: the player, what it shows, and how a run gets there."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import gradio as gr
from torch import Tensor

from ....errors import LdmError, SettingsError
from ....latent_diffusion import LatentDiffusion
from ....trace import Trace
from ....views.predictions import Decode
from ...events import HEAVY, PRIVATE, shows_errors, visitor
from ...scrubber import Packs, Shown, build_player
from ...shared import App

Updates = dict[Any, Any]


@dataclass(frozen=True, eq=False)
class Bench:
    """The player and what belongs to it.

    Attributes:
        shown: a State, the `Shown` in the player; None before the first run.
        other: a State, the `Shown` that it is compared with; None without one.
        packs: runs as the player takes them.
    """

    app: App
    player: gr.HTML
    shown: gr.State
    other: gr.State
    picture: gr.Dropdown
    exact: gr.Checkbox
    packs: Packs

    @property
    def inputs(self) -> list[Any]:
        """What `show` is given after the run's id."""
        return [self.shown, self.other, self.picture, self.exact]

    @property
    def outputs(self) -> list[Any]:
        """What showing a run changes."""
        return [self.player, self.shown, self.other, self.picture, self.app.run]

    def show(
        self,
        run_id: str | None,
        before: Shown | None,
        other: Shown | None,
        picture: int,
        exact: bool,
    ) -> Iterator[Updates]:
        """A run in the player, unless it is there already: the first lanes at once, then everything.

        Args:
            before: what is there now.
            other: what it is compared with; given up where that cannot be compared with this run.
        """
        if run_id is None:
            return
        same = before is not None and before.run_id == run_id
        trace = self.app.engine.trace(run_id)
        shown = Shown(run_id, len(trace.steps), int(picture or 0) if same else 0, exact is True)
        if shown == before:
            return
        if not trace.steps and not trace.images:
            raise LdmError("This run has no steps to show.")
        check_fits(self.app, trace)
        count = trace.settings.batch_size
        choices = [(str(i + 1), i) for i in range(count)]
        updates: Updates = {
            self.shown: shown,
            self.app.run: run_id,
            self.picture: gr.update(choices=choices, value=shown.picture, visible=count > 1),
        }
        beside = self.beside(other, trace)
        if beside is None:
            updates[self.other] = None
        for pack in self.packs.show(shown, trace):
            yield {**updates, self.player: {"run": pack, "other": beside}}
            updates = {}

    def beside(self, other: Shown | None, trace: Trace) -> dict[str, Any] | None:
        """The pack of a run to compare `trace` with; None without one, or of another size."""
        if other is None:
            return None
        try:
            second = self.app.engine.trace(other.run_id)
        except LdmError:
            return None
        sizes = [(t.settings.width, t.settings.height) for t in (trace, second)]
        if sizes[0] != sizes[1] or not (trace.steps and second.steps):
            return None
        *_, pack = self.packs.show(other, second)
        return pack

    def decoder(self) -> Decode:
        """The autoencoder, a few latents at a time through the queue: others get their turn between."""
        asks = visitor()

        def decode(latents: Tensor) -> Tensor:
            return self.app.engine.call(partial(decode_latents, latents=latents), asks)

        return decode


def build_bench(app: App) -> Bench:
    """Lay out the player and what chooses what it shows."""
    shown, other = gr.State(None), gr.State(None)
    view = build_player()
    with gr.Row(elem_id="steps-asks"):
        picture = gr.Dropdown(
            [("1", 0)],
            value=0,
            label="Picture",
            visible=False,
            filterable=False,
            elem_id="steps-picture",
            scale=0,
            min_width=110,
        )
        exact = gr.Checkbox(
            False,
            label="Decode every step with the autoencoder",
            info="Sharper than the quick preview, and as slow as decoding that many pictures.",
            elem_id="steps-exact",
        )
    made: list[Bench] = []
    packs = Packs(app.engine, lambda: made[0].decoder())
    made.append(Bench(app, view, shown, other, picture, exact, packs))
    return made[0]


def wire_bench(bench: Bench, tab: gr.Tab) -> None:
    """Which event shows what."""
    show, heavy = shows_errors(bench.show), PRIVATE | HEAVY
    inputs = [bench.app.run, *bench.inputs]
    tab.select(show, inputs, bench.outputs, **heavy)
    for ask in (bench.picture, bench.exact):
        ask.input(show, inputs, bench.outputs, trigger_mode="always_last", **heavy)


def decode_latents(model: LatentDiffusion, latents: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, 3, h, w) on the CPU, as the engine calls it."""
    return model.autoencoder_decode(latents).float().cpu()


def check_fits(app: App, trace: Trace) -> None:
    """Refuse a run of a model with other latents: this one cannot decode them.

    Raises:
        SettingsError: names both models and their channels.
    """
    model = app.engine.model
    channels = trace.steps[0].x.shape[1] if trace.steps else model.latent_channels
    if channels != model.latent_channels:
        raise SettingsError(
            f"This run was made by {trace.model_name} with {channels} latent channels; "
            f"{model.name} has {model.latent_channels} and cannot decode it."
        )
