"""First stages alone: what is saved is what is loaded, and nothing else takes such a file for a model."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from ldm.checkpoints import find, load, save
from ldm.checkpoints.files import read_shapes
from ldm.checkpoints.first_stage import (
    KIND,
    find_first_stages,
    is_first_stage,
    load_first_stage,
    save_first_stage,
)
from ldm.errors import CheckpointError

from ..conftest import tiny_first_stage, tiny_model


@pytest.fixture(scope="module")
def stage():
    return tiny_first_stage()


@pytest.fixture
def path(stage, tmp_path):
    save_first_stage(stage, tmp_path / "default-vq.safetensors")
    return tmp_path / "default-vq.safetensors"


def rewritten(path, metadata, drop=()):
    """The file again with other metadata, and without some weights."""
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items() if name not in drop}
    save_file(tensors, path, metadata)
    return path


def refused(function, *arguments):
    with pytest.raises(CheckpointError) as error:
        function(*arguments)
    return str(error.value)


def test_a_first_stage_comes_back_as_it_was(stage, path):
    again = load_first_stage(path, "cpu", torch.float32)
    assert again.config == stage.config
    theirs, ours = again.first_stage_model.state_dict(), stage.first_stage_model.state_dict()
    assert list(theirs) == list(ours)
    assert all(torch.equal(theirs[name], tensor) for name, tensor in ours.items())
    images = torch.rand(1, 3, 8, 8)
    assert torch.equal(again.autoencoder_encode(images), stage.autoencoder_encode(images))


def test_its_weights_have_compvis_s_names(path):
    names = set(read_shapes(path)[0])
    assert {"encoder.conv_in.weight", "quantize.embedding.weight", "post_quant_conv.bias"} <= names
    assert {name.split(".")[0] for name in names} == {
        "encoder",
        "decoder",
        "quantize",
        "quant_conv",
        "post_quant_conv",
    }


def test_saving_twice_gives_the_same_bytes(path, tmp_path):
    save_first_stage(load_first_stage(path, "cpu", torch.float32), tmp_path / "y.safetensors")
    assert (tmp_path / "y.safetensors").read_bytes() == path.read_bytes()


def test_weights_can_be_written_and_opened_in_bfloat16(stage, tmp_path):
    save_first_stage(stage, tmp_path / "x.safetensors", dtype=torch.bfloat16)
    assert all(tensor.dtype == torch.bfloat16 for tensor in load_file(tmp_path / "x.safetensors").values())
    again = load_first_stage(tmp_path / "x.safetensors", "cpu", torch.bfloat16)
    found = again.quantise(again.autoencoder_encode(torch.zeros(1, 3, 8, 8)))
    assert again.autoencoder_decode(found.latents).dtype == torch.float32


def test_a_first_stage_is_told_from_a_model_and_from_what_is_neither(path, tmp_path):
    save(tiny_model(), tmp_path / "tiny.safetensors")
    (tmp_path / "notes.safetensors").write_text("no weights at all")
    (tmp_path / "empty.safetensors").touch()
    (tmp_path / "other.ckpt").write_bytes(b"PK\x03\x04")
    (tmp_path / "folder.safetensors").mkdir()
    assert find_first_stages(tmp_path) == [path]
    assert [name.name for name in find(tmp_path) if is_first_stage(name)] == []
    assert tmp_path / "tiny.safetensors" in find(tmp_path)
    assert find_first_stages(tmp_path / "nowhere") == []


def test_a_first_stage_is_no_model(path):
    assert refused(load, path) == (
        "default-vq.safetensors is a first stage alone, a VQ autoencoder: it sends pictures there and back "
        "and cannot draw. Choose it on the tab Round trip, or name it to `python -m ldm roundtrip --weights`."
    )


def test_what_is_no_first_stage_is_refused(path, tmp_path):
    save(tiny_model(), tmp_path / "tiny.safetensors")
    assert refused(load_first_stage, tmp_path / "tiny.safetensors") == (
        "tiny.safetensors is no first stage alone; it is a whole model."
    )
    assert refused(load_first_stage, tmp_path / "none.safetensors") == ("There is no file none.safetensors.")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"colour": 1}, "FirstStageConfig has no field 'colour'; is the file from a newer version?"),
        ({"latent_scaling_factor": 0}, "latent_scaling_factor must be a number above 0, got 0."),
        ({"vq": {"n_embed": 0}}, "n_embed must be at least 1, got 0."),
        (
            {"vq": {"autoencoder": {"double_z": True}}},
            "A VQ autoencoder must have double_z False, it is True.",
        ),
    ],
)
def test_a_config_that_cannot_be_used_is_named(stage, path, change, said):
    config = {**stage.config.to_dict(), **change}
    rewritten(path, {KIND: json.dumps(config)})
    assert refused(load_first_stage, path) == (
        f"default-vq.safetensors has a config that cannot be read. {said}"
    )


@pytest.mark.parametrize("text", ["{", "[]", "null", '{"vq": 3}'])
def test_a_config_that_is_none_is_refused(path, text):
    rewritten(path, {KIND: text})
    assert refused(load_first_stage, path).startswith("default-vq.safetensors has a config that cannot be")


def test_sizes_that_no_network_can_have_are_refused(stage, path):
    config = stage.config.to_dict()
    config["autoencoder"]["autoencoder"]["num_groups"] = 5
    rewritten(path, {KIND: json.dumps(config)})
    assert refused(load_first_stage, path) == (
        "default-vq.safetensors has sizes that no network can have: num_channels (16) must be divisible by "
        "num_groups (5)."
    )


def test_a_missing_weight_is_named(stage, path):
    rewritten(path, {KIND: json.dumps(stage.config.to_dict())}, drop=("quantize.embedding.weight",))
    count = len(stage.first_stage_model.state_dict())
    assert refused(load_first_stage, path) == (
        f"default-vq.safetensors is missing 1 of {count} weights (quantize.embedding.weight)."
    )
