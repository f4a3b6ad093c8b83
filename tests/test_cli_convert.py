"""`python -m ldm convert`: from any layout to any."""

import pytest
import torch

from ldm.__main__ import main
from ldm.checkpoints import load, save

from .checkpoints.models import random_model, sd_config


@pytest.fixture(scope="module")
def model():
    with torch.no_grad():
        return random_model(sd_config())


@pytest.fixture
def native(tmp_path, model):
    save(model, tmp_path / "native.safetensors")
    return tmp_path / "native.safetensors"


def run(*words) -> int:
    return main([str(word) for word in words])


def test_a_model_goes_round_all_layouts(tmp_path, native, model, capsys):
    steps = [
        (native, tmp_path / "single.safetensors", ("--to", "compvis")),
        (tmp_path / "single.safetensors", tmp_path / "folder", ()),
        (tmp_path / "folder", tmp_path / "again.safetensors", ()),
    ]
    for source, target, options in steps:
        assert run("convert", source, target, *options) == 0
        assert capsys.readouterr().out.strip() == str(target)
    again = load(tmp_path / "again.safetensors", "cpu", torch.float32).state_dict()
    assert all(torch.equal(again[key], tensor) for key, tensor in model.state_dict().items())
    assert (tmp_path / "single.yaml").is_file()


@pytest.mark.parametrize(
    ("target", "to", "message"),
    [
        (
            "x.safetensors",
            "diffusers",
            "The layout diffusers is a folder, got the target '{}'.",
        ),
        ("x", "compvis", "The layout compvis is a .safetensors file, got the target '{}'."),
        (
            "x",
            "difusers",
            "Unknown layout 'difusers'. Did you mean 'diffusers'? Choose one of: native, compvis, diffusers.",
        ),
    ],
)
def test_a_target_that_does_not_fit_is_a_sentence(tmp_path, native, capsys, target, to, message):
    assert run("convert", native, tmp_path / target, "--to", to) == 2
    assert message.format(tmp_path / target) in capsys.readouterr().err
    assert not (tmp_path / target).exists()
