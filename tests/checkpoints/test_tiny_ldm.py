"""A whole model of the original implementation, from its files to its pictures."""

import os
from collections.abc import Iterator
from dataclasses import fields, replace

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from ldm.checkpoints import build, compvis, read
from ldm.checkpoints.diffusers_export import autoencoder_weights, unet_weights
from ldm.diffusion.denoiser import Denoiser
from ldm.diffusion.samplers import SAMPLERS
from ldm.diffusion.schedule import sampling_sigmas
from ldm.latent_diffusion import LatentDiffusion
from ldm.models.config import TextConfig

from ..golden_cases import Case, case

FILES = ("model.ckpt", "model.safetensors")
STEPS, CFG_SCALE = 10, 7.5  # of the case's `final`, in words there

pytestmark = pytest.mark.golden


@pytest.fixture(autouse=True)
def without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def golden() -> Case:
    return case("tiny_ldm")


@pytest.fixture(scope="module")
def model(golden: Case) -> LatentDiffusion:
    return open_model(golden, FILES[0], torch.float32)


def open_model(golden: Case, file: str, dtype: torch.dtype) -> LatentDiffusion:
    """The model of one of the files; the text encoder's heads, which no file tells, from the case."""
    checkpoint = read(golden.folder / file)
    names = {field.name for field in fields(TextConfig)} - {"bos_token_id", "eos_token_id", "pad_token_id"}
    told = {name: value for name, value in golden.config["clip_config"].items() if name in names}
    text = replace(checkpoint.config.text, **told)
    return build(replace(checkpoint, config=replace(checkpoint.config, text=text)), "cpu", dtype)


def test_both_files_give_the_same_tensors(golden):
    pickled, mapped = (compvis.read(golden.folder / file) for file in FILES)
    assert pickled.config == mapped.config
    assert set(pickled.tensors) == set(mapped.tensors)
    for name, tensor in mapped.tensors.items():
        assert torch.equal(pickled.tensors[name], tensor), name


@pytest.mark.parametrize("file", FILES)
def test_every_weight_of_the_file_is_in_the_model(golden, file):
    tensors, model = compvis.read(golden.folder / file).tensors, open_model(golden, file, torch.float32)
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, tensors[name].float()), name


def test_the_config_is_that_of_the_original(golden, model):
    params = golden.config["compvis_config"]["model"]["params"]
    unet, first_stage = params["unet_config"]["params"], params["first_stage_config"]["params"]
    for name in (
        "in_channels",
        "out_channels",
        "model_channels",
        "num_res_blocks",
        "num_heads",
        "context_dim",
    ):
        assert getattr(model.config.unet, name) == unet[name], name
    assert model.config.unet.channel_mult == tuple(unet["channel_mult"])
    assert sorted(model.config.unet.attention_resolutions) == sorted(unet["attention_resolutions"])
    for name in ("ch", "z_channels", "num_res_blocks", "in_channels", "out_ch", "double_z"):
        assert getattr(model.config.autoencoder, name) == first_stage["ddconfig"][name], name
    assert model.config.autoencoder.ch_mult == tuple(first_stage["ddconfig"]["ch_mult"])
    assert model.config.autoencoder.embed_dim == first_stage["embed_dim"]
    assert model.latent_scaling_factor == params["scale_factor"]
    assert (model.linear_start, model.linear_end) == (params["linear_start"], params["linear_end"])
    assert model.n_steps == params["timesteps"]


def test_prompts_become_the_original_tokens(golden, model):
    for prompts, ids in (("prompts", "input_ids"), ("negative_prompts", "negative_input_ids")):
        assert torch.equal(model.cond_stage_model.ids(golden.config[prompts]), golden.inputs[ids])


def test_prompts_become_the_original_context(golden, model):
    golden.check("cond", model.get_text_conditioning(golden.config["prompts"]))
    golden.check("uncond", model.get_text_conditioning(golden.config["negative_prompts"]))


def test_pictures_become_the_original_latents(golden, model):
    image, noise = golden.inputs["image"], golden.inputs["encode_noise"]
    golden.check("encoded_mode_scaled", model.autoencoder_encode(image, mean=True))
    golden.check("encoded_latent", model.autoencoder_encode(image, noise))


def trajectory(golden: Case, model: LatentDiffusion, context: Tensor, uncond: Tensor) -> Tensor:
    """(steps + 1, B, C, H, W) latents of unit variance, as the original keeps them."""
    sigmas = sampling_sigmas(model.schedule, STEPS, "leading", "first_timestep")
    x = golden.inputs["x_T"].to(context) * (1 + float(sigmas[0]) ** 2) ** 0.5
    denoise = Denoiser(
        network=lambda x, t, context: model.predict(x, t, context, record=False),
        schedule=model.schedule,
        prediction_type=model.prediction_type,
        context=context,
        uncond=uncond,
        cfg_scale=CFG_SCALE,
    )
    steps = list(SAMPLERS["ddim"](denoise, x, sigmas, 0.0, lambda draw: x, ()))
    latents = [x, *(step.x_next for step in steps)]
    return torch.stack([z / (1 + float(s) ** 2) ** 0.5 for z, s in zip(latents, sigmas, strict=True)])


def test_noise_becomes_the_original_picture(golden, model):
    prompts = (golden.config["prompts"], golden.config["negative_prompts"])
    latents = trajectory(golden, model, *map(model.get_text_conditioning, prompts))
    golden.check("trajectory", latents)
    golden.check("latent", latents[-1])
    images = model.autoencoder_decode(latents[-1])
    golden.check("image", images)
    golden.check("image01", ((images + 1) / 2).clamp(0, 1))
    # the original's rounding, which is not the house's: down
    golden.check(
        "image_uint8_BHWC", (255 * ((images + 1) / 2).clamp(0, 1)).to(torch.uint8).permute(0, 2, 3, 1)
    )


def test_decoding_the_original_latents_gives_the_original_picture(golden, model):
    golden.check("image", model.autoencoder_decode(golden.expected["latent"]))


def test_noise_and_context_become_the_original_picture_in_double_precision(golden):
    # from the original's context on: transformers' softmax is in single precision, whatever it is given
    model, expected = open_model(golden, FILES[1], torch.float64), golden.expected
    latents = trajectory(golden, model, expected["cond.f64"], expected["uncond.f64"])
    golden.check("latent.f64", latents[-1])
    golden.check("image.f64", model.autoencoder_decode(latents[-1]))


def test_written_for_diffusers_it_has_the_weights_that_diffusers_made_of_it(golden, model):
    if not (golden.folder / "diffusers").exists() and "GOLDEN" not in os.environ:
        pytest.skip("this copy of the case has no diffusers folder; set GOLDEN to the folder of all cases.")
    for part, ours in (("unet", unet_weights(model)), ("vae", autoencoder_weights(model))):
        theirs = load_file(golden.folder / "diffusers" / part / "diffusion_pytorch_model.safetensors")
        assert set(ours) == set(theirs)
        for name, tensor in theirs.items():
            assert torch.equal(ours[name], tensor.float()), name
