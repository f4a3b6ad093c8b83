"""Strict loading, and what a file that does not fit is said to be."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from ldm.checkpoints.report import FAMILIES, differences, load_strict, looks_like
from ldm.errors import CheckpointError

from ..golden_cases import _roots


class Little(nn.Module):
    """Two layers, and a buffer that no file carries, as transformers' text encoder has one."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(2, 3)
        self.norm = nn.LayerNorm(3)
        self.inner = nn.Module()
        self.inner.register_buffer("position_ids", torch.arange(5).expand(1, -1), persistent=False)


def little() -> Little:
    with torch.device("meta"):
        return Little()


def state() -> dict[str, torch.Tensor]:
    return {key: torch.randn_like(tensor) for key, tensor in Little().state_dict().items()}


def refused(tensors: dict[str, torch.Tensor], **options) -> str:
    model = little()
    with pytest.raises(CheckpointError) as error:
        load_strict(model, tensors, "x.ckpt", **options)
    assert all(parameter.is_meta for parameter in model.parameters())
    return str(error.value)


def test_every_weight_arrives_and_none_is_copied():
    model, tensors = little(), state()
    kept = dict(tensors)
    load_strict(model, tensors, "x.ckpt")
    for key, tensor in model.state_dict().items():
        assert tensor.data_ptr() == kept[key].data_ptr()
    assert tensors == {}


def test_the_row_of_positions_is_made():
    model = little()
    load_strict(model, state(), "x.ckpt")
    assert model.inner.position_ids.tolist() == [[0, 1, 2, 3, 4]]


def test_weights_are_converted_but_for_whole_numbers():
    model = little()
    model.register_buffer("count", torch.zeros(2, dtype=torch.int64, device="meta"))
    tensors = state() | {"count": torch.tensor([1, 2])}
    expected = {key: tensor.clone() for key, tensor in tensors.items()}
    load_strict(model, tensors, "x.ckpt", dtype=torch.bfloat16)
    assert model.count.tolist() == [1, 2]
    for key, parameter in model.named_parameters():
        assert torch.equal(parameter, expected[key].bfloat16())


def test_leftovers_on_the_list_are_dropped():
    model, wanted = little(), state()
    load_strict(model, wanted | {"betas": torch.ones(3)}, "x.ckpt", leftovers=("bet*",))
    loaded = model.state_dict()
    assert loaded.keys() == wanted.keys() and all(torch.equal(loaded[key], wanted[key]) for key in wanted)


def test_a_missing_weight_is_an_error():
    tensors = state()
    del tensors["norm.weight"]
    assert refused(tensors) == "x.ckpt is missing 1 of 4 weights (norm.weight)."


def test_a_weight_left_over_is_an_error():
    tensors = state() | {f"more.{i}": torch.ones(1) for i in range(5)}
    assert refused(tensors, leftovers=("other*",)) == (
        "x.ckpt has 5 weights that its model has no place for (more.0, more.1, more.2 ...)."
    )


def test_a_weight_of_another_shape_is_an_error():
    tensors = state() | {"first.weight": torch.ones(3, 4)}
    assert refused(tensors) == ("x.ckpt has 1 weights of another shape (first.weight [3, 4] for [3, 2]).")


def test_all_problems_are_said_at_once():
    assert differences({"a": (1,), "b": (2,)}, {"a": (3,), "c": (1,)}) == [
        "is missing 1 of 2 weights (b)",
        "has 1 weights that its model has no place for (c)",
        "has 1 weights of another shape (a [3] for [1])",
    ]


@pytest.mark.parametrize(("pattern", "words"), FAMILIES)
def test_every_family_is_known_by_its_names(pattern, words):
    assert looks_like(["x", pattern.replace("*", "0.weight")]) == words


def test_unknown_names_are_unknown():
    assert looks_like(["a", "b.weight"]) == "something unknown"


INVENTORIES = {
    "sdxl-base": "Stable Diffusion XL",
    "sdxl-refiner": "the refiner of Stable Diffusion XL",
    "sd-v2*": "Stable Diffusion 2, whose text encoder is OpenCLIP's",
    "ldm-cin256*": "a class-conditional model of the latent diffusion paper",
    "ldm-text2img*": "a model of the latent diffusion paper with BERT's text encoder",
    "ldm-celebahq-256": "a model of the latent diffusion paper with a VQ autoencoder",
    "first-stage-kl*": "an autoencoder, one part of a model",
    "first-stage-vq*": "a VQ autoencoder, one part of a model",
    "diffusers-*unet": "a U-Net of diffusers, one part of a model",
    "diffusers-*vae": "an autoencoder of diffusers, one part of a model",
    "diffusers-*text_encoder": "a text encoder, one part of a model",
    "diffusers-controlnet*": "a ControlNet of diffusers, an addition to a model",
    "explainingai-*unet": "a U-Net of explainingai's StableDiffusion-PyTorch, one part of a model",
    "explainingai-*vae": "an autoencoder of explainingai's StableDiffusion-PyTorch, one part of a model",
}


def inventories(pattern: str) -> list[Path]:
    found = [path for root in _roots() for path in sorted((root / "keys").glob(f"{pattern}.json"))]
    if not found:
        pytest.skip(f"no inventory {pattern} is here; set GOLDEN to the folder of cases.")
    return found


@pytest.mark.golden
@pytest.mark.parametrize(("pattern", "words"), INVENTORIES.items())
def test_a_real_checkpoint_is_known_by_its_names(pattern, words):
    for path in inventories(pattern):
        assert looks_like(json.loads(path.read_text())) == words, path.name
