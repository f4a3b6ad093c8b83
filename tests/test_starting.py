"""Where runs start: noise, a picture at every strength, a picture with a hole, latents, the way back."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from ldm import Settings, SettingsError, finish, generate, invert, run
from ldm.diffusion.noise import noise_of
from ldm.generation import resume
from ldm.generation.start import first_step, latent_mask
from ldm.images import to_images, to_tensor
from ldm.models.config import UNetConfig
from ldm.roundtrip import roundtrip
from tests.conftest import tiny_config, tiny_model

S = Settings("a red circle above a blue square", steps=6, width=32, height=32, strength=0.5)
PICTURE = Image.radial_gradient("L").resize((32, 32)).convert("RGB")


def picture(size=(32, 32)):
    pixels = np.random.default_rng(0).integers(0, 256, (size[1] // 8, size[0] // 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def mask(box=(8, 4, 24, 20), size=(32, 32)):
    made = Image.new("L", size)
    made.paste(255, box)
    return made


def pixels(image):
    return np.asarray(image).astype(int)


@pytest.mark.parametrize("batch_size", [1, 2])
def test_strength_0_is_the_round_trip_to_the_last_bit_and_makes_no_step(model, batch_size):
    trace = run(model, dataclasses.replace(S, strength=0.0, batch_size=batch_size), init_image=picture())
    expected = roundtrip(model, picture()).reconstruction
    assert trace.steps == ()
    assert trace.finished
    for image in trace.images:
        assert np.array_equal(pixels(image), pixels(expected))


def test_strength_1_of_noise_is_the_run_without_a_picture_to_the_last_bit(model):
    settings = dataclasses.replace(S, strength=1.0, full_strength="noise")
    ours, plain = run(model, settings, init_image=picture()), run(model, settings)
    assert len(ours.steps) == settings.steps
    assert all(torch.equal(a.x_next, b.x_next) for a, b in zip(ours.steps, plain.steps, strict=True))
    assert np.array_equal(pixels(ours.images[0]), pixels(plain.images[0]))


def test_strength_1_of_the_picture_starts_with_a_trace_of_it_under_the_most_noise(model):
    settings = dataclasses.replace(S, strength=1.0)
    trace = run(model, settings, init_image=picture())
    assert len(trace.steps) == settings.steps
    latents = model.autoencoder_encode(to_tensor([picture()]), mean=True)
    sigma = trace.steps[0].sigma
    noise = noise_of("per_picture", settings.seed, 1, tuple(latents.shape[1:]))
    torch.testing.assert_close(trace.steps[0].x, latents + sigma * noise(0))
    # of Stable Diffusion's schedule 6.8 % of the picture's amplitude is left
    assert 1 / (1 + sigma**2) ** 0.5 == pytest.approx(0.0683, abs=1e-4)


def test_more_strength_is_more_steps_from_more_noise(model):
    made = [first_step(dataclasses.replace(S, steps=20, strength=k / 20)) for k in range(21)]
    assert made == list(range(20, -1, -1))
    tiny = dataclasses.replace(S, strength=0.01)
    assert first_step(tiny) == tiny.steps - 1  # some strength is some change
    trace = run(model, dataclasses.replace(S, strength=0.5), init_image=picture())
    whole = run(model, dataclasses.replace(S, strength=1.0), init_image=picture())
    assert [s.sigma for s in trace.steps] == [s.sigma for s in whole.steps[3:]]


def test_a_picture_of_another_size_is_fitted_and_the_caller_s_is_left(model):
    given = picture((64, 48))
    before = given.copy()
    trace = run(model, S, init_image=given)
    assert trace.init_image.size == (32, 32)
    assert given.size == (64, 48) and np.array_equal(pixels(given), pixels(before))
    middle = given.crop((8, 0, 56, 48)).resize((32, 32), Image.Resampling.LANCZOS)
    stretched = given.resize((32, 32), Image.Resampling.LANCZOS)
    away, from_stretched = (np.abs(pixels(trace.init_image) - pixels(o)).mean() for o in (middle, stretched))
    assert away < 1 < from_stretched  # cut, not stretched; only the filter's rim sees beyond the cut
    hole = Image.new("L", (64, 48))
    hole.paste(255, (0, 0, 8, 48))  # the part that is cut away
    assert run(model, S, init_image=given, mask=hole).mask.getextrema() == (0, 0)


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "euler_ancestral", "heun", "unipc", "restart", "lcm"])
@pytest.mark.parametrize("full_strength", ["picture", "noise"])
@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0])
def test_outside_the_mask_every_byte_is_the_picture_s(model, sampler, strength, full_strength):
    hole = mask()
    settings = dataclasses.replace(
        S, sampler=sampler, strength=strength, full_strength=full_strength, batch_size=2
    )
    trace = run(model, settings, init_image=picture(), mask=hole)
    outside = pixels(hole) == 0
    for image in trace.images:
        assert np.array_equal(pixels(image)[outside], pixels(picture())[outside])
        assert not np.array_equal(pixels(image)[~outside], pixels(picture())[~outside])


def test_what_is_kept_lies_on_its_own_latents_under_its_own_noise_at_every_step(model):
    hole = mask()
    settings = dataclasses.replace(S, sampler="dpmpp_2m", strength=1.0)
    trace = run(model, settings, init_image=picture(), mask=hole)
    latents = model.autoencoder_encode(to_tensor([picture()]), mean=True)
    kept = (latent_mask(hole, model.downsampling_factor) == 0).expand_as(latents)
    noise = noise_of("per_picture", settings.seed, 1, tuple(latents.shape[1:]))(0)
    for step in trace.steps:
        assert torch.equal(step.prediction.x0[kept], latents[kept])
        expected = latents + step.sigma * noise
        torch.testing.assert_close(step.x[kept], expected[kept], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(trace.steps[-1].x_next[kept], latents[kept])


@pytest.mark.parametrize(
    "change", [{"sampler": "langevin"}, {"sampler": "euler", "s_churn": 1.0}, {"sampler": "unipc"}]
)
def test_strength_0_needs_nothing_of_the_sampler(model, change):
    settings = dataclasses.replace(S, strength=0.0, **change)
    assert list(generate(model, settings, init_image=picture())) == []


def test_pictures_and_masks_of_every_mode_are_read_as_they_look(model):
    settings = dataclasses.replace(S, strength=0.0)
    clear = Image.new("RGBA", (32, 32), (255, 0, 0, 0))
    deep = Image.fromarray(np.full((32, 32), 10_000, dtype=np.uint16))
    for given, expected in ((clear, (255, 255, 255)), (deep, (39, 39, 39))):
        assert run(model, settings, init_image=given).init_image.getpixel((5, 5)) == expected
    half = Image.new("LA", (32, 32), (255, 0))
    half.paste((255, 255), (0, 0, 16, 32))
    masked = run(model, S, init_image=picture(), mask=half).mask
    assert (masked.getpixel((3, 3)), masked.getpixel((20, 3))) == (255, 0)  # what is clear is not painted
    with pytest.raises(SettingsError, match=r"^A picture needs pixels, got 0 x 0\.$"):
        generate(model, S, init_image=Image.new("RGB", (0, 0)))


def test_a_mask_of_all_and_of_nothing(model):
    settings = dataclasses.replace(S, strength=0.8)
    everything = run(model, settings, init_image=picture(), mask=Image.new("L", (32, 32), 255))
    plain = run(model, settings, init_image=picture())
    assert np.array_equal(pixels(everything.images[0]), pixels(plain.images[0]))
    nothing = run(model, settings, init_image=picture(), mask=Image.new("L", (32, 32), 0))
    assert np.array_equal(pixels(nothing.images[0]), pixels(picture()))


def test_a_latent_is_painted_if_any_of_its_pixels_is():
    one = Image.new("L", (32, 16))
    one.putpixel((9, 3), 255)
    made = latent_mask(one, 4)
    assert made.shape == (1, 1, 4, 8)
    assert made.sum() == 1 and made[0, 0, 0, 2] == 1
    soft = Image.new("L", (8, 8), 51)
    torch.testing.assert_close(latent_mask(soft, 4), torch.full((1, 1, 2, 2), 0.2))


def test_a_soft_mask_mixes_the_two_pictures(model):
    settings = dataclasses.replace(S, strength=1.0)
    hole = Image.new("L", (32, 32), 128)
    trace = run(model, settings, init_image=picture(), mask=hole)
    painted = to_images(model.autoencoder_decode(trace.steps[-1].x_next))[0]
    low, high = (f(pixels(painted), pixels(picture())) for f in (np.minimum, np.maximum))
    assert (pixels(trace.images[0]) >= low - 1).all() and (pixels(trace.images[0]) <= high + 1).all()


class Seen:
    """The channels that the U-Net was given."""

    def __init__(self, model, monkeypatch):
        self.inputs = []
        predict = model.predict

        def noted(x, t, context, record=False, *more):
            self.inputs.append(x)
            return predict(x, t, context, record, *more)

        monkeypatch.setattr(model, "predict", noted)


def wide_model(in_channels):
    unet = dataclasses.asdict(tiny_config().unet)
    return tiny_model(unet=UNetConfig(**{**unet, "in_channels": in_channels}))


def test_an_inpainting_model_reads_the_mask_and_the_picture_with_its_hole(monkeypatch):
    model = wide_model(9)
    seen, hole = Seen(model, monkeypatch), mask()
    trace = run(model, dataclasses.replace(S, strength=1.0, batch_size=2), init_image=picture(), mask=hole)
    x = seen.inputs[0]
    assert x.shape == (4, 9, 8, 8)  # two pictures, with and without the prompt
    binary = latent_mask(hole, 4)
    assert torch.equal(x[:, 4:5], binary.expand(4, -1, -1, -1))
    black = to_tensor([picture()]) * (to_tensor([hole])[:, :1] < 0)
    expected = model.autoencoder_encode(black, mean=True)
    torch.testing.assert_close(x[:, 5:], expected.expand(4, -1, -1, -1))
    assert all(torch.equal(a[:, 4:], x[:, 4:]) for a in seen.inputs)
    outside = pixels(hole) == 0
    assert np.array_equal(pixels(trace.images[1])[outside], pixels(picture())[outside])
    again = list(resume(model, trace, 2))
    assert all(torch.equal(a.x_next, b.x_next) for a, b in zip(again, trace.steps[2:], strict=True))


def test_an_inpainting_model_without_a_picture_is_told_that_all_is_to_be_painted(monkeypatch):
    model = wide_model(9)
    seen = Seen(model, monkeypatch)
    run(model, dataclasses.replace(S, strength=1.0))
    assert torch.equal(seen.inputs[0][:, 4], torch.ones(2, 8, 8))


def test_an_editing_model_weighs_the_picture_by_a_scale_of_its_own(monkeypatch):
    model = wide_model(8)
    seen = Seen(model, monkeypatch)
    settings = dataclasses.replace(
        S, strength=1.0, full_strength="noise", cfg_method="two_scale", cfg_rescale=0.0
    )
    trace = run(model, settings, init_image=picture())
    x = seen.inputs[0]
    assert x.shape == (3, 8, 8, 8)  # neither, the picture alone, both
    latents = model.autoencoder_encode(to_tensor([picture()]), mean=True) / model.latent_scaling_factor
    assert torch.equal(x[0, 4:], torch.zeros(4, 8, 8))
    for branch in (1, 2):
        torch.testing.assert_close(x[branch, 4:], latents[0])
    p = trace.steps[0].prediction
    expected = p.x0_uncond + 1.5 * (p.x0_third - p.x0_uncond) + 3.0 * (p.x0_cond - p.x0_third)
    torch.testing.assert_close(p.x0, expected)


def test_what_cannot_be_started_is_said_at_the_call(model):
    def refused(settings=S, model=model, **given):
        with pytest.raises(SettingsError) as error:
            generate(model, settings, **given)
        return str(error.value)

    assert refused(mask=mask()) == "A mask needs a picture to start from, and there is none."
    shape = (1, 4, 8, 8)
    assert (
        refused(latents=torch.zeros(1, 4, 4, 4))
        == f"latents must be of shape {shape} for these settings, got (1, 4, 4, 4)."
    )
    assert (
        refused(latents=torch.zeros(shape), init_image=picture())
        == "A run starts from a picture or from latents, and both were given."
    )
    assert refused(model=wide_model(8)) == "tiny edits a picture and needs one to start from; there is none."
    assert refused(model=wide_model(6), init_image=picture()) == (
        "tiny reads 2 channels besides its 4 latents, and nothing says what they are."
    )
    with pytest.raises(SettingsError, match=r"^refinements must be between 0 and 50, got 51\.$"):
        invert(model, S, picture(), refinements=51)


def test_a_run_can_start_from_latents_of_one_s_own(model):
    plain = run(model, S)
    ours = list(generate(model, S, latents=plain.steps[0].x))
    assert all(torch.equal(a.x_next, b.x_next) for a, b in zip(ours, plain.steps, strict=True))


def back(model, settings, refinements):
    """A picture's latents, and where inversion and DDIM lead from there."""
    up = list(invert(model, settings, picture(), refinements=refinements))
    down = list(generate(model, settings, latents=up[-1].x_next))
    return up, down


