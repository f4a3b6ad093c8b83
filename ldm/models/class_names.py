"""Classes by number or by name, and the lists of names that ship."""

import re
from collections.abc import Callable, Sequence
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path

from ..errors import SettingsError

IMAGENET = Path(__file__).with_name("imagenet_classes.txt")


@lru_cache(maxsize=1)
def imagenet() -> tuple[str, ...]:
    """ImageNet's 1000 names, torchvision's wording; number 264 is "Cardigan", a dog, 474 "cardigan"."""
    lines = IMAGENET.read_text("utf-8").splitlines()
    return tuple(line for line in lines if line and not line.startswith("#"))


def digits() -> tuple[str, ...]:
    """The ten of handwriting."""
    return tuple("0123456789")


def unnamed() -> tuple[str, ...]:
    """No names: numbers only."""
    return ()


NAMES: dict[str, Callable[[], tuple[str, ...]]] = {"imagenet": imagenet, "digits": digits, "": unnamed}
"""What `ClassConfig.names` can be."""


def labelled(number: int, names: Sequence[str]) -> str:
    """A class for a menu, which `class_number` reads back: "golden retriever (207)", or the bare number."""
    named = number < len(names) and names[number] != str(number)
    return f"{names[number]} ({number})" if named else str(number)


def class_number(text: str, count: int, names: Sequence[str], kind: str = "class") -> int:
    """The number that "207", "golden retriever", "Golden Retriever" or "golden retriever (207)" means.

    A name in another case is found unless several differ in that alone; the exact one always is, and a number
    in brackets decides between equal ones.

    Args:
        count: numbers that are a class, 0 to count - 1.
        names: of the first classes; empty if unknown.
        kind: what is read, for messages: "class of box 2".

    Raises:
        SettingsError: there is no such class, or more than one.
    """
    text = " ".join(text.split())
    if re.fullmatch("[0-9]+", text):
        if len(text) < 10 and int(text) < count:
            return int(text)
        raise SettingsError(f"The {kind} must be between 0 and {count - 1}, got {text:.40}.")
    found = _named(text, names) or _numbered(text, names) or _named(text.replace("_", " "), names)
    found = [number for number in found if number < count]
    if len(found) == 1:
        return found[0]
    if found:
        several = " or ".join(repr(labelled(number, names)) for number in found)
        raise SettingsError(f"The {kind} {text!r} can be {several}; which?")
    known = f"a number from 0 to {count - 1}"
    if not names:
        raise SettingsError(f"The {kind} must be {known}, as its names are not known here; got {text!r}.")
    raise SettingsError(f"Unknown {kind} {text!r}.{_hint(text, names[:count])} Give {known}, or a name.")


def _named(text: str, names: Sequence[str]) -> list[int]:
    exact = [number for number, name in enumerate(names) if name == text]
    return exact or [number for number, name in enumerate(names) if name.lower() == text.lower()]


def _numbered(text: str, names: Sequence[str]) -> list[int]:
    """Of "crane (134)" the 134, if that is its name."""
    match = re.fullmatch(r"(.+?) ?\(([0-9]{1,9})\)", text)
    return [n for n in _named(match[1], names) if n == int(match[2])] if match else []


def _hint(text: str, names: Sequence[str]) -> str:
    lower = [name.lower() for name in names]
    close = get_close_matches(text.lower(), lower, n=1)
    return f" Did you mean {labelled(lower.index(close[0]), names)!r}?" if close else ""
