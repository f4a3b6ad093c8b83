"""YAML files are anybody's: what one may do to the program, and whose word counts for which checkpoint."""

from dataclasses import replace

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from ldm import checkpoints
from ldm.checkpoints import identify
from ldm.checkpoints.compvis_export import write_compvis
from ldm.checkpoints.yaml_files import MAX_BYTES, read_yaml
from ldm.errors import CheckpointError

from .families import FAMILIES
from .twins import twin


def written(tmp_path, name="sd1", file="s.safetensors", **changes):
    """A twin in CompVis's layout, and what its YAML file says."""
    path = tmp_path / file
    path.parent.mkdir(exist_ok=True)
    write_compvis(twin(replace(FAMILIES[name], **changes)), path)
    return path, yaml.safe_load(path.with_suffix(".yaml").read_text())["model"]["params"]


def say(path, params):
    path.with_suffix(".yaml").write_text(yaml.safe_dump({"model": {"params": params}}))


def test_what_is_plain_is_read(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("a: 1\nb: [x, 1.5, null, true]\n")
    assert read_yaml(file) == {"a": 1, "b": ["x", 1.5, None, True]}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: &x [1]\nb: *x\n", "anchors or aliases"),
        ("a: &x [1]\n", "anchors or aliases"),
        ("a: &x {<<: *x}\n", "anchors or aliases"),
        ("#" + " " * MAX_BYTES, "more than 256 KiB"),
        ("[" * 5000, "nested too deeply"),
        ("!!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("\x00", "a.yaml cannot be read"),
        ("!!timestamp x", "a.yaml cannot be read"),
    ],
)
def test_what_is_not_is_refused_in_one_sentence(tmp_path, text, words):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(CheckpointError, match=words) as error:
        read_yaml(tmp_path / "a.yaml")
    assert str(tmp_path) not in str(error.value) and "\n" not in str(error.value)


def test_a_file_that_may_not_be_read_is_named_without_its_folder(tmp_path):
    with pytest.raises(CheckpointError) as error:
        read_yaml(tmp_path / "a.yaml")
    assert str(error.value) == "a.yaml cannot be read: No such file or directory."


def test_a_shared_config_is_of_the_only_checkpoint_of_its_folder(tmp_path):
    path, _ = written(tmp_path)
    path.with_suffix(".yaml").rename(tmp_path / "config.yaml")
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"model": {"params": {"parameterization": "v"}}}))
    assert checkpoints.read(path).config.prediction_type == "v"
    assert "config.yaml lies beside it" in identify(path).evidence
    other = tmp_path / "other.safetensors"
    save_file({"emb_params": torch.ones(2, 64)}, other)
    assert checkpoints.read(path).config.prediction_type == "v"
    save_file({"model.diffusion_model.out.2.bias": torch.ones(4)}, other)
    assert checkpoints.read(path).config.prediction_type == "eps"
    assert "config.yaml lies beside it" not in identify(path).evidence
    other.unlink()
    path.with_suffix(".ckpt").write_bytes(b"")  # the same model in another kind of file
    assert checkpoints.read(path).config.prediction_type == "v"


@pytest.mark.parametrize(
    ("part", "sizes", "words"),
    [
        ("unet_config", {"model_channels": 320}, "its U-Net has model_channels 320, the file's has 32"),
        ("unet_config", {"context_dim": 1024}, "its U-Net has context_dim 1024, the file's has 64"),
        ("network_config", {"in_channels": 9}, "its U-Net has in_channels 9, the file's has 4"),
        ("first_stage_config", {"embed_dim": 16}, "its first stage has embed_dim 16, the file's has 4"),
        (
            "first_stage_config",
            {"ddconfig": {"z_channels": 3}},
            "its first stage has z_channels 3, the file's has 4",
        ),
    ],
)
def test_a_yaml_file_of_another_model_is_refused(tmp_path, part, sizes, words):
    path, _ = written(tmp_path)
    say(path, {part: {"params": sizes}})
    sentence = f"The YAML file beside s.safetensors cannot be used. It is of another model: {words}."
    assert identify(path).refusal == sentence
    with pytest.raises(CheckpointError) as error:
        checkpoints.load(path, "cpu")
    assert str(error.value) == sentence


@pytest.mark.parametrize("name", FAMILIES)
def test_its_own_yaml_file_is_never_of_another_model(tmp_path, name):
    path, _ = written(tmp_path, name)
    assert identify(path).refusal == ""


def test_a_whole_yaml_file_that_is_silent_means_noise(tmp_path):
    path, params = written(tmp_path, "sd2", prediction_type="eps")
    del params["parameterization"]
    say(path, params)
    checkpoint = checkpoints.read(path)
    assert (checkpoint.config.prediction_type, checkpoint.assumed) == ("eps", ())
    assert identify(path).config.prediction_type == "eps"
    save_file(load_file(path), path, {"modelspec.prediction_type": "v"})  # which says it outright
    assert checkpoints.read(path).config.prediction_type == "v"
    say(path, {"scale_factor": 0.18215})  # and a few parameters are no config
    save_file(load_file(path), path)
    assert checkpoints.read(path).assumed == ("prediction_type",)


def test_text_is_taken_for_a_number_where_it_is_one(tmp_path):
    path, _ = written(tmp_path)
    tensors = load_file(path)
    save_file({k: v for k, v in tensors.items() if k not in ("betas", "alphas_cumprod")}, path)
    path.with_suffix(".yaml").write_text("model: {params: {linear_start: 1e-4, linear_end: 2e-2}}")
    schedule = checkpoints.read(path).config.schedule
    assert (schedule.linear_start, schedule.linear_end) == (1e-4, 2e-2)
