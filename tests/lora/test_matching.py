"""What a report says, whom a LoRA is refused for, and the names of real files against real sizes."""

import json
import os

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ldm import lora
from ldm.errors import CheckpointError
from ldm.latent_diffusion import LatentDiffusion
from ldm.lora.names import targets
from ldm.lora.reading import assemble
from ldm.models.condition_config import ClassConfig, NoConditionConfig, OpenCLIPConfig, SDXLTextConfig
from ldm.models.config import ModelConfig, UNetConfig
from ldm.models.pixel_config import DDPMUNetConfig
from ldm.models.tokenizer import Tokenizer

from ..golden_cases import _roots
from . import twins
from .test_layouts import assert_merged

SDXL_UNET = UNetConfig(
    channel_mult=(1, 2, 4),
    attention_resolutions=(4, 2),
    num_heads=-1,
    num_head_channels=64,
    transformer_depth=(0, 2, 10),
    context_dim=2048,
    use_linear_in_transformer=True,
    num_classes="sequential",
    adm_in_channels=2816,
)
SD2_UNET = UNetConfig(num_heads=-1, num_head_channels=64, context_dim=1024, use_linear_in_transformer=True)


def full_size(config):
    """A model of the real size without memory."""
    with torch.device("meta"):
        return LatentDiffusion(config, Tokenizer.clip(77))


@pytest.fixture(scope="module")
def real():
    return {
        "sd1": full_size(ModelConfig()),
        "sd2": full_size(ModelConfig(name="SD 2", unet=SD2_UNET, text=OpenCLIPConfig())),
        "sdxl": full_size(ModelConfig(name="SDXL", unet=SDXL_UNET, text=SDXLTextConfig())),
    }


@pytest.fixture(scope="module")
def patterns():
    for root in _roots():
        file = root / "keys" / "lora_key_patterns.json"
        if file.exists():
            return json.loads(file.read_text())
    if "GOLDEN" in os.environ:
        pytest.fail(f"GOLDEN={os.environ['GOLDEN']} has no keys/lora_key_patterns.json.")
    pytest.skip("the inventory of LoRA names is not here; set GOLDEN to the folder of cases.")


def shapes(patterns, *names):
    keys = {key: shape for name in names for key, shape in patterns[name].items()}
    return assemble("real", "real.safetensors", {k: torch.empty(s, device="meta") for k, s in keys.items()})


@pytest.mark.golden
@pytest.mark.parametrize(
    ("family", "names"),
    [
        ("sd1", ("kohya_sd15_unet", "kohya_sd15_text")),
        ("sd1", ("kohya_sd15_unet_conv_(LoCon)_extra", "kohya_sd15_unet_conv_linear_extra")),
        ("sdxl", ("kohya_sdxl_unet_(CompVis_block_names)_first_40",)),
        ("sdxl", ("kohya_sdxl_text1_first", "kohya_sdxl_text2_first")),
    ],
)
def test_every_name_of_real_files_has_its_place(real, patterns, family, names):
    read = shapes(patterns, *names)
    report = lora.match(read, real[family], measure=False)
    assert len(report.matched) == len(read.deltas) == sum(len(patterns[name]) for name in names) / 3
    assert report.ignored == ()


def layers(model, part):
    """What kohya trains by default: linear layers and convolutions of one point beside attention."""
    found = set()
    for (where, module, kind), target in targets(model).items():
        parameter = model.get_parameter(target.parameter)
        if where != part or kind != "weight" or parameter.ndim < 2 or parameter.shape[2:] not in ((), (1, 1)):
            continue
        if part == "unet":
            inside = any(word in module for word in ("transformer_blocks", "_proj_in", "_proj_out"))
        else:
            inside = "encoder_layers" in module
        if inside:
            found.add((target.parameter, target.row))
    return found


@pytest.mark.golden
def test_as_many_layers_as_kohya_counts(real, patterns):
    assert len(layers(real["sd1"], "unet")) == patterns["kohya_sd15_unet_modules"]
    assert len(layers(real["sd1"], "text")) == patterns["kohya_sd15_text_modules"]
    assert len(layers(real["sdxl"], "unet")) == patterns["kohya_sdxl_unet_modules"]
    assert len(layers(real["sdxl"], "text")) == patterns["kohya_sdxl_text1_modules"]
    assert len(layers(real["sdxl"], "text_2")) == patterns["kohya_sdxl_text2_modules"]
    assert len(layers(real["sd2"], "text")) == 24 * 6


@pytest.mark.golden
def test_a_lora_of_another_family_is_refused_with_both_names(real, patterns):
    sd1, sdxl = (
        shapes(patterns, "kohya_sd15_unet"),
        shapes(patterns, "kohya_sdxl_unet_(CompVis_block_names)_first_40"),
    )
    cases = (
        (sd1, "sdxl", "real is a LoRA for Stable Diffusion 1, and SDXL is Stable Diffusion XL."),
        (sd1, "sd2", "real is a LoRA for Stable Diffusion 1, and SD 2 is Stable Diffusion 2."),
        (sdxl, "sd1", "real is a LoRA for Stable Diffusion XL, and Stable Diffusion is Stable Diffusion 1."),
    )
    for read, family, sentence in cases:
        with pytest.raises(CheckpointError) as error:
            lora.match(read, real[family])
        assert str(error.value) == sentence


@pytest.mark.golden
def test_text_alone_tells_the_family_too(real, patterns):
    second = shapes(patterns, "kohya_sdxl_text1_first", "kohya_sdxl_text2_first")
    first = shapes(patterns, "kohya_sd15_text")
    assert (lora.lora_family(second), lora.lora_family(first)) == (
        "Stable Diffusion XL",
        "Stable Diffusion 1",
    )
    for read, family in ((second, "sd1"), (first, "sd2")):
        with pytest.raises(CheckpointError, match=f"^real is a LoRA for {lora.lora_family(read)}, and "):
            lora.match(read, real[family])


