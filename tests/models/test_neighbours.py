"""Embeddings of neighbours as a prompt."""

import pytest
import torch

from ldm.models.condition_config import NeighboursConfig
from ldm.models.neighbours import NeighboursEmbedder

from .conditioners import told


class Projected:
    """Stands for CLIP's text encoder: each prompt is its length."""

    def embed(self, prompts):
        return torch.tensor([[float(len(p)), 0, 0, 0] for p in prompts])

    def unread(self, prompt):
        return prompt[8:]


def neighbours() -> NeighboursEmbedder:
    net = NeighboursEmbedder(NeighboursConfig(dim=4, most=5))
    net.remember("two", torch.tensor([[3.0, 0, 0, 4], [0, 2, 0, 0]]))
    net.remember("one", torch.tensor([0.0, 0, -9, 0]))
    return net


def test_neighbours_are_remembered_at_unit_length():
    net = neighbours()
    context = net.condition(["@two"]).context
    assert torch.allclose(context[0], torch.tensor([[0.6, 0, 0, 0.8], [0, 1, 0, 0]]))
    assert net.remembered == ("two", "one")
    assert net.tokens("@two") == ["@two[1]", "@two[2]"]
    assert net.condition(["@one @two"]).context.shape == (1, 3, 4)
    assert not net.state_dict()


def test_the_empty_prompt_is_as_many_zeros():
    context = neighbours().condition(["", "@two"]).context
    assert context.shape == (2, 2, 4)
    assert not context[0].any()
    assert neighbours().condition([""]).context.shape == (1, 1, 4)


def test_prompts_of_different_lengths_are_repeated_not_padded():
    context = neighbours().condition(["@one @two", "@two", ""]).context
    assert context.shape == (3, 6, 4)
    assert torch.equal(context[0, :3], context[0, 3:])
    assert torch.equal(context[1], context[1, :2].repeat(3, 1))
    # attention to what is repeated as often is attention to it once
    torch.manual_seed(0)
    q, once, often = torch.randn(1, 7, 4), context[1:2, :2], context[1:2]
    attend = torch.nn.functional.scaled_dot_product_attention
    assert torch.allclose(attend(q, once, once), attend(q, often, often), atol=1e-6)


def test_text_needs_an_encoder_that_the_file_does_not_hold():
    net = neighbours()
    assert told(net.check, "a castle @one") == (
        "This model reads text as one CLIP embedding, whose text encoder is not in its file: instead of "
        "'a castle' name remembered embeddings, as @name, or put transformers' folder of CLIP ViT-L/14 "
        "beside the file, named text_encoder."
    )
    net.use_clip(Projected())
    context = net.condition(["a castle @one"]).context
    assert torch.equal(context[0], torch.tensor([[1.0, 0, 0, 0], [0, 0, -1, 0]]))
    assert net.tokens("a castle @one") == ["a castle", "@one[1]"]
    assert (net.unread("@one"), net.unread("a castle @one")) == ("", "")
    assert net.unread("a castle in the sea @one") == " in the sea"
    net.use_clip(torch.nn.Linear(2, 2))
    assert not net.state_dict(), "what is lent is no part of the model"


@pytest.mark.parametrize(
    ("name", "vectors", "message"),
    [
        ("six", torch.ones(6, 4), "six must hold 1 to 5 embeddings of 4 numbers, got 6 x 4."),
        ("none", torch.ones(0, 4), "none must hold 1 to 5 embeddings of 4 numbers, got 0 x 4."),
        ("wide", torch.ones(5), "wide must hold 1 to 5 embeddings of 4 numbers, got 5."),
        ("nil", torch.zeros(1, 4), "nil holds an embedding of zeros, or with numbers that are not finite."),
        ("my two", torch.ones(1, 4), "A name of embeddings must be one word, got 'my two'."),
    ],
)
def test_embeddings_that_cannot_be_remembered_are_an_error(name, vectors, message):
    assert told(neighbours().remember, name, vectors) == message


def test_a_name_that_is_not_remembered_is_an_error():
    net = neighbours()
    assert told(net.check, "@one @tow") == "There are no embeddings 'tow': add their file first."
    assert "up to 5 embeddings, the prompt has 6" in told(net.check, "@two @two @two")
    net.forget("two")
    net.forget("one")
    assert told(net.condition, ["@two"]) == "There are no embeddings 'two': add their file first."
