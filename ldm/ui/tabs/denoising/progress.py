"""Long drawing told of while it goes: in a thread of its own, which ends when nobody waits any more."""

import queue
import threading
from collections.abc import Callable, Iterator
from contextvars import ContextVar, copy_context
from typing import Generic, TypeVar

T = TypeVar("T")
report: ContextVar[Callable[[int], None]] = ContextVar("report", default=lambda _: None)
"""What work calls with the number of pieces it has done since; raises when nobody waits for it."""


class GivenUp(Exception):  # noqa: N818 - no error, an end
    """Nobody waits for this work any more."""


class Background(Generic[T]):
    """Work that makes things one after the other.

    Args:
        work: calls `report` at every piece.
    """

    def __init__(self, work: Callable[[], Iterator[T]]) -> None:
        self._work = work
        self._news: queue.SimpleQueue[tuple[str, T | int | BaseException | None]] = queue.SimpleQueue()
        self._given_up = threading.Event()

    def follow(self) -> Iterator[T | int]:
        """What the work makes, and between that how many pieces are done."""
        # the copy carries who asks
        threading.Thread(target=copy_context().run, args=(self._run,), daemon=True).start()
        done = 0
        try:
            while True:
                what, value = self._news.get()
                if what == "end":
                    return
                if isinstance(value, BaseException):
                    raise value
                if what == "pieces" and isinstance(value, int):
                    done += value
                    yield done
                elif value is not None:
                    yield value
        finally:
            self._given_up.set()

    def _run(self) -> None:
        report.set(self._report)
        try:
            for made in self._work():
                self._news.put(("made", made))
            self._news.put(("end", None))
        except GivenUp:
            pass
        except BaseException as error:  # noqa: BLE001 - raised where it is waited for
            self._news.put(("error", error))

    def _report(self, pieces: int) -> None:
        if self._given_up.is_set():
            raise GivenUp
        self._news.put(("pieces", pieces))
