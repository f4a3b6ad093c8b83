"""The queue, the one thread that works it off, and those who watch."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterator

from ..errors import LdmError
from ..speed import keep_own_threads
from .limits import Limits
from .records import Job, Run, Status

log = logging.getLogger(__name__)


class Worker:
    """One thread, one work at a time: our own lock on the device.

    Followers sleep until there is something to show.

    Args:
        rested: called by the thread after each work, while no lock is held.

    Attributes:
        changed: guards every job, the queue and what else is kept by id.
        decode_seconds: what the decoding of one picture took last time.
    """

    def __init__(self, limits: Limits, changed: threading.Condition, rested: Callable[[], None]) -> None:
        self.changed = changed
        self.decode_seconds = 0.0
        self._limits, self._rested = limits, rested
        self._queue: deque[Job] = deque()
        self._running: Job | None = None
        self._followers = 0
        self._closing = False
        self.thread = threading.Thread(target=self._serve, name="ldm-engine", daemon=True)

    def submit(self, job: Job) -> None:
        """Put a work in the queue.

        Raises:
            LdmError: the queue is full, the visitor has enough in it, or the program is closing.
        """
        with self.changed:
            if self._closing:
                raise LdmError("The program is closing and starts nothing new.")
            running = self._running  # for a moment after it was paused it is there still
            busy = running if running is not None and running.status == "running" else None
            self._limits.admit(job, self._queue, busy)
            self.put(job)

    def put(self, job: Job) -> None:
        """Put a work in the queue whatever the limits are."""
        with self.changed:
            if self._closing:
                self._refuse(job)
                return
            job.status = "waiting"
            self._queue.append(job)
            self.show(job)

    def withdraw(self, job: Job) -> bool:
        """Take a work out of the queue; False if it is not there."""
        with self.changed:
            if job not in self._queue:
                return False
            self._queue.remove(job)
            return True

    def rest(self, job: Job, status: Status) -> None:
        """A job has nothing more to do, for now or for good."""
        with self.changed:
            job.rest(status)
            self.show(job, *self._queue)  # who waits has moved up

    def show(self, *jobs: Job) -> None:
        """Wake whoever follows one of `jobs`."""
        with self.changed:
            for job in jobs:
                job.version += 1
            self.changed.notify_all()

    def wait(self, job: Job) -> None:
        """Sleep until a job is over."""
        with self.changed:
            self.changed.wait_for(lambda: job.over)

    def snapshot(self, job: Job) -> Run:
        """A run as it stands."""
        with self.changed:
            ahead = self._queue.index(job) + (self._running is not None) if job in self._queue else 0
            return job.snapshot(ahead, self.decode_seconds)

    def follow(self, job: Job) -> Iterator[Run]:
        """A run as it changes, until it rests.

        Raises:
            LdmError: the run failed, or too many are watching.
        """
        with self.changed:
            if self._followers >= self._limits.followers:
                raise LdmError(
                    f"{self._followers} visitors are watching runs already. Try again in a minute."
                )
            self._followers += 1
        try:
            yield from self._snapshots(job)
        finally:
            with self.changed:
                self._followers -= 1

    def _snapshots(self, job: Job) -> Iterator[Run]:
        seen = -1
        while True:
            with self.changed:
                while job.version == seen:
                    self.changed.wait()
                seen, run = job.version, self.snapshot(job)
            if job.error is not None:
                raise job.error
            yield run
            if run.resting:
                return

    def close(self) -> None:
        """Stop the work in progress after its step, refuse the others, and join the thread."""
        with self.changed:
            self._closing = True
            if self._running is not None:
                self._running.stopping = True
            while self._queue:
                self._refuse(self._queue.popleft())
            self.changed.notify_all()
        if self.thread.is_alive():
            self.thread.join(timeout=60)

    def _refuse(self, job: Job) -> None:
        job.error = LdmError("The program is closing; this run was not made.")
        self.rest(job, "failed")

    def _serve(self) -> None:
        keep_own_threads()
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self._queue or self._closing)
                if self._closing:
                    return
                job = self._running = self._queue.popleft()
                job.begin()
                self.show(job, *self._queue)
            status = job.do()
            with self.changed:
                self._running = None
                if status in ("done", "stopped", "failed"):
                    self.rest(job, status)
            del job  # not until the next one comes
            try:
                self._rested()
            except Exception:  # whatever the disk does, the worker goes on
                log.exception("no room could be made")
