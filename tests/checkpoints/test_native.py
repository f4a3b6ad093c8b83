"""Our own checkpoints: what is saved is what is loaded."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from ldm.checkpoints import build, load, native, save
from ldm.checkpoints.files import read_shapes
from ldm.errors import CheckpointError
from ldm.writing import ALIGNMENT

from .models import PROMPT, default_config, random_model, sd_config


@pytest.fixture(scope="module")
def model():
    return random_model(default_config(), preview=True)


@pytest.fixture
def path(model, tmp_path):
    save(model, tmp_path / "x.safetensors")
    return tmp_path / "x.safetensors"


def rewritten(path, **changes):
    """The file again with other metadata; None takes an entry away."""
    _, metadata = read_shapes(path)
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    save_file(tensors, path, {k: v for k, v in (metadata | changes).items() if v is not None})
    return path


def test_a_model_comes_back_as_it_was(model, path):
    again = load(path, "cpu", torch.float32)
    assert again.config == model.config
    assert again.cond_stage_model.tokenizer.to_dict() == model.cond_stage_model.tokenizer.to_dict()
    theirs = again.state_dict()
    assert list(theirs) == list(model.state_dict())
    assert all(torch.equal(theirs[name], tensor) for name, tensor in model.state_dict().items())


def test_a_model_that_came_back_draws_the_same(model, path):
    again = load(path, "cpu", torch.float32)
    context = model.get_text_conditioning([PROMPT])
    assert torch.equal(again.get_text_conditioning([PROMPT]), context)
    x, t = torch.randn(1, 16, 4, 4), torch.tensor([500])
    with torch.no_grad():
        assert torch.equal(again(x, t, context), model(x, t, context))
        assert torch.equal(again.autoencoder_decode(x), model.autoencoder_decode(x))
        assert torch.equal(again.preview_decode(x), model.preview_decode(x))


def test_saving_twice_gives_the_same_bytes(path, tmp_path):
    save(load(path, "cpu", torch.float32), tmp_path / "y.safetensors")
    assert (tmp_path / "y.safetensors").read_bytes() == path.read_bytes()


def test_a_loaded_model_is_for_drawing(path):
    model = load(path, "cpu", torch.float32)
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not any(tensor.is_meta for tensor in (*model.parameters(), *model.buffers()))


def test_a_model_without_a_preview_has_none(tmp_path):
    save(random_model(default_config()), tmp_path / "x.safetensors")
    assert load(tmp_path / "x.safetensors", "cpu").preview is None


def test_clips_vocabulary_is_not_written(tmp_path):
    model = random_model(sd_config())
    save(model, tmp_path / "x.safetensors")
    _, metadata = read_shapes(tmp_path / "x.safetensors")
    assert native.TOKENIZER not in metadata
    again = load(tmp_path / "x.safetensors", "cpu", torch.float32)
    assert again.config == model.config
    assert again.cond_stage_model.tokens("a cat") == model.cond_stage_model.tokens("a cat")


def test_a_checkpoint_can_be_written_smaller_and_with_another_config(model, tmp_path):
    path = tmp_path / "x.safetensors"
    save(model, path, replace(model.config, name="other"), dtype=torch.float16)
    assert {tensor.dtype for tensor in load_file(path).values()} == {torch.float16}
    assert load(path, "cpu").name == "other"
    assert model.dtype == torch.float32


def test_the_file_is_recognised_by_its_metadata_alone(path):
    assert native.matches(path)
    assert not native.matches(rewritten(path, ldm_config=None))


def test_tensors_are_copied_only_where_kernels_would_find_them_across_a_line(path):
    checkpoint = native.read(path)
    kept = dict(checkpoint.tensors)
    aligned = {name for name, tensor in kept.items() if tensor.data_ptr() % ALIGNMENT == 0}
    model = build(checkpoint, "cpu", torch.float32)
    assert aligned and all(tensor.data_ptr() % ALIGNMENT == 0 for tensor in model.state_dict().values())
    for name, tensor in model.state_dict().items():
        assert (tensor.data_ptr() == kept[name].data_ptr()) == (name in aligned)
        assert torch.equal(tensor, kept[name])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ldm_config": "{"}, "x.safetensors has a config that cannot be read: Expecting property name"),
        (
            {"ldm_config": "3"},
            "x.safetensors has a config that cannot be read: 'int' object is not iterable.",
        ),
        ({"ldm_tokenizer": None}, "x.safetensors names a vocabulary of its own but carries none."),
        (
            {"ldm_config": json.dumps({"wheels": 4})},
            "x.safetensors has a config that cannot be read. "
            "ModelConfig has no field 'wheels'; is the file from a newer version?",
        ),
    ],
)
def test_a_damaged_checkpoint_is_an_error(path, changes, message):
    with pytest.raises(CheckpointError) as error:
        load(rewritten(path, **changes), "cpu")
    assert str(error.value).startswith(message)


def test_a_file_that_lacks_a_weight_is_an_error(path):
    _, metadata = read_shapes(path)
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    name, count = "cond_stage_model.transformer.text_model.final_layer_norm.bias", len(tensors)
    del tensors[name]
    save_file(tensors, path, metadata)
    with pytest.raises(CheckpointError) as error:
        load(path, "cpu")
    assert str(error.value) == f"x.safetensors is missing 1 of {count} weights ({name})."
