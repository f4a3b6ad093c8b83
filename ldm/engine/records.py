"""What the engine promises, shows and remembers: `Limits`, `Run` and, inside, `Job`."""

import logging
import secrets
import time
from collections.abc import Callable, Collection
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from typing import Any, Literal, Self

import torch
from PIL import Image

from ..errors import LdmError, SettingsError
from ..generation.start import steps_of
from ..settings import Settings
from ..trace import Trace

log = logging.getLogger(__name__)
LOCAL = "this computer"  # the visitor who sits at it
Status = Literal["waiting", "running", "done", "stopped", "failed"]


@dataclass(frozen=True)
class Limits:
    """What one machine is willing to do for its visitors.

    Attributes:
        waiting: works in the queue, of everybody together.
        per_owner: works of one visitor, waiting or running.
        per_local: the same for this computer's own user.
        followers: who may watch runs at the same time; each one holds a thread, asleep.
        work: steps x pictures x pixels of one run.
        keep_seconds: how long a finished run is kept after it was last asked for.
        keep_bytes: tensors and pictures of all finished runs together; the oldest go first, the newest stays.
    """

    waiting: int = 16
    per_owner: int = 3
    per_local: int = 12
    followers: int = 64
    work: int = 1000 * 512 * 512
    keep_seconds: float = 2 * 3600.0
    keep_bytes: int = 2**30

    def admit(self, job: "Job", queue: Collection["Job"], running: "Job | None") -> None:
        """Refuse a work for which the queue has no room.

        Raises:
            LdmError: the queue is full, or the visitor has enough in it.
        """
        if len(queue) >= self.waiting:
            raise LdmError(f"The queue is full: {len(queue)} runs are waiting. Try again in a minute.")
        own = [j for j in (*queue, running) if j is not None and j.visitor == job.visitor]
        if len(own) >= (self.per_local if job.visitor == LOCAL else self.per_owner):
            raise LdmError(f"You have {len(own)} runs waiting or running. Let one end, or stop it.")

    def check(self, settings: Settings) -> None:
        """Refuse what would hold the device for too long.

        Raises:
            SettingsError: says how many steps times pictures are allowed at this size.
        """
        asked = settings.steps * settings.batch_size
        allowed = self.work // (settings.width * settings.height)
        if asked > allowed:
            raise SettingsError(
                f"steps times batch_size must be at most {allowed} at {settings.width} x {settings.height}, "
                f"got {settings.steps} x {settings.batch_size} = {asked}."
            )


@dataclass(frozen=True, eq=False)
class Run:
    """A run as it stands at one moment.

    Attributes:
        ahead: works that come before it while it waits.
        step: denoising steps made so far, of `steps`.
        preview: the newest predicted x0, one small picture each; empty before the first step.
        seconds: since it began to run.
        seconds_left: measured on its own steps; None until two are made.
        trace: what came out; None until the run is over.
        decoder: what `preview` was decoded with, in words.
        draft: drawn by the draft in place of the model.
        from_picture: started from a picture, so that it skips the first steps, or all of them.
    """

    id: str
    settings: Settings
    status: Status = "waiting"
    ahead: int = 0
    step: int = 0
    preview: tuple[Image.Image, ...] = ()
    seconds: float = 0.0
    seconds_left: float | None = None
    trace: Trace | None = None
    decoder: str = ""
    draft: bool = False
    from_picture: bool = False

    @property
    def steps(self) -> int:
        """How many denoising steps there are to make."""
        return steps_of(self.settings, self.from_picture)

    @property
    def over(self) -> bool:
        """Nothing will change any more."""
        return self.status in ("done", "stopped", "failed")


@dataclass(eq=False)
class Job:
    """A piece of work and its state.  Every field is guarded by the engine's condition.

    Attributes:
        owner: whose sheet lists it.
        visitor: who is limited in what waits.
        settings: of a run; None for any other work.
        draft: done with the draft in place of the model.
        from_picture: as in `Run`.
        context: carries the visitor's identity to ZeroGPU.
        version: counts what followers should see.
        first_step: when the first step was made; the pace is measured from there.
    """

    owner: str
    settings: Settings | None
    work: Callable[[Self], Any]
    visitor: str = LOCAL
    draft: bool = False
    from_picture: bool = False
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    context: Context = field(default_factory=copy_context)
    status: Status = "waiting"
    step: int = 0
    preview: tuple[Image.Image, ...] = ()
    decoder: str = ""
    result: Any = None
    error: LdmError | None = None
    stopping: bool = False
    version: int = 0
    asked: float = field(default_factory=time.monotonic)
    began: float = 0.0
    first_step: float = 0.0
    ended: float = 0.0
    used: float = field(default_factory=time.monotonic)
    size: int = 0

    @property
    def steps(self) -> int:
        """How many denoising steps there are to make; none for any other work."""
        return 0 if self.settings is None else steps_of(self.settings, self.from_picture)

    @property
    def over(self) -> bool:
        """Nothing will change any more."""
        return self.status in ("done", "stopped", "failed")

    def do(self) -> Status:
        """Do the work and keep what comes of it, or what went wrong; gives how it ended."""
        try:
            self.result = self.context.run(self.work, self)
        except LdmError as error:
            self.error = error
        except Exception as error:  # whatever it is, the page must hear of it and the worker go on
            log.exception("work failed")
            self.error = as_sentence(error)
        if self.error is not None:
            return "failed"
        return "stopped" if isinstance(self.result, Trace) and not self.result.finished else "done"

    def end(self, status: Status) -> None:
        """Note the time, and let go of the pictures and of the visitor's request."""
        self.status, self.ended, self.used = status, time.monotonic(), time.monotonic()
        self.began = self.began or self.ended
        self.work, self.context, self.preview = nothing, Context(), ()

    def snapshot(self, ahead: int, decode_seconds: float) -> Run:
        """The run as it stands.

        Args:
            decode_seconds: what the decoding of one picture took last time.
        """
        if self.settings is None:
            raise TypeError("only a run can be shown")
        now = time.monotonic()
        left = None
        if self.status == "running" and self.step > 1:
            pace = (now - self.first_step) / (self.step - 1)
            left = pace * (self.steps - self.step) + decode_seconds * self.settings.batch_size
        seconds = (self.ended or now) - self.began if self.began else 0.0
        trace = self.result if isinstance(self.result, Trace) else None
        shown = (self.preview, seconds, left, trace, self.decoder, self.draft, self.from_picture)
        return Run(self.id, self.settings, self.status, ahead, self.step, *shown)


def nothing(_: Job) -> None:
    """The work of a run that is over."""


def as_sentence(error: Exception) -> LdmError:
    """Anything that went wrong in the worker, as the page can show it."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "not enough memory" in str(error):
        return LdmError("Memory ran out. Use a smaller picture or a smaller batch.")
    return LdmError(f"The run broke off: {type(error).__name__}: {error}")
