"""What happens while somebody chooses: what is shown beside what, what a choice is, what comes of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr

from ...diffusion.samplers import DEFAULT_ETA
from ...errors import LdmError
from ...latent_diffusion import LatentDiffusion
from ..events import HEAVY, PRIVATE, shows_errors
from .levels import TOLD_BY, levels_value, steps_of_list
from .record import Controls, Updates, merged
from .rules import OWN_ORDER

CHOICES = ("sampler", "spacing", "cfg_method", "cfg_schedule", "noise", "variation_strength", "strength")
"""Fields on which depends what is shown."""
QUIET: dict[str, Any] = {**PRIVATE, "preprocess": False, "trigger_mode": "always_last", "queue": False}
"""For events of choosing: they take the widgets as they are, so that what is typed half is not refused."""


@dataclass(frozen=True, eq=False)
class Choosing:
    """What the page answers to choices."""

    asks: Controls
    model: LatentDiffusion

    def on_choice(self, values: Mapping[Any, Any]) -> Updates:
        """Show what means something now."""
        return self.asks.fit(self.asks.held(values), self.asks.has_picture(values))

    def on_sampler(self, values: Mapping[Any, Any]) -> Updates:
        """The same, with this sampler's own share of noise and order."""
        of, sampler = self.asks.of, str(values[self.asks.of["sampler"]])
        own = {of["eta"]: {"value": DEFAULT_ETA.get(sampler, 0.0)}, of["order"]: {"value": OWN_ORDER}}
        return merged(self.on_choice(values), own)

    def on_levels(self, values: Mapping[Any, Any]) -> dict[str, Any]:
        """What the network is told; never an error, since it is asked at every key."""
        return levels_value(
            self.model, self.asks.held(values), self.asks.has_picture(values), self.asks.fixed
        )

    def on_picture(self, values: Mapping[Any, Any]) -> Iterator[Updates]:
        """What was put where the picture goes, or taken away; what is no picture does not stay there."""
        asks = self.asks
        try:
            yield asks.take(values, values[asks.start.file])
        except LdmError:
            yield {**asks.take(values, None), asks.start.file: None}
            raise

    def on_size(self, values: Mapping[Any, Any]) -> dict[str, Any]:
        """The same picture cut to another size, with what was painted."""
        start, of = self.asks.start, self.asks.of
        given, size = values[start.file], [values[of[name]] for name in ("width", "height")]
        path = str(given["path"]) if isinstance(given, dict) else None
        try:
            plate = start.resized(path, values[start.paint], *size)
        except LdmError:  # the size is typed half; that the file is no picture was said
            plate = None
        return gr.skip() if plate is None else plate

    def on_small(self, width: object, height: object) -> str:
        """How large the picture is read that is to be enlarged."""
        return self.asks.start.said({"width": width, "height": height})


def wire(asks: Controls, model: LatentDiffusion) -> None:
    """Which event calls what."""
    of, file, paint, choosing = asks.of, asks.start.file, asks.start.paint, Choosing(asks, model)
    chosen = {*(of[name] for name in CHOICES), file}
    of["sampler"].input(choosing.on_sampler, chosen, asks.outputs, **QUIET)
    others = [of[name].input for name in CHOICES if name != "sampler"]
    gr.on(others, choosing.on_choice, chosen, asks.outputs, **QUIET)
    told_by = [of[name] for name in TOLD_BY] + [file]
    # a closed group is not there and hears of no change, so it asks when it opens
    heard = [asks.levels.group.expand, *(widget.change for widget in told_by)]
    gr.on(heard, choosing.on_levels, {*chosen, *told_by}, asks.levels.display, **QUIET)
    # `input` is not told of everything that is pasted
    of["sigmas"].change(steps_of_list, of["sigmas"], of["steps"], **QUIET)
    sizes = {of["width"], of["height"]}
    picked = shows_errors(choosing.on_picture)
    held = {*chosen, *sizes} | ({paint} if asks.start.numbered else set())
    gr.on([file.upload, file.clear], picked, held, asks.outputs, **PRIVATE | HEAVY)
    resized = [of[name].change for name in ("width", "height")]
    gr.on(resized, choosing.on_size, {file, paint, *sizes}, paint, **QUIET | HEAVY | {"queue": True})
    if asks.start.note is not None:
        gr.on(resized, choosing.on_small, [of["width"], of["height"]], asks.start.note, **QUIET)
