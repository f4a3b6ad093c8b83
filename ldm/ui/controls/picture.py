"""A picture: to start from, with the part of it that is to be painted anew, or for the model to look at."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr
from PIL import Image

from ...errors import SettingsError
from ...generation.shown import INDEXED, NEEDS, ONLY_SHOWN
from ...images import open_image
from ...latent_diffusion import LatentDiffusion
from ...settings import FULL_STRENGTHS, Settings
from .. import pictures
from ..boxes import drop_box
from ..names import names_drop
from ..parts import part
from .widgets import Layout

SMALL = ("low_resolution", "upscale")
"""Kinds whose picture is as small as the latents."""
TITLES = {
    "low_resolution": "Small picture to enlarge",
    "upscale": "Small picture to enlarge",
    "inpaint_signed": "Picture with something to paint anew",
    "palette": "Picture of class numbers",
    "study_mask": "Picture of class numbers",
}
NO_HOLE = "{} paints part of a picture anew: give it a picture, and paint over that part of it."


@dataclass(frozen=True, eq=False)
class Start:
    """Where a run starts, besides noise, or what its network looks at.

    Attributes:
        file: the picture.
        paint: the picture as the run takes it, to be painted on; its value is `plate`'s.
        group: what holds them, closed at first if it is an accordion.
        note: says how large the picture is read; None where it is as large as the run's.
    """

    model: LatentDiffusion
    file: gr.File
    paint: gr.HTML
    group: gr.Accordion | gr.Column
    note: gr.Markdown | None = None

    @property
    def kind(self) -> str | None:
        """As `ModelConfig.picture`."""
        return self.model.config.picture

    @property
    def numbered(self) -> bool:
        """Whether it is one of class numbers."""
        return self.kind in INDEXED

    @property
    def needed(self) -> bool:
        """Whether the model draws nothing without it."""
        return self.kind in NEEDS or is_needed(self.model)

    @property
    def opened(self) -> dict[str, Any]:
        """An update that opens what holds them."""
        made: dict[str, Any] = gr.update(open=True) if isinstance(self.group, gr.Accordion) else gr.update()
        return made

    def read(
        self, values: Mapping[Any, Any], settings: Settings
    ) -> tuple[Image.Image | None, Image.Image | None]:
        """The picture and the mask, the mask at the size of the run; None for what there is not.

        Raises:
            ImageError: one of them cannot be read.
            SettingsError: this model needs both, and one is not there.
        """
        path, plate, size = values[self.file], values[self.paint], (settings.width, settings.height)
        if self.numbered:
            made = pictures.painted_numbers(plate, *size)
            return made if made is not None or path is None else pictures.numbers(path), None
        image = None if path is None else open_image(path)
        mask = None if image is None or self.kind in SMALL else pictures.painted(plate, *size)
        if self.kind == "inpaint_signed" and mask is None:
            raise SettingsError(NO_HOLE.format(self.model.name))
        return image, mask

    def laid_out(self, path: str, width: Any, height: Any) -> dict[str, Any]:  # noqa: ANN401 - as a page sent them
        """A picture file as a plate for a run of that size.

        Raises:
            ImageError: the file is no picture, or none of class numbers.
            SettingsError: there are no runs of that size.
        """
        if self.numbered:
            return self.plate(pictures.fitted_numbers(pictures.numbers(path), width, height))
        if self.kind in SMALL:
            return self.plate(pictures.small(path, width, height, self.model.downsampling_factor))
        return self.plate(pictures.opened(path, width, height))

    def plate(self, image: Image.Image, mask: Image.Image | None = None) -> dict[str, Any]:
        """What the page shows and paints on.

        Args:
            image: as the run takes it.
        """
        if self.numbered:
            return pictures.numbers_plate(image, self.classes)
        if self.kind in SMALL:
            said = f"The model reads it like this, at {image.width} x {image.height} pixels."
            return pictures.plate(image) | {"only": said}
        return pictures.plate(image, mask)

    def empty(self, width: Any, height: Any) -> dict[str, Any] | None:  # noqa: ANN401
        """The plate without a picture: a blank one where class numbers are painted.

        Raises:
            SettingsError: there are no runs of that size.
        """
        if not self.numbered:
            return None
        return pictures.numbers_plate(pictures.blank(width, height), self.classes) | {"numbers": None}

    def resized(self, path: str | None, plate: object, width: Any, height: Any) -> dict[str, Any] | None:  # noqa: ANN401
        """The same picture cut to another size, with what was painted; None where there is none.

        Raises:
            LdmError: as `laid_out`.
        """
        if self.numbered:
            held = pictures.painted_numbers(plate, width, height)
            if held is not None:
                return self.plate(held) | {"own": True} | names_of(plate)
            made = self.empty(width, height) if path is None else self.laid_out(path, width, height)
            return (made or {}) | names_of(plate)
        if path is None:
            return None
        if self.kind in SMALL:
            return self.laid_out(path, width, height)
        image = pictures.opened(path, width, height)
        return self.plate(image, pictures.painted(plate, *image.size))

    @property
    def classes(self) -> int:
        """How many class numbers the model knows, of those that are pictures of them."""
        channels = getattr(self.model.config.unet, "mask_channels", None)
        if self.kind == "study_mask" and channels:
            return int(channels) + 1  # 0 is nothing
        return int(getattr(self.model.config.text, "rescaler_channels", 0) or 1)

    def said(self, given: Mapping[str, Any]) -> str:
        """The line under the place for the picture: how large it is read."""
        f = self.model.downsampling_factor
        sides = [side for side in (given.get("width"), given.get("height")) if isinstance(side, int | float)]
        if len(sides) < 2 or min(sides) < f:
            return ""
        small = " x ".join(f"{side / f:.0f}" for side in sides)
        return f"Of any size; it is read at {small} pixels and drawn {f} times as large."


def is_needed(model: LatentDiffusion) -> bool:
    """Whether the picture belongs above the button: the model draws nothing without it."""
    return model.config.picture in (*ONLY_SHOWN, "inpaint_signed")


def names_of(plate: object) -> dict[str, Any]:
    """The names of classes that a plate has."""
    names = plate.get("names") if isinstance(plate, dict) else None
    return {"names": names} if isinstance(names, dict) else {}


def place(model: LatentDiffusion) -> Start:
    """The picture of a model that draws nothing without one."""
    best, kind = model.config.recommended, str(model.config.picture)
    with gr.Column(elem_id="start", elem_classes="ld-picture") as column:
        file = drop_box(TITLES[kind], "start-picture")
        note = gr.Markdown("", elem_classes="ld-note", elem_id="start-note") if kind in SMALL else None
        paint = part("palette" if kind in INDEXED else "paint", elem_id="ld-paint")
        start = Start(model, file, paint, column, note)
        paint.value = start.empty(best.width, best.height)
        if note is not None:
            note.value = start.said({"width": best.width, "height": best.height})
        if start.numbered:
            names_drop(start.classes, paint, _renamed)
    return start


def _renamed(names: dict[int, str], plate: object) -> dict[str, Any]:
    """The plate with other names."""
    return {**(plate if isinstance(plate, dict) else {}), "names": {str(k): v for k, v in names.items()}}


def group(layout: Layout, model: LatentDiffusion, start: Start | None) -> Start:
    """The picture, the brush and the strength; `start` where the picture is laid out already."""
    if start is not None:
        with gr.Row(elem_classes="ld-pair"):  # not there while what it holds is hidden
            _strength(layout)
        return start
    needed = model.config.picture in NEEDS
    with gr.Accordion("Start from a picture", open=needed, elem_id="start") as accordion:
        file = drop_box("Picture", "start-picture")
        paint = part("paint")
        _strength(layout)
    return Start(model, file, paint, accordion)


def _strength(layout: Layout) -> None:
    layout.slider("strength", "Strength", "How much of it is replaced: 0 none, 1 all.", step=0.01)
    layout.radio(
        "full_strength",
        FULL_STRENGTHS,
        "Strength 1 starts from",
        "The picture under the most noise, of which a trace is left, or the noise alone.",
    )
