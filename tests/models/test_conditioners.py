"""What reads prompts: text encoders, and what they all keep to."""

import subprocess
import sys
from dataclasses import replace

import pytest
import torch

from ldm.errors import CheckpointError
from ldm.models.bert import BERTEmbedder
from ldm.models.condition import Sizes
from ldm.models.no_condition import NoCondition
from ldm.models.openclip import OpenCLIPTextEmbedder
from ldm.models.sdxl_text import SDXLTextEmbedder
from ldm.models.text import CLIPTextEmbedder

from .conditioners import (
    CONFIGS,
    LENGTH,
    PROMPT_OF,
    PROMPTS,
    built,
    clip_config,
    openclip_config,
    tokenizer,
)


@pytest.mark.parametrize("name", CONFIGS)
def test_every_conditioner_keeps_to_the_protocol(name):
    net = built(name)
    prompt = PROMPT_OF.get(name, "a red ball")
    net.check(prompt)
    prompts = [prompt, ""] if net.guides else [prompt, prompt]
    found = net.condition(prompts, Sizes((64, 64), (0, 0), (64, 64)))
    assert net.config == CONFIGS[name]
    assert found.context.dtype == torch.float32
    assert found.context.isfinite().all()
    assert found.context.shape[0] == 2
    if net.config.context_dim is None:
        assert (net.length, net.tokens(prompt), tuple(found.context.shape)) == (0, [], (2, 0, 0))
    else:
        assert found.context.shape[1:] == (len(net.tokens(prompt)), net.config.context_dim)
        assert found.context.shape[1] == (net.length if name != "neighbours" else 3)
    assert 0 <= net.used(prompt) <= net.length
    assert net.unread(prompt) == ""
    if net.guides:
        different = [found.context] if found.context.numel() else [found.vector]
        assert not any(torch.equal(rows[0], rows[1]) for rows in different)
    assert not any(key.startswith(("clip", "taught")) for key in net.state_dict())


@pytest.mark.parametrize("name", ["clip", "clip_masked", "openclip", "sdxl", "refiner", "bert"])
def test_words_are_shown_as_they_are_read(name):
    net = built(name)
    assert net.tokens("a red ball")[1:4] == ["a", "red", "ball"]
    assert net.used("a red ball") == 5
    assert net.used("red " * 20) == net.length == LENGTH
    assert net.unread("red " * 20) == " ".join(["red"] * (20 - LENGTH + 2))


def test_clip_s_context_is_the_layer_asked_for():
    net = built("clip")
    ids = net.ids(PROMPTS)
    theirs = net.transformer.text_model(
        input_ids=ids, position_ids=torch.arange(LENGTH)[None], output_hidden_states=True
    )
    assert torch.equal(net.encode_ids(ids), theirs.last_hidden_state)
    norm = net.transformer.text_model.final_layer_norm
    for layer in (-1, -2, -3):
        other = CLIPTextEmbedder(replace(net.config, hidden_layer=layer, final_norm=False), net.tokenizer)
        other.load_state_dict(net.state_dict())
        assert torch.equal(other(PROMPTS), theirs.hidden_states[layer])
        other.config = replace(other.config, final_norm=True)
        assert torch.equal(other(PROMPTS), norm(theirs.hidden_states[layer]))


def test_the_padding_is_hidden_where_the_config_says_so():
    net, masked = built("clip"), built("clip_masked")
    ids = net.ids(PROMPTS)
    used = torch.tensor([net.used(prompt) for prompt in PROMPTS])
    heard = torch.arange(LENGTH) < used[:, None]
    theirs = net.transformer.text_model(
        input_ids=ids, attention_mask=heard.long(), position_ids=torch.arange(LENGTH)[None]
    ).last_hidden_state
    assert torch.equal(masked(PROMPTS), theirs)
    assert torch.equal(masked.encode_ids(ids), theirs)
    assert not torch.equal(net(PROMPTS), theirs)


@pytest.mark.parametrize("layer", [0, 1, -4])
def test_a_layer_that_there_is_not_is_an_error(layer):
    words = tokenizer()
    message = rf"^hidden_layer must be between -3 and -1, got {layer}\.$"
    with pytest.raises(CheckpointError, match=message):
        CLIPTextEmbedder(clip_config(hidden_layer=layer), words)
    with pytest.raises(CheckpointError, match=message):
        OpenCLIPTextEmbedder(openclip_config(hidden_layer=layer), words)


