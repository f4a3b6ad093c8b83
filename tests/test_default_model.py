"""The model that ships: what is in the file, and that it draws what is asked."""

import dataclasses
import re

import numpy as np
import pytest
import torch

import ldm
from ldm.checkpoints import convert, weights_folder
from ldm.checkpoints.preview import load_preview, preview_path
from ldm.data.scenes import DEFAULT_OBJECTS
from ldm.generation import noise_stream
from ldm.images import to_tensor
from ldm.metrics import psnr
from ldm.roundtrip import roundtrip
from ldm.training.autoencoder import HELD_OUT_SEED, pictures
from ldm.training.judge import JUDGE, load_judge

PATH = weights_folder() / "default.safetensors"
S = ldm.Settings("a red apple on a blue background", seed=3)


@pytest.fixture(scope="module")
def model():
    return ldm.load(PATH)


@pytest.fixture(scope="module")
def trace(model):
    return ldm.run(model, S)


def mean_color(image, box):
    return np.asarray(image.crop(box), dtype=float).reshape(-1, 3).mean(0)


def test_the_file_is_small_enough_for_a_repository():
    assert PATH.stat().st_size <= 60e6


def test_the_file_says_what_it_knows_and_how_it_was_made(model):
    words = {word for kind, names in model.config.vocabulary.items() for word in names}
    assert set(DEFAULT_OBJECTS) <= words and "blue" in words
    assert model.config.training["latent"]["samples"] > 400_000
    assert model.config.examples and model.config.size_multiple == 32


def test_a_red_apple_is_red_and_its_background_blue(trace):
    red, green, blue = mean_color(trace.images[0], (110, 110, 146, 166))
    assert red > green + 50 and red > blue + 50
    for corner in ((0, 0, 32, 32), (224, 224, 256, 256)):
        red, green, blue = mean_color(trace.images[0], corner)
        assert blue > red + 50 and blue > green + 30


@pytest.mark.parametrize(
    ("prompt", "corner"),
    [("a cat on a yellow background", (True, True, False)), ("a house on green", (False, True, False))],
)
def test_another_background_is_another_colour(model, prompt, corner):
    color = mean_color(ldm.run(model, dataclasses.replace(S, prompt=prompt)).images[0], (0, 0, 24, 24))
    assert tuple(bool(c > 110) for c in color) == corner


@pytest.mark.parametrize(
    ("prompt", "name", "background"),
    [
        ("a red apple on a blue background", "apple", "blue"),
        ("a rocket in space", "rocket", "space"),
        ("a penguin in the snow", "penguin", "snow day"),
        ("a green umbrella on the beach", "umbrella", "beach day"),
        ("a teddy bear in a room", "teddy bear", "room"),
    ],
)
def test_the_judge_sees_what_was_asked_for(model, prompt, name, background):
    [seen] = load_judge(JUDGE).names(to_tensor(ldm.run(model, dataclasses.replace(S, prompt=prompt)).images))
    assert (seen.object, seen.background, seen.count) == (name, background, 1)


def test_a_seed_is_one_picture(model, trace):
    again = ldm.run(model, S)
    assert np.array_equal(np.asarray(again.images[0]), np.asarray(trace.images[0]))


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "dpmpp_sde"])
def test_a_seed_is_one_picture_alone_and_in_a_batch_in_any_order(sampler):
    """Of the size of the latents; in bfloat16 no bit differs where it was measured (docs/samplers.md)."""
    model = ldm.load(PATH, dtype=torch.float32)
    settings = dataclasses.replace(S, sampler=sampler, steps=4, batch_size=4)
    *_, batch = ldm.generate(model, settings, record_attention=False)
    for i in (2, 0, 3, 1):
        *_, alone = ldm.generate(model, settings.of_picture(i), record_attention=False)
        difference = (alone.x_next - batch.x_next[i : i + 1]).abs().max()
        assert difference < 1e-5 * batch.x_next.abs().max()


def test_the_predicted_picture_settles(trace):
    last = trace.steps[-1].prediction.x0
    errors = [float((step.prediction.x0 - last).square().mean()) for step in trace.steps]
    assert errors[0] > errors[len(errors) // 2] > errors[-1] == 0


def test_a_render_survives_the_round_trip(model, trace):
    result = roundtrip(model, trace.images[0])
    assert result.psnr > 27 and result.ssim > 0.85


def test_the_preview_is_a_blur_of_the_picture(model, trace):
    preview = model.preview_decode(trace.steps[-1].x_next)
    assert psnr(preview.clamp(-1, 1), to_tensor(trace.images)) > 20


@pytest.mark.slow
def test_the_small_decoder_is_near_the_full_one_on_held_out_renders(model):
    assert preview_path(PATH).stat().st_size < 2e6
    decoder = load_preview(preview_path(PATH))
    assert decoder.config.model == model.name
    images = pictures(HELD_OUT_SEED, 0, 16, DEFAULT_OBJECTS)
    found = {"linear": 0.0, "small": 0.0, "full": 0.0}
    with torch.no_grad():
        for image in images.split(1):
            z = model.autoencoder_encode(image, mean=True)
            found["linear"] += psnr(model.preview_decode(z).clamp(-1, 1), image) / 16
            found["small"] += psnr(decoder(z).clamp(-1, 1), image) / 16
            found["full"] += psnr(model.autoencoder_decode(z).cpu().clamp(-1, 1), image) / 16
    assert found["small"] > found["full"] - 0.5 and found["small"] > found["linear"] + 1.5


def test_prompts_longer_than_the_text_encoder_are_cut_not_refused(model):
    assert len(model.cond_stage_model.tokens("a red apple " * 40)) == 32


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # diffusers' with numpy 2
def test_exported_to_diffusers_it_draws_the_same_picture(tmp_path):
    diffusers = pytest.importorskip("diffusers")
    model = ldm.load(PATH, device="cpu", dtype=torch.float32)
    convert(model, tmp_path / "folder")
    pipe = diffusers.StableDiffusionPipeline.from_pretrained(tmp_path / "folder", safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    theirs = pipe(
        S.prompt,
        num_inference_steps=S.steps,
        guidance_scale=S.cfg_scale,
        guidance_rescale=S.cfg_rescale,
        latents=noise_stream(model, S)(0),
        output_type="pt",
        width=S.width,
        height=S.height,
    ).images
    ours = model.autoencoder_decode(list(ldm.generate(model, S))[-1].x_next)
    assert float(((ours / 2 + 0.5).clamp(0, 1) - theirs).abs().max()) < 1e-3


def test_the_card_names_the_figures():
    card = (weights_folder() / "README.md").read_text()
    assert re.search(r"object \| 0\.\d+|object \| 1\.0", card), "weights/README.md has no figures"
