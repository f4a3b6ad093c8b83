"""Where runs are kept: under their id, for a while; in memory within a budget of bytes, then on the disk."""

import shutil
import tempfile
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from .. import run_file
from ..errors import LdmError, TraceError
from ..trace import Trace
from .limits import Limits
from .records import Job
from .size import size_of


class Store:
    """Runs by id, the one used last at the end.

    A run that goes to the disk leaves its record here, and of its trace all but the steps.  Files are written
    and read while nobody waits for it: only who asked for that run, or made one too many, and the next who
    does.

    Args:
        lock: guards the runs; held by whoever calls `add`, `find`, `of` and `drop`, and by nobody who calls
            `make_room` and `bring_back`.
    """

    def __init__(self, limits: Limits, lock: threading.Condition) -> None:
        self._limits, self._lock = limits, lock
        self._jobs: dict[str, Job] = {}
        self._disk = threading.Lock()  # one file at a time; taken before `lock`, never while it is held
        self._folder: Path | None = None
        self._files = 0
        self._remove: Callable[[], object] | None = None

    def add(self, job: Job) -> None:
        """Keep a run."""
        self._jobs[job.id] = job
        self._forget()

    def find(self, run_id: str) -> Job:
        """The run of that id, used just now.

        Raises:
            LdmError: it was never there, or is not kept any more.
        """
        self._forget()
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
        self._forget()
        return sorted((j for j in self._jobs.values() if j.owner == owner), key=lambda job: -job.created)

    def drop(self, job: Job) -> None:
        """Keep a run no longer, nor its file."""
        self._jobs.pop(job.id, None)
        self.forget_file(job)

    def forget_file(self, job: Job) -> None:
        """Remove the file of a run; what it says is here, or no longer true."""
        if job.file is not None:
            job.file.unlink(missing_ok=True)
        job.file, job.file_bytes = None, 0

    def close(self) -> None:
        """Remove the folder with all its files."""
        if self._remove is not None:
            self._remove()

    def make_room(self) -> None:
        """Put the runs used longest ago on the disk until the rest fits; drop them where it is full too."""
        with self._disk:
            while (found := self._too_many()) is not None:
                job, trace = found
                file = self._write(trace)
                with self._lock:
                    self._put_out(job, trace, file)

    def bring_back(self, job: Job, use: Callable[[Job], None]) -> None:
        """Read the trace of a run that lies on the disk, and use it before it can go there again.

        Args:
            use: called with the lock held; not where the run is kept no longer.

        Raises:
            LdmError: it cannot be read; it is not kept then.
        """
        try:
            self._read(job, use)
        finally:
            self.make_room()

    def _read(self, job: Job, use: Callable[[Job], None]) -> None:
        with self._disk:
            with self._lock:
                file = job.file if job.spilled else None
                if job.id in self._jobs and not job.spilled:  # somebody else brought it back
                    use(job)
            if file is None:
                return
            try:
                trace = run_file.load(file)
            except TraceError as error:
                with self._lock:
                    self.drop(job)
                raise LdmError(
                    "This run was put on the disk when memory was short, and cannot be read back."
                ) from error
            with self._lock:
                if job.spilled:
                    job.result, job.spilled = trace, False
                    job.weigh()
                if job.id in self._jobs:
                    use(job)

    def _forget(self) -> None:
        """Drop the runs that are too old; the newest stays."""
        now = time.monotonic()
        for job in self._resting()[:-1]:
            if now - job.used > self._limits.keep_seconds:
                self.drop(job)

    def _resting(self) -> list[Job]:
        return [job for job in self._jobs.values() if job.resting]

    def _too_many(self) -> tuple[Job, Trace] | None:
        """The next run that has to be written, and its trace; what need not be written is put out here."""
        with self._lock:
            self._forget()
            older = self._resting()[:-1]
            total = sum(job.size for job in self._resting())
            for job in older:
                if total <= self._limits.keep_bytes:
                    return None
                trace = job.result
                if job.spilled or not isinstance(trace, Trace) or not trace.steps:
                    continue
                if job.file is None and size_of(trace) <= self._limits.spill_bytes:
                    return job, trace
                total -= job.size
                self._put_out(job, trace, job.file)
                total += job.size if job.spilled else 0
            for job in older:  # what is left of them is too much as well
                if total > self._limits.keep_bytes and job.id in self._jobs:
                    total -= job.size
                    self.drop(job)
        return None

    def _write(self, trace: Trace) -> Path | None:
        """A trace as a file in a folder that only this user may read; None if that fails."""
        if self._folder is None:
            try:
                self._folder = Path(tempfile.mkdtemp(prefix="latent-darkroom-"))
            except OSError:
                return None
            self._remove = weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        self._files += 1
        file = self._folder / f"{self._files}.safetensors"
        try:
            run_file.save(trace, file)
        except LdmError:
            return None
        return file

    def _put_out(self, job: Job, trace: Trace, file: Path | None) -> None:
        """Let go of the steps of a run that lies in `file`; drop it if it could not be written."""
        if job.result is not trace or job.id not in self._jobs:  # taken up or dropped in the meantime
            if file is not None:
                file.unlink(missing_ok=True)
            return
        if file is None:
            self.drop(job)
            return
        job.file, job.file_bytes = file, job.file_bytes or file.stat().st_size
        job.spilled, job.preview, job.frames = True, (), ()
        job.result = replace(trace, steps=())
        job.weigh()
        self._trim_files(job)

    def _trim_files(self, newest: Job) -> None:
        """Remove files until all fit: what is in memory too needs none, then the oldest with their runs."""
        total = sum(job.file_bytes for job in self._jobs.values())
        for job in sorted(self._jobs.values(), key=lambda job: job.spilled):
            if total > self._limits.spill_bytes and job is not newest and job.file is not None:
                total -= job.file_bytes
                if job.spilled:
                    self.drop(job)
                else:
                    self.forget_file(job)