def test_inversion_with_refinements_leads_back_to_the_picture(model):
    settings = dataclasses.replace(S, sampler="ddim", steps=40, cfg_scale=1.0)
    latents = model.autoencoder_encode(to_tensor([picture()]), mean=True)
    errors = []
    for refinements in (0, 3, 20):
        up, down = back(model, settings, refinements)
        assert [s.sigma_next for s in up] == [s.sigma for s in down][::-1]
        assert [s.timestep for s in up] == [s.timestep for s in down][::-1]  # a timestep, not an index
        assert up[0].sigma == 0 and torch.equal(up[0].x, latents)
        errors.append(float((down[-1].x_next - latents).abs().max()))
    assert errors[0] > 10 * errors[1] > 100 * errors[2]
    assert errors[2] < 1e-3


@pytest.mark.parametrize("in_channels", [8, 9])
def test_a_network_that_reads_more_than_latents_can_be_inverted(in_channels):
    settings = dataclasses.replace(S, cfg_method="two_scale" if in_channels == 8 else "cfg")
    *_, last = invert(wide_model(in_channels), settings, picture(), refinements=1)
    assert last.x_next.isfinite().all()


def test_what_cannot_be_inverted_is_said_at_the_call(model):
    with pytest.raises(SettingsError, match=r"^cfg_method 'cfg_pp' has no inversion: "):
        invert(model, dataclasses.replace(S, cfg_method="cfg_pp"), picture())
    with pytest.raises(SettingsError, match=r"^refinements must be between 0 and 50, got 1\.5\.$"):
        invert(model, S, picture(), refinements=1.5)


