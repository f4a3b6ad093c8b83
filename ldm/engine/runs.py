"""Runs by their id: started, forked, paused, taken up, stopped, followed, kept.

A run can be paused after any step.  It leaves the device to others and keeps its steps; to go on it takes a
new turn, which starts from them and makes the same bits.  A fork is the same with another run's first steps.
Who has the id may follow, pause, stop and fork a run; naming and deleting it are its owner's.
"""

import time
from collections.abc import Callable, Iterator
from contextvars import copy_context
from dataclasses import replace
from threading import Condition
from typing import TypeVar

from PIL import Image

from ..errors import LdmError
from ..generation.start import fitted
from ..settings import Settings
from ..trace import Trace
from .device import Asked, Device
from .limits import LOCAL, Limits, check_count, cleaned
from .records import Frames, Job, Run, nothing
from .store import Store
from .turn import Turn
from .worker import Worker

T = TypeVar("T")


class Runs:
    """The runs of everybody.

    Attributes:
        limits: what this machine is willing to do.
    """

    def __init__(self, device: Device, limits: Limits) -> None:
        self.limits = limits
        self._device = device
        self._lock = Condition()  # guards the runs and the queue
        self._store = Store(limits, self._lock)
        self._worker = Worker(limits, self._lock, self._store.make_room)
        self._worker.thread.start()

    def start(  # noqa: PLR0913 - what to draw, for whom, how far
        self,
        settings: Settings,
        owner: str,
        init_image: Image.Image | None = None,
        *,
        mask: Image.Image | None = None,
        visitor: str | None = None,
        draft: bool = False,
        until: int | None = None,
        group: str = "",
    ) -> str:
        """Put a run in the queue; gives its id.

        Args:
            owner: whose sheet lists it; anything a browser or a program chose.
            init_image, mask: as `generate` takes them.
            visitor: whom `Limits.per_owner` counts, such as an address; None is the owner.
            draft: draw with the draft, which takes the settings of `Draft.fixed` and no others.
            until: pause after that many steps; None draws to the end.
            group: runs of the same group belong together.

        Raises:
            SettingsError: the model or its draft cannot draw this, or it is too much work.
            LdmError: the queue is full, or the visitor has enough in it.
        """
        check_count("until", until, 1)
        self.limits.check(settings)
        self._device.check(settings, draft)
        model = self._device.model(draft)
        picture = fitted(settings, init_image, mask, model)  # what waits is as small as what is drawn
        return self._begin(
            Asked(settings, picture, draft, model=model.name, key=self._device.key),
            owner,
            visitor,
            until,
            group,
        )

    def fork(  # noqa: PLR0913 - from where, what to draw, for whom, how far
        self,
        run_id: str,
        at: int,
        settings: Settings,
        owner: str,
        *,
        init_image: Image.Image | None = None,
        mask: Image.Image | None = None,
        visitor: str | None = None,
        until: int | None = None,
        group: str = "",
    ) -> str:
        """Put another run in the queue that has the first steps of this one; gives its id.

        Args:
            run_id: also of a run that waits, runs or is paused, from the steps it has.
            at: how many of its steps, as `resume` takes it.
            settings: of the steps to come.
            init_image, mask: as `resume` takes them.
            until: pause after that many steps, those of the other run among them.

        Raises:
            SettingsError: the run cannot be taken up there like this, or it is too much work.
            LdmError: there is no such run, the queue is full, or the visitor has enough in it.
        """
        self.limits.check(settings)
        base, draft, frames = self._use(run_id, lambda job: (self._trace(job), job.draft, job.frames))
        asked = self._device.forked(base, (run_id, at), settings, draft, init_image, mask)
        check_count("until", until, at + 1)
        shown = tuple(frame for frame in frames if frame[0] <= at)
        return self._begin(asked, owner, visitor, until, group, shown)

    def pause(self, run_id: str) -> None:
        """Let a run rest after the step it is in; `go_on` takes it up.  One without steps to make goes on."""
        with self._lock:
            job = self._store.find(run_id)
            if job.resting or not job.steps or job.stopping:
                return
            job.pausing = True
            if self._worker.withdraw(job):
                if job.made and job.asked is not None:
                    job.result = self._device.so_far(job.asked, job.made, 0.0)
                self._worker.rest(job, "paused")

    def go_on(self, run_id: str, steps: int | None = None, *, visitor: str | None = None) -> None:
        """Put a paused run in the queue again.  One that is to be paused, and is not yet, goes on.

        Args:
            steps: pause again after so many more.
            visitor: as in `start`; None is who started it.

        Raises:
            SettingsError: steps is no number of steps.
            LdmError: there is no such run, it is over, the queue is full, or the visitor has enough in it.
        """
        check_count("steps", steps, 1)
        self._use(run_id, lambda job: self._go_on(job, steps, visitor))

    def stop(self, run_id: str) -> None:
        """End a run after the step it is in, and keep what there is."""
        with self._lock:
            over = self._store.find(run_id).over
        if not over:
            self._use(run_id, self._stop)

    def rename(self, run_id: str, name: str, owner: str) -> None:
        """Call a run something; an empty name is none.

        Raises:
            SettingsError: the name is too long.
            LdmError: there is no such run, or it is somebody else's.
        """
        line = cleaned("name", name)
        with self._lock:
            job = self._own(run_id, owner)
            job.name = line
            self._worker.show(job)

    def delete(self, run_id: str, owner: str) -> None:
        """Forget a run, and stop it where it is not over.  What was forked from it is whole without it.

        Raises:
            LdmError: there is no such run, or it is somebody else's.
        """
        with self._lock:
            job = self._own(run_id, owner)
            self._store.drop(job)
            job.gone = job.stopping = True
            if self._worker.withdraw(job):
                self._worker.rest(job, "stopped")

    def follow(self, run_id: str) -> Iterator[Run]:
        """The run as it grows, at most ten times a second, until it rests; the last one carries the trace.

        Raises:
            LdmError: there is no such run, it failed, or too many are watching.
        """
        return self._whole(self._use(run_id, self._worker.follow))

    def trace(self, run_id: str) -> Trace:
        """What a run came to; of one that is not over the steps so far, without pictures.

        Raises:
            LdmError: there is no such run, or it has not come to anything.
        """
        return self._use(run_id, self._trace)

    def runs(self, owner: str) -> list[Run]:
        """The runs of one owner, newest first."""
        with self._lock:
            return [self._worker.snapshot(job) for job in self._store.of(owner)]

    def add(self, trace: Trace, owner: str) -> str:
        """Keep a run that was made elsewhere (a run file); gives its id."""
        asked = Asked.rest_of(trace, self.is_by_draft(trace.model_name))
        job = self._job(asked, owner, LOCAL)
        job.result = trace
        job.rest("done" if trace.finished else "stopped")
        with self._lock:
            self._store.add(job)
        self._store.make_room()
        return job.id

    def is_by_draft(self, model_name: str) -> bool:
        """Whether what bears this name (a trace, a picture) is the draft's and not the model's."""
        return self._device.is_by_draft(model_name)

    # inside; what takes a job holds the lock

    def _whole(self, seen: Iterator[Run]) -> Iterator[Run]:
        """A run that went to the disk before its follower came to look at it, with its steps again."""
        for run in seen:
            lost = run.resting and run.trace is not None and run.step and not run.trace.steps
            yield replace(run, trace=self.trace(run.id)) if lost else run

    def _use(self, run_id: str, action: Callable[[Job], T]) -> T:
        """`action` on a run, its trace in memory; read back from the disk while no lock is held."""
        done: list[T] = []
        while not done:
            with self._lock:
                job = self._store.find(run_id)
                if not job.spilled:
                    return action(job)
            self._store.bring_back(job, lambda job: done.append(action(job)))
        return done[0]

    def _own(self, run_id: str, owner: str) -> Job:
        job = self._store.find(run_id)
        if job.owner != owner:
            raise LdmError("This run is somebody else's.")
        return job

    def _job(self, asked: Asked, owner: str, visitor: str | None) -> Job:
        """A run that was not begun, with the steps there are."""
        visitor = owner if visitor is None else visitor
        job = Job(owner, asked.settings, nothing, visitor, asked.draft, asked, asked.from_picture)
        job.steps, job.made, job.step, job.parent = asked.steps, [*asked.first], asked.at, asked.parent
        job.key = asked.key
        return job

    def _begin(
        self,
        asked: Asked,
        owner: str,
        visitor: str | None,
        until: int | None,
        group: str,
        frames: Frames = (),
    ) -> str:
        job = self._job(asked, owner, visitor)
        job.work, job.until, job.group, job.frames = self._draw, until, cleaned("group", group), frames
        with self._lock:
            self._worker.submit(job)
            self._store.add(job)
        return job.id

    def _draw(self, job: Job) -> Trace | None:
        if job.asked is None:
            raise TypeError("only what was asked for can be drawn")
        base = job.asked.base
        if base is not None and base.model_name == job.asked.model and not self._can_go_on(base, job):
            job.result = base  # another model was opened while it waited: it rests as it did before
            self._worker.rest(job, "paused")
            return None
        return Turn(self._device, self._worker, job, job.asked).take()

    def _trace(self, job: Job) -> Trace:
        if isinstance(job.result, Trace):
            return job.result
        if job.asked is None or not job.made:
            raise LdmError("This run has no steps to show.")
        return self._device.so_far(job.asked, job.made, time.monotonic() - job.began if job.began else 0.0)

    def _go_on(self, job: Job, steps: int | None, visitor: str | None) -> None:
        if job.over or job.stopping:
            raise LdmError("This run is over and does not go on; branch off it instead.")
        until = None if steps is None else job.step + steps
        if job.status == "paused":
            if isinstance(job.result, Trace):
                self._device.asked(Asked.rest_of(job.result, job.draft, job.key))
            taken = job.visitor
            job.visitor = taken if visitor is None else visitor
            try:
                self._worker.submit(job)
            except LdmError:
                job.visitor = taken
                raise
            self._wake(job)
        job.pausing, job.until = False, until

    def _wake(self, job: Job) -> None:
        """What was paused asks for its steps again: those that are left."""
        if isinstance(job.result, Trace):
            job.asked = Asked.rest_of(job.result, job.draft, job.key)
            job.made, job.result = [*job.asked.first], None
        job.context = copy_context()
        self._store.forget_file(job)

    def _can_go_on(self, trace: Trace, job: Job) -> bool:
        """Whether the model that is open is the one of a paused run."""
        try:
            self._device.asked(Asked.rest_of(trace, job.draft, job.key))
        except LdmError:
            return False
        return True

    def _stop(self, job: Job) -> None:
        if job.over:
            return
        paused = job.status == "paused"
        if paused and isinstance(job.result, Trace) and not self._can_go_on(job.result, job):
            self._worker.rest(job, "stopped")  # with its steps, and without the picture of their last one
            return
        job.stopping = True
        if paused:
            self._wake(job)
        if job.made:  # its picture is to be decoded, which takes a turn
            if paused:
                self._worker.put(job)
        elif paused or self._worker.withdraw(job):
            self._worker.rest(job, "stopped")
