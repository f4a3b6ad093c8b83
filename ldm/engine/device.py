"""What draws and decodes.  The engine's worker calls it, so never two things are done at a time."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any, Self, TypeVar

import torch
from PIL import Image
from torch import Tensor

from ..errors import LdmError
from ..generation import check, finish, generate, kept_picture, resume, way_on
from ..generation.forks import check_fork
from ..generation.shown import Picture
from ..generation.start import steps_of
from ..images import to_images
from ..latent_diffusion import LatentDiffusion
from ..settings import Settings
from ..trace import Step, Trace
from .draft import Draft, required

ANOTHER = (
    "This run was begun with other weights that are called {} too, or with these in another way; "
    "open them again on the tab Model to go on."
)
OTHER = "This run was begun with {}, and {} is open now. Open that one again on the tab Model to go on."

T = TypeVar("T")
Decorator = Callable[[Any], Any]
Drawing = Generator[Step | Trace, None, None]


@dataclass(frozen=True, eq=False)
class Asked:
    """What is to be drawn: a run from its start, or the rest of one from the steps there are.

    Attributes:
        settings: of the steps to come.
        picture: what it starts from or keeps a part of besides noise, at its size.
        draft: by the draft of the model.
        base: a run with the first steps; None starts anew.
        at: how many of them.
        anew: `picture` was given for the steps to come, and is not the one of `base`.
        parent: (run id, step) of the run that it was taken from.
        sigmas: the noise levels to walk down, where the settings alone do not tell them.
        seconds: what the first steps took, where they are its own.
        model: the name of the one it was asked of; empty asks whichever is open.
        key: `Opened.key` of it; empty where that is not known.
    """

    settings: Settings
    picture: Picture | None = None
    draft: bool = False
    base: Trace | None = None
    at: int = 0
    anew: bool = False
    parent: tuple[str, int] | None = None
    sigmas: tuple[float, ...] | None = None
    seconds: float = 0.0
    model: str = ""
    key: str = ""

    @classmethod
    def rest_of(cls, trace: Trace, draft: bool, key: str = "") -> Self:
        """The steps that are left of a run that was paused."""
        picture = (
            None if trace.init_image is None else Picture(trace.init_image, trace.mask, trace.only_shown)
        )
        at, (parent, sigmas, seconds) = len(trace.steps), (trace.parent, trace.sigmas, trace.seconds)
        name = trace.model_name
        return cls(trace.settings, picture, draft, trace, at, False, parent, sigmas, seconds, name, key)

    @property
    def first(self) -> tuple[Step, ...]:
        """The steps there are."""
        return () if self.base is None else self.base.steps[: self.at]

    @property
    def steps(self) -> int:
        """How many steps the run has in the end."""
        if self.sigmas is None:
            return steps_of(self.settings, self.from_picture)
        return sum(
            low <= high for high, low in pairwise(self.sigmas)
        )  # a rise is no step, but the end of one

    @property
    def from_picture(self) -> bool:
        """Whether it starts from a picture, which is not only shown to the network."""
        return self.picture is not None and not self.picture.only_shown

    @property
    def left(self) -> int:
        """How many are to be made."""
        return max(0, self.steps - self.at)

    def drawn_by(self, model: LatentDiffusion) -> Iterator[Step]:
        """The steps that are left."""
        if self.base is None:
            return generate(model, self.settings, **keywords(self.picture))
        given = keywords(self.picture) if self.anew else {}
        return resume(model, self.base, self.at, self.settings, **given)


def bound(
    model: LatentDiffusion,
    asked: Asked,
    steps: Sequence[Step],
    seconds: float,
    finished: bool,
    decode: bool = True,
) -> Trace:
    """The trace of a run whose steps these are, the first ones included.

    Args:
        seconds: the time since it was taken up.
        decode: False makes no pictures, and needs no device.
    """
    sigmas = None if asked.sigmas is None else torch.tensor(asked.sigmas, dtype=torch.float64)
    told = {"sigmas": sigmas, "decode": decode, **keywords(asked.picture)}
    return finish(model, asked.settings, steps, asked.seconds + seconds, finished, asked.parent, **told)


class Device:
    """The model and its draft, and the two functions that touch the device.

    Args:
        on_device: decorates the two functions, as ZeroGPU asks; it runs them in another process, where
            nothing that is opened stays open, so the draft is opened at once.

    Attributes:
        draw: draw(asked) yields the steps that are left, then the trace.
        perform: perform(work, draft) gives work(model).
        key: `Opened.key` of the model.
    """

    def __init__(self, model: LatentDiffusion, draft: Draft | None, on_device: Decorator | None) -> None:
        self._model, self._draft, self.key = model, draft, ""
        self.draw: Callable[[Asked], Drawing]
        self.perform: Callable[[Callable[[LatentDiffusion], Any], bool], Any]
        if on_device is None:
            self.draw, self.perform = self._draw_on_device, self._perform_on_device
        else:
            self.draw, self.perform = on_device(self._draw_on_device), on_device(self._perform_on_device)
            if draft is not None:
                draft.open()

    def use(self, model: LatentDiffusion, draft: Draft | None, key: str) -> None:
        """Draw with these from now on; called while nothing is drawn."""
        self._model, self._draft, self.key = model, draft, key

    def asked(self, asked: Asked) -> LatentDiffusion:
        """The model that is to draw it.

        Raises:
            LdmError: it was asked of another one.
        """
        if asked.draft and self._draft is None and asked.model:
            raise LdmError(OTHER.format(asked.model, self._model.name))
        model = self.model(asked.draft)
        if asked.model and asked.model != model.name:
            raise LdmError(OTHER.format(asked.model, model.name))
        if asked.key and asked.key != self.key:
            raise LdmError(ANOTHER.format(model.name))
        return model

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

    def is_by_draft(self, model_name: str) -> bool:
        """Whether what bears this name is the draft's and not the model's."""
        return self._draft is not None and self._draft.name == model_name

    def forked(
        self,
        base: Trace,
        parent: tuple[str, int],
        settings: Settings,
        draft: bool,
        init_image: Image.Image | None,
        mask: Image.Image | None,
    ) -> Asked:
        """Another run from the first steps of `base`.

        Args:
            parent: the run it is of, and how many steps.
            init_image, mask: as `resume` takes them.

        Raises:
            SettingsError: the run cannot be taken up there with these settings and pictures.
        """
        at = parent[1]
        self.check(settings, draft)
        model = self.model(draft)
        check_fork(model, base, at, settings)
        picture = kept_picture(base, settings, init_image, mask)
        sigmas = tuple(way_on(model, base, at, settings).tolist())
        anew = init_image is not None or mask is not None
        return Asked(settings, picture, draft, base, at, anew, parent, sigmas, model=model.name, key=self.key)

    def so_far(self, asked: Asked, steps: Sequence[Step], seconds: float) -> Trace:
        """The trace of a run that is not over, without pictures; needs no device, so anybody may ask."""
        return bound(self.model(asked.draft), asked, steps, seconds, finished=False, decode=False)

    def decoded(self, asked: Asked, steps: Sequence[Step], seconds: float, finished: bool) -> Trace:
        """The trace of a run that ends here, with its pictures."""
        self.asked(asked)
        light = replace(asked, base=None)  # its steps are among `steps`, and all may have to travel
        work = partial(bound, asked=light, steps=tuple(steps), seconds=seconds, finished=finished)
        trace: Trace = self.perform(work, asked.draft)
        return trace

    @torch.no_grad()
    def preview(self, latents: Tensor, draft: bool) -> tuple[tuple[Image.Image, ...], str]:
        """Small pictures of (B, C, H, W) latents by the quick decoder, and which one that is."""
        model = self.model(draft)
        return tuple(to_images(model.quick_decode(latents))), model.quick_decoder

    def _draw_on_device(self, asked: Asked) -> Drawing:
        """One generator for both, since ZeroGPU lends the device to a generator."""
        model, began, steps = self.asked(asked), time.perf_counter(), [*asked.first]
        for step in asked.drawn_by(model):
            steps.append(step)
            yield step
        yield bound(model, asked, steps, time.perf_counter() - began, finished=True)

    def _perform_on_device(self, work: Callable[[LatentDiffusion], T], draft: bool) -> T:
        return work(self.model(draft))


def keywords(picture: Picture | None) -> dict[str, Any]:
    """What `generate`, `resume` and `finish` are told of the picture."""
    return {} if picture is None else {"init_image": picture.image, "mask": picture.mask}
