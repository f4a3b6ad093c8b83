"""From the names in a run's settings to LoRAs that act: where their files are, which are in a model."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from weakref import ref

from ..checkpoints.files import SUFFIXES, read_shapes
from ..errors import CheckpointError, LdmError, SettingsError, check_choice
from ..latent_diffusion import LatentDiffusion, Loras
from .applying import applied, apply
from .layouts import parse
from .reading import LoRA, file_of, read_lora

MOST_BYTES = 4 << 30  # no LoRA is larger; keeps the search from opening every checkpoint


def find_loras(folder: str | Path) -> dict[str, Path]:
    """LoRAs in a folder, and in its folders, by name: the file's without its ending.

    Nothing but headers is read.  Of two with one name the first in the order of their paths is found.
    """
    folder = Path(folder)
    if not folder.is_dir():
        return {}
    found: dict[str, Path] = {}
    for path in _shown(folder):
        for candidate in _shown(path) if path.is_dir() and not is_lora(path) else (path,):
            if is_lora(candidate):
                found.setdefault(lora_name(candidate), candidate)
    return found


def _shown(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def is_lora(path: str | Path) -> bool:
    """Whether a file, or a folder of peft or diffusers, is a LoRA by the names in it."""
    try:
        file = file_of(Path(path))
        stat = file.stat() if file is not None and file.suffix.lower() in SUFFIXES else None
        if file is None or stat is None or stat.st_size > MOST_BYTES:
            return False
        return _has_names(file, stat.st_size, stat.st_mtime_ns)
    except OSError:
        return False


def lora_name(path: Path) -> str:
    """What a LoRA is called: the file's name without its ending, or the folder's."""
    return path.name if path.is_dir() else path.stem


@lru_cache(maxsize=512)
def _has_names(file: Path, _size: int, _time: int) -> bool:
    try:
        names = read_shapes(file)[0]
    except LdmError:
        return False
    return any(part is not None and part.form for part in map(parse, names))


class Adapter:
    """Makes the LoRAs of a run act; a model calls it with those of its settings before each run.

    Args:
        model: whose weights they change; held weakly, since the model holds its adapter.
        find: the LoRAs there are, by name; asked anew for each run, so that new files are found.
    """

    def __init__(self, model: LatentDiffusion, find: Callable[[], Mapping[str, Path]]) -> None:
        self._model = ref(model)
        self._find = find
        self._read: dict[Path, tuple[int, LoRA]] = {}  # (time of the file, LoRA), of those that act

    @property
    def names(self) -> list[str]:
        """Names of the LoRAs there are now."""
        return sorted(self._find())

    def __call__(self, loras: Loras) -> None:
        """Have exactly these act; nothing is done where they do already.

        Args:
            loras: (name, weight) each.

        Raises:
            SettingsError: there is none of that name, it cannot be read, or it is another family's; what
                acted before still does.
        """
        model = self._model()
        if model is None or not (loras or applied(model)):
            return
        paths = self._find() if loras else {}
        for name, _ in loras:
            if not paths:
                raise SettingsError(f"There is no LoRA {name!r}: no file of one was found.")
            check_choice("LoRA", name, paths)
        try:
            read = {paths[name]: self._opened(paths[name]) for name, _ in loras}
            asked = tuple((read[paths[name]][1], float(weight), float(weight)) for name, weight in loras)
            if asked != applied(model):
                apply(model, asked)
        except CheckpointError as error:
            raise SettingsError(str(error)) from error
        self._read = read

    def _opened(self, path: Path) -> tuple[int, LoRA]:
        file = file_of(path)
        time = file.stat().st_mtime_ns if file is not None and file.exists() else 0
        known = self._read.get(path)
        return known if known is not None and known[0] == time else (time, read_lora(path))
