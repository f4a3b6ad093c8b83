"""What the engine shows and remembers of a piece of work: `Run` and, inside, `Job`."""

import logging
import secrets
import time
from collections.abc import Callable
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

import torch
from PIL import Image

from ..errors import LdmError
from ..generation.start import steps_of
from ..settings import Settings
from ..trace import Step, Trace
from .device import Asked
from .limits import LOCAL
from .size import size_of, size_of_pictures

log = logging.getLogger(__name__)
Status = Literal["waiting", "running", "paused", "done", "stopped", "failed"]
Pictures = tuple[Image.Image, ...]
Frames = tuple[tuple[int, Pictures], ...]
OVER = ("done", "stopped", "failed")
MOST_FRAMES, MOST_BYTES = 64, 64 * 2**20  # of one run's previews; of more, every other one is let go


@dataclass(frozen=True, eq=False)
class Run:
    """A run as it stands at one moment.

    Attributes:
        ahead: works that come before it while it waits.
        step: denoising steps made so far, of `steps`; of a fork its parent's first ones too.
        preview: the newest predicted x0, one small picture each; empty before the first step.
        seconds: that it has run so far, pauses left out.
        seconds_left: measured on its own steps; None until two are made.
        trace: what came out, of a paused run its steps so far; None before.  In `Engine.runs` the trace of a
            run that lies on the disk has its pictures and no steps; `Engine.trace` brings it back.
        decoder: what `preview` was decoded with, in words.
        draft: drawn by the draft in place of the model.
        from_picture: started from a picture, so that it skips the first steps, or all of them.
        parent: the run whose first steps it has, and how many of them.
        name, group: for people, and for what belongs together; empty where none was given.
        frames: the previews so far: (number of the step, counted from 1; its pictures).  Where there are many
            every other one is let go; a run that is over has none, for its trace has every step.
        planned: steps there are to make, where the settings alone do not tell.
    """

    id: str
    settings: Settings
    status: Status = "waiting"
    ahead: int = 0
    step: int = 0
    preview: Pictures = ()
    seconds: float = 0.0
    seconds_left: float | None = None
    trace: Trace | None = None
    decoder: str = ""
    draft: bool = False
    from_picture: bool = False
    parent: tuple[str, int] | None = None
    name: str = ""
    group: str = ""
    frames: Frames = ()
    planned: int | None = None

    @property
    def steps(self) -> int:
        """How many denoising steps there are to make."""
        return steps_of(self.settings, self.from_picture) if self.planned is None else self.planned

    @property
    def over(self) -> bool:
        """Nothing will change any more."""
        return self.status in OVER

    @property
    def resting(self) -> bool:
        """Nothing changes until somebody asks for it: over, or paused."""
        return self.over or self.status == "paused"


