"""Pickled files: foreign classes become nothing, and no file runs anything."""

import builtins
import functools
import importlib
import io
import os
import pickle
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import pytest
import torch

from ldm.checkpoints.pickles import Placeholder, Rebuild, Unpickler, read_pickle
from ldm.errors import CheckpointError

WEIGHT = torch.arange(6.0).reshape(2, 3)


class Reduced:
    """Pickled as a call of `function`."""

    def __init__(self, function, *args) -> None:
        self.call = (function, args)

    def __reduce__(self):
        return self.call


@pytest.fixture
def foreign(monkeypatch):
    """Makes classes, (module, name, base) -> class, of packages that are gone once `forget` is called."""

    def make(module: str, name: str, base: type = object) -> type:
        made = type(name, (base,), {"__module__": module})
        holder = types.ModuleType(module)
        setattr(holder, name, made)
        for needed in (module, module.split(".")[0]):
            if needed not in sys.modules:
                monkeypatch.setitem(sys.modules, needed, holder)
        return made

    with monkeypatch.context() as monkeypatch:
        make.forget = monkeypatch.undo
        yield make


def save(content: object, path: Path, is_zip: bool) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=is_zip)


@pytest.mark.parametrize("is_zip", [True, False])
def test_a_lightning_file_with_objects_of_its_own_gives_its_tensors(tmp_path, foreign, is_zip):
    callback = foreign("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint")
    a_list = foreign("omegaconf.listconfig", "ListConfig", list)
    a_dict = foreign("omegaconf.dictconfig", "DictConfig", dict)
    a_set = foreign("somewhere.else", "Names", set)
    kept = callback()
    kept.best = {"path": Path("x"), "score": torch.tensor(1.0)}
    content = {
        "callbacks": {callback: kept},
        "hyper_parameters": a_dict(a=a_list([1, 2]), b=a_set({"x"})),
        "schedule": functools.partial(kept.__class__, 3),
        "state_dict": {"w": WEIGHT, "p": torch.nn.Parameter(WEIGHT[0])},
    }
    save(content, tmp_path / "x.ckpt", is_zip)
    foreign.forget()
    tensors = read_pickle(tmp_path / "x.ckpt")
    assert list(tensors) == ["w", "p"]
    assert torch.equal(tensors["w"], WEIGHT)
    assert torch.equal(tensors["p"], WEIGHT[0])
    assert not tensors["p"].requires_grad


def test_a_file_that_names_classes_of_a_package_called_ldm_imports_none(tmp_path, foreign):
    made = foreign("ldm.modules.ema", "LitEma")
    save({"ema": made(), "state_dict": {"w": WEIGHT}}, tmp_path / "x.ckpt", True)
    foreign.forget()
    before = set(sys.modules)
    assert torch.equal(read_pickle(tmp_path / "x.ckpt")["w"], WEIGHT)
    assert not [name for name in set(sys.modules) - before if name.startswith("ldm")]


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize(
    ("function", "args", "name"),
    [
        (os.system, ("touch {}",), f"{os.system.__module__}.system"),
        (eval, ("open('{}', 'w')",), "builtins.eval"),
        (exec, ("open('{}', 'w')",), "builtins.exec"),
        (open, ("{}", "w"), "io.open"),
        (getattr, (builtins, "eval"), "builtins.getattr"),
        (importlib.import_module, ("this",), "importlib.import_module"),
        (subprocess.check_output, (["touch", "{}"],), "commands.check_output"),
    ],
)
def test_an_attack_is_refused_and_nothing_runs(tmp_path, is_zip, function, args, name):
    path, marker = tmp_path / "x.ckpt", tmp_path / "marker"
    made = [a.format(marker) if isinstance(a, str) else a for a in args]
    made = [[part.format(marker) for part in a] if isinstance(a, list) else a for a in made]
    made = [a.__name__ if isinstance(a, types.ModuleType) else a for a in made]
    save({"w": WEIGHT, "x": Reduced(function, *made)}, path, is_zip)
    with pytest.raises(CheckpointError) as error:
        read_pickle(path)
    assert str(error.value) == (
        f"x.ckpt is not opened: it names {name}, which a file of weights has no use for. It may be an attack."
    )
    assert not marker.exists()


def test_a_function_of_a_library_is_not_called(tmp_path):
    marker = tmp_path / "marker"
    inner = io.BytesIO()
    torch.save(Reduced(os.system, f"touch {marker}"), inner)
    harmful = Reduced(torch.storage._load_from_bytes, inner.getvalue())  # which opens anything
    save({"w": WEIGHT, "x": harmful, "y": Reduced(torch.hub.load, "a/b", "c")}, tmp_path / "x.ckpt", True)
    assert list(read_pickle(tmp_path / "x.ckpt")) == ["w"]
    assert not marker.exists()


def test_a_file_cannot_change_the_functions_it_may_call(tmp_path):
    program = (
        b"ctorch._utils\n_rebuild_tensor_v2\n"  # the function,
        b"(N}X\x01\x00\x00\x00xI1\nstb."  # and a state for it: (None, {"x": 1})
    )
    found = Unpickler(io.BytesIO(program)).load()
    assert isinstance(found, Rebuild)
    assert not hasattr(torch._utils._rebuild_tensor_v2, "x")
    assert not hasattr(found, "x")
    with pytest.raises(pickle.UnpicklingError, match="a file may not set x"):
        found.x = 1


@pytest.mark.parametrize("name", ["OrderedDict", "deque"])
def test_a_file_cannot_change_a_class(name):
    program = f"ccollections\n{name}\n".encode() + b"(N}X\x01\x00\x00\x00xI1\nstb."
    with pytest.raises((TypeError, AttributeError)):
        Unpickler(io.BytesIO(program)).load()
    assert not hasattr(Placeholder, "x")


def test_a_torchscript_program_is_refused(tmp_path):
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", b"")
        archive.writestr("x/constants.pkl", b"")
    with pytest.raises(CheckpointError, match=r"^x\.pt is a TorchScript program, not a file of weights\.$"):
        read_pickle(path)


@pytest.mark.parametrize("content", [{}, {"epoch": 3}, [WEIGHT], {"state_dict": {"a": 1}}, {3: WEIGHT}])
def test_a_file_without_named_tensors_is_an_error(tmp_path, content):
    save(content, tmp_path / "x.ckpt", True)
    with pytest.raises(CheckpointError, match=r"^x\.ckpt holds no weights\.$"):
        read_pickle(tmp_path / "x.ckpt")


@pytest.mark.parametrize(
    "content",
    [
        {"w": WEIGHT},
        {"state_dict": {"w": WEIGHT}, "step": 1},
        {"model": {"w": WEIGHT}},
        {"module": {"state_dict": {"w": WEIGHT}}},
        {"model": {"layers": 3}, "state_dict": {"w": WEIGHT}, "loss": WEIGHT},
        {"model": {"layers": 3}, "w": WEIGHT},
    ],
)
def test_tensors_are_found_where_they_are_nested(tmp_path, content):
    save(content, tmp_path / "x.ckpt", True)
    tensors = read_pickle(tmp_path / "x.ckpt")
    assert list(tensors) == ["w"]
    assert torch.equal(tensors["w"], WEIGHT)
