"""/page: a run as one HTML file."""

import gradio as gr

from ...player import Look
from .. import files
from ..events import HEAVY, PUBLIC, shows_errors, whole
from ..scrubber import write_page
from ..shared import App


def build(app: App) -> None:
    """Bind the endpoint."""
    given = [gr.Textbox(label="run_id"), gr.Number(0, label="picture")]

    def page(run_id: str, picture: float = 0) -> str:
        """A run as a web page in one file, which opens without this program and without a network.

        Args:
            run_id: as /generate returned it.
            picture: which one of the batch, from 0.

        Returns:
            The HTML file.
        """
        picture = whole("picture", picture)
        trace, model = app.engine.trace(run_id), app.engine.model
        path = files.folder(f"{run_id} page {picture}") / f"{files.stem(trace)}.html"
        write_page(model, trace, path, model.quick_decode, Look(picture, decoder=model.quick_decoder))
        return str(path)

    gr.Button().click(shows_errors(page), given, gr.File(label="page"), api_name="page", **PUBLIC | HEAVY)
