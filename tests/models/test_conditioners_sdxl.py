"""Stable Diffusion XL's two text encoders and its vector of sizes."""

from dataclasses import replace

import pytest
import torch

from ldm.errors import CheckpointError
from ldm.models.condition import Sizes
from ldm.models.sdxl_text import SDXLTextEmbedder, embed_sizes, size_numbers

from .conditioners import built, openclip_config, sdxl_config, tokenizer


def test_sdxl_s_context_is_that_of_both_towers_side_by_side():
    net = built("sdxl")
    sizes = Sizes((512, 640), (16, 32), (768, 1024))
    found = net.condition(["a red ball", "ball"], sizes)
    small, large = net.embedders
    assert torch.equal(found.context[..., :16], small(["a red ball", "ball"]))
    context, pooled = large.encode(large.ids(["a red ball", "ball"]))
    assert torch.equal(found.context[..., 16:], context)
    assert found.vector.shape == (2, net.config.vector_dim) == (2, 20 + 6 * 8)
    assert torch.equal(found.vector[:, :20], pooled)
    numbers = torch.tensor([[512.0, 640, 16, 32, 768, 1024]]).expand(2, -1)
    assert torch.equal(found.vector[:, 20:], embed_sizes(numbers, 8))
    # one pads with its end mark and the other with 0
    assert small.ids(["a"])[0, 3:].unique().tolist() == [small.tokenizer.eos]
    assert large.ids(["a"])[0, 3:].unique().tolist() == [0]


def test_sdxl_says_nothing_by_zeros_where_it_was_trained_so():
    net = built("sdxl")
    found = net.condition(["a", "", " "], Sizes((8, 8)))
    alone = net.condition(["a"], Sizes((8, 8)))
    assert torch.allclose(found.context[0], alone.context[0], atol=1e-6)
    assert not found.context[1].any() and not found.vector[1, :20].any()
    assert torch.equal(found.vector[1, 20:], found.vector[0, 20:])
    assert found.context[2].any(), "a blank prompt is one that was encoded"
    encoded = SDXLTextEmbedder(replace(net.config, zero_empty=False), tokenizer())
    encoded.load_state_dict(net.state_dict())
    assert torch.equal(encoded.condition([""]).context, net.condition([" "]).context)


def test_the_refiner_reads_a_score_in_place_of_the_size():
    net = built("refiner")
    sizes = Sizes((512, 640), (16, 32), (768, 1024), aesthetic=2.5)
    assert size_numbers(sizes, aesthetic=True) == [512, 640, 16, 32, 2.5]
    assert net.condition(["a"], sizes).vector.shape == (1, 20 + 5 * 8)
    assert list(dict(net.named_children())["embedders"]._modules) == ["0"]
    assert net.condition([""]).context.any()


def test_sdxl_without_sizes_draws_a_whole_picture():
    net = built("sdxl")
    whole = net.condition(["a"], Sizes((1024, 1024), (0, 0), (1024, 1024)))
    assert torch.equal(net.condition(["a"]).vector, whole.vector)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sizes": 4}, "sizes must be 6, or 5 with an aesthetic score, got 4."),
        (
            {"openclip": openclip_config(has_projection=False)},
            "The OpenCLIP tower of Stable Diffusion XL needs its text_projection.",
        ),
    ],
)
def test_sdxl_s_config_can_be_wrong(changes, message):
    with pytest.raises(CheckpointError) as error:
        SDXLTextEmbedder(sdxl_config(**changes), tokenizer())
    assert str(error.value) == message
