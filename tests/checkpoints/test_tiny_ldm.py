"""A whole model of the original implementation, from its files to its pictures."""

import os
import re
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from ldm.checkpoints import build, compvis, read
from ldm.checkpoints.diffusers_export import autoencoder_weights, unet_weights
from ldm.diffusion.denoiser import Denoiser
from ldm.diffusion.guidance import Guidance
from ldm.diffusion.samplers import SAMPLERS, SamplerOptions
from ldm.diffusion.spacing import sampling_sigmas
from ldm.latent_diffusion import LatentDiffusion
from ldm.models.config import TextConfig

from ..golden_cases import Case, assert_whole, case

FILES = ("model.ckpt", "model.safetensors")

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


@pytest.fixture(scope="module")
def exact(golden: Case) -> LatentDiffusion:
    """The model in double precision."""
    model = open_model(golden, FILES[1], torch.float64)
    # transformers' own attention takes its softmax in single precision, whatever it is given; torch's not
    model.cond_stage_model.transformer.text_model.set_attn_implementation("sdpa")
    return model


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
    golden.assert_matches("cond", model.get_text_conditioning(golden.config["prompts"]))
    golden.assert_matches("uncond", model.get_text_conditioning(golden.config["negative_prompts"]))


def test_every_layer_of_the_text_encoder_gives_the_original_numbers(golden, model):
    states = text_states(golden, model)
    golden.assert_matches("text_hidden_states", torch.stack(states.hidden_states))
    golden.assert_matches("text_pooled", states.pooler_output)


def text_states(golden: Case, model: LatentDiffusion) -> Any:
    """All that transformers' encoder, which is ours under another name, says of the prompts."""
    encoder = model.cond_stage_model.transformer.text_model
    return encoder(input_ids=golden.inputs["input_ids"], output_hidden_states=True)


def test_pictures_become_the_original_latents(golden, model):
    image, noise = golden.inputs["image"], golden.inputs["encode_noise"]
    golden.assert_matches("encoded_mode_scaled", model.autoencoder_encode(image, mean=True))
    golden.assert_matches("encoded_latent", model.autoencoder_encode(image, noise))


def test_pictures_become_the_original_latents_in_double_precision(golden, exact):
    image, noise = golden.inputs["image"].double(), golden.inputs["encode_noise"].double()
    golden.assert_matches("encoded_mode_scaled.f64", exact.autoencoder_encode(image, mean=True))
    golden.assert_matches("encoded_latent.f64", exact.autoencoder_encode(image, noise))


def final(golden: Case) -> tuple[int, float, float]:
    """Steps, eta and guidance of the case's sampling, which it tells in words."""
    found = re.match(r"DDIM S=(\d+) eta=([\d.]+), guidance ([\d.]+)", golden.config["final"])
    assert found, golden.config["final"]
    return int(found[1]), float(found[2]), float(found[3])


def levels(golden: Case, model: LatentDiffusion) -> list[float]:
    """Falling noise levels of the sampling; CompVis's stride may leave more steps than were asked for."""
    steps, train = final(golden)[0], model.n_steps
    ours = sampling_sigmas(model.schedule, steps, "leading", "first_timestep").tolist()
    theirs = [model.schedule.sigma_at(t + 1) for t in reversed(range(0, train, train // steps))]
    if train % steps == 0:
        assert ours == pytest.approx([*theirs, model.schedule.sigma_at(0)], rel=1e-12)
    return [*theirs, model.schedule.sigma_at(0)]


def trajectory(golden: Case, model: LatentDiffusion, context: Tensor, uncond: Tensor) -> Tensor:
    """(steps + 1, B, C, H, W) latents of unit variance, as the original keeps them."""
    sigmas = torch.tensor(levels(golden, model), dtype=torch.float64)
    _, eta, cfg_scale = final(golden)
    x = golden.inputs["x_T"].to(context) * (1 + float(sigmas[0]) ** 2) ** 0.5
    denoise = Denoiser(
        network=lambda x, t, context: model.predict(x, t, context, record=False),
        schedule=model.schedule,
        prediction_type=model.prediction_type,
        context=context,
        uncond=uncond,
        guidance=Guidance(cfg_scale),
    )

    def noise(draw: int) -> Tensor:
        return golden.inputs["noise"][draw - 1].double()

    steps = list(SAMPLERS["ddim"].run(denoise, x, sigmas, SamplerOptions(eta=eta), noise, ()))
    latents = [x, *(step.x_next for step in steps)]
    return torch.stack([z / (1 + float(s) ** 2) ** 0.5 for z, s in zip(latents, sigmas, strict=True)])


def test_noise_becomes_the_original_picture(golden, model):
    prompts = (golden.config["prompts"], golden.config["negative_prompts"])
    latents = trajectory(golden, model, *map(model.get_text_conditioning, prompts))
    golden.assert_matches("trajectory", latents)
    golden.assert_matches("latent", latents[-1])
    images = model.autoencoder_decode(latents[-1])
    golden.assert_matches("image", images)
    golden.assert_matches("image01", ((images + 1) / 2).clamp(0, 1))
    # the original's rounding, which is not the house's: down
    golden.assert_matches(
        "image_uint8_BHWC", (255 * ((images + 1) / 2).clamp(0, 1)).to(torch.uint8).permute(0, 2, 3, 1)
    )


def test_decoding_the_original_latents_gives_the_original_picture(golden, model):
    golden.assert_matches("image", model.autoencoder_decode(golden.expected["latent"]))


def test_prompts_and_noise_become_the_original_picture_in_double_precision(golden, exact):
    prompts = {"cond": golden.config["prompts"], "uncond": golden.config["negative_prompts"]}
    contexts = {name: exact.get_text_conditioning(texts) for name, texts in prompts.items()}
    for name, context in contexts.items():
        golden.assert_matches(f"{name}.f64", context)
    golden.assert_matches("text_pooled.f64", text_states(golden, exact).pooler_output)
    latents = trajectory(golden, exact, contexts["cond"], contexts["uncond"])
    golden.assert_matches("latent.f64", latents[-1])
    images = exact.autoencoder_decode(latents[-1])
    golden.assert_matches("image.f64", images)
    golden.assert_matches("image01.f64", ((images + 1) / 2).clamp(0, 1))


def test_written_for_diffusers_it_has_the_weights_that_diffusers_made_of_it(golden, model):
    if not (golden.folder / "diffusers").exists() and "GOLDEN" not in os.environ:
        pytest.skip("this copy of the case has no diffusers folder; set GOLDEN to the folder of all cases.")
    for part, ours in (("unet", unet_weights(model)), ("vae", autoencoder_weights(model))):
        theirs = load_file(golden.folder / "diffusers" / part / "diffusion_pytorch_model.safetensors")
        assert set(ours) == set(theirs)
        for name, tensor in theirs.items():
            assert torch.equal(ours[name], tensor.float()), name


def test_every_number_of_the_case_is_compared(request):
    assert_whole(request, {})
