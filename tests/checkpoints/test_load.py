"""Finding and opening checkpoints of any kind."""

import pytest
import torch
from safetensors.torch import save_file

from ldm.checkpoints import FORMATS, convert, find, load, save, weights_folder
from ldm.errors import CheckpointError
from ldm.speed import preferred_dtype

from .models import default_config, random_model, sd_config


@pytest.fixture(scope="module")
def model():
    return random_model(default_config())


def written(name, folder):
    """A small checkpoint of a format, and the model it was made from."""
    path = folder / f"{name}.safetensors"
    if name == "native":
        model = random_model(default_config())
        save(model, path)
    elif name == "diffusers":
        path, model = folder / name, random_model(default_config())
        convert(model, path)
    else:
        model = random_model(sd_config())
        save_file(model.state_dict(), path)
    return path, model


@pytest.mark.parametrize("name", ["native", "compvis", "diffusers"])
def test_a_checkpoint_of_every_format_survives_loading_and_saving(tmp_path, name):
    path, model = written(name, tmp_path)
    assert next(key for key, form in FORMATS.items() if form.matches(path)) == name
    save(load(path, "cpu", torch.float32), tmp_path / "again.safetensors")
    again = load(tmp_path / "again.safetensors", "cpu", torch.float32).state_dict()
    assert all(torch.equal(again[key], tensor) for key, tensor in model.state_dict().items())


def test_the_checkpoint_that_ships_is_found_first(tmp_path):
    for name in ("b.ckpt", "default.safetensors", "A.safetensors", ".x.ckpt", "README.md", "c.PT"):
        (tmp_path / name).touch()
    (tmp_path / "folder.ckpt").mkdir()
    assert [path.name for path in find(tmp_path)] == [
        "default.safetensors",
        "A.safetensors",
        "b.ckpt",
        "c.PT",
    ]
    assert find(tmp_path / "none") == []


def test_without_a_path_the_variable_is_asked(tmp_path, monkeypatch, model):
    save(model, tmp_path / "default.safetensors")
    monkeypatch.setenv("LDM_WEIGHTS", str(tmp_path / "default.safetensors"))
    assert load(device="cpu").config == model.config
    monkeypatch.setenv("LDM_WEIGHTS", str(tmp_path))
    assert load(device="cpu").config == model.config
    assert weights_folder() == tmp_path
    assert find() == [tmp_path / "default.safetensors"]


def test_without_the_variable_it_is_the_repositorys_folder(monkeypatch):
    monkeypatch.delenv("LDM_WEIGHTS", raising=False)
    folder = weights_folder()
    assert folder.name == "weights"
    assert (folder.parent / "ldm").is_dir()


def test_a_checkpoint_that_is_not_there_is_an_error(tmp_path):
    path = tmp_path / "x.ckpt"
    with pytest.raises(CheckpointError) as error:
        load(path)
    assert str(error.value) == (
        f"There is no checkpoint {path}. "
        "Put one into weights/, or name one with --weights or the variable LDM_WEIGHTS."
    )


def test_dtype_is_the_devices_unless_one_is_asked_for(tmp_path, model):
    save(model, tmp_path / "x.safetensors")
    assert load(tmp_path / "x.safetensors", "cpu").dtype == preferred_dtype(torch.device("cpu"))
    assert load(tmp_path / "x.safetensors", "cpu", torch.float64).dtype == torch.float64


@pytest.mark.gpu
def test_a_model_is_loaded_onto_the_gpu(tmp_path, model):
    if not torch.cuda.is_available():
        pytest.skip("needs CUDA")
    save(model, tmp_path / "x.safetensors")
    again = load(tmp_path / "x.safetensors", "cuda", torch.float32)
    assert {tensor.device.type for tensor in (*again.parameters(), *again.buffers())} == {"cuda"}


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        (
            "conditioner.embedders.1.model.x",
            "looks like Stable Diffusion XL, but is not all of it: it has no U-Net (model.diffusion_model) "
            "and autoencoder (first_stage_model).",
        ),
        (
            "lora_unet_x.lora_up.weight",
            "is a LoRA and no model: it changes a model: put it into weights/ or a folder there, and name it "
            "with a weight beside the prompt.",
        ),
        (
            "some.weight",
            "looks like something unknown; that cannot be loaded as a model. What does is listed in "
            "docs/checkpoints.md.",
        ),
    ],
)
@pytest.mark.parametrize("name", ["x.safetensors", "x.ckpt"])
def test_another_family_is_said_to_be_one(tmp_path, key, sentence, name):
    path = tmp_path / name
    if name == "x.ckpt":
        torch.save({key: torch.ones(1)}, path)
    else:
        save_file({key: torch.ones(1)}, path)
    with pytest.raises(CheckpointError) as error:
        load(path, "cpu")
    assert str(error.value) == f"{name} {sentence}"


def test_a_folder_without_a_model_is_an_error(tmp_path):
    with pytest.raises(CheckpointError) as error:
        load(tmp_path, "cpu")
    assert str(error.value) == (
        f"{tmp_path.name} is a folder without a model; name a file of weights, or a folder of diffusers."
    )
