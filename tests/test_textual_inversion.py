"""A word of a file, in each form: what the text encoder then gives, and that all else stays as it was."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from ldm.errors import CheckpointError
from ldm.textual_inversion import (
    apply_embedding,
    is_embedding,
    read_embedding,
    remove_embedding,
    taught_words,
)
from tests.lora import twins

PLAIN, WITH = "a large red ball", "a large catto ball"


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def built():
    with torch.no_grad():
        return {name: twins.model_of(getattr(twins, name)()) for name in ("sd1", "sd2", "sdxl")}


@pytest.fixture
def models(built):
    yield built
    for model in built.values():
        for word in taught_words(model):
            remove_embedding(model, word)


def vectors(*shape, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


class Program:
    """Runs when it is unpickled by whoever runs pickles."""

    def __reduce__(self):
        return exec, ("raise SystemExit('ran')",)


def first_form(path, rows, **more):
    torch.save(
        {"string_to_token": {"*": 265}, "string_to_param": {"*": rows}, "name": "x", "step": 5, **more}, path
    )


def oldest_form(path, rows):
    """As the paper's own code writes: a dict of parameters that is a module."""
    torch.save({"string_to_param": nn.ParameterDict({"*": nn.Parameter(rows)})}, path)


WRITERS = {
    "AUTOMATIC1111's": (first_form, "catto.pt", "catto", "AUTOMATIC1111"),
    "the paper's": (oldest_form, "catto.pt", "catto", "AUTOMATIC1111"),
    "emb_params": (
        lambda path, rows: save_file({"emb_params": rows}, path),
        "catto.safetensors",
        "catto",
        "AUTOMATIC1111",
    ),
    "diffusers'": (
        lambda path, rows: torch.save({"catto": rows}, path),
        "learned_embeds.bin",
        "catto",
        "diffusers",
    ),
    "diffusers' safetensors": (
        lambda path, rows: save_file({"<catto>": rows}, path),
        "learned_embeds.safetensors",
        "<catto>",
        "diffusers",
    ),
}


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("family", ["sd1", "sd2"])
def test_every_form_of_one_text_encoder(models, tmp_path, name, family):
    write, file, word, form = WRITERS[name]
    model, rows = models[family], vectors(3, 32)
    write(tmp_path / file, rows)
    plain = model.get_text_conditioning([PLAIN])
    read = read_embedding(tmp_path / file)
    assert (read.word, read.form, read.widths) == (word, form, (32,))
    assert torch.equal(read.vectors[0], rows)
    assert is_embedding(tmp_path / file)
    assert apply_embedding(model, tmp_path / file).word == word
    assert taught_words(model) == {word: 3}
    prompt = WITH.replace("catto", word)
    assert torch.equal(model.get_text_conditioning([PLAIN]), plain)  # not a bit of other prompts
    assert model.cond_stage_model.tokens(prompt)[3:6] == [word, f"{word}[2]", f"{word}[3]"]
    taught = model.get_text_conditioning([prompt])
    remove_embedding(model, word)
    assert taught_words(model) == {}
    assert (model.get_text_conditioning([prompt]) - taught).abs().max() > 0.01


def test_a_taught_word_is_read_as_its_vectors(models, tmp_path):
    """Vectors that are rows of the table give what those tokens give."""
    model = models["sd1"]
    embedder = model.cond_stage_model
    table = embedder.transformer.text_model.get_parameter("embeddings.token_embedding.weight")
    ids = embedder.tokenizer.ids("red ball")[1:3]
    save_file({"emb_params": table[ids].clone()}, tmp_path / "catto.safetensors")
    wanted = model.get_text_conditioning(["a large red ball on a mat"])
    apply_embedding(model, tmp_path / "catto.safetensors")
    ours = model.get_text_conditioning(["a large catto on a mat"])
    torch.testing.assert_close(ours, wanted, rtol=0, atol=1e-6)


def test_stable_diffusion_xl_s(models, tmp_path):
    model = models["sdxl"]
    save_file({"clip_l": vectors(2, 32), "clip_g": vectors(2, 64, seed=2)}, tmp_path / "catto.safetensors")
    plain, before = model.get_conditioning([PLAIN]), model.get_conditioning([WITH])
    read = apply_embedding(model, tmp_path / "catto.safetensors")
    assert (read.widths, read.form, taught_words(model)) == ((32, 64), "Stable Diffusion XL", {"catto": 2})
    again, taught = model.get_conditioning([PLAIN]), model.get_conditioning([WITH])
    assert torch.equal(again.context, plain.context)
    assert torch.equal(again.vector, plain.vector)
    for part in (slice(0, 32), slice(32, 96)):  # both text encoders read it
        assert (taught.context[..., part] - before.context[..., part]).abs().max() > 0.01
    remove_embedding(model, "catto")
    assert torch.equal(model.get_conditioning([WITH]).context, before.context)


