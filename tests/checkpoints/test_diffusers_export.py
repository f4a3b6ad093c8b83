"""A folder for diffusers: diffusers itself says whether it is right."""

import errno
import os
import re
from dataclasses import replace

import pytest
import torch

from ldm.checkpoints import convert
from ldm.checkpoints.diffusers_export import autoencoder_weights, unet_weights
from ldm.errors import CheckpointError
from ldm.generation import generate, noise_stream
from ldm.models.config import AutoencoderConfig, ScheduleConfig, TextConfig, UNetConfig
from ldm.models.tokenizer import Tokenizer
from ldm.settings import Settings

from .families import FAMILIES
from .models import NEGATIVE, PROMPT, default_config, own_tokenizer, random_model, sd_config

SETTINGS = Settings(PROMPT, NEGATIVE, steps=8, cfg_scale=3.0, cfg_rescale=0.7, width=64, height=96, seed=3)


@pytest.fixture(scope="module")
def diffusers():
    return pytest.importorskip("diffusers")


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="module")
def model():
    return random_model(default_config())


@pytest.fixture(scope="module")
def pipeline(diffusers, model, tmp_path_factory):
    """What diffusers makes of our folder."""
    folder = tmp_path_factory.mktemp("export") / "model"
    convert(model, folder)
    return opened(diffusers, folder)


def opened(diffusers, folder):
    pipeline = diffusers.StableDiffusionPipeline.from_pretrained(folder, safety_checker=None)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def assert_same_networks(model, pipeline):
    tokenizer = pipeline.tokenizer
    padded = tokenizer(PROMPT, padding="max_length", max_length=tokenizer.model_max_length, truncation=True)
    assert padded.input_ids == model.cond_stage_model.tokenizer.ids(PROMPT)
    context = model.get_text_conditioning([PROMPT])
    close(pipeline.text_encoder(torch.tensor([padded.input_ids]))[0], context)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, model.latent_channels, 8, 12, generator=generator)
    t, both = torch.tensor([10, 700]), context.expand(2, -1, -1)
    close(pipeline.unet(x, t, both).sample, model(x, t, both))
    f = model.downsampling_factor
    images = torch.rand(1, 3, 4 * f, 6 * f, generator=generator) * 2 - 1
    z = model.autoencoder_encode(images, mean=True)
    scale = pipeline.vae.config.scaling_factor
    close(pipeline.vae.encode(images).latent_dist.mean * scale, z)
    close(pipeline.vae.decode(z / scale).sample, model.autoencoder_decode(z))


def close(theirs, ours):
    torch.testing.assert_close(theirs, ours, atol=1e-4, rtol=0)


def test_the_networks_are_the_same(model, pipeline):
    assert_same_networks(model, pipeline)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' with numpy 2
@pytest.mark.parametrize("name", ["as exported", "ddim", "euler"])
def test_the_whole_pipeline_draws_the_same_picture(diffusers, model, pipeline, name):
    """v-prediction, zero terminal SNR, trailing timesteps, guidance and its rescale; the noise is given."""
    classes = {"ddim": diffusers.DDIMScheduler, "euler": diffusers.EulerDiscreteScheduler}
    settings, options = replace(SETTINGS, sampler="dpmpp_2m" if name == "as exported" else name), {}
    if name in classes:
        options = {"clip_sample": False, "set_alpha_to_one": True} if name == "ddim" else {}
        pipeline.scheduler = classes[name].from_config(pipeline.scheduler.config, **options)
    else:
        assert type(pipeline.scheduler).__name__ == "DPMSolverMultistepScheduler"
    theirs = pipeline(
        PROMPT,
        negative_prompt=NEGATIVE,
        height=settings.height,
        width=settings.width,
        num_inference_steps=settings.steps,
        guidance_scale=settings.cfg_scale,
        guidance_rescale=settings.cfg_rescale,
        latents=noise_stream(model, settings)(0),
        output_type="pt",
    ).images
    steps = list(generate(model, settings))
    ours = model.autoencoder_decode(steps[-1].x_next)
    assert theirs.std() > 0.1
    torch.testing.assert_close(theirs, (ours / 2 + 0.5).clamp(0, 1), atol=1e-3, rtol=0)


MODELS = {
    "sd1": {"unet": UNetConfig(model_channels=32, channel_mult=(1, 2, 4), context_dim=64)},
    "sd2": {
        "unet": UNetConfig(
            model_channels=64,
            channel_mult=(1, 2),
            num_heads=-1,
            num_head_channels=32,
            context_dim=64,
            use_linear_in_transformer=True,
        )
    },
    "uneven": {
        "unet": UNetConfig(
            model_channels=32,
            channel_mult=(1, 2, 3),
            num_res_blocks=(1, 2, 3),
            transformer_depth=(1, 2, 0),
            transformer_depth_middle=2,
            attention_resolutions=(2, 1),
            context_dim=64,
        )
    },
    "attention in the autoencoder": {
        "autoencoder": AutoencoderConfig(
            ch=32, ch_mult=(1, 2, 2), num_res_blocks=1, attn_resolutions=(64, 128)
        )
    },
}


