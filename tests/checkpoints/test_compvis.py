"""Single files in CompVis's layout: sizes from names and shapes, the rest from beside the file."""

import json
from dataclasses import replace

import pytest
import torch
import yaml
from safetensors.torch import save_file

from ldm.checkpoints import compvis, load
from ldm.checkpoints.infer import TEXT, infer_config
from ldm.checkpoints.report import differences
from ldm.diffusion.schedule import BETAS, build_schedule
from ldm.errors import CheckpointError
from ldm.latent_diffusion import LatentDiffusion
from ldm.models.config import AutoencoderConfig, ScheduleConfig, TextConfig, UNetConfig
from ldm.models.tokenizer import Tokenizer

from .models import own_tokenizer, random_model, sd_config
from .test_report import inventories


@pytest.fixture(scope="module")
def model() -> LatentDiffusion:
    return random_model(sd_config())


@pytest.fixture(scope="module")
def weights(model) -> dict[str, torch.Tensor]:
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}


def shapes(tensors) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def betas(**changes) -> torch.Tensor:
    config = {
        "n_steps": 1000,
        "betas": "scaled_linear",
        "linear_start": 0.00085,
        "linear_end": 0.012,
    } | changes
    return build_schedule(**config).betas.float()


UNETS = {
    "sd1": UNetConfig(model_channels=32, channel_mult=(1, 2, 4, 4), context_dim=64),
    "sd2": UNetConfig(
        model_channels=64,
        channel_mult=(1, 2),
        num_heads=-1,
        num_head_channels=64,
        context_dim=64,
        use_linear_in_transformer=True,
    ),
    "uneven": UNetConfig(
        model_channels=32,
        channel_mult=(1, 3, 4),
        num_res_blocks=(1, 2, 3),
        transformer_depth=(0, 2, 1),
        transformer_depth_middle=3,
        attention_resolutions=(4, 2),
        context_dim=64,
    ),
    "scale-shift": UNetConfig(
        model_channels=32,
        channel_mult=(1, 2),
        attention_resolutions=(1,),
        context_dim=64,
        use_scale_shift_norm=True,
    ),
    "pooling": UNetConfig(
        model_channels=32,
        channel_mult=(1, 2),
        attention_resolutions=(2,),
        context_dim=64,
        conv_resample=False,
    ),
    "one level": UNetConfig(model_channels=32, channel_mult=(1,), attention_resolutions=(), context_dim=64),
}
AUTOENCODERS = {
    "sd": AutoencoderConfig(ch=32, ch_mult=(1, 2, 2), num_res_blocks=2),
    "attention": AutoencoderConfig(ch=32, ch_mult=(1, 1, 2), num_res_blocks=1, attn_resolutions=(128, 64)),
    "no attention": AutoencoderConfig(ch=32, ch_mult=(1, 2), attn_type="none", z_channels=6, embed_dim=4),
}


def built_shapes(config) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return shapes(LatentDiffusion(config, Tokenizer.clip()).state_dict())


@pytest.mark.parametrize("unet", UNETS.values(), ids=UNETS)
def test_the_sizes_of_a_unet_are_found(unet):
    config = sd_config(unet=unet)
    found = infer_config(built_shapes(config), "x").unet
    assert differences(built_shapes(config), built_shapes(replace(config, unet=found))) == []
    same = replace(
        found, attention_resolutions=unet.attention_resolutions, transformer_depth=unet.transformer_depth
    )
    assert same == unet


@pytest.mark.parametrize("autoencoder", AUTOENCODERS.values(), ids=AUTOENCODERS)
def test_the_sizes_of_an_autoencoder_are_found(autoencoder):
    config = sd_config(autoencoder=autoencoder)
    assert infer_config(built_shapes(config), "x").autoencoder == autoencoder


def test_the_sizes_of_a_text_encoder_are_found():
    text = TextConfig(hidden_size=128, intermediate_size=99, num_hidden_layers=5, num_attention_heads=2)
    assert infer_config(built_shapes(sd_config(text=text)), "x").text == text


