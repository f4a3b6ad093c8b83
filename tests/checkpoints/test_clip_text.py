"""CLIP's text encoder in a folder beside a model that reads embeddings."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    CLIPConfig,
    CLIPModel,
    CLIPTextConfig,
    CLIPTextModelWithProjection,
    CLIPVisionConfig,
)

from ldm.checkpoints import load
from ldm.checkpoints.clip_text import read_clip_text
from ldm.checkpoints.zoo import ROWS
from ldm.errors import CheckpointError, SettingsError
from ldm.generation import run
from ldm.models.tokenizer import Tokenizer
from ldm.settings import Settings

from .twins import twin, zoo_config

DIM = 32  # as the twin's
PROMPTS = ["a castle", "", "a red, red castle! " * 20]
SIZES = {"hidden_size": 48, "intermediate_size": 192, "num_hidden_layers": 3, "num_attention_heads": 2}


def random_weights(model):
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def clip(**changes):
    torch.manual_seed(0)
    config = CLIPTextConfig(**SIZES | {"projection_dim": DIM, "eos_token_id": 49407} | changes)
    return random_weights(CLIPTextModelWithProjection(config))


@pytest.fixture(scope="module")
def whole():
    """CLIP with both halves; its text's is not as `clip`'s."""
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 1}
    vision = CLIPVisionConfig(**sizes, image_size=8, patch_size=4)
    torch.manual_seed(0)
    text = CLIPTextConfig(**SIZES, eos_token_id=49407)
    config = CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=DIM)
    return random_weights(CLIPModel(config))


@pytest.fixture(scope="module")
def rdm(tmp_path_factory):
    """A tiny twin of rdm768, alone in its folder."""
    row = next(row for row in ROWS if row.names == ("rdm768",))
    path = tmp_path_factory.mktemp("rdm") / "model.ckpt"
    torch.save({"state_dict": twin(zoo_config(row)).state_dict()}, path)
    return path


@pytest.fixture
def beside(rdm, tmp_path):
    """The twin's file in a folder that a test may change."""
    path = tmp_path / "model.ckpt"
    path.symlink_to(rdm)
    return path


def ids(prompts):
    return torch.tensor([Tokenizer.clip().ids(prompt) for prompt in prompts])


@pytest.mark.parametrize("act", ["quick_gelu", "gelu"])
def test_embeddings_are_transformers_own(tmp_path, act):
    theirs = clip(hidden_act=act)
    theirs.save_pretrained(tmp_path / "text_encoder")
    ours = read_clip_text(tmp_path / "text_encoder").embed(PROMPTS)
    with torch.no_grad():
        expected = theirs(input_ids=ids(PROMPTS)).text_embeds
    torch.testing.assert_close(ours, expected, atol=1e-5, rtol=0)
    assert (ours[0] - ours[1]).abs().max() > 0.01


def test_a_prompt_draws_with_the_encoder_beside_the_file(beside):
    theirs = clip()
    theirs.half().save_pretrained(beside.parent / "text_encoder")
    model = load(beside, "cpu", torch.float32)
    context = model.conditioner.condition(["a castle", ""]).context
    with torch.no_grad():
        expected = theirs.float()(input_ids=ids(["a castle"])).text_embeds
    torch.testing.assert_close(context[0], expected / expected.norm(), atol=1e-5, rtol=0)
    assert not context[1].any()
    assert not model.conditioner.state_dict()  # what is lent is not saved with it
    assert model.conditioner.unread("red " * 100)

    side = model.config.size_multiple
    settings = Settings("a castle", steps=1, width=side, height=side, cfg_scale=2.0)
    x = {prompt: run(model, Settings.from_dict(settings.to_dict() | {"prompt": prompt})).steps[-1].x_next
         for prompt in ("a castle", "two boats")}  # fmt: skip
    assert x["a castle"].isfinite().all() and not torch.equal(x["a castle"], x["two boats"])


def test_without_one_text_is_refused_and_told_where_it_goes(rdm):
    with pytest.raises(SettingsError, match=r"beside the file, named text_encoder\.$"):
        load(rdm, "cpu", torch.float32).conditioner.check("a castle")


def test_of_the_whole_of_clip_the_text_half_is_read(beside, whole):
    whole.save_pretrained(beside.parent / "clip")
    made = load(beside, "cpu", torch.float32).conditioner.embeddings("a castle")
    with torch.no_grad():
        pooled = whole.text_model(input_ids=ids(["a castle"])).pooler_output
        expected = whole.text_projection(pooled)
    torch.testing.assert_close(made, expected / expected.norm(), atol=1e-5, rtol=0)


def without_projection(folder):
    weights = load_file(folder / "model.safetensors")
    del weights["text_projection.weight"]
    save_file(weights, folder / "model.safetensors", {"format": "pt"})


def without_a_layer(folder):
    weights = load_file(folder / "model.safetensors")
    save_file({k: v for k, v in weights.items() if "layers.1." not in k}, folder / "model.safetensors")


def of_another_kind(folder):
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | {"model_type": "t5"}))


def of_odd_sizes(folder):
    values = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(values | {"intermediate_size": 100}))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (without_projection, "text_encoder/ has no text_projection.weight, without which it makes no emb"),
        (without_a_layer, "text_encoder/ is missing 12 of 41 weights (model.transformer.resblocks.1."),
        (of_another_kind, "text_encoder/ holds a t5; what can be read is CLIP's text encoder."),
        (of_odd_sizes, "text_encoder/ is no text encoder of CLIP, by its sizes."),
    ],
)
def test_what_is_no_such_encoder_is_one_sentence(tmp_path, change, said):
    clip().save_pretrained(tmp_path / "text_encoder")
    change(tmp_path / "text_encoder")
    with pytest.raises(CheckpointError) as error:
        read_clip_text(tmp_path / "text_encoder")
    assert str(error.value).startswith(said) and str(error.value).count(". ") == 0


def test_an_encoder_of_other_embeddings_is_one_sentence(beside):
    clip(projection_dim=16).save_pretrained(beside.parent / "text_encoder")
    with pytest.raises(CheckpointError) as error:
        load(beside, "cpu", torch.float32)
    assert str(error.value) == (
        "text_encoder/ beside model.ckpt makes embeddings of 16 numbers, the model reads 32."
    )
