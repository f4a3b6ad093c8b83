"""What goes wrong while a file's own words are read, as part of one sentence that names no folder."""

from collections.abc import Iterator
from contextlib import contextmanager

from ..errors import CheckpointError

SHOWN = 160  # characters of what a reader says
LONGEST = 340  # characters of a whole sentence
# what values of the wrong kind raise where numbers or names are expected
WRONG = (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RecursionError)


def said(error: BaseException) -> str:
    """What an error says, on one short line; of the operating system's without the path."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    if isinstance(error, KeyError):
        words = f"{words} is missing or unknown"
    return " ".join(words.split())[:SHOWN].rstrip(". ") or type(error).__name__


@contextmanager
def reading(what: str) -> Iterator[None]:
    """Turn what values of the wrong kind raise into a CheckpointError; also a decorator.

    A sentence that quotes an endless value of the file is cut.
    """
    try:
        yield
    except CheckpointError as error:
        words = " ".join(str(error).split())
        if len(words) <= LONGEST:
            raise
        raise CheckpointError(f"{words[: LONGEST - 4]} ...") from error
    except WRONG as error:
        raise CheckpointError(f"{what} has values that cannot be used: {said(error)}.") from error
