"""What one machine is willing to do for its visitors."""

import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import LdmError, SettingsError
from ..settings import Settings

if TYPE_CHECKING:
    from .records import Job

LOCAL = "this computer"  # the visitor who sits at it
MOST_LETTERS = 80  # of a run's name


@dataclass(frozen=True)
class Limits:
    """What one machine is willing to do for its visitors.

    Attributes:
        waiting: works in the queue, of everybody together.
        per_owner: works of one visitor, waiting or running.
        per_local: the same for this computer's own user.
        followers: who may watch runs at the same time; each one holds a thread, asleep.
        work: steps x pictures x pixels of one run.
        keep_seconds: how long a run that is paused or over is kept after it was last asked for.
        keep_bytes: tensors and pictures in memory of all such runs together; those used longest ago go to
            the disk first, the newest stays.
        spill_bytes: files that they go to; the oldest are dropped, and their runs with them.
        switching: whether another model may be opened, which is then everybody's.
        guests: whether visitors from other computers may do that too.
    """

    waiting: int = 16
    per_owner: int = 3
    per_local: int = 12
    followers: int = 64
    work: int = 1000 * 512 * 512
    keep_seconds: float = 2 * 3600.0
    keep_bytes: int = 2**30
    spill_bytes: int = 4 * 2**30
    switching: bool = True
    guests: bool = False

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


def check_count(name: str, value: object, least: int) -> None:
    """Refuse what is no whole number from `least` on; None is none, and allowed.

    Raises:
        SettingsError: says what is allowed.
    """
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
        raise SettingsError(f"{name} must be a whole number of at least {least}, got {value!r:.40}.")


def cleaned(what: str, text: object) -> str:
    """A name as it is shown: one line, without what cannot be seen.

    Raises:
        SettingsError: it is no text, or too long.
    """
    if not isinstance(text, str):
        raise SettingsError(f"{what} must be text, got {text!r:.40}.")
    line = " ".join(text.split())
    # joiners (Cf) stay: letters of some languages, and emoji, are put together with them
    line = "".join(letter for letter in line if unicodedata.category(letter) not in ("Cc", "Cs", "Co"))
    line = line.translate(dict.fromkeys(DIRECTIONS))
    if len(line) > MOST_LETTERS:
        raise SettingsError(f"{what} must have at most {MOST_LETTERS} letters, got {len(line)}.")
    return line


DIRECTIONS = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))  # marks that turn what follows them around