def test_a_name_of_one_s_own(models, tmp_path):
    save_file({"<token>": vectors(32)}, tmp_path / "learned_embeds.safetensors")
    read = apply_embedding(models["sd1"], tmp_path / "learned_embeds.safetensors", " my cat ")
    assert (read.word, taught_words(models["sd1"])) == ("my cat", {"my cat": 1})


def test_taught_anew_is_the_later_one(models, tmp_path):
    model = models["sd1"]
    for rows in (1, 2):
        save_file({"emb_params": vectors(rows, 32)}, tmp_path / "catto.safetensors")
        apply_embedding(model, tmp_path / "catto.safetensors")
    assert taught_words(model) == {"catto": 2}


@pytest.mark.parametrize(
    ("widths", "family"),
    [
        ((768,), "Stable Diffusion 1"),
        ((1024,), "Stable Diffusion 2"),
        ((768, 1280), "Stable Diffusion XL"),
        ((1280,), "the refiner of Stable Diffusion XL"),
        ((48,), "a text encoder with embeddings of 48 numbers"),
    ],
)
def test_another_family_s_is_refused_by_name(models, tmp_path, widths, family):
    keys = ("clip_l", "clip_g") if len(widths) > 1 else ("emb_params",)
    save_file({k: vectors(2, w) for k, w in zip(keys, widths, strict=True)}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError) as error:
        apply_embedding(models["sd1"], tmp_path / "x.safetensors")
    assert str(error.value) == (
        f"x.safetensors is a textual inversion for {family}, "
        "and small is a model whose context has 32 channels."
    )
    assert taught_words(models["sd1"]) == {}


def test_more_than_a_prompt_has_places_for(models, tmp_path):
    save_file({"emb_params": vectors(76, 32)}, tmp_path / "x.safetensors")
    with pytest.raises(
        CheckpointError, match=r"^x\.safetensors has 76 vectors, and a prompt of small has 75"
    ):
        apply_embedding(models["sd1"], tmp_path / "x.safetensors")


REFUSED = {
    "two words": ({"<a>": vectors(32), "<b>": vectors(32)}, "x.safetensors holds 2 tensors, not one word."),
    "a weight": ({"conv.weight": vectors(2, 32)}, "x.safetensors is no textual inversion."),
    "a picture": ({"clip_l": vectors(1, 2, 3)}, "x.safetensors is no textual inversion."),
    "nothing": (
        {"emb_params": vectors(0, 32)},
        "x.safetensors is damaged: emb_params is not all finite numbers.",
    ),
    "whole numbers": (
        {"emb_params": torch.ones(1, 32, dtype=torch.int64)},
        "x.safetensors is damaged: emb_params is not all finite numbers.",
    ),
    "infinity": (
        {"emb_params": torch.full((1, 32), float("inf"))},
        "x.safetensors is damaged: emb_params is not all finite numbers.",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_none_is_refused(tmp_path, name):
    tensors, sentence = REFUSED[name]
    save_file(tensors, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError) as error:
        read_embedding(tmp_path / "x.safetensors")
    assert str(error.value) == sentence


def test_no_code_of_a_file_runs(models, tmp_path):
    first_form(tmp_path / "catto.pt", vectors(2, 32), more=Program())
    with pytest.raises(CheckpointError, match=r"^catto\.pt is not opened: it names builtins\.exec"):
        apply_embedding(models["sd1"], tmp_path / "catto.pt")
    assert not is_embedding(tmp_path / "catto.pt")


def test_other_files_are_none(tmp_path):
    (tmp_path / "a.txt").write_text("catto")
    assert not is_embedding(tmp_path / "a.txt")
    assert not is_embedding(tmp_path / "nothing.safetensors")
    assert not is_embedding(tmp_path)
    save_file(twins.peft([]) | {"a.lora_up.weight": vectors(2, 2)}, tmp_path / "lora.safetensors")
    assert not is_embedding(tmp_path / "lora.safetensors")