@pytest.mark.parametrize("changes", MODELS.values(), ids=MODELS)
def test_other_shapes_are_the_same_in_diffusers(diffusers, tmp_path, changes):
    text = TextConfig(
        vocab_size=len(own_tokenizer().vocab),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=16,
        tokenizer="embedded",
    )
    config = sd_config(text=text, **changes)
    model = random_model(config, tokenizer=own_tokenizer(16))
    convert(model, tmp_path / "model")
    pipeline = opened(diffusers, tmp_path / "model")
    assert_same_networks(model, pipeline)
    assert pipeline.scheduler.config.prediction_type == "epsilon"
    assert not pipeline.scheduler.config.rescale_betas_zero_snr


def test_no_two_weights_get_one_name(model):
    assert len(unet_weights(model)) == len(model.model.state_dict())
    assert len(autoencoder_weights(model)) == len(model.first_stage_model.state_dict())


@pytest.mark.parametrize(
    ("changes", "obstacle"),
    [
        ({"unet": UNetConfig(model_channels=32, use_scale_shift_norm=True)}, "use_scale_shift_norm"),
        ({"unet": UNetConfig(model_channels=32, resblock_updown=True)}, "resampling ResBlocks"),
        ({"unet": UNetConfig(model_channels=32, num_classes=10)}, "class labels"),
        ({"autoencoder": AutoencoderConfig(ch=32, z_channels=8)}, "an embed_dim other than z_channels"),
        ({"schedule": ScheduleConfig(betas="sqrt", linear_end=0.1)}, "betas 'sqrt'"),
    ],
)
def test_what_diffusers_has_no_option_for_is_an_error(tmp_path, model, monkeypatch, changes, obstacle):
    monkeypatch.setattr(model, "config", sd_config(**changes))
    with pytest.raises(CheckpointError) as error:
        convert(model, tmp_path / "x")
    assert str(error.value) == f"sd cannot be written for diffusers: it has {obstacle}."


def test_a_folder_in_use_is_not_overwritten(tmp_path, model):
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "mine.txt").touch()
    with pytest.raises(CheckpointError) as error:
        convert(model, tmp_path / "x")
    assert str(error.value) == f"{tmp_path / 'x'} exists already; name a folder that does not, or is empty."
    convert(model, tmp_path / "new")
    convert(model, tmp_path / "new" / "inner")


def test_a_full_disk_leaves_nothing(tmp_path, model, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CheckpointError, match=re.escape("could not be written: No space left on device.")):
        convert(model, tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


PIPELINES = {
    "sd1-inpainting": "StableDiffusionInpaintPipeline",
    "instruct-pix2pix": "StableDiffusionInstructPix2PixPipeline",
    "sd2": "StableDiffusionPipeline",
    "x4-upscaler": "StableDiffusionUpscalePipeline",
    "sdxl": "StableDiffusionXLPipeline",
    "sdxl-inpainting": "StableDiffusionXLInpaintPipeline",
    "sdxl-refiner": "StableDiffusionXLImg2ImgPipeline",
    "unconditional": "LDMPipeline",
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    "family",
    [pytest.param(name, marks=pytest.mark.long if name == "sdxl-inpainting" else ()) for name in PIPELINES],
)
def test_a_model_of_every_family_is_opened_by_its_pipeline(diffusers, tmp_path, family):
    model = random_model(FAMILIES[family], tokenizer=Tokenizer.clip())
    convert(model, tmp_path / "model")
    pipeline = diffusers.DiffusionPipeline.from_pretrained(tmp_path / "model")
    assert type(pipeline).__name__ == PIPELINES[family]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(2, model.config.unet.in_channels, 8, 12, generator=generator)
    t, made = torch.tensor([10, 700]), model.get_conditioning([PROMPT])
    close(theirs_of(pipeline, x, t, made), ours_of(model, x, t, made))
    z = torch.randn(1, model.latent_channels, 4, 6, generator=generator)
    stage = pipeline.vqvae if family == "unconditional" else pipeline.vae
    close(stage.decode(z / stage.config.scaling_factor).sample, model.autoencoder_decode(z))


def ours_of(model, x, t, made):
    vector = None if made.vector is None else made.vector.expand(2, -1)
    if model.config.picture == "upscale":
        vector = torch.tensor([20, 20])
    return model(x, t, made.context.expand(2, -1, -1), vector)


def theirs_of(pipeline, x, t, made):
    """What their U-Net says, told what their text encoders make of the prompt."""
    name = type(pipeline).__name__
    if name == "LDMPipeline":
        return pipeline.unet(x, t).sample
    if "XL" in name:
        context, _, pooled, _ = pipeline.encode_prompt(PROMPT, device="cpu")
        sizes = made.vector[:, pooled.shape[1] :]  # ours, already embedded
        numbers = [1024, 1024, 0, 0, *([6.0] if "Img2Img" in name else [1024, 1024])]
        close(sizes, pipeline.unet.add_time_proj(torch.tensor(numbers)).reshape(1, -1))
        added = {"text_embeds": pooled.expand(2, -1), "time_ids": torch.tensor([numbers] * 2)}
        return pipeline.unet(x, t, context.expand(2, -1, -1), added_cond_kwargs=added).sample
    padded = pipeline.tokenizer(PROMPT, padding="max_length", truncation=True, return_tensors="pt")
    context = pipeline.text_encoder(padded.input_ids)[0]
    labels = torch.tensor([20, 20]) if "Upscale" in name else None
    return pipeline.unet(x, t, context.expand(2, -1, -1), class_labels=labels).sample
