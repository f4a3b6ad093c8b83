"""Hugging Face's ZeroGPU, where a function borrows a GPU for as long as it runs.

`spaces.GPU` runs the decorated function in a forked process: arguments and what it yields are pickled, and
what it changes stays behind.  The engine sends everything that touches the device through two functions, so
decorating those is all there is to do; `spaces` must be imported before CUDA is used.
"""

import importlib.util
import os
from collections.abc import Callable
from typing import Any

from ..engine.device import Asked

SECONDS = 60  # longest grant that is asked for


def wanted() -> bool:
    """Whether this is a ZeroGPU Space."""
    return bool(os.environ.get("SPACES_ZERO_GPU")) and importlib.util.find_spec("spaces") is not None


def on_device() -> Callable[[Any], Any]:
    """The decorator for `Engine`."""
    import spaces

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        decorated: Callable[..., Any] = spaces.GPU(duration=_seconds)(function)
        return decorated

    return decorate


def _seconds(*arguments: object) -> int:
    """What to ask for, from the engine's arguments: for a run by the steps left, for anything else little."""
    if arguments and isinstance(arguments[0], Asked):
        settings = arguments[0].settings
        work = arguments[0].left * settings.batch_size * settings.width * settings.height
        return int(min(SECONDS, 10 + work / 4e6))
    return 20
