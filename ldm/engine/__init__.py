"""The one door to the model: every piece of work passes here, one at a time.

A page starts a run, gets an id that nobody can guess, and follows it.  The run belongs to the engine, so a
page that is refreshed, closed or cancelled changes nothing about who has the device: one worker thread, which
is our own lock on it.  Followers sleep until there is something to show, at most ten times a second.  Knows
nothing about gradio.
"""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from ..errors import LdmError
from ..generation.shown import NEEDS
from ..latent_diffusion import LatentDiffusion
from ..settings import Settings
from ..trace import Step
from .device import Asked, Device
from .draft import Draft, find_draft, required
from .limits import LOCAL, Limits
from .opening import Opened, retire
from .records import Job, Run
from .runs import Runs
from .size import cost
from .weights import choose, open_model

__all__ = ["LOCAL", "Draft", "Engine", "Limits", "Opened", "Run", "choose", "find_draft", "required"]

WORDS = ("clip", "openclip", "sdxl", "bert", "none")  # kinds of condition that a few words do for

T = TypeVar("T")


class Engine(Runs):
    """Loads the model, owns the device, remembers the runs (`Runs`).

    Args:
        weights: the checkpoint; None takes the one that ships, or the first one found in `folder`.
        folder: None is `checkpoints.weights_folder()`.
        on_device: a decorator for the functions that touch the device: ZeroGPU's, or none.

    Attributes:
        model: what draws, and decodes what is shown.
        draft: draws in a few steps in its place, where that is asked for; None where it has none.
        opened: the file that the model is from.

    Raises:
        CheckpointError: no checkpoint, or not one this program can read; or its draft is damaged.
        LdmError: there is no such device.
    """

    def __init__(
        self,
        weights: Path | None = None,
        folder: Path | None = None,
        device: str | None = None,
        *,
        limits: Limits | None = None,
        on_device: Callable[[Any], Any] | None = None,
    ) -> None:
        self._device_name, self._lent, self._folder = device, on_device is not None, folder
        self.opened = Opened(weights or choose(folder))
        self.model = open_model(weights, folder, device)
        self.draft = find_draft(self.model, weights, folder)
        made = Device(self.model, self.draft, on_device)
        made.use(self.model, self.draft, self.opened.key)
        super().__init__(made, limits or Limits())

    def cost(self, settings: Settings, from_picture: bool = False) -> int:
        """Bytes that the trace of a run with these settings will take.

        Raises:
            SettingsError: the model cannot draw this.
        """
        self._device.check(settings, False)
        return cost(self.model, settings, from_picture)

    def call(self, work: Callable[[LatentDiffusion], T], visitor: str, *, draft: bool = False) -> T:
        """`work(model)`, done by the worker when its turn comes; waits for it.

        Args:
            work: importable by name, or a `functools.partial` of what is: ZeroGPU runs it in another process.
            draft: give it the draft in place of the model.
        """
        job = Job(visitor, None, lambda _: self._device.perform(work, draft), visitor, draft)
        self._worker.submit(job)
        self._worker.wait(job)
        if job.error is not None:
            raise job.error
        result: T = job.result
        return result

    def may_switch(self, visitor: str = LOCAL) -> bool:
        """Whether a visitor may open another model."""
        welcome = visitor == LOCAL or self.limits.guests
        return self.limits.switching and not self._lent and welcome

    def open(self, wanted: Opened, visitor: str = LOCAL) -> None:
        """Draw with another model from now on, for everybody; waits for its turn.

        The model in use stays until the other one is whole.  Runs of the old one keep their steps and their
        pictures; those that were waiting or paused go on only when it is opened again.

        Raises:
            LdmError: this machine keeps its model, or the other cannot be opened; nothing is changed then.
        """
        if not self.may_switch(visitor):
            raise LdmError(f"This server keeps {self.model.name}; start your own to open another model.")

        def work(_: Job) -> None:
            self._exchange(wanted)

        job = Job(visitor, None, work, visitor)
        self._worker.submit(job)
        self._worker.wait(job)
        if job.error is not None:
            raise job.error

    def _exchange(self, wanted: Opened) -> None:
        model = open_model(wanted.path, self._folder, self._device_name, wanted)
        draft = find_draft(model, wanted.path)
        old = (self.model, *(() if self.draft is None else (self.draft.held,)))
        self.model, self.draft, self.opened = model, draft, wanted
        self._device.use(model, draft, wanted.key)
        retire(old)

    def warm_up(self) -> None:
        """Draw once in the background, so that the first visitor does not wait for graphs to be traced."""
        recommended = asdict(self.model.config.recommended) | {"steps": 2}
        settings = Settings(prompt="a warm-up", **recommended)
        if self.model.config.picture in NEEDS or self.model.config.text.kind not in WORDS:
            return  # it needs more than a few words

        def work(_: Job) -> None:
            for made in self._device.draw(Asked(settings)):
                if isinstance(made, Step):
                    self._device.preview(made.prediction.x0, draft=False)

        self._worker.put(Job("", None, work))

    def close(self) -> None:
        """Stop the run in progress after its step, refuse the others, join the worker, remove its files."""
        self._worker.close()
        self._store.close()