def test_steps_of_an_inversion_say_what_was_asked(model):
    up, _ = back(model, dataclasses.replace(S, sampler="ddim", cfg_scale=1.0), 2)
    for step in up:
        assert step.sigma_asked == step.sigma_next
        torch.testing.assert_close(
            step.x_next, step.x + (step.sigma_next - step.sigma) * step.eps, rtol=1e-5, atol=1e-5
        )
    trace = finish(model, S, up, 0.0)
    assert trace.images[0].size == (32, 32)


def test_the_seed_of_another_program_gives_its_noise(model):
    for convention in ("diffusers", "a1111_gpu", "comfyui"):
        settings = dataclasses.replace(S, noise=convention, seed=1234, batch_size=2)
        step = next(generate(model, settings))
        noise = noise_of(convention, 1234, 2, tuple(step.x.shape[1:]))(0)
        torch.testing.assert_close(step.x, noise * (1 + step.sigma**2) ** 0.5)
    generator = torch.Generator().manual_seed(1234)
    settings = dataclasses.replace(S, noise="diffusers", seed=1234, batch_size=2)
    expected = torch.randn(2, 4, 8, 8, generator=generator)
    step = next(generate(model, settings))
    torch.testing.assert_close(step.x / (1 + step.sigma**2) ** 0.5, expected)


def test_a_variation_is_reproducible_alone(model):
    settings = dataclasses.replace(S, variation_seed=70, variation_strength=0.4, batch_size=3, sampler="ddpm")
    batch = run(model, settings)
    for i in range(3):
        alone = run(model, settings.of_picture(i))
        torch.testing.assert_close(
            alone.steps[-1].x_next, batch.steps[-1].x_next[i : i + 1], rtol=1e-4, atol=1e-4
        )
    zero = dataclasses.replace(settings, variation_strength=0.0, batch_size=1)
    plain = dataclasses.replace(zero, variation_seed=None)
    assert torch.equal(run(model, zero).steps[-1].x_next, run(model, plain).steps[-1].x_next)
