"""What can be kept of a run, and opening a run that was kept."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from .... import export, player, run_file
from ....latent_diffusion import FULL_DECODER
from ....trace import Trace
from ....views.predictions import LANES, Decode
from ....writing import write_file
from ... import files
from ...boxes import drop_box
from ...events import HEAVY, PRIVATE, owner_of, shows_errors
from ...scrubber import Shown, write_page
from .bench import Bench, Updates
from .decoding import check_fits

TITLE = "Keep"
SAID = "Side by side in an animation, a folder each in the archive. The web page and the run file have all."


def build(bench: Bench) -> None:
    """Lay out the buttons and wire them."""
    keep, heavy = Keep(bench), PRIVATE | HEAVY
    lanes = gr.Dropdown(
        [(title, name) for name, (title, _) in LANES.items()],
        value=["x0"],
        multiselect=True,
        label="Lanes",
        info=SAID,
        elem_id="save-lanes",
    )
    with gr.Row(elem_id="steps-save"):
        gr.HTML("Save as", elem_id="save-as")
        for name, words, action, there in (
            ("gif", "GIF", keep.export_gif, True),
            ("webp", "WebP", keep.export_webp, True),
            ("mp4", "MP4", keep.export_mp4, export.has_encoder()),
            ("zip", "Frames (zip)", keep.export_zip, True),
            ("page", "Web page", keep.export_page, True),
            ("run", "Run file", keep.export_run, True),
        ):
            button = gr.Button(
                words, elem_id=f"save-{name}", size="md", min_width=100, scale=0, visible=there
            )
            button.click(shows_errors(action), [bench.shown, lanes], bench.app.saver, **heavy)
    opened = drop_box("Open a run file", "open-run", [".safetensors"])
    inputs = [opened, *bench.inputs, bench.app.owner]
    opened.upload(shows_errors(keep.open_run), inputs, bench.outputs, **heavy)


class Keep:
    """What the buttons do."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.app = bench, bench.app
        self.export_gif = partial(self._animation, "gif")
        self.export_webp = partial(self._animation, "webp")
        self.export_mp4 = partial(self._animation, "mp4")

    def open_run(
        self, path: str, before: Shown | None, other: Shown | None, picture: int, exact: bool, token: object
    ) -> Iterator[Updates]:
        """A run file, as if the run had just been made."""
        trace = run_file.load(path)
        self.app.engine.limits.check(trace.settings)
        check_fits(self.app.engine.model, trace)
        run_id = self.app.engine.add(trace, owner_of(token))
        yield from self.bench.show(run_id, before, other, picture, exact)

    def export_zip(self, shown: Shown | None, lanes: list[str]) -> dict[str, Any]:
        """Frames, tensors and settings."""
        shown, trace = self._shown(shown)
        decode, _ = self._decoder(shown)
        path = _path(shown, trace, "zip", lanes)
        export.archive(files.handed_out(trace), path, decode, lanes, shown.picture)
        return self.app.save(path)

    def export_page(self, shown: Shown | None, lanes: object = None) -> dict[str, Any]:
        """The player with the run inside, as one HTML file."""
        shown, trace = self._shown(shown)
        decode, words = self._decoder(shown)
        path = _path(shown, trace, "html")
        write_page(self.app.engine.model, trace, path, decode, player.Look(shown.picture, decoder=words))
        return self.app.save(path)

    def export_run(self, shown: Shown | None, lanes: object = None) -> dict[str, Any]:
        """The run as a file that can be opened here again."""
        shown, trace = self._shown(shown)
        path = _path(shown, trace, "safetensors")
        run_file.save(files.handed_out(trace), path)
        return self.app.save(path)

    def _animation(self, kind: str, shown: Shown | None, lanes: list[str]) -> dict[str, Any]:
        """Lanes, step by step."""
        shown, trace = self._shown(shown)
        decode, _ = self._decoder(shown)
        path = _path(shown, trace, kind, lanes)
        images = list(export.frames(trace, lanes, decode, shown.picture))
        write_file(path, [export.ANIMATIONS[kind](images, export.MS)])
        return self.app.save(path)

    def _decoder(self, shown: Shown) -> tuple[Decode, str]:
        """What draws it, as the player is told to, and its name."""
        model = self.app.engine.model
        return (
            (self.bench.decoder(), FULL_DECODER) if shown.exact else (model.quick_decode, model.quick_decoder)
        )

    def _shown(self, shown: Shown | None) -> tuple[Shown, Trace]:
        if shown is None:
            raise gr.Error("There is no run to keep yet.", title="", print_exception=False)
        return shown, self.app.engine.trace(shown.run_id)


def _path(shown: Shown, trace: Trace, suffix: str, lanes: list[str] | None = None) -> Path:
    """Where a file goes: in a folder of its own for each way of showing a run, so that none is mixed up."""
    key = f"{shown} {lanes or ''}"
    words = files.stem(trace).rpartition("-seed")[0]
    seed = player.seed_of(trace.settings, shown.picture).replace(" + ", "-")
    return files.folder(key) / f"{words}-seed{seed}.{suffix}"
