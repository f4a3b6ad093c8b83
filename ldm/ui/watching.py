"""Long work outside the engine's queue, such as reading a file of gigabytes, watched while it goes on."""

import threading
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")
EVERY = 0.2  # seconds between two looks


class Abandoned(Exception):  # noqa: N818
    """Nobody watches any more: raised in the work, at its next progress."""


class Watched(Generic[T, R]):
    """Work in a thread of its own.

    Args:
        work: called with a function that it tells its progress.
    """

    def __init__(self, work: Callable[[Callable[[T], None]], R]) -> None:
        self._work = work
        self._over = threading.Event()
        self._abandoned = False
        self._newest: T | None = None
        self._error: BaseException | None = None
        self._made: R | None = None

    def told(self) -> Iterator[T]:
        """Starts the work, and gives the newest of its progress until it is over.

        Raises:
            LdmError: what the work raised.
        """
        threading.Thread(target=self._run, name="ldm-watched", daemon=True).start()
        shown: T | None = None
        try:
            while not self._over.wait(EVERY):
                if self._newest is not shown and self._newest is not None:
                    shown = self._newest
                    yield shown
        finally:
            self._abandoned = True
        if self._error is not None:
            raise self._error

    @property
    def made(self) -> R:
        """What the work gave, once `told` has ended."""
        if self._made is None:
            raise RuntimeError("the work is not over")
        return self._made

    def _run(self) -> None:
        try:
            self._made = self._work(self._tell)
        except Abandoned:
            pass
        except BaseException as error:  # noqa: BLE001 - raised again where it is watched
            self._error = error
        finally:
            self._over.set()

    def _tell(self, progress: T) -> None:
        if self._abandoned:
            raise Abandoned
        self._newest = progress
