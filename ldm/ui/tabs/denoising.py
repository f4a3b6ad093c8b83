"""Denoising steps: a run, step by step, at the speed of the eye."""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import gradio as gr
from PIL import Image
from torch import Tensor

from ... import run_file
from ...errors import LdmError, SettingsError
from ...latent_diffusion import FULL_DECODER, LatentDiffusion
from ...trace import Trace
from ...views.layout import gif
from ...views.predictions import LANES, Decode, check_step
from ...writing import write_file
from .. import files
from ..events import HEAVY, PRIVATE, owner_of, shows_errors, visitor
from ..scrubber import DEFAULT_LANES, build_scrubber, fitted, frames, scrubber_value
from ..shared import App

TITLE = "Denoising steps"
ID = "denoising"
GIF_MS = 120
GIF_FRAMES = 150
GIF_AREA = 512 * 512
Updates = dict[Any, Any]


@dataclass(frozen=True)
class Look:
    """What the scrubber shows.

    Attributes:
        exact: decoded by the autoencoder.
    """

    run_id: str
    lanes: tuple[str, ...]
    picture: int
    exact: bool


@dataclass(frozen=True, eq=False)
class Page:
    """The widgets of this tab, and what happens to them.

    Attributes:
        shown: the `Look` that the scrubber shows.
    """

    app: App
    scrubber: gr.HTML
    lanes: gr.Dropdown
    picture: gr.Dropdown
    exact: gr.Checkbox
    save_gif: gr.Button
    save_run: gr.Button
    opened: gr.File
    shown: gr.State

    @property
    def asks(self) -> list[Any]:
        """How to show a run."""
        return [self.shown, self.lanes, self.picture, self.exact]

    @property
    def outputs(self) -> list[Any]:
        """What showing a run changes."""
        return [self.scrubber, self.shown, self.picture, self.save_gif, self.save_run]

    def show(
        self,
        run_id: str | None,
        before: Look | None,
        lanes: list[str],
        picture: int,
        exact: bool,
    ) -> Updates:
        """The run in the tray, unless it is on show already."""
        if run_id is None:
            return {}
        same = before is not None and before.run_id == run_id
        look = Look(run_id, tuple(lanes or DEFAULT_LANES), int(picture or 0) if same else 0, exact is True)
        if look == before:
            return {}
        trace = self.app.engine.trace(run_id)
        if not trace.steps and not trace.images:
            raise LdmError("This run has no steps to show.")
        check_fits(self.app, trace)
        decode = self.decoder(look)
        count = trace.settings.batch_size
        choices = [(str(i + 1), i) for i in range(count)]
        decoder = FULL_DECODER if look.exact else self.app.engine.model.quick_decoder
        value = scrubber_value(run_id, trace, look.lanes, decode, decoder, look.picture)
        return {
            self.scrubber: value,
            self.shown: look,
            self.picture: gr.update(choices=choices, value=look.picture, visible=count > 1),
            self.save_gif: gr.update(interactive=bool(trace.steps)),
            self.save_run: gr.update(interactive=True),
        }

    def open_run(
        self, path: str, before: Look | None, lanes: list[str], picture: int, exact: bool, token: object
    ) -> Updates:
        """A run file, as if the run had just been made."""
        trace = run_file.load(path)
        self.app.engine.limits.check(trace.settings)
        check_fits(self.app, trace)
        run_id = self.app.engine.add(trace, owner_of(token))
        return {self.app.run: run_id, **self.show(run_id, before, lanes, picture, exact)}

    def decoder(self, look: Look) -> Decode:
        """Latents to pictures, the quick way or by the autoencoder."""
        if not look.exact:
            return self.app.engine.model.quick_decode

        asks = visitor()

        def decode(latents: Tensor) -> Tensor:
            # a few at a time through the queue, so that others get their turn between
            return self.app.engine.call(partial(decode_latents, latents=latents), asks)

        return decode

    def export_gif(self, look: Look) -> dict[str, Any]:
        """The predicted picture, step by step."""
        trace = self.app.engine.trace(look.run_id)
        check_step(trace, 0)
        path = files.folder(look.run_id) / f"{files.stem(trace)}.gif"
        write_file(path, [gif(self.frames(trace, look), GIF_MS)])
        return self.app.save(path)

    def frames(self, trace: Trace, look: Look) -> list[Image.Image]:
        """x0 at each step, at most GIF_FRAMES of them, the last one always."""
        apart = -(-len(trace.steps) // GIF_FRAMES)
        some = replace(trace, steps=trace.steps[::-1][::apart][::-1])
        return frames(some, "x0", self.decoder(look), fitted(trace, GIF_AREA), look.picture)

    def export_run(self, look: Look) -> dict[str, Any]:
        """The run as a file that can be opened here again."""
        trace = self.app.engine.trace(look.run_id)
        path = files.folder(look.run_id) / f"{files.stem(trace)}.safetensors"
        run_file.save(trace, path)
        return self.app.save(path)


def build(app: App) -> None:
    """Lay out the tab and wire it."""
    with gr.Tab(TITLE, id=ID) as tab:
        shown = gr.State(None)
        scrubber = build_scrubber()
        with gr.Row(elem_id="steps-asks"):
            lanes = gr.Dropdown(
                [(f"{name}: {LANES[name][0]}", name) for name in LANES],
                value=list(DEFAULT_LANES),
                multiselect=True,
                label="Lanes",
                elem_id="lanes",
                scale=3,
            )
            picture = gr.Dropdown(
                [("1", 0)],
                value=0,
                label="Picture",
                visible=False,
                filterable=False,
                elem_id="steps-picture",
                scale=1,
                min_width=110,
            )
        exact = gr.Checkbox(
            False,
            label="Decode every step with the autoencoder",
            info="Sharper than the quick preview, and as slow as decoding that many pictures.",
            elem_id="steps-exact",
        )
        with gr.Row(elem_classes="ld-go", elem_id="steps-save"):
            save_gif = gr.Button(
                "Save as GIF", elem_id="save-gif", size="md", interactive=False, min_width=140
            )
            save_run = gr.Button(
                "Save the run", elem_id="save-run", size="md", interactive=False, min_width=140
            )
        opened = gr.File(
            label="Open a run file",
            file_types=[".safetensors"],
            type="filepath",
            height=96,
            elem_id="open-run",
            elem_classes="ld-drop",
        )
    wire(Page(app, scrubber, lanes, picture, exact, save_gif, save_run, opened, shown), tab)


def wire(page: Page, tab: gr.Tab) -> None:
    """Which event calls what."""
    app, show = page.app, shows_errors(page.show)
    heavy = PRIVATE | HEAVY
    tab.select(show, [app.run, *page.asks], page.outputs, **heavy)
    for ask in (page.lanes, page.picture, page.exact):
        ask.input(show, [app.run, *page.asks], page.outputs, trigger_mode="always_last", **heavy)
    page.opened.upload(
        shows_errors(page.open_run), [page.opened, *page.asks, app.owner], [app.run, *page.outputs], **heavy
    )
    page.save_gif.click(shows_errors(page.export_gif), page.shown, app.saver, **heavy)
    page.save_run.click(shows_errors(page.export_run), page.shown, app.saver, **heavy)


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
