"""A picture to start from, and the part of it that is to be painted anew."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr
from PIL import Image

from ...images import open_image
from ...settings import FULL_STRENGTHS, Settings
from .. import pictures
from ..boxes import drop_box
from ..parts import part
from .widgets import Layout


@dataclass(frozen=True, eq=False)
class Start:
    """Where a run starts, besides noise.

    Attributes:
        file: the picture.
        paint: the picture as the run takes it, to be painted on; its value is `pictures.plate`'s.
        group: what holds them, closed at first.
    """

    file: gr.File
    paint: gr.HTML
    group: gr.Accordion

    def read(
        self, values: Mapping[Any, Any], settings: Settings
    ) -> tuple[Image.Image | None, Image.Image | None]:
        """The picture and the mask, the mask at the size of the run; None for what there is not.

        Raises:
            ImageError: one of them cannot be read.
        """
        path = values[self.file]
        if path is None:
            return None, None
        return open_image(path), pictures.painted(values[self.paint], settings.width, settings.height)


def group(layout: Layout) -> Start:
    """The picture, the brush and the strength."""
    with gr.Accordion("Start from a picture", open=False, elem_id="start") as accordion:
        file = drop_box("Picture", "start-picture")
        paint = part("paint")
        layout.slider("strength", "Strength", "How much of it is replaced: 0 none, 1 all.", step=0.01)
        layout.radio(
            "full_strength",
            FULL_STRENGTHS,
            "Strength 1 starts from",
            "The picture under the most noise, of which a trace is left, or the noise alone.",
        )
    return Start(file, paint, accordion)
