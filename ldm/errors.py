"""Errors a user can cause and fix.  Everything else is a bug and should crash loudly.

* LdmError
  - SettingsError     a value the user chose cannot be used
  - ImageError        a picture cannot be read
  - CheckpointError   a weights file cannot be read as a latent diffusion model
  - TraceError        a run file cannot be read or written
"""

import difflib
from collections.abc import Iterable
from numbers import Integral


class LdmError(Exception):
    """Base class: the UI shows the message, the command line prints it and exits with 2."""


class SettingsError(LdmError):
    """A setting is out of range or unknown.  Names the setting, the value and what is allowed."""


class ImageError(LdmError):
    """A picture is unreadable, too large or not a picture.  Names the file and what is allowed."""


class CheckpointError(LdmError):
    """A weights file is missing, unreadable, or of no known format."""


class TraceError(LdmError):
    """A run file is unreadable, or cannot be written."""


def check_index(name: str, value: object, count: int) -> None:
    """Raise SettingsError unless `value` is a whole number from 0 to count - 1; True is none, numpy's are."""
    if isinstance(value, bool) or not isinstance(value, Integral) or not 0 <= int(value) < count:
        shown = value if isinstance(value, Integral) else repr(value)
        raise SettingsError(f"{name} must be between 0 and {count - 1}, got {shown!s:.40}.")


def check_choice(kind: str, name: str, options: Iterable[str]) -> None:
    """Raise SettingsError unless `name` is one of `options`; suggest the nearest one."""
    options = list(options)
    if name in options:
        return
    close = difflib.get_close_matches(str(name), options, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise SettingsError(f"Unknown {kind} {name!r}.{hint} Choose one of: {', '.join(options)}.")
