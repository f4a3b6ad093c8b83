"""Files that are no LoRA, another kind of one, or damaged: each gets its sentence, none is half applied."""

import json

import pytest
import torch
from safetensors.torch import save_file

from ldm import lora
from ldm.errors import CheckpointError

from . import twins

LAYER = "lora_unet_down_blocks_0_attentions_0_proj_in"
GOOD = {f"{LAYER}.lora_up.weight": torch.ones(32, 2), f"{LAYER}.lora_down.weight": torch.ones(2, 32)}


def refusal(path):
    with pytest.raises(CheckpointError) as error:
        lora.read_lora(path)
    return str(error.value)


def refusal_of(tmp_path, tensors, metadata=None):
    save_file(tensors, tmp_path / "x.safetensors", metadata)
    return refusal(tmp_path / "x.safetensors")


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (f"{LAYER}.dora_scale", "a DoRA, which replaces the size of a weight"),
        ("unet.conv_in.lora_magnitude_vector", "a DoRA, which replaces the size of a weight"),
        ("unet.conv_in.lora_magnitude_vector.default.weight", "a DoRA, which replaces the size of a weight"),
        (f"{LAYER}.oft_blocks", "an OFT, which turns weights instead of adding"),
        (f"{LAYER}.oft_R.weight", "an OFT, which turns weights instead of adding"),
        ("base_model.model.conv_in.boft_R", "a BOFT, which turns weights instead of adding"),
        (f"{LAYER}.on_input", "an (IA)³, which multiplies weights instead of adding"),
        ("base_model.model.conv_in.ia3_l", "an (IA)³, which multiplies weights instead of adding"),
        (f"{LAYER}.a1.weight", "a GLoRA"),
        ("base_model.model.conv_in.vera_lambda_b", "a VeRA, whose matrices are not in its file"),
        ("text_encoder.embeddings.lora_embedding_A", "a LoRA of an embedding table"),
        ("unet.conv_in.lora_B.bias", "a LoRA with biases"),
    ],
)
def test_kinds_that_cannot_be_applied_exactly(tmp_path, key, words):
    said = refusal_of(tmp_path, GOOD | {key: torch.ones(2)})
    assert said == f"x.safetensors is {words}; such a file cannot be applied ({key})."


@pytest.mark.parametrize(
    ("layer", "whose"),
    [
        ("lora_unet_double_blocks_0_img_attn_qkv", "Flux"),
        ("transformer.single_transformer_blocks.0.attn.to_q", "Flux"),
        ("lora_unet_joint_blocks_0_x_block_attn_qkv", "Stable Diffusion 3"),
        ("transformer.transformer_blocks.0.attn.to_q", "a diffusion transformer"),
        ("lora_te3_encoder_block_0_layer_0_SelfAttention_q", "a diffusion transformer"),
        ("lora_prior_unet_down_blocks_0", "Stable Cascade"),
        ("unet.down_blocks.0.motion_modules.0.proj_in", "AnimateDiff's motion modules"),
        ("base_model.model.model.layers.0.self_attn.q_proj", "a language model"),
    ],
)
def test_other_architectures(tmp_path, layer, whose):
    tensors = {f"{layer}.lora_up.weight": torch.ones(4, 2), f"{layer}.lora_down.weight": torch.ones(2, 4)}
    said = refusal_of(tmp_path, tensors)
    assert said == f"x.safetensors is an addition to {whose}, which is another architecture."


@pytest.mark.parametrize("gone", ["up", "down"])
def test_a_half_is_named(tmp_path, gone):
    other = {"up": "down", "down": "up"}[gone]
    said = refusal_of(tmp_path, {f"{LAYER}.lora_{other}.weight": GOOD[f"{LAYER}.lora_{other}.weight"]})
    assert said == f"x.safetensors is damaged: {LAYER} has no {gone} to go with its {other}."


