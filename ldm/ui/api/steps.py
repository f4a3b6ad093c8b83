"""/steps: what happened on the way of a run."""

from dataclasses import replace

import gradio as gr

from ... import run_file
from ...views.predictions import lane
from .. import files
from ..events import HEAVY, PUBLIC, shows_errors
from ..shared import App

MAX_FRAMES = 250  # pictures that /steps hands out


def build(app: App) -> None:
    """Bind the endpoint."""
    asked = gr.Textbox(label="run_id")
    outputs = [gr.File(label="run_file"), gr.File(label="frames", file_count="multiple")]

    def steps(run_id: str) -> tuple[str, list[str]]:
        """Every step of a run.

        Args:
            run_id: as /generate returned it.

        Returns:
            The run file (.safetensors), and the predicted picture x0 of each step as PNG files
            (of more than 250 steps: of 250 at most, evenly apart, the last one always).
        """
        trace = app.engine.trace(run_id)
        path = files.folder(run_id) / f"{files.stem(trace)}.safetensors"
        run_file.save(files.handed_out(trace), path)
        return str(path), _frames(app, run_id)

    gr.Button().click(shows_errors(steps), asked, outputs, api_name="steps", **PUBLIC | HEAVY)


def _frames(app: App, run_id: str) -> list[str]:
    """The predicted pictures of a run as files: of at most MAX_FRAMES steps, the last one always."""
    trace = app.engine.trace(run_id)
    paths = []
    apart = -(-len(trace.steps) // MAX_FRAMES)
    # one at a time: a long run of large pictures fits in no memory
    for i in list(range(len(trace.steps) - 1, -1, -apart or -1))[::-1]:
        [image] = lane(replace(trace, steps=(trace.steps[i],)), "x0", app.engine.model.quick_decode)
        path = files.folder(run_id) / f"x0-{i:04d}.png"
        files.save_png(image, path)
        paths.append(str(path))
    return paths
