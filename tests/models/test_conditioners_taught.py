"""Words that text encoders are taught after their training."""

import pytest
import torch

from ldm.errors import CheckpointError
from ldm.models.tokenizer import BOS

from .conditioners import built


@pytest.mark.parametrize("name", ["clip", "clip_masked", "openclip"])
def test_a_taught_word_has_its_vectors_and_the_others_keep_their_bits(name):
    net = built(name)
    prompts = ["a red ball", "the mat", ""]
    before = net(prompts)
    width = net.taught.dim
    embedding = net.model.token_embedding if name == "openclip" else None
    embedding = embedding or net.transformer.text_model.embeddings.token_embedding
    red = net.tokenizer.vocab["red</w>"]
    net.learn("sks", torch.stack([embedding.weight[red], torch.ones(width)]))
    net.learn("crimson", embedding.weight[red])
    assert torch.equal(net(prompts), before)
    assert torch.equal(net(["a crimson ball", "the mat", ""]), before), "the same vector, the same context"
    assert net.tokens("a sks ball")[:5] == [BOS, "a", "sks", "sks[2]", "ball"]
    assert not torch.equal(net(["a sks ball"]), net(["a red ball"]))
    net.forget("sks")
    net.forget("nothing of the kind")
    assert net.tokens("crimson sks")[1:3] == ["crimson", "s"]
    assert torch.equal(net(["a crimson ball", "the mat", ""]), before)
    net.forget("crimson")
    assert torch.equal(net(prompts), before)
    assert list(net.taught.ids) == []


def test_a_word_can_be_taught_anew():
    net = built("clip")
    net.learn("sks", torch.zeros(3, 16))
    net.learn("sks", torch.ones(16))
    assert net.used("sks") == 3
    assert (
        net.taught.embed(net.ids(["sks"]), net.transformer.text_model.embeddings.token_embedding)[0, 1]
        .eq(1)
        .all()
    )


def test_the_pooled_vector_is_the_end_mark_s_behind_a_taught_word():
    net = built("openclip")
    embedding = net.model.token_embedding
    net.learn("crimson", embedding.weight[net.tokenizer.vocab["red</w>"]])
    plain, taught = (net.encode(net.ids([p]))[1] for p in ("a red ball", "a crimson ball"))
    assert torch.equal(plain, taught)


def test_both_towers_of_sdxl_are_taught():
    net = built("sdxl")
    before = net.condition(["a red ball"])
    small, large = (
        net.clip.transformer.text_model.embeddings.token_embedding,
        net.openclip.model.token_embedding,
    )
    red = net.tokenizer.vocab["red</w>"]
    net.learn("crimson", small.weight[[red]], large.weight[[red]])
    found = net.condition(["a crimson ball"])
    assert torch.equal(found.context, before.context) and torch.equal(found.vector, before.vector)
    assert net.tokens("crimson")[1] == "crimson"
    with pytest.raises(CheckpointError, match=r"has 1 vectors for one text encoder and 2 for the other"):
        net.learn("odd", torch.ones(1, 16), torch.ones(2, 24))
    with pytest.raises(CheckpointError, match="no vectors for CLIP"):
        net.learn("odd", None, torch.ones(2, 24))
    net.forget("crimson")
    assert net.tokens("crimson odd")[1] == "c"
    assert torch.equal(net.condition(["a red ball"]).context, before.context)


def test_the_refiner_is_taught_by_its_one_tower():
    net = built("refiner")
    net.learn("sks", None, torch.ones(2, 24))
    assert net.tokens("sks")[1:3] == ["sks", "sks[2]"]


@pytest.mark.parametrize(
    ("word", "vectors", "message"),
    [
        ("sks", torch.ones(2, 5), "'sks' has vectors of shape (2, 5); this text encoder takes (n, 16)"),
        ("sks", torch.ones(0, 16), "'sks' has vectors of shape (0, 16)"),
        ("sks", torch.full((1, 16), float("nan")), "numbers that are not finite"),
        (" ", torch.ones(1, 16), "needs a name that is not blank"),
    ],
)
def test_a_word_that_cannot_be_taught_is_an_error_and_changes_nothing(word, vectors, message):
    net = built("clip")
    before = net(["sks"])
    with pytest.raises(CheckpointError) as error:
        net.learn(word, vectors)
    assert message in str(error.value)
    assert torch.equal(net(["sks"]), before)
