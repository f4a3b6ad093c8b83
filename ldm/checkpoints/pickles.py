"""Files of `torch.save`, read without running anything they say.

A pickle is a program: it may name any function and call it.  torch's own safe reader comes first; it refuses
files of training frameworks, which name classes of theirs.  Then the same machinery runs on `Unpickler`, to
which every name is an inert `Placeholder` but for the few functions that put tensors together.  Nothing is
ever imported by a name in a file, so a file that names `ldm.models...`, CompVis's package, never meets ours.
"""

import pickle
import struct
import sys
import types
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor

from ..errors import CheckpointError

NESTS = ("state_dict", "model_state_dict", "model", "module", "params")
TAUGHT = "string_to_param"  # the vectors of a textual inversion, whose names begin with this here
UNREADABLE = (
    *(pickle.UnpicklingError, RuntimeError, EOFError, OSError, TypeError, ValueError, KeyError, IndexError),
    *(
        AttributeError,
        AssertionError,
        ImportError,
        MemoryError,
        OverflowError,
        struct.error,
        zipfile.BadZipFile,
    ),
)
# modules of Python whose names turn up in honest checkpoints; the other ones are only there to be called
HARMLESS = {
    *("_codecs", "abc", "argparse", "array", "collections", "copyreg", "datetime", "decimal", "enum"),
    *("fractions", "functools", "logging", "numbers", "pathlib", "types", "typing", "uuid"),
}
HARMLESS_BUILTINS = {
    *("bool", "bytearray", "bytes", "complex", "dict", "float", "frozenset", "int", "list", "long", "object"),
    *("range", "set", "slice", "str", "tuple", "type", "unicode", "xrange", "Ellipsis", "NotImplemented"),
}
OLD_NAMES = {"nt", "posix", "commands", "urllib2", "dl", "popen2"}  # of other systems and of Python 2


class Placeholder:
    """Stands for a class, a function or an object of a file; takes everything and does nothing."""

    __slots__ = ()
    dump_patches: Final = False

    def __new__(cls, *args: object, **kwargs: object) -> "Placeholder":
        """Anything may be given."""
        return super().__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __call__(self, *args: object, **kwargs: object) -> "Placeholder":
        """Nothing happens."""
        return self

    def __setstate__(self, state: object) -> None:
        pass

    def __setitem__(self, key: object, value: object) -> None:
        pass

    def append(self, item: object) -> None:
        """Forget an item, as do the next two."""

    def extend(self, items: object) -> None:
        """As `append`."""

    def add(self, item: object) -> None:
        """As `append`."""


class Rebuild(Placeholder):
    """A function that a file may call but not change."""

    __slots__ = ("_function",)
    _function: Callable[..., Any]

    def __init__(self, function: Callable[..., Any]) -> None:
        object.__setattr__(self, "_function", function)

    def __setattr__(self, name: str, value: object) -> None:
        raise pickle.UnpicklingError(f"a file may not set {name}")

    def __call__(self, *args: object, **kwargs: object) -> Any:  # noqa: ANN401
        """Call it."""
        return self._function(*args)


class Parameters(dict[str, object]):
    """Stands for torch's `ParameterDict`, which the first textual inversions are; keeps its parameters."""

    def __setstate__(self, state: object) -> None:
        parameters = state.get("_parameters") if isinstance(state, Mapping) else None
        if isinstance(parameters, Mapping):
            self.update(parameters)


def _tensor(storage: Any, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: object) -> Tensor:  # noqa: ANN401
    return torch._utils._rebuild_tensor(storage, offset, size, stride)


def _first(value: object, *_: object) -> object:
    return value


def _subclass(function: object, _type: object, args: tuple[object, ...], _state: object) -> object:
    """A tensor with attributes or of a class of its own: the tensor alone."""
    return function(*args) if isinstance(function, Rebuild) else Placeholder()


FUNCTIONS: dict[tuple[str, str], object] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch.nn.modules.container", "ParameterDict"): Parameters,
    ("torch._utils", "_rebuild_tensor"): Rebuild(_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): Rebuild(_tensor),
    ("torch._utils", "_rebuild_parameter"): Rebuild(_first),
    ("torch._utils", "_rebuild_parameter_with_state"): Rebuild(_first),
    ("torch._tensor", "_rebuild_from_type_v2"): Rebuild(_subclass),
}