@pytest.mark.golden
@pytest.mark.parametrize("pattern", ["sd-v1", "sd-v1-full-ema", "labml-latent-diffusion"])
def test_a_real_stable_diffusion_1_is_accounted_for_to_the_last_key(pattern):
    for path in inventories(pattern):
        found = {name: tuple(entry["shape"]) for name, entry in json.loads(path.read_text()).items()}
        config = infer_config(found, path.name)
        unet = replace(config.unet, attention_resolutions=(4, 2, 1))
        assert (unet, config.autoencoder, config.text) == (UNetConfig(), AutoencoderConfig(), TextConfig())
        assert differences(built_shapes(config), found, compvis.LEFTOVERS) == []


def test_a_training_file_loads_and_its_leftovers_are_dropped(tmp_path, weights):
    path = tmp_path / "x.ckpt"
    extra = {"betas": betas(), "model_ema.decay": torch.ones(()), "logvar": torch.ones(3)}
    extra |= {f"{TEXT}embeddings.position_ids": torch.arange(77)[None]}
    extra |= {"first_stage_model.loss.logvar": torch.ones(()), "cond_stage_model.logit_scale": torch.ones(())}
    torch.save(
        {"state_dict": weights | extra, "global_step": 3, "optimizer_states": [{"a": torch.ones(1)}]}, path
    )
    state = load(path, "cpu", torch.float32).state_dict()
    assert set(state) == set(weights)
    assert all(torch.equal(state[name], tensor) for name, tensor in weights.items())


def test_averaged_weights_are_used_on_request(tmp_path, weights):
    averaged = {
        "model_ema." + name.removeprefix("model.").replace(".", ""): tensor + 1
        for name, tensor in weights.items()
        if name.startswith("model.")
    }
    save_file(weights | averaged, tmp_path / "x.safetensors")
    state = load(tmp_path / "x.safetensors", "cpu", torch.float32, ema=True).state_dict()
    for name, tensor in weights.items():
        assert torch.equal(state[name], tensor + 1 if name.startswith("model.") else tensor), name


def test_a_file_without_averaged_weights_is_an_error(tmp_path, weights):
    save_file(weights, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError) as error:
        load(tmp_path / "x.safetensors", "cpu", ema=True)
    assert str(error.value) == "x.safetensors has no averaged weights (model_ema)."


def test_a_text_encoder_saved_without_its_outer_module_is_read(tmp_path, weights):
    short = {name.replace(".text_model.", "."): tensor for name, tensor in weights.items()}
    save_file(short, tmp_path / "x.safetensors")
    state = load(tmp_path / "x.safetensors", "cpu", torch.float32).state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in weights.items())


def test_a_text_encoder_is_never_left_random(tmp_path, weights):
    name = f"{TEXT}encoder.layers.1.mlp.fc1.weight"
    save_file({key: tensor for key, tensor in weights.items() if key != name}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError) as error:
        load(tmp_path / "x.safetensors", "cpu")
    assert str(error.value) == f"x.safetensors is missing 1 of {len(weights)} weights ({name})."


@pytest.mark.parametrize("name", ["x.yaml", "config.yaml"])
def test_what_shapes_cannot_tell_comes_from_the_yaml_file_beside(tmp_path, weights, name):
    params = {
        "linear_start": 0.001,
        "linear_end": 0.02,
        "timesteps": 500,
        "beta_schedule": "sqrt_linear",
        "scale_factor": 0.5,
        "parameterization": "v",
        "image_size": 16,
        "unet_config": {"target": "os.system", "params": {"num_head_channels": 16, "model_channels": 32}},
    }
    save_file(weights, tmp_path / "x.safetensors")
    (tmp_path / name).write_text(yaml.safe_dump({"model": {"params": params}}))
    config = compvis.read(tmp_path / "x.safetensors").config
    assert config.schedule == ScheduleConfig(n_steps=500, betas="linear", linear_start=0.001, linear_end=0.02)
    assert (config.prediction_type, config.latent_scaling_factor) == ("v", 0.5)
    assert (config.unet.num_heads, config.unet.num_head_channels) == (-1, 16)
    assert config.unet.model_channels == 32
    assert config.recommended.width == 16 * 2
    assert config.name == "x"


