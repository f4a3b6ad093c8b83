"""The one door to the model: every piece of work passes here, one at a time.

A page starts a run, gets an id that nobody can guess, and follows it.  The run belongs to the engine, so a
page that is refreshed, closed or cancelled changes nothing about who has the device: one worker thread, which
is our own lock on it.  Followers sleep until there is something to show, at most ten times a second.  Knows
nothing about gradio.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from ..errors import LdmError
from ..generation import finish
from ..generation.start import Picture, fitted
from ..latent_diffusion import LatentDiffusion
from ..settings import Settings
from ..trace import Step, Trace
from .device import Device, keywords
from .draft import Draft, find_draft, required
from .records import LOCAL, Job, Limits, Run, Status, nothing
from .store import Store, size_of
from .weights import choose, open_model

__all__ = ["LOCAL", "Draft", "Engine", "Limits", "Run", "choose", "find_draft", "required"]

T = TypeVar("T")
SHOW_EVERY = (0.1, 0.5)  # seconds between two previews, least and most
PREVIEW_SHARE = 0.03  # of a run's time that previews take, between these two


class Engine:
    """Loads the model, owns the device, remembers the runs.

    Args:
        weights: the checkpoint; None takes the one that ships, or the first one found in `folder`.
        folder: None is `checkpoints.weights_folder()`.
        on_device: a decorator for the functions that touch the device: ZeroGPU's, or none.

    Attributes:
        model: what draws, and decodes what is shown.
        draft: draws in a few steps in its place, where that is asked for; None where it has none.

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
        self.limits = limits or Limits()
        self.model = open_model(weights, folder, device)
        self.draft = find_draft(self.model, weights, folder)
        self._device = Device(self.model, self.draft, on_device)
        self._changed = threading.Condition()  # guards everything below
        self._queue: deque[Job] = deque()
        self._running: Job | None = None
        self._store = Store(self.limits)
        self._decode_seconds = 0.0
        self._followers = 0
        self._closing = False
        self._worker = threading.Thread(target=self._serve, name="ldm-engine", daemon=True)
        self._worker.start()

    # what the pages call

    def start(
        self,
        settings: Settings,
        owner: str,
        init_image: Image.Image | None = None,
        *,
        mask: Image.Image | None = None,
        visitor: str | None = None,
        draft: bool = False,
    ) -> str:
        """Put a run in the queue; gives its id.

        Args:
            owner: whose sheet lists it; anything a browser or a program chose.
            init_image, mask: as `generate` takes them.
            visitor: whom `Limits.per_owner` counts, such as an address; None is the owner.
            draft: draw with the draft, which takes the settings of `Draft.fixed` and no others.

        Raises:
            SettingsError: the model or its draft cannot draw this, or it is too much work.
            LdmError: the queue is full, or the visitor has enough in it.
        """
        self.limits.check(settings)
        self._device.check(settings, draft)
        picture = fitted(settings, init_image, mask)  # what waits is as small as what is drawn
        visitor = owner if visitor is None else visitor
        there = picture is not None
        job = Job(owner, settings, lambda job: self._run(job, settings, picture), visitor, draft, there)
        self._submit(job)
        return job.id

    def follow(self, run_id: str) -> Iterator[Run]:
        """The run as it grows, at most ten times a second; the last one carries the trace.

        Raises:
            LdmError: there is no such run, it failed, or too many are watching.
        """
        with self._changed:
            return self._follow(self._store.find(run_id))

    def stop(self, run_id: str) -> None:
        """End a run after the step it is in, and keep what there is."""
        with self._changed:
            job = self._store.find(run_id)
            job.stopping = True
            if job in self._queue:
                self._queue.remove(job)
                self._end(job, "stopped")

    def trace(self, run_id: str) -> Trace:
        """What a run that is over came to.

        Raises:
            LdmError: there is no such run, or it has not come to anything.
        """
        with self._changed:
            result = self._store.find(run_id).result
        if not isinstance(result, Trace):
            raise LdmError("This run has no steps to show.")
        return result

    def runs(self, owner: str) -> list[Run]:
        """The runs of one owner, newest first."""
        with self._changed:
            return [self._snapshot(job) for job in self._store.of(owner)]

    def add(self, trace: Trace, owner: str) -> str:
        """Keep a run that was made elsewhere (a run file); gives its id."""
        draft = self.is_by_draft(trace.model_name)
        job = Job(owner, trace.settings, nothing, LOCAL, draft, trace.init_image is not None, result=trace)
        job.step, job.size = len(trace.steps), size_of(trace)
        job.end("done" if trace.finished else "stopped")
        with self._changed:
            self._store.add(job)
        return job.id

    def is_by_draft(self, model_name: str) -> bool:
        """Whether what bears this name (a trace, a picture) is the draft's and not the model's."""
        return self.draft is not None and self.draft.name == model_name

    def call(self, work: Callable[[LatentDiffusion], T], visitor: str, *, draft: bool = False) -> T:
        """`work(model)`, done by the worker when its turn comes; waits for it.

        Args:
            work: importable by name, or a `functools.partial` of what is: ZeroGPU runs it in another process.
            draft: give it the draft in place of the model.
        """
        job = Job(visitor, None, lambda _: self._device.perform(work, draft), visitor, draft)
        self._submit(job)
        with self._changed:
            self._changed.wait_for(lambda: job.over)
        if job.error is not None:
            raise job.error
        result: T = job.result
        return result

    def warm_up(self) -> None:
        """Draw once in the background, so that the first visitor does not wait for graphs to be traced."""
        recommended = asdict(self.model.config.recommended) | {"steps": 2}
        settings = Settings(prompt="a warm-up", **recommended)

        def work(_: Job) -> None:
            for made in self._device.draw(settings, None, False):
                if isinstance(made, Step):
                    self._device.preview(made.prediction.x0, draft=False)

        with self._changed:
            self._queue.append(Job("", None, work))
            self._changed.notify_all()

    def close(self) -> None:
        """Stop the run in progress after its step, refuse the others, and join the worker."""
        with self._changed:
            self._closing = True
            if self._running is not None:
                self._running.stopping = True
            while self._queue:
                job = self._queue.popleft()
                job.error = LdmError("The program is closing; this run was not made.")
                self._end(job, "failed")
            self._changed.notify_all()
        self._worker.join(timeout=60)

    # the queue

    def _submit(self, job: Job) -> None:
        with self._changed:
            if self._closing:
                raise LdmError("The program is closing and starts nothing new.")
            self.limits.admit(job, self._queue, self._running)
            self._queue.append(job)
            if job.settings is not None:
                self._store.add(job)
            self._changed.notify_all()

    def _follow(self, job: Job) -> Iterator[Run]:
        with self._changed:
            if self._followers >= self.limits.followers:
                raise LdmError(
                    f"{self._followers} visitors are watching runs already. Try again in a minute."
                )
            self._followers += 1
        try:
            yield from self._snapshots(job)
        finally:
            with self._changed:
                self._followers -= 1

    def _snapshots(self, job: Job) -> Iterator[Run]:
        seen = -1
        while True:
            with self._changed:
                while job.version == seen:
                    self._changed.wait()
                seen, run = job.version, self._snapshot(job)
            if job.error is not None:
                raise job.error
            yield run
            if run.over:
                return

    def _snapshot(self, job: Job) -> Run:
        ahead = self._queue.index(job) + (self._running is not None) if job in self._queue else 0
        return job.snapshot(ahead, self._decode_seconds)

    def _show(self, *jobs: Job) -> None:
        """Wake whoever follows one of `jobs`."""
        for job in jobs:
            job.version += 1
        self._changed.notify_all()

    def _end(self, job: Job, status: Status) -> None:
        job.end(status)
        self._show(job, *self._queue)  # who waits has moved up

    # the worker

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._queue or self._closing)
                if self._closing:
                    return
                job = self._running = self._queue.popleft()
                job.status, job.began = "running", time.monotonic()
                self._show(job, *self._queue)
            status = job.do()
            with self._changed:
                job.size, self._running = size_of(job.result), None
                self._end(job, status)
                self._store.forget()
            del job  # not until the next one comes

    def _run(self, job: Job, settings: Settings, picture: Picture | None) -> Trace:
        steps: list[Step] = []
        stepped, due = time.monotonic(), 0.0
        drawing = self._device.draw(settings, picture, job.draft)
        for made in drawing:
            if isinstance(made, Trace):
                self._decode_seconds = (time.monotonic() - stepped) / settings.batch_size
                return made
            stepped = time.monotonic()
            steps.append(made)
            job.step, job.first_step = len(steps), job.first_step or stepped
            if job.stopping:
                break
            if stepped >= due:
                began = time.monotonic()
                job.preview, job.decoder = self._device.preview(made.prediction.x0, job.draft)
                shown = time.monotonic()
                least, most = SHOW_EVERY
                due = shown + min(most, max(least, (shown - began) / PREVIEW_SHARE))
                with self._changed:
                    self._show(job)
        drawing.close()
        done, seconds = len(steps) == job.steps, time.monotonic() - job.began
        ends = partial(finish, settings=settings, steps=steps, seconds=seconds, finished=done)
        trace: Trace = self._device.perform(partial(ends, **keywords(picture)), job.draft)
        return trace