@dataclass(eq=False)
class Job:
    """A piece of work and its state.  Every field is guarded by the engine's condition.

    Attributes:
        owner: whose sheet lists it.
        asked: what is to be drawn when its turn comes; None for any other work, and where the trace says it.
        work: what is done when its turn comes.
        visitor: who is limited in what waits.
        settings: of a run; None for any other work.
        draft: done with the draft in place of the model.
        from_picture, parent, name, group, frames: as in `Run`.
        steps: denoising steps there are to make.
        made: those that are made, while it waits or runs.
        until: the number of steps after which to pause.
        pausing, stopping: asked for, and done after the step it is in.
        gone: its owner deleted it, so nothing need come of it.
        context: carries the visitor's identity to ZeroGPU.
        result: what came of it; of a run on the disk the trace without its steps.
        version: counts what followers should see.
        created, began, first_at, ended, used: when it was asked for, its turn began, the first step of that
            turn was made, it came to rest, somebody last asked for it.
        key: `Opened.key` of the model it was begun with.
        first: the number of the first step of this turn; the pace is measured from there.
        spent: seconds of the turns before.
        size: bytes in memory while it rests.
        file, file_bytes: where its trace lies on the disk too; spilled: and nowhere else.
    """

    owner: str
    settings: Settings | None
    work: Callable[[Self], Any]
    visitor: str = LOCAL
    draft: bool = False
    asked: Asked | None = None
    from_picture: bool = False
    steps: int = 0
    parent: tuple[str, int] | None = None
    name: str = ""
    group: str = ""
    frames: Frames = ()
    made: list[Step] = field(default_factory=list)
    until: int | None = None
    key: str = ""
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    context: Context = field(default_factory=copy_context)
    status: Status = "waiting"
    step: int = 0
    preview: Pictures = ()
    decoder: str = ""
    result: Any = None
    error: LdmError | None = None
    pausing: bool = False
    stopping: bool = False
    gone: bool = False
    version: int = 0
    created: float = field(default_factory=time.monotonic)
    began: float = 0.0
    first_at: float = 0.0
    ended: float = 0.0
    used: float = field(default_factory=time.monotonic)
    first: int = 0
    spent: float = 0.0
    size: int = 0
    file: Path | None = None
    file_bytes: int = 0
    spilled: bool = False

    @property
    def over(self) -> bool:
        """Nothing will change any more."""
        return self.status in OVER

    @property
    def resting(self) -> bool:
        """It is over or paused."""
        return self.over or self.status == "paused"

    def begin(self) -> None:
        """Its turn has come."""
        self.status, self.began, self.first_at, self.ended = "running", time.monotonic(), 0.0, 0.0

    def add(self, step: Step) -> None:
        """A step was made."""
        self.made.append(step)
        self.step = len(self.made)
        if not self.first_at:
            self.first_at, self.first = time.monotonic(), self.step

    def show(self, pictures: Pictures, decoder: str) -> None:
        """What the last step predicts is there to be seen."""
        self.preview, self.decoder = pictures, decoder
        self.frames = (*self.frames, (self.step, pictures))
        size = sum(size_of_pictures(*frame) for _, frame in self.frames)
        if len(self.frames) > MOST_FRAMES or size > MOST_BYTES:
            self.frames = (*self.frames[:-1:2], self.frames[-1])

    def do(self) -> Status:
        """Do the work and keep what comes of it, or what went wrong; gives how it ended."""
        try:
            result = self.context.run(self.work, self)
        except LdmError as error:
            self.error = error
        except Exception as error:  # whatever it is, the page must hear of it and the worker go on
            log.exception("work failed")
            self.error = as_sentence(error)
        else:
            if self.status != "running":  # paused, and perhaps in the queue again already
                return self.status
            self.result = result
        if self.error is not None:
            return "failed"
        stopped = self.stopping if self.result is None else not getattr(self.result, "finished", True)
        return "stopped" if stopped and self.settings is not None else "done"

    def rest(self, status: Status) -> None:
        """Note the time, let go of the visitor's request, and of what the result says."""
        now = time.monotonic()
        self.status, self.ended, self.used = status, now, now
        self.spent += now - self.began if self.began else 0.0
        self.began, self.made, self.context, self.pausing, self.until = 0.0, [], Context(), False, None
        if status != "paused":
            self.work, self.preview, self.frames, self.asked = nothing, (), (), None
        elif isinstance(self.result, Trace):
            self.asked = None
        self.weigh()

    def weigh(self) -> None:
        """Count the bytes that it holds while it rests."""
        held = self.asked.base if self.asked is not None and self.result is None else self.result
        self.size = size_of(held) + size_of_pictures(*(p for _, pictures in self.frames for p in pictures))

    def snapshot(self, ahead: int, decode_seconds: float) -> Run:
        """The run as it stands.

        Args:
            decode_seconds: what the decoding of one picture took last time.
        """
        if self.settings is None:
            raise TypeError("only a run can be shown")
        now = time.monotonic()
        left = None
        if self.status == "running" and self.step > self.first > 0:
            pace = (now - self.first_at) / (self.step - self.first)
            left = pace * (self.steps - self.step) + decode_seconds * self.settings.batch_size
        return Run(
            self.id,
            self.settings,
            self.status,
            ahead,
            self.step,
            self.preview,
            seconds=self.spent + (now - self.began if self.began else 0.0),
            seconds_left=left,
            trace=self.result if isinstance(self.result, Trace) else None,
            decoder=self.decoder,
            draft=self.draft,
            from_picture=self.from_picture,
            parent=self.parent,
            name=self.name,
            group=self.group,
            frames=self.frames,
            planned=self.steps,
        )


def nothing(_: Job) -> None:
    """The work of a run that is over."""


def as_sentence(error: Exception) -> LdmError:
    """Anything that went wrong in the worker, as the page can show it."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError) or "not enough memory" in str(error):
        return LdmError("Memory ran out. Use a smaller picture or a smaller batch.")
    return LdmError(f"The run broke off: {type(error).__name__}: {error}")
