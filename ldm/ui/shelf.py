"""What can be opened: the weights folder, and who may name anything else.

Names of the weights folder are for everybody.  Paths and the Hub are for this computer's own user: to others
a path would tell what lies on the disk, by what is answered alone.
"""

import os
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

from ..checkpoints import Identity, find, identify, weights_folder
from ..checkpoints.files import SUFFIXES
from ..checkpoints.hub import Fetched, parse, resolve
from ..engine import LOCAL
from ..errors import CheckpointError, SettingsError
from . import files
from .events import visitor

ADDITIONS = ("loras", "embeddings")  # folders of the weights folder that hold no models
OTHERS = (".gguf", ".onnx", ".h5", ".msgpack", ".zip")  # that people take for weights; each gets its sentence
MOST_NAME = 1024  # characters of a path

Progress = Callable[[Fetched], None]


def shelf() -> dict[str, Path]:
    """Name -> file or folder of the weights folder that may hold weights, models first; found anew each time.

    Of a folder that is no model itself the files in it are listed, under "folder/file".
    """
    folder = weights_folder()
    if not folder.is_dir():
        return {}
    models = find(folder)
    there = [path for path in _shown(folder) if path.name not in ADDITIONS]
    found = [*models, *(path for path in there if path not in models and is_weights(path))]
    inside = [one for path in there if path.is_dir() and path not in found for one in _shown(path)]
    found += [path for path in inside if is_weights(path)]
    return {path.relative_to(folder).as_posix(): path for path in found}


def is_weights(path: Path) -> bool:
    """Whether a file has a name that weights have, or a folder is a model."""
    if path.is_dir():
        return bool(identified(path).layout)
    return path.suffix.lower() in (*SUFFIXES, *OTHERS)


def identified(path: Path) -> Identity:
    """`identify`, once for each state of a file or folder."""
    return _identified(path, state_of(path))


@lru_cache(maxsize=512)
def _identified(path: Path, _: tuple[object, ...]) -> Identity:
    return identify(path)


def state_of(path: Path) -> tuple[object, ...]:
    """Changes with what `identify` reads: the file, what lies in the folder, and the YAML beside a file."""
    seen = [path, path.parent, path.with_suffix(".yaml")]
    if path.is_dir():
        seen += [*_shown(path), *path.glob("*/*")]
    return tuple(_stamp(one) for one in seen)


def _stamp(path: Path) -> tuple[str, int, int]:
    try:
        stat = path.stat()
    except OSError:
        return path.name, -1, -1
    return path.name, stat.st_size, stat.st_mtime_ns


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files of a model's folder."""
    every = [path, *path.glob("*"), *path.glob("*/*")] if path.is_dir() else [path]
    return sum(_stamp(one)[1] for one in every if one.is_file())


def is_local() -> bool:
    """Whether who is asking sits at this computer."""
    return visitor() == LOCAL


def named(text: object, progress: Progress | None = None) -> Path:
    """The file or folder that a name stands for: one of the shelf; or a path or a repository of the Hub.

    Args:
        progress: told while a repository is fetched.

    Raises:
        SettingsError: there is none, or only this computer's own user may name it.
        CheckpointError: the Hub does not give it.
    """
    if not isinstance(text, str) or not text.strip():
        raise SettingsError("Name a file or folder, or a repository of the Hub as owner/name.")
    text = text.strip()
    there = shelf()
    if text in there:
        return there[text]
    if not is_local():
        raise SettingsError(
            f"{text[:80]!r} is not among this server's models; "
            "paths and the Hub are for its own computer only."
        )
    path = _path(text)
    if path is not None:
        return path
    if parse(text) is None or text.startswith(("/", ".", "~")):
        raise SettingsError(f"There is no file or folder {text[:200]!r}, and no repository is called so.")
    return resolve(text, progress)


def _path(text: str) -> Path | None:
    """A file or folder that is there; None without one."""
    try:
        path = Path(text[:MOST_NAME]).expanduser()
        return path if os.access(path, os.R_OK) else None
    except (OSError, RuntimeError, ValueError):  # too long, no such user, a zero in it
        return None


def dropped(paths: list[str]) -> Path:
    """The one of some uploaded files that is the model; the others, such as a YAML, are put beside it.

    Raises:
        CheckpointError: there are none.
        LdmError: the disk is full.
    """
    if not paths:
        raise CheckpointError("Drop a file of weights.")
    if len(paths) == 1:
        return Path(paths[0])
    folder = files.folder(files.fresh_key())
    together = [_beside(Path(path), folder) for path in paths]
    known = [(path, identified(path)) for path in together if is_weights(path)]
    loads = [path for path, identity in known if identity.loads]
    return (loads or [path for path, _ in known] or together)[0]


def _beside(path: Path, folder: Path) -> Path:
    """The same file in another folder, without a second copy on the disk."""
    place = folder / path.name
    try:
        place.hardlink_to(path)
    except FileExistsError:
        raise CheckpointError(f"Two files are called {path.name}; drop one of them.") from None
    except OSError as error:
        raise CheckpointError(f"{path.name} could not be kept: {error.strerror or error}.") from error
    return place


def _shown(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:
        return []