def test_openclip_is_as_transformers_builds_it():
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    net = built("openclip")
    sizes = net.config
    theirs = CLIPTextModelWithProjection(
        CLIPTextConfig(
            vocab_size=sizes.vocab_size,
            hidden_size=sizes.width,
            intermediate_size=4 * sizes.width,
            num_hidden_layers=sizes.layers,
            num_attention_heads=sizes.heads,
            max_position_embeddings=LENGTH,
            hidden_act="gelu",
            projection_dim=sizes.embed_dim,
            bos_token_id=net.tokenizer.bos,
            eos_token_id=net.tokenizer.eos,
        )
    ).eval()
    state, tower = {}, net.model
    for i, block in enumerate(tower.blocks):
        at = f"text_model.encoder.layers.{i}"
        weights, biases = block.attn.in_proj_weight.chunk(3), block.attn.in_proj_bias.chunk(3)
        for key, weight, bias in zip("qkv", weights, biases, strict=True):
            state |= {f"{at}.self_attn.{key}_proj.weight": weight, f"{at}.self_attn.{key}_proj.bias": bias}
        for theirs_name, module in {
            "self_attn.out_proj": block.attn.out_proj,
            "layer_norm1": block.ln_1,
            "layer_norm2": block.ln_2,
            "mlp.fc1": block.mlp.c_fc,
            "mlp.fc2": block.mlp.c_proj,
        }.items():
            state |= {f"{at}.{theirs_name}.{k}": v for k, v in module.state_dict().items()}
    state |= {f"text_model.final_layer_norm.{k}": v for k, v in tower.ln_final.state_dict().items()}
    state["text_model.embeddings.token_embedding.weight"] = tower.token_embedding.weight
    state["text_model.embeddings.position_embedding.weight"] = tower.positional_embedding
    state["text_projection.weight"] = tower.text_projection.T
    theirs.load_state_dict(state)
    ids = net.ids(PROMPTS)
    with torch.no_grad():
        out = theirs(input_ids=ids, output_hidden_states=True)
    context, pooled = net.encode(ids)
    assert torch.allclose(context, tower.ln_final(out.hidden_states[-2]), atol=1e-5)
    assert torch.allclose(pooled, out.text_embeds, atol=1e-5)
    assert torch.equal(context, net.encode_ids(ids))


def test_openclip_pads_with_zeros_whatever_the_tokenizer_does():
    net = built("openclip")
    assert net.ids(["a"])[0, 3:].tolist() == [0] * (LENGTH - 3)
    assert tokenizer().pad != 0


def test_openclip_s_cheaper_gelu_is_another_function():
    torch.manual_seed(0)
    quick = OpenCLIPTextEmbedder(openclip_config(act="quick_gelu"), tokenizer())
    exact = OpenCLIPTextEmbedder(openclip_config(), tokenizer())
    exact.load_state_dict(quick.state_dict())
    off = (quick(["a ball"]) - exact(["a ball"])).abs().max()
    assert 1e-5 < off < 0.5
    with pytest.raises(CheckpointError, match=r"^act must be one of gelu, quick_gelu, got 'relu'\.$"):
        OpenCLIPTextEmbedder(openclip_config(act="relu"), tokenizer())


def test_openclip_without_a_projection_has_no_pooled_vector():
    net = OpenCLIPTextEmbedder(openclip_config(has_projection=False), tokenizer())
    assert "model.text_projection" not in net.state_dict()
    assert net.condition(["a"]).context.shape == (1, LENGTH, 24)
    with pytest.raises(CheckpointError, match="has no text_projection"):
        net.encode(net.ids(["a"]))


def test_a_model_in_half_precision_gives_its_condition_in_float32():
    for name in ("clip", "openclip", "sdxl", "bert"):
        net = built(name).to(torch.bfloat16)
        found = net.condition(["a red ball"])
        assert found.context.dtype == torch.float32, name
        assert found.vector is None or found.vector.dtype == torch.float32


def test_all_of_them_are_built_from_the_meta_device_and_assigned():
    for name in set(CONFIGS) - {"neighbours"}:  # which has no weights
        whole = built(name)
        with torch.device("meta"):
            hollow = built(name)
        hollow.load_state_dict(whole.state_dict(), assign=True)
        prompt = PROMPT_OF.get(name, "a red ball")
        assert torch.equal(hollow.condition([prompt]).context, whole.condition([prompt]).context), name


@pytest.mark.slow
def test_what_needs_no_transformers_does_not_import_it():
    code = (
        "import sys; from ldm.models.build import build_conditioner as build; "
        "from ldm.models.condition_config import *; from ldm.models.bert import BERTEmbedder; "
        "from ldm.models.tokenizer import Tokenizer; import torch\n"
        "with torch.device('meta'):\n"
        "    build(OpenCLIPConfig(layers=2), Tokenizer.clip()); build(BERTConfig(depth=1)); "
        "build(ClassConfig()); build(NeighboursConfig()); build(NoConditionConfig())\n"
        "sys.exit('transformers' in sys.modules or 'tokenizers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_conditioners_are_made_of_the_classes_that_the_table_names():
    assert isinstance(built("bert"), BERTEmbedder)
    assert isinstance(built("palette"), NoCondition)
    assert isinstance(built("sdxl"), SDXLTextEmbedder)
