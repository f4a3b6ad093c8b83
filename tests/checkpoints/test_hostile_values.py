"""Values of the wrong kind are said in a sentence, which tells nobody where things lie on this machine."""

import json
from dataclasses import replace

import pytest

from ldm import checkpoints
from ldm.checkpoints import identify
from ldm.checkpoints import identify as identify_function
from ldm.checkpoints.files import read_shapes
from ldm.checkpoints.first_stage import find_first_stages, load_first_stage
from ldm.errors import CheckpointError
from ldm.models.config import ModelConfig, ScheduleConfig

from .families import FAMILIES
from .twins import twin

NONSENSE = ["x", [["x"]], {"a": 1}, 10**400]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("folders") / "pipeline"
    checkpoints.convert(twin(FAMILIES["sd1"]), path)
    return path


@pytest.mark.parametrize(
    "file",
    [
        "model_index.json",
        "unet/config.json",
        "vae/config.json",
        "scheduler/scheduler_config.json",
        "text_encoder/config.json",
        "tokenizer/tokenizer_config.json",
    ],
)
def test_no_value_in_a_folder_makes_identifying_fail(folder, file, caplog):
    before = (folder / file).read_text()
    try:
        for name in json.loads(before):
            for value in NONSENSE:
                (folder / file).write_text(json.dumps(json.loads(before) | {name: value}))
                told = identify(folder)
                assert told.loads == (not told.refusal)
                assert "not foreseen" not in told.refusal, (name, value, caplog.text[-2000:])
                assert len(told.refusal) < 400 and "\n" not in told.refusal
        for text in ("[" * 200_000, '{"a":' * 200_000, "5", "", "\x00"):
            (folder / file).write_text(text)
            assert "not foreseen" not in identify(folder).refusal
    finally:
        (folder / file).write_text(before)


def test_an_autoencoder_with_nonsense_hides_no_other(folder, tmp_path):
    part = tmp_path / "vae"
    part.mkdir()
    for file in (folder / "vae").iterdir():
        (part / file.name).symlink_to(file)
    (part / "config.json").unlink()
    values = json.loads((folder / "vae" / "config.json").read_text())
    (part / "config.json").write_text(json.dumps(values | {"scaling_factor": "a"}))
    assert find_first_stages(tmp_path) == []
    assert "autoencoder" in identify(part).refusal


def test_whatever_else_goes_wrong_is_a_refusal_too(tmp_path, monkeypatch):
    def fail(path):
        raise ZeroDivisionError

    monkeypatch.setitem(identify_function.__globals__, "_file", fail)
    told = identify(tmp_path / "x.safetensors")
    assert (told.family, told.loads) == ("unreadable", False)
    assert told.refusal == "x.safetensors is damaged in a way that was not foreseen (ZeroDivisionError)."


@pytest.mark.parametrize("value", [0, 0.0, -1.0, float("inf"), float("nan"), True, "0.18", None])
def test_a_scale_that_cannot_be_is_refused(value):
    with pytest.raises(CheckpointError, match=r"^latent_scaling_factor must be "):
        ModelConfig(latent_scaling_factor=value)


@pytest.mark.parametrize("field", ["linear_start", "linear_end"])
@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, float("inf"), float("nan"), "0.1", None])
def test_betas_that_cannot_be_are_refused(field, value):
    with pytest.raises(CheckpointError, match=rf"^{field} must be between 0 and 1, got "):
        ScheduleConfig(**{field: value})


def test_noise_levels_may_be_above_one():
    assert ScheduleConfig(betas="geometric", linear_start=0.02, linear_end=100.0).linear_end == 100.0
    with pytest.raises(CheckpointError, match=r"^linear_end must be a finite number above 0"):
        replace(
            ScheduleConfig(betas="geometric", linear_start=0.02, linear_end=100.0), linear_end=float("inf")
        )


def test_no_sentence_tells_where_a_file_lies(tmp_path, folder):
    gone = tmp_path / "gone.safetensors"
    gone.symlink_to(tmp_path / "nowhere")
    around = tmp_path / "around.safetensors"
    around.symlink_to(around)
    (tmp_path / "folder.safetensors").mkdir()
    for path in (gone, around, tmp_path / "folder.safetensors"):
        assert path.name in identify(path).refusal
        assert str(tmp_path) not in identify(path).refusal
        for read in (read_shapes, load_first_stage):
            with pytest.raises(CheckpointError) as error:
                read(path)
            assert str(tmp_path) not in str(error.value)
    config = folder / "unet" / "config.json"
    before = config.read_text()
    try:
        config.unlink()
        config.symlink_to(config)
        assert str(folder) not in identify(folder).refusal
        assert "unet/config.json" in identify(folder).refusal
    finally:
        config.unlink()
        config.write_text(before)