class Unpickler(pickle._Unpickler):
    """Knows `FUNCTIONS`; any other name is a `Placeholder`, or an error if nothing honest would name it.

    Python's own rather than the one in C, which makes room for as many remembered objects as a file says that
    there are: ten bytes could ask for all memory.
    """

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401
        """What a name in the file stands for; nothing is imported."""
        if (module, name) in FUNCTIONS:
            return FUNCTIONS[module, name]
        top = module.split(".")[0]
        if top in ("builtins", "__builtin__"):
            refused = name not in HARMLESS_BUILTINS
        else:
            refused = top in sys.stdlib_module_names and top not in HARMLESS
        if refused or top in OLD_NAMES:
            raise _Refused(f"{module}.{name}".replace("__builtin__.", "builtins."))
        return Placeholder


class _Refused(Exception):  # noqa: N818
    """A name that could only be there to be run."""


def _load(file: Any, **kwargs: Any) -> Any:  # noqa: ANN401
    return Unpickler(file, **kwargs).load()


def _module() -> types.ModuleType:
    """What `torch.load` takes as `pickle_module`."""
    module = types.ModuleType("ldm_pickle")
    vars(module).update(Unpickler=Unpickler, load=_load)
    return module


def read_pickle(path: Path, device: str | torch.device = "cpu") -> dict[str, Tensor]:
    """The tensors of a file of `torch.save`, by name, out of whatever they are nested in.

    Args:
        path: zip files (torch 1.6 and later) are mapped, not read.

    Raises:
        CheckpointError: the file is cut short, names a function that could do harm, or holds no tensors.
    """
    try:
        is_zip = zipfile.is_zipfile(path)
        if is_zip:
            _check_archive(path)
        found = _read(path, device, is_zip)
    except _Refused as error:
        raise CheckpointError(
            f"{path.name} is not opened: it names {error}, which a file of weights has no use for. "
            "It may be an attack."
        ) from error
    except UNREADABLE as error:
        raise CheckpointError(
            f"{path.name} cannot be read; it may be cut short or damaged ({_short(error)})."
        ) from error
    if isinstance(found, list | tuple) and found:  # NCSN's files: weights, then an optimizer's state
        found = found[0]
    tensors = _tensors(found)
    if not tensors:
        raise CheckpointError(f"{path.name} holds no weights.")
    return tensors


def _read(path: Path, device: str | torch.device, is_zip: bool) -> object:
    def load(**options: Any) -> object:  # noqa: ANN401
        if path.name.endswith(".safetensors"):  # torch goes by the name, and would not open it as it is
            with path.open("rb") as file:
                return torch.load(file, map_location=device, **options)
        return torch.load(path, map_location=device, mmap=is_zip, **options)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about classes whose source is not here
        try:
            return load(weights_only=True)
        except pickle.UnpicklingError:
            return load(weights_only=False, pickle_module=_module())


def _check_archive(path: Path) -> None:
    """Raise CheckpointError for an archive that `torch.save` did not write, or that is larger inside."""
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    names = [entry.filename for entry in entries]
    if any(name.endswith("/constants.pkl") for name in names):
        raise CheckpointError(f"{path.name} is a TorchScript program, not a file of weights.")
    if names and all(name.endswith(".npy") for name in names):
        raise CheckpointError(f"{path.name} is an archive of NumPy arrays, not a file of weights.")
    if not any(name.endswith("data.pkl") for name in names):
        raise CheckpointError(f"{path.name} is a zip archive, not a file of weights; unpack it first.")
    packed = [entry for entry in entries if entry.compress_type != zipfile.ZIP_STORED]
    if packed or sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise CheckpointError(
            f"{path.name} is larger inside than outside, as no file of weights is; it may be an attack."
        )


def _tensors(found: object, depth: int = 0) -> dict[str, Tensor]:
    """The named tensors of the innermost state dict."""
    if not isinstance(found, Mapping) or depth > len(NESTS):
        return {}
    for key in NESTS:
        inner = _tensors(found.get(key), depth + 1)
        if inner:
            return inner
    taught = _tensors(found.get(TAUGHT), depth + 1)
    if taught:
        return {f"{TAUGHT}.{key}": value for key, value in taught.items()}
    items = ((key, value) for key, value in found.items() if isinstance(key, str))
    return {key: value.detach() for key, value in items if isinstance(value, Tensor)}


def _short(error: BaseException) -> str:
    """The first sentence of an error of torch."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text.split(". ")[0][:160].rstrip(".")
