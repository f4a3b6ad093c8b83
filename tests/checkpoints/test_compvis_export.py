"""One file in CompVis's layout, and what is left of a model on its way through all layouts: everything."""

from dataclasses import replace

import pytest
import torch
import yaml
from safetensors import safe_open

from ldm.checkpoints import build, convert, read, save
from ldm.checkpoints.compvis_export import write_compvis
from ldm.errors import CheckpointError
from ldm.latent_diffusion import LatentDiffusion
from ldm.models.config import AutoencoderConfig, TextConfig, UNetConfig
from ldm.models.tokenizer import Tokenizer

from .families import FAMILIES
from .models import default_config, own_tokenizer, random_model, sd_config


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


def twin(config) -> LatentDiffusion:
    """A random model of a config whose every weight matters."""
    model = LatentDiffusion(config, Tokenizer.clip()).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(7)
    for parameter in model.parameters():
        spread = 0.05 if parameter.ndim < 2 else parameter[0].numel() ** -0.5
        noise = spread * torch.randn(parameter.shape, generator=generator)
        parameter.copy_(noise + (parameter if parameter.ndim < 2 else 0))
    return model


def opened(path):
    return build(read(path), "cpu", None)


def assert_same_weights(model, again, kept=lambda key: True):
    ours, theirs = model.state_dict(), again.state_dict()
    assert set(theirs) == {key for key in ours if kept(key)}
    for key, tensor in theirs.items():
        assert torch.equal(tensor, ours[key]), key


RELATIVES = (
    *("sd1-v", "sd1-inpainting", "instruct-pix2pix", "sd2-inpainting", "sdxl-v", "sdxl-inpainting"),
    "sdxl-refiner",
)


@pytest.mark.parametrize(
    "family",
    [pytest.param(name, marks=pytest.mark.long if name in RELATIVES else ()) for name in FAMILIES],
)
def test_through_all_layouts_and_back_every_tensor_keeps_its_bits(tmp_path, family):
    """But for what a diffusers folder of Stable Diffusion 2 has no place for, since nothing reads it."""
    model = twin(FAMILIES[family])
    save(model, tmp_path / "native.safetensors")
    first = opened(tmp_path / "native.safetensors")
    assert_same_weights(model, first)
    (tmp_path / "compvis").mkdir()
    write_compvis(first, tmp_path / "compvis" / "model.safetensors")
    second = opened(tmp_path / "compvis" / "model.safetensors")
    assert_same_weights(model, second)
    assert_same_meaning(second.config, model.config)
    convert(second, tmp_path / "folder")
    third = opened(tmp_path / "folder")
    unread = ("resblocks.2.", "text_projection") if FAMILIES[family].text.kind == "openclip" else ()
    assert_same_weights(model, third, lambda key: not any(part in key for part in unread))
    save(third, tmp_path / "again.safetensors")
    fourth = opened(tmp_path / "again.safetensors")
    assert_same_weights(third, fourth)
    assert fourth.config == third.config
    assert_same_meaning(fourth.config, model.config)
    for other in (second, third):
        torch.testing.assert_close(answer(other), answer(model), atol=2e-5, rtol=0)


def assert_same_meaning(config, expected):
    for name in ("prediction_type", "latent_scaling_factor", "picture", "schedule", "autoencoder"):
        assert getattr(config, name) == getattr(expected, name), name
    assert config.text.kind == expected.text.kind
    assert config.text.context_dim == expected.text.context_dim
    assert (config.recommended.width, config.recommended.height) == (32, 32) or config.text.kind == "sdxl"


def answer(model):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, model.config.unet.in_channels, 8, 8, generator=generator)
    condition = model.get_conditioning(["a red ball"])
    y = torch.tensor([20]) if model.config.picture == "upscale" else condition.vector
    return model(x, torch.tensor([500]), condition.context, y)