DAMAGED = {
    "ranks differ": (
        {f"{LAYER}.lora_up.weight": torch.ones(32, 3)},
        f"the tensors of {LAYER} do not fit: down [2, 32], up [32, 3].",
    ),
    "no dimensions": (
        {f"{LAYER}.lora_up.weight": torch.ones(())},
        f"the tensors of {LAYER} do not fit: down [2, 32], up [].",
    ),
    "rank 0": (
        {f"{LAYER}.lora_up.weight": torch.ones(32, 0), f"{LAYER}.lora_down.weight": torch.ones(0, 32)},
        f"{LAYER} has rank 0.",
    ),
    "alpha of two numbers": ({f"{LAYER}.alpha": torch.ones(2)}, f"{LAYER}.alpha is 2 numbers."),
    "alpha that is no number": (
        {f"{LAYER}.alpha": torch.tensor(float("nan"))},
        f"{LAYER} holds numbers that are not finite.",
    ),
    "infinity": (
        {f"{LAYER}.lora_up.weight": torch.full((32, 2), float("inf"))},
        f"{LAYER} holds numbers that are not finite.",
    ),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_named(tmp_path, name):
    changed, sentence = DAMAGED[name]
    assert refusal_of(tmp_path, GOOD | changed) == f"x.safetensors is damaged: {sentence}"


def test_whole_numbers_are_refused(tmp_path):
    whole = GOOD | {f"{LAYER}.lora_up.weight": torch.ones(32, 2, dtype=torch.int8)}
    assert (
        refusal_of(tmp_path, whole) == f"x.safetensors has whole numbers in {LAYER} up, a LoRA has fractions."
    )


def test_a_name_that_is_not_understood_beside_one_that_is_stops_all(tmp_path):
    said = refusal_of(tmp_path, GOOD | {f"{LAYER}.scalar": torch.ones(1)})
    assert (
        said == f"x.safetensors has {LAYER}.scalar, which is not understood; {LAYER} would be half applied."
    )


def test_a_layer_that_is_there_twice_is_refused(tmp_path):
    twice = twins.peft([]) | {
        f"unet.conv_in.lora_A{adapter}.weight": torch.ones(2, 4, 3, 3) for adapter in ("", ".default")
    }
    assert "unet.conv_in twice" in refusal_of(tmp_path, twice)


def test_a_file_of_something_else_is_no_lora(tmp_path):
    said = refusal_of(tmp_path, {"model.diffusion_model.out.2.weight": torch.ones(2)})
    assert said == "x.safetensors is no LoRA: none of its 1 names is of one."


def test_a_folder_without_one(tmp_path):
    (tmp_path / "empty").mkdir()
    said = refusal(tmp_path / "empty")
    assert said == (
        "empty is a folder without a LoRA: it has no adapter_model or pytorch_lora_weights of "
        ".safetensors or .bin."
    )


def test_files_that_cannot_be_read(tmp_path):
    assert refusal(tmp_path / "none.safetensors").startswith("There is no file ")
    save_file(GOOD, tmp_path / "cut.safetensors")
    whole = (tmp_path / "cut.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-9])
    assert refusal(tmp_path / "cut.safetensors").startswith("cut.safetensors is cut short")


CONFIGS = {
    "{": "adapter_config.json beside adapter_model.safetensors cannot be read: ",
    "[]": "adapter_config.json is no config of peft: it is no table.",
    json.dumps(
        {"lora_alpha": "much"}
    ): "adapter_config.json has a lora_alpha or an alpha_pattern that is no number.",
    json.dumps({"alpha_pattern": {"(": 1}}): "adapter_config.json has an alpha_pattern that cannot be read: ",
    json.dumps({"peft_type": "LOHA"}): "adapter_config.json is of LOHA, which cannot be applied; LORA can.",
    json.dumps({"use_dora": True}): "adapter_config.json is of DORA, which cannot be applied; LORA can.",
}


@pytest.mark.parametrize("config", CONFIGS)
def test_broken_configs_of_peft(tmp_path, model, config):
    twins.peft_folder(tmp_path / "style", twins.changes_of(model)[:2])
    (tmp_path / "style" / "adapter_config.json").write_text(config)
    assert refusal(tmp_path / "style").startswith(CONFIGS[config])


@pytest.mark.parametrize("told", ["{", "[]", '{"unet.lora_alpha": true}'])
def test_broken_configs_inside_a_file(tmp_path, told):
    said = refusal_of(tmp_path, GOOD, {"lora_adapter_metadata": told})
    assert said.startswith("x.safetensors has a ")
