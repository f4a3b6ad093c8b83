"""The small decoder's file: found beside its model, whole, and for its latents only."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from ldm.checkpoints import add_preview, find, load
from ldm.checkpoints.files import read_shapes
from ldm.checkpoints.preview import CONFIG, load_preview, preview_path, save_preview
from ldm.errors import CheckpointError
from ldm.models.preview import PreviewConfig, PreviewDecoder
from tests.conftest import tiny_model

SIZES = {
    "model": "tiny",
    "latent_channels": 4,
    "downsampling_factor": 4,
    "channels": (16, 8),
    "blocks": (1, 1),
}


@pytest.fixture
def decoder():
    torch.manual_seed(0)
    return PreviewDecoder(PreviewConfig(**SIZES)).eval().requires_grad_(False)


@pytest.fixture
def path(decoder, tmp_path):
    save_preview(decoder, tmp_path / "tiny-preview.safetensors", {"samples": 5})
    return tmp_path / "tiny-preview.safetensors"


def message(call, *given):
    with pytest.raises(CheckpointError) as error:
        call(*given)
    return str(error.value)


def test_a_decoder_comes_back_as_it_was(decoder, path):
    again = load_preview(path, torch.float32)
    z = torch.randn(1, 4, 3, 5)
    assert torch.equal(again(z), decoder(z))
    assert again.config == PreviewConfig(**SIZES, training={"samples": 5})


def test_the_file_is_found_beside_its_checkpoint_and_is_none_itself(path, tmp_path):
    checkpoint = tmp_path / "tiny.safetensors"
    assert preview_path(checkpoint) == path
    assert preview_path(tmp_path / "tiny.ckpt") == path
    checkpoint.touch()
    assert find(tmp_path) == [checkpoint]


def test_a_model_without_one_draws_by_its_linear_map(tmp_path):
    model = tiny_model()
    add_preview(model, tmp_path / "tiny.safetensors")
    z = torch.randn(1, 4, 3, 5)
    assert model.quick_decoder == "the linear map"
    assert torch.equal(model.quick_decode(z), model.preview_decode(z))


def test_a_model_with_one_draws_by_it_at_any_size(path, tmp_path):
    model = tiny_model()
    before = list(model.state_dict())
    add_preview(model, tmp_path / "tiny.safetensors")
    decoder = load_preview(path)
    assert model.quick_decoder == "the small decoder"
    for shape in ((1, 4, 3, 5), (8, 4, 3, 5), (3, 4, 8, 2)):
        z = torch.randn(shape)
        torch.testing.assert_close(model.quick_decode(z), decoder(z))
    assert list(model.state_dict()) == before


def test_a_decoder_of_other_latents_is_refused(path, tmp_path):
    model = tiny_model(name="another")
    wide = PreviewDecoder(PreviewConfig(**SIZES | {"latent_channels": 16, "downsampling_factor": 8}))
    save_preview(wide, path, {})
    assert message(add_preview, model, tmp_path / "tiny.safetensors") == (
        "tiny-preview.safetensors belongs to tiny: it decodes 16 latent channels to 8 pixels each, "
        "another has 4 and 4. Move it away, or give it the name of its own model."
    )
    assert model.small_decoder is None


def test_a_file_that_is_none_is_refused(path, tmp_path):
    tensors = load_file(path)
    other = tmp_path / "other.safetensors"
    save_file(tensors, other)
    assert message(load_preview, other) == "other.safetensors is no small decoder of this program."
    assert message(load, other) == (
        "other.safetensors looks like a small decoder for previews, an addition to a model; "
        "that cannot be loaded as a model. What does is listed in docs/checkpoints.md."
    )
    save_file(tensors, other, {CONFIG: json.dumps(SIZES | {"colour": "red"})})
    assert message(load_preview, other) == (
        "other.safetensors has a config that cannot be read. "
        "PreviewConfig has no field 'colour'; is the file from a newer version?"
    )
    save_file(tensors, other, {CONFIG: "{"})
    assert message(load_preview, other).startswith("other.safetensors has a config that cannot be read: ")


def test_a_file_with_a_weight_missing_is_refused(path):
    _, metadata = read_shapes(path)
    tensors = load_file(path)
    save_file({k: v for k, v in tensors.items() if k != "conv_out.bias"}, path, metadata)
    assert message(load_preview, path) == (
        f"tiny-preview.safetensors is missing 1 of {len(tensors)} weights (conv_out.bias)."
    )
