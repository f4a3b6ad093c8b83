"""What tells a network what to draw, against the numbers of the originals."""

import math

import pytest
import torch

from ldm.models.bert import BERTEmbedder
from ldm.models.class_embedder import ClassEmbedder
from ldm.models.condition_config import BERTConfig, ClassConfig, NoConditionConfig, OpenCLIPConfig
from ldm.models.no_condition import NoCondition
from ldm.models.openclip import OpenCLIPTextEmbedder
from ldm.models.sdxl_text import embed_sizes
from ldm.models.tokenizer import Tokenizer
from tests.golden_cases import assert_whole, case

pytestmark = pytest.mark.golden
SUFFIXES = {torch.float32: "", torch.float64: ".f64"}


def openclip(golden, **changes):
    """The case's tower, loaded with what its file has, but for the names that may be left over."""
    sizes = golden.config["text_cfg"]
    assert golden.config["activation"] == "gelu (exact)"
    config = OpenCLIPConfig(**sizes, embed_dim=golden.config["embed_dim"], **changes)
    net = OpenCLIPTextEmbedder(config, Tokenizer.clip(config.context_length))
    weights = {k.removeprefix("cond_stage_model."): v for k, v in golden.weights.items()}
    assert set(weights) - set(net.state_dict()) == {"model.logit_scale"} <= set(net.leftovers)
    weights.pop("model.logit_scale")
    net.load_state_dict(weights)
    return net


@pytest.mark.parametrize("dtype", SUFFIXES)
def test_the_openclip_tower_gives_open_clip_s_numbers(dtype):
    golden = case("openclip_text")
    tokens, suffix = golden.inputs["tokens"], SUFFIXES[dtype]
    with torch.no_grad():
        for name, changes in {
            "penultimate_ln_final": {},
            "last_ln_final": {"hidden_layer": -1},
            "sdxl_penultimate": {"final_norm": False},
        }.items():
            net = openclip(golden, **changes).to(dtype)
            golden.assert_matches(name + suffix, net.encode_ids(tokens), name)
        context, pooled = net.encode(tokens)
    golden.assert_matches(f"sdxl_penultimate{suffix}", context, "sdxl_penultimate")
    golden.assert_matches(f"sdxl_pooled{suffix}", pooled, "sdxl_pooled")


def nearest_rounding(numbers, expected):
    """`embed_sizes` with each frequency, or the float32 beside it, whichever is nearest to `expected`.

    The original's table of frequencies is `exp` in float32, whose last bit is not the same in every build of
    PyTorch; at a size of 1024 pixels that bit is worth 6e-5, sixty times what these cases allow.
    """
    half = expected.shape[1] // numbers.shape[1] // 2
    table = torch.exp(-math.log(10000.0) * torch.arange(half, dtype=torch.float32) / half)
    up, down = (torch.nextafter(table, torch.full_like(table, end)) for end in (2.0, 0.0))
    made = []
    for frequencies in (table, up, down):
        angles = numbers[:, :, None] * frequencies
        made.append(torch.stack([angles.cos(), angles.sin()], 2))  # (B, n, 2, half)
    assert torch.equal(made[0].flatten(1), embed_sizes(numbers, 2 * half))
    off = [
        (m - expected.view_as(m)).abs().amax((0, 1, 2)) for m in made
    ]  # (half,) for one frequency, all numbers
    best = torch.stack(off).argmin(0)
    return torch.stack(made)[best, ..., torch.arange(half)].permute(1, 2, 3, 0).flatten(1)


def test_the_sizes_of_sdxl_are_embedded_as_the_original_does():
    golden = case("sdxl_size_embedding")
    inputs, small, large = golden.inputs, golden.config["outdim_small"], golden.config["outdim_sdxl"]
    pairs = {
        "original_size": "original_size_as_tuple",
        "crop": "crop_coords_top_left",
        "target": "target_size_as_tuple",
    }
    for name, key in pairs.items():
        golden.assert_matches(f"{name}_outdim{small}", embed_sizes(inputs[key], small))
        expected = golden.expected[f"{name}_outdim{large}"]
        golden.assert_matches(f"{name}_outdim{large}", nearest_rounding(inputs[key], expected))
    golden.assert_matches(f"aesthetic_outdim{large}", embed_sizes(inputs["aesthetic_score"], large))
    numbers = torch.cat([inputs[key] for key in pairs.values()], dim=1)
    golden.assert_matches("vector", torch.cat([inputs["pooled"], embed_sizes(numbers, small)], dim=1))


@pytest.mark.parametrize("dtype", SUFFIXES)
def test_bert_gives_compvis_s_numbers(dtype):
    golden = case("cond_bert")
    params, suffix = golden.config["params"], SUFFIXES[dtype]
    config = BERTConfig(
        vocab_size=params["vocab_size"],
        dim=params["n_embed"],
        depth=params["n_layer"],
        length=params["max_seq_len"],
    )
    net = BERTEmbedder(config)
    head = {k: v for k, v in golden.weights.items() if k.startswith("transformer.to_logits.")}
    net.load_state_dict({k: v for k, v in golden.weights.items() if k not in head})
    net.to(dtype)
    with torch.no_grad():
        embeddings = net.encode_ids(golden.inputs["tokens"])
        short = net.encode_ids(golden.inputs["tokens_short"])
        weight, bias = (head[f"transformer.to_logits.{name}"].to(dtype) for name in ("weight", "bias"))
        logits = torch.nn.functional.linear(embeddings, weight, bias)
    golden.assert_matches(f"embeddings{suffix}", embeddings, "embeddings")
    golden.assert_matches(f"embeddings_short{suffix}", short, "embeddings_short")
    golden.assert_matches(f"to_logits{suffix}", logits, "to_logits")


def test_a_class_is_compvis_s_row():
    golden = case("cond_class")
    params, labels = golden.config["params"], golden.inputs["class_label"]
    n_classes = params["n_classes"]
    net = ClassEmbedder(ClassConfig(n_classes, params["embed_dim"], null=n_classes - 1, names=""))
    net.load_state_dict(golden.weights)
    with torch.no_grad():
        golden.assert_matches("context", net.embed(labels))
        asked = net.condition([str(int(label)) for label in labels])
    golden.assert_matches("context", asked.context)
    assert asked.vector is None


@pytest.mark.parametrize("dtype", SUFFIXES)
def test_the_spatial_rescaler_gives_compvis_s_numbers(dtype):
    golden = case("cond_spatial_rescaler")
    params = golden.config["params"]
    net = NoCondition(
        NoConditionConfig(params["in_channels"], params["out_channels"], params["n_stages"])
    ).to(dtype)
    net.load_state_dict(golden.weights)
    with torch.no_grad():
        golden.assert_matches(f"output{SUFFIXES[dtype]}", net.rescale(golden.inputs["x"].to(dtype)), "output")


def test_every_number_of_these_cases_is_compared(request):
    assert_whole(request, {})
