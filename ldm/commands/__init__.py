"""The commands of `python -m ldm`, by what they are about: drawing, showing, schedule, files, training.

Each module has `add(command)`, which registers its commands.  Heavy imports are inside the functions, so that
`--help` is quick.  These files print, and no others of the library.
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from ..settings import Settings

if TYPE_CHECKING:
    from ..checkpoints.hub import Fetched
    from ..latent_diffusion import LatentDiffusion

Function = Callable[[argparse.Namespace], None]


class Command(Protocol):
    """Registers a command."""

    def __call__(self, name: str, function: Function, text: str) -> argparse.ArgumentParser:
        """The parser of a new command, to add options to."""


def fetching(done: "Fetched") -> None:
    """Print how far a download is, over and over on one line of standard error."""
    end = "\n" if done.done >= done.total else ""
    share = f"{100 * done.done / done.total:3.0f} %" if done.total else ""
    print(f"\r{share} {done.number}/{done.count} {done.file:<60.60}", end=end, file=sys.stderr, flush=True)


def model_options(parser: argparse.ArgumentParser) -> None:
    """Which model, and where."""
    parser.add_argument(
        "--weights", type=Path, default=None, help="a checkpoint; the one that ships if not given"
    )
    parser.add_argument("--device", default=None, help="cpu, cuda or mps; the best there is if not given")


def settings_for(options: argparse.Namespace, model: "LatentDiffusion", prompt: str) -> Settings:
    """The model's recommended settings with what was asked for on top."""
    values: dict[str, Any] = dict(vars(model.config.recommended))
    for field in fields(Settings):
        given = getattr(options, field.name, None)
        if given is not None:
            values[field.name] = given
    return Settings.from_dict(values | {"prompt": prompt})
