"""Files of weights: what is read, what is mapped, what is refused, and how one is written."""

import errno
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from ldm.checkpoints.files import STRANGERS, read_shapes, read_state_dict, write_state_dict
from ldm.errors import CheckpointError
from ldm.writing import DTYPES

from ..golden_cases import case


def some_tensors() -> dict[str, Tensor]:
    return {"a.weight": torch.arange(12.0).reshape(3, 4), "b": torch.tensor(3, dtype=torch.int64)}


def error_of(path: Path) -> str:
    """What reading says, the same whether tensors or only shapes are wanted."""
    with pytest.raises(CheckpointError) as first:
        read_state_dict(path)
    with pytest.raises(CheckpointError) as second:
        read_shapes(path)
    assert str(first.value) == str(second.value)
    return str(first.value)


@pytest.mark.golden
def test_every_pickled_file_gives_the_tensors_that_were_put_in():
    golden = case("ckpt_formats")
    expected = load_file(golden.folder / "expected.safetensors")
    unsafe = golden.config["unsafe"].split()[0]
    files = [*(set(golden.config["files"]) - {unsafe}), *(f.name for f in golden.folder.glob("plain*"))]
    for file in files:
        tensors, _ = read_state_dict(golden.folder / file)
        assert set(tensors) == set(expected), file
        for name, tensor in expected.items():
            assert tensors[name].dtype == tensor.dtype, (file, name)
            assert torch.equal(tensors[name], tensor), (file, name)
        assert read_shapes(golden.folder / file)[0] == {k: tuple(v.shape) for k, v in expected.items()}


@pytest.mark.golden
def test_a_file_that_names_a_function_is_refused_by_name(capfd):
    golden = case("ckpt_formats")
    file, _, rest = golden.config["unsafe"].partition(" refers to ")
    assert error_of(golden.folder / file) == (
        f"{file} is not opened: it names {rest.split()[0]}, which a file of weights has no use for. "
        "It may be an attack."
    )
    assert capfd.readouterr().out == ""


@pytest.mark.parametrize("dtype", DTYPES)
def test_what_is_written_is_read_again_by_us_and_by_the_library(tmp_path, dtype):
    tensors = {"x": torch.arange(6).reshape(2, 3).to(dtype), "empty": torch.zeros(0, 3, dtype=dtype)}
    write_state_dict(tmp_path / "x.safetensors", tensors, {"a": "b"})
    library = load_file(tmp_path / "x.safetensors")
    ours, metadata = read_state_dict(tmp_path / "x.safetensors")
    for name, tensor in tensors.items():
        for again in (library[name], ours[name]):
            assert again.dtype == dtype
            assert torch.equal(again, tensor)
    assert metadata == {"format": "pt", "a": "b"}
    assert read_shapes(tmp_path / "x.safetensors")[0] == {"x": (2, 3), "empty": (0, 3)}


def test_strided_and_mixed_tensors_are_written_as_they_look(tmp_path):
    rows = torch.arange(12.0).reshape(3, 4)
    tensors = {
        "t": rows.T,
        "odd": torch.tensor([1, 2, 3], dtype=torch.uint8),
        "half": rows[:, 1].half(),
        "n": rows,
    }
    write_state_dict(tmp_path / "x.safetensors", tensors, {})
    again, _ = read_state_dict(tmp_path / "x.safetensors")
    assert all(torch.equal(again[name], tensor) for name, tensor in tensors.items())


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux lists what is mapped")
@pytest.mark.parametrize("name", ["x.safetensors", "x.ckpt"])
def test_tensors_are_windows_into_the_file(tmp_path, name):
    path = tmp_path / name
    if name == "x.ckpt":
        torch.save({"state_dict": some_tensors()}, path)
    else:
        save_file(some_tensors(), path)
    tensors, _ = read_state_dict(path)
    maps = [line.split() for line in Path("/proc/self/maps").read_text().splitlines() if str(path) in line]
    spans = [tuple(int(end, 16) for end in line[0].split("-")) for line in maps]
    address = tensors["a.weight"].data_ptr()
    assert any(start <= address < end for start, end in spans)


def test_a_file_is_known_by_its_content_not_by_its_name(tmp_path):
    save_file(some_tensors(), tmp_path / "x.ckpt")
    torch.save(some_tensors(), tmp_path / "y.safetensors.tmp")
    (tmp_path / "y.safetensors.tmp").rename(tmp_path / "y.bin")
    for name in ("x.ckpt", "y.bin"):
        assert torch.equal(read_state_dict(tmp_path / name)[0]["a.weight"], some_tensors()["a.weight"])


@pytest.mark.parametrize("magic", STRANGERS)
def test_a_stranger_is_named(tmp_path, magic):
    path = tmp_path / "x.safetensors"
    path.write_bytes(magic + b" and more \x00" * 20)
    assert error_of(path) == f"x.safetensors is {STRANGERS[magic]}."


def test_a_pointer_of_git_lfs_says_what_to_do(tmp_path):
    path = tmp_path / "model.ckpt"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 4\n")
    assert error_of(path) == (
        "model.ckpt is a pointer of Git LFS, not the file itself; fetch that with `git lfs pull`."
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "x.ckpt is empty."),
        (b"just words\n", "x.ckpt is a text file, not a file of weights."),
        (b"  <!DOCTYPE HTML><p>", f"x.ckpt is {STRANGERS[b'<!doctype html']}."),
        (
            b"\x00\x01\x02" * 40,
            "x.ckpt is not a file of weights: neither .safetensors nor made by torch.save.",
        ),
        ((20).to_bytes(8, "little") + b'{"a": [1, 2, 3]}    ', "x.ckpt has a damaged header."),
        (
            (99).to_bytes(8, "little") + b'{"a"',
            "x.ckpt is cut short: 12 of 107 bytes are here. Download it again.",
        ),
    ],
)
def test_what_is_no_file_of_weights_is_said_to_be_none(tmp_path, content, message):
    path = tmp_path / "x.ckpt"
    path.write_bytes(content)
    assert error_of(path) == message


def test_a_missing_file_and_a_folder_are_errors(tmp_path):
    assert error_of(tmp_path / "x.ckpt") == "There is no file x.ckpt."
    assert error_of(tmp_path) == f"{tmp_path.name} is a folder; name a file of weights."


def test_a_safetensors_file_that_is_cut_short_is_an_error(tmp_path):
    path = tmp_path / "x.safetensors"
    save_file(some_tensors(), path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-5])
    assert error_of(path) == (
        f"x.safetensors is cut short: {len(whole) - 5} of {len(whole)} bytes are here. Download it again."
    )


@pytest.mark.parametrize("is_zip", [True, False])
@pytest.mark.parametrize("kept", [0.2, 0.6, 0.95])
def test_a_pickled_file_that_is_cut_short_is_an_error(tmp_path, is_zip, kept):
    path = tmp_path / "x.ckpt"
    torch.save({"w": torch.randn(400)}, path, _use_new_zipfile_serialization=is_zip)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(kept * len(whole))])
    assert error_of(path).startswith("x.ckpt cannot be read; it may be cut short or damaged (")


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "x.safetensors"
    write_state_dict(path, some_tensors(), {})
    before = path.read_bytes()

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError) as error:
        write_state_dict(path, {"a": torch.zeros(1000)}, {})
    assert str(error.value) == "x.safetensors could not be written: No space left on device."
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]
