"""Where runs are kept: under their id, for a while, within a budget of bytes."""

import time

import torch

from ..errors import LdmError
from ..trace import AttentionMaps, Trace
from .records import Job, Limits


class Store:
    """Runs by id, the one used last at the end.  Not locked: the engine's condition guards it."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._jobs: dict[str, Job] = {}

    def add(self, job: Job) -> None:
        """Keep a run, and forget what no longer fits."""
        self._jobs[job.id] = job
        self.forget()

    def find(self, run_id: str) -> Job:
        """The run of that id, used just now.

        Raises:
            LdmError: it was never there, or is not kept any more.
        """
        self.forget()
        job = self._jobs.pop(run_id, None) if isinstance(run_id, str) else None
        if job is None:
            raise LdmError(
                "This run is not kept any more. Runs are kept for "
                f"{self._limits.keep_seconds / 3600:g} hours after they were last looked at, "
                "and the oldest go first when memory is short."
            )
        job.used = time.monotonic()
        self._jobs[job.id] = job
        return job

    def of(self, owner: str) -> list[Job]:
        """The runs of one owner, newest first."""
        self.forget()
        return sorted((job for job in self._jobs.values() if job.owner == owner), key=lambda job: -job.asked)

    def forget(self) -> None:
        """Drop the runs that are too old, then the oldest ones until the budget holds; the newest stays."""
        over = [job for job in self._jobs.values() if job.over]
        total, now = sum(job.size for job in over), time.monotonic()
        for job in over[:-1]:
            if total > self._limits.keep_bytes or now - job.used > self._limits.keep_seconds:
                total -= job.size
                del self._jobs[job.id]


def size_of(result: object) -> int:
    """Bytes of a trace's tensors, each storage counted once, and of its pictures; 0 for anything else."""
    if not isinstance(result, Trace):
        return 0
    storages: dict[int, int] = {}
    for step in result.steps:
        p = step.prediction
        asked = (step.x, step.x_next, step.x_asked, p.attention, p.attention_uncond)
        for value in (*asked, p.x0, p.x0_cond, p.x0_uncond, p.x0_third):
            tensors = value.maps if isinstance(value, AttentionMaps) else (value,)
            for tensor in tensors:
                if isinstance(tensor, torch.Tensor):
                    storage = tensor.untyped_storage()
                    storages[storage.data_ptr()] = storage.nbytes()
    pictures = [image for image in (*result.images, result.init_image, result.mask) if image is not None]
    return sum(storages.values()) + sum(i.width * i.height * len(i.getbands()) for i in pictures)