def test_stability_ais_names_are_used_for_xl(tmp_path):
    write_compvis(twin(FAMILIES["sdxl"]), tmp_path / "m.safetensors")
    with safe_open(tmp_path / "m.safetensors", "pt") as file:
        names = set(file.keys())
    assert "conditioner.embedders.0.transformer.text_model.final_layer_norm.weight" in names
    assert "conditioner.embedders.1.model.text_projection" in names
    assert not any(name.startswith("cond_stage_model.") for name in names)
    params = yaml.safe_load((tmp_path / "m.yaml").read_text())["model"]["params"]
    assert params["scale_factor"] == 0.13025
    assert params["network_config"]["params"]["adm_in_channels"] == 128 + 6 * 32


def test_the_yaml_file_beside_it_says_what_shapes_do_not(tmp_path):
    config = replace(FAMILIES["sd1"], unet=replace(FAMILIES["sd1"].unet, num_heads=4))
    write_compvis(twin(config), tmp_path / "m.safetensors")
    params = yaml.safe_load((tmp_path / "m.yaml").read_text())["model"]["params"]
    assert params["unet_config"]["params"]["num_heads"] == 4
    assert params["cond_stage_config"]["target"] == "ldm.modules.encoders.modules.FrozenCLIPEmbedder"
    assert opened(tmp_path / "m.safetensors").config.unet.num_heads == 4


def test_a_vocabulary_of_its_own_lies_beside_it(tmp_path):
    tokenizer = own_tokenizer(16)
    text = TextConfig(
        vocab_size=len(tokenizer.vocab),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=1,
        num_attention_heads=1,
        max_position_embeddings=16,
        tokenizer="embedded",
    )
    model = random_model(sd_config(text=text), tokenizer=tokenizer)
    write_compvis(model, tmp_path / "m.safetensors")
    again = opened(tmp_path / "m.safetensors")
    assert_same_weights(model, again)
    assert again.cond_stage_model.tokenizer.ids("a red ball") == tokenizer.ids("a red ball")
    (tmp_path / "tokenizer" / "vocab.json").write_text("{}")
    with pytest.raises(CheckpointError) as error:
        write_compvis(model, tmp_path / "n.safetensors")
    folder = tmp_path / "tokenizer"
    assert str(error.value) == f"{folder} exists already and holds another vocabulary; name another folder."
    assert not (tmp_path / "n.safetensors").exists()
    assert not (tmp_path / "n.yaml").exists()


@pytest.mark.parametrize(
    ("config", "what"),
    [
        (default_config(), "unet.num_groups is 8; it would be read as 32"),
        (
            sd_config(
                text=TextConfig(
                    hidden_size=64,
                    intermediate_size=128,
                    num_hidden_layers=1,
                    num_attention_heads=1,
                    hidden_act="gelu",
                )
            ),
            "text.hidden_act is gelu; it would be read as quick_gelu",
        ),
        (
            sd_config(autoencoder=AutoencoderConfig(ch=32, ch_mult=(1, 2), num_res_blocks=1, num_groups=16)),
            "autoencoder.num_groups is 16; it would be read as 32",
        ),
        (
            sd_config(
                unet=UNetConfig(model_channels=32, channel_mult=(1, 2), context_dim=64, time_cond_proj_dim=32)
            ),
            None,
        ),
    ],
)
def test_what_the_layout_cannot_say_is_an_error(tmp_path, config, what):
    model = random_model(config)
    if what is None:  # a weight of its own tells of it
        write_compvis(model, tmp_path / "m.safetensors")
        assert opened(tmp_path / "m.safetensors").config.unet.time_cond_proj_dim == 32
        return
    with pytest.raises(CheckpointError) as error:
        write_compvis(model, tmp_path / "m.safetensors")
    assert str(error.value) == (
        f"{config.name} cannot be written in CompVis's layout: that cannot say that {what}."
    )
    assert list(tmp_path.iterdir()) == []
