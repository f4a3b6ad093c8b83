"""What can be kept of a run, and opening a run that was kept."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import gradio as gr
from PIL import Image

from .... import player, run_file
from ....trace import Trace
from ....views.layout import gif
from ....views.predictions import check_step
from ....writing import write_file
from ... import files
from ...events import HEAVY, PRIVATE, owner_of, shows_errors
from ...scrubber import Shown
from .bench import Bench, Updates, check_fits

TITLE = "Keep"
GIF_MS = 120
GIF_FRAMES = 150
GIF_AREA = 512 * 512


def build(bench: Bench) -> None:
    """Lay out the buttons and wire them."""
    with gr.Row(elem_classes="ld-go", elem_id="steps-save"):
        save_gif = gr.Button("Save as GIF", elem_id="save-gif", size="md", min_width=140)
        save_run = gr.Button("Save the run", elem_id="save-run", size="md", min_width=140)
    opened = gr.File(
        label="Open a run file",
        file_types=[".safetensors"],
        type="filepath",
        height=96,
        elem_id="open-run",
        elem_classes="ld-drop",
    )
    keep, heavy = Keep(bench), PRIVATE | HEAVY
    save_gif.click(shows_errors(keep.export_gif), bench.shown, bench.app.saver, **heavy)
    save_run.click(shows_errors(keep.export_run), bench.shown, bench.app.saver, **heavy)
    inputs = [opened, *bench.inputs, bench.app.owner]
    opened.upload(shows_errors(keep.open_run), inputs, bench.outputs, **heavy)


class Keep:
    """What the buttons do."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.app = bench, bench.app

    def open_run(
        self, path: str, before: Shown | None, other: Shown | None, picture: int, exact: bool, token: object
    ) -> Iterator[Updates]:
        """A run file, as if the run had just been made."""
        trace = run_file.load(path)
        self.app.engine.limits.check(trace.settings)
        check_fits(self.app, trace)
        run_id = self.app.engine.add(trace, owner_of(token))
        yield from self.bench.show(run_id, before, other, picture, exact)

    def export_gif(self, shown: Shown | None) -> dict[str, Any]:
        """The predicted picture, step by step."""
        shown, trace = self._shown(shown)
        check_step(trace, 0)
        path = files.folder(shown.run_id) / f"{files.stem(trace)}.gif"
        write_file(path, [gif(self.frames(trace, shown), GIF_MS)])
        return self.app.save(path)

    def frames(self, trace: Trace, shown: Shown) -> list[Image.Image]:
        """x0 at each step, at most GIF_FRAMES of them, the last one always."""
        apart = -(-len(trace.steps) // GIF_FRAMES)
        some = replace(trace, steps=trace.steps[::-1][::apart][::-1])
        decode = self.bench.decoder() if shown.exact else self.app.engine.model.quick_decode
        return player.frames(some, "x0", decode, player.fitted(trace, GIF_AREA), shown.picture)

    def export_run(self, shown: Shown | None) -> dict[str, Any]:
        """The run as a file that can be opened here again."""
        shown, trace = self._shown(shown)
        path = files.folder(shown.run_id) / f"{files.stem(trace)}.safetensors"
        run_file.save(trace, path)
        return self.app.save(path)

    def _shown(self, shown: Shown | None) -> tuple[Shown, Trace]:
        if shown is None:
            raise gr.Error("There is no run to keep yet.", title="", print_exception=False)
        return shown, self.app.engine.trace(shown.run_id)