def test_without_a_yaml_file_it_is_stable_diffusion(tmp_path, weights):
    save_file(weights, tmp_path / "x.safetensors")
    config = compvis.read(tmp_path / "x.safetensors").config
    assert (config.schedule, config.prediction_type) == (ScheduleConfig(), "eps")
    assert (config.latent_scaling_factor, config.unet.num_heads, config.recommended.width) == (
        0.18215,
        8,
        512,
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "config.yaml beside x.safetensors cannot be read: "),
        ("!!python/object/apply:os.system ['true']", "config.yaml beside x.safetensors cannot be read: "),
        (
            "model: {params: {beta_schedule: odd}}",
            "The YAML file beside x.safetensors cannot be used. beta_schedule must be one of linear, ",
        ),
        (
            "model: {params: {timesteps: many}}",
            "The YAML file beside x.safetensors cannot be used. timesteps must be a whole number, got",
        ),
    ],
)
def test_a_yaml_file_that_makes_no_sense_is_an_error(tmp_path, weights, text, message):
    save_file(weights, tmp_path / "x.safetensors")
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(CheckpointError) as error:
        compvis.read(tmp_path / "x.safetensors")
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    "expected",
    [
        ScheduleConfig(),
        ScheduleConfig(linear_start=0.0015, linear_end=0.0195),
        ScheduleConfig(betas="linear", linear_start=1e-4, linear_end=2e-2),
        ScheduleConfig(zero_terminal_snr=True),
        ScheduleConfig(n_steps=400),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_the_schedule_is_that_of_the_files_own_betas(tmp_path, weights, expected, dtype):
    own = build_schedule(**vars(expected)).betas.to(dtype)
    save_file(weights | {"betas": own}, tmp_path / "x.safetensors")
    schedule = compvis.read(tmp_path / "x.safetensors").config.schedule
    found, wanted = build_schedule(**vars(schedule)), build_schedule(**vars(expected))
    torch.testing.assert_close(found.betas, wanted.betas, rtol=2e-3, atol=1e-6)
    if dtype == torch.float32:
        assert schedule == expected


def test_betas_of_no_known_schedule_are_an_error(tmp_path, weights):
    save_file(weights | {"betas": torch.linspace(0.1, 0.2, 1000) ** 3}, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError) as error:
        compvis.read(tmp_path / "x.safetensors")
    assert str(error.value) == (
        "x.safetensors was trained on a noise schedule that is none of "
        f"{', '.join(BETAS)} (betas from 0.001 to 0.008)."
    )


def test_keys_that_mark_a_v_model_are_heeded(tmp_path, weights):
    save_file(weights | {"v_pred": torch.ones(0), "ztsnr": torch.ones(0)}, tmp_path / "x.safetensors")
    config = compvis.read(tmp_path / "x.safetensors").config
    assert (config.prediction_type, config.schedule.zero_terminal_snr) == ("v", True)


@pytest.fixture(scope="module")
def own_words() -> dict[str, torch.Tensor]:
    text = replace(
        sd_config().text,
        vocab_size=len(own_tokenizer().vocab),
        max_position_embeddings=20,
        tokenizer="embedded",
    )
    return {k: v.detach() for k, v in random_model(sd_config(text=text)).state_dict().items()}


def test_a_vocabulary_beside_the_file_is_used_where_it_fits(tmp_path, own_words):
    save_file(own_words, tmp_path / "x.safetensors")
    tokenizer = own_tokenizer()
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "vocab.json").write_text(json.dumps(tokenizer.vocab))
    (tmp_path / "tokenizer" / "merges.txt").write_text("\n".join(map(" ".join, tokenizer.merges)))
    checkpoint = compvis.read(tmp_path / "x.safetensors")
    assert checkpoint.tokenizer.to_dict() == tokenizer.to_dict() | {"length": 20}
    assert (checkpoint.config.text.bos_token_id, checkpoint.config.text.tokenizer) == (
        tokenizer.bos,
        "embedded",
    )


def test_clips_vocabulary_is_used_where_the_one_beside_the_file_is_anothers(tmp_path, weights):
    save_file(weights, tmp_path / "x.safetensors")
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer" / "vocab.json").write_text(json.dumps(own_tokenizer().vocab))
    (tmp_path / "tokenizer" / "merges.txt").write_text("")
    assert len(compvis.read(tmp_path / "x.safetensors").tokenizer.vocab) == 49408


def test_a_text_encoder_of_unknown_words_is_an_error(tmp_path, own_words):
    save_file(own_words, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError) as error:
        compvis.read(tmp_path / "x.safetensors")
    assert str(error.value) == (
        f"x.safetensors has a text encoder for {len(own_tokenizer().vocab)} words, "
        "CLIP's vocabulary has 49408. "
        "Put its own vocab.json and merges.txt into a folder named tokenizer beside it."
    )