def test_another_width_is_refused_by_its_width(models):
    read = assemble("style", "style.safetensors", twins.kohya(twins.changes_of(models["sdxl"])))
    with pytest.raises(CheckpointError) as error:
        lora.match(read, models["sd1"])
    assert str(error.value) == (
        "style is a LoRA for a model whose context has 96 channels, "
        "and small is a model whose context has 32 channels."
    )


def test_a_layer_of_another_size_is_named(model):
    changes = twins.changes_of(model)
    changes[0].up = torch.zeros(64, 3, 1, 1)
    read = assemble("style", "style.safetensors", twins.kohya(changes))
    with pytest.raises(CheckpointError) as error:
        lora.match(read, model)
    assert str(error.value) == (
        "style is no LoRA for small: lora_unet_down_blocks_0_attentions_0_proj_in changes a weight of shape "
        "[64, 32, 1, 1], the model's is [32, 32, 1, 1]."
    )


def test_nothing_that_fits_is_an_error(model):
    tensors = {
        f"lora_unet_down_blocks_7_attentions_0_proj_in.lora_{role}.weight": torch.zeros(2, 2)
        for role in ("up", "down")
    }
    with pytest.raises(CheckpointError) as error:
        lora.match(assemble("style", "style.safetensors", tensors), model)
    assert str(error.value) == "style is no LoRA for small: none of its 1 layers has a place there."


def test_a_model_without_such_a_network_is_refused():
    config = ModelConfig(name="DDPM", unet=DDPMUNetConfig(), text=NoConditionConfig())
    with torch.device("meta"):
        model = LatentDiffusion(config, None)
    with pytest.raises(
        CheckpointError, match=r"^DDPM cannot take a LoRA: its network is not CompVis's U-Net\.$"
    ):
        targets(model)


def test_a_class_model_has_a_network_and_no_text():
    with torch.device("meta"):
        model = LatentDiffusion(twins.sd1(text=ClassConfig(embed_dim=32)), None)
    assert {part for part, _, _ in targets(model)} == {"unet"}


def test_names_without_a_place_are_reported(model):
    changes = twins.changes_of(model)
    tensors = twins.kohya(changes) | {
        "lora_unet_down_blocks_9_attentions_0_proj_in.lora_up.weight": torch.ones(32, 2),
        "lora_unet_down_blocks_9_attentions_0_proj_in.lora_down.weight": torch.ones(2, 32),
        "bundle_emb.word.string_to_param.*": torch.ones(1, 32),
    }
    report = lora.match(assemble("style", "style.safetensors", tensors), model)
    assert len(report.matched) == len(changes)
    assert report.ignored == (
        "lora_unet_down_blocks_9_attentions_0_proj_in",
        "bundle_emb.word.string_to_param.*",
    )
    assert report.note == (
        f"style changes {len(changes)} weights. 2 of its names have no place: "
        "lora_unet_down_blocks_9_attentions_0_proj_in, bundle_emb.word.string_to_param.*."
    )


def test_a_change_under_two_names_is_applied_once(model):
    """Files for two programs hold the U-Net under both programs' names."""
    changes = twins.changes_of(model)
    both = twins.kohya(changes, sgm=True) | twins.kohya(changes)
    read = assemble("style", "style.safetensors", both)
    assert len(lora.match(read, model).matched) == len(changes)
    lora.apply(model, [(read, 1.0)])
    assert_merged(model, (changes, 1.0))
    name = "lora_unet_input_blocks_1_1_proj_in"
    both[f"{name}.lora_up.weight"] = 2 * both[f"{name}.lora_up.weight"]
    with pytest.raises(CheckpointError) as error:
        lora.match(assemble("style", "style.safetensors", both), model)
    assert str(error.value) == (
        f"style has two different changes of one layer, {name} and "
        "lora_unet_down_blocks_0_attentions_0_proj_in."
    )


def test_one_that_changes_nothing_is_called_so(model):
    changes = twins.changes_of(model)
    for change in changes:
        change.up = torch.zeros_like(change.up)  # as trainers begin
    report = lora.match(assemble("style", "style.safetensors", twins.kohya(changes)), model)
    assert report.changes_nothing is True
    assert set(report.strengths.values()) == {0.0}
    assert report.note == "style changes nothing: all its changes are zero, as before training."


def test_strengths_are_norms_of_changes_over_norms_of_weights(models):
    for model in models.values():
        changes = twins.changes_of(model, convs=True)
        read = assemble("style", "style.safetensors", twins.kohya(changes))
        strengths = lora.match(read, model).strengths
        change = [c for c in changes if "middle_block" in c.place.ours]
        weights = [model.get_parameter(twins.weight_name(c.place)).double().numpy() for c in change]
        wanted = (
            sum(np.square(c.slow()).sum() for c in change) / sum(np.square(w).sum() for w in weights)
        ) ** 0.5
        assert strengths["middle_block"] == pytest.approx(wanted, rel=1e-5)
        lora.apply(model, [(read, 1.0)])  # of the weights as they were loaded
        assert lora.match(read, model).strengths == strengths


def test_a_header_is_enough_to_match(model, tmp_path):
    changes = twins.changes_of(model, convs=True)
    save_file(twins.kohya(changes), tmp_path / "style.safetensors", {"ss_network_dim": "3"})
    read = lora.read_lora(tmp_path / "style.safetensors", only_shapes=True)
    report = lora.match(read, model)
    assert (len(report.matched), report.changes_nothing) == (len(changes), None)
    assert (read.ranks, read.forms, read.metadata.dim) == ((3,), ("LoRA",), "3")
