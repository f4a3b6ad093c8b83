"""/inspect: what a file is, and whether it is whole and sound."""

from pathlib import Path
from typing import Any

import gradio as gr

from ...doctor import examine
from ...errors import SettingsError
from ..events import HEAVY, PUBLIC, shows_errors
from ..identities import plain, plain_report
from ..shared import App
from ..shelf import identified, named


def build(_: App) -> None:
    """Bind the endpoint."""
    given = [
        gr.File(label="file", type="filepath"),
        gr.Textbox(label="name"),
        gr.Checkbox(False, label="full"),
    ]

    def inspect(file: str | None = None, name: str | None = None, full: bool = False) -> dict[str, Any]:
        """What a file of weights is, why, and whether it loads, from names and shapes alone.

        Args:
            file: a file of weights; or none, and a name.
            name: of a file in weights/; for this computer's own user also a path or owner/name of the Hub.
            full: read every weight too: what is missing, NaN, zero; the file's hashes.

        Returns:
            The family, evidence, parts and refusal, and with full a report.
        """
        if not isinstance(full, bool):
            raise SettingsError(f"full must be true or false, got {full!r:.40}.")
        if (file is None) == (not name):
            raise SettingsError("Give either a file or a name.")
        path = named(name) if file is None else Path(file)
        told = plain(identified(path))
        return {**told, "report": plain_report(examine(path, weights=True)) if full else None}

    gr.Button().click(
        shows_errors(inspect), given, gr.JSON(label="identity"), api_name="inspect", **PUBLIC | HEAVY
    )
