"""A run's turn on the device: its steps are made and shown, until it is through, paused or stopped."""

import time
from typing import TYPE_CHECKING

from ..trace import Step, Trace
from .device import Asked, Device
from .records import Job

if TYPE_CHECKING:
    from .worker import Worker

SHOW_EVERY = (0.1, 0.5)  # seconds between two previews, least and most
PREVIEW_SHARE = 0.03  # of a run's time that previews take, between these two


class Turn:
    """Draws the steps that are left of one run.

    Args:
        worker: whose condition guards the job, and who wakes its followers.
    """

    def __init__(self, device: Device, worker: "Worker", job: Job, asked: Asked) -> None:
        self._device, self._worker, self._job, self._asked = device, worker, job, asked
        self._due = 0.0  # when the next preview is shown: of the first step at once

    def take(self) -> Trace | None:
        """Draw; None where the run was paused, or where nothing need come of it."""
        return self._stopped() if self._job.stopping else self._drawn()

    def _drawn(self) -> Trace | None:
        job = self._job
        drawing = self._device.draw(self._asked)
        try:
            stepped = time.monotonic()
            for made in drawing:
                if isinstance(made, Trace):
                    seconds = time.monotonic() - stepped
                    self._worker.decode_seconds = seconds / self._asked.settings.batch_size
                    return made
                stepped = time.monotonic()
                if not self._goes_on(made):
                    break
        finally:
            drawing.close()
        return self._stopped() if job.stopping and job.status == "running" else None

    def _goes_on(self, step: Step) -> bool:
        """Keep a step and show it where that is due; False where the run was stopped or is paused now."""
        job, last = self._job, len(self._job.made) + 1 == self._job.steps
        with self._worker.changed:  # what is asked for from here on holds for the next step
            job.add(step)
            if job.stopping:
                return False
            pauses = self._pauses(last)
        if pauses or time.monotonic() >= self._due:
            self._show(step)
        return self._still_goes_on(last) if pauses else True

    def _still_goes_on(self, last: bool) -> bool:
        """Pause, unless that was taken back while the step was shown."""
        with self._worker.changed:
            if self._job.stopping:
                return False
            if self._pauses(last):
                self._pause()
                return False
            return True

    def _pauses(self, last: bool) -> bool:
        """Whether to pause after this step; after the last one there is nothing to pause."""
        job = self._job
        return not last and (job.pausing or (job.until is not None and job.step >= job.until))

    def _show(self, step: Step) -> None:
        began = time.monotonic()
        pictures, decoder = self._device.preview(step.prediction.x0, self._asked.draft)
        now = time.monotonic()
        least, most = SHOW_EVERY
        self._due = now + min(most, max(least, (now - began) / PREVIEW_SHARE))
        with self._worker.changed:
            self._job.show(pictures, decoder)
            self._worker.show(self._job)

    def _pause(self) -> None:
        """Put the run to rest with its steps; the device is free, and `Asked.rest_of` them goes on."""
        job = self._job
        job.result = self._device.so_far(self._asked, job.made, time.monotonic() - job.began)
        self._worker.rest(job, "paused")

    def _stopped(self) -> Trace | None:
        job = self._job
        if job.gone or not job.made:
            return None
        seconds, finished = time.monotonic() - job.began, len(job.made) == job.steps
        return self._device.decoded(self._asked, job.made, seconds, finished)
