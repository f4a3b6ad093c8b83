"""What draws and decodes.  The engine's worker calls it, so never two things are done at a time."""

import time
from collections.abc import Callable, Generator
from typing import Any, TypeVar

import torch
from PIL import Image
from torch import Tensor

from ..generation import check, finish, generate
from ..generation.start import Picture
from ..images import to_images
from ..latent_diffusion import LatentDiffusion
from ..settings import Settings
from ..trace import Step, Trace
from .draft import Draft, required

T = TypeVar("T")
Decorator = Callable[[Any], Any]
Drawing = Generator[Step | Trace, None, None]


class Device:
    """The model and its draft, and the two functions that touch the device.

    Args:
        on_device: decorates the two functions, as ZeroGPU asks; it runs them in another process, where
            nothing that is opened stays open, so the draft is opened at once.

    Attributes:
        draw: draw(settings, picture, draft) yields the steps, then the trace.
        perform: perform(work, draft) gives work(model).
    """

    def __init__(self, model: LatentDiffusion, draft: Draft | None, on_device: Decorator | None) -> None:
        self._model, self._draft = model, draft
        self.draw: Callable[[Settings, Picture | None, bool], Drawing]
        self.perform: Callable[[Callable[[LatentDiffusion], Any], bool], Any]
        if on_device is None:
            self.draw, self.perform = self._draw_on_device, self._perform_on_device
        else:
            self.draw, self.perform = on_device(self._draw_on_device), on_device(self._perform_on_device)
            if draft is not None:
                draft.open()

    def model(self, draft: bool) -> LatentDiffusion:
        """The model, or its draft.

        Raises:
            SettingsError: there is no draft.
        """
        return required(self._draft, self._model).open() if draft else self._model

    def check(self, settings: Settings, draft: bool) -> None:
        """Refuse what cannot be drawn, before it waits.

        Raises:
            SettingsError: there is no draft, or says what is allowed.
        """
        check(self._model, settings)
        if draft:
            required(self._draft, self._model).check(settings)

    @torch.no_grad()
    def preview(self, latents: Tensor, draft: bool) -> tuple[tuple[Image.Image, ...], str]:
        """Small pictures of (B, C, H, W) latents by the quick decoder, and which one that is."""
        model = self.model(draft)
        return tuple(to_images(model.quick_decode(latents))), model.quick_decoder

    def _draw_on_device(self, settings: Settings, picture: Picture | None, draft: bool) -> Drawing:
        """One generator for both, since ZeroGPU lends the device to a generator."""
        model, given = self.model(draft), keywords(picture)
        began, steps = time.perf_counter(), []
        for step in generate(model, settings, **given):
            steps.append(step)
            yield step
        yield finish(model, settings, steps, time.perf_counter() - began, **given)

    def _perform_on_device(self, work: Callable[[LatentDiffusion], T], draft: bool) -> T:
        return work(self.model(draft))


def keywords(picture: Picture | None) -> dict[str, Any]:
    """What `generate` and `finish` are told of the picture that a run starts from."""
    return {} if picture is None else {"init_image": picture.image, "mask": picture.mask}
