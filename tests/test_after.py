"""Guidance after the run: the same numbers as a call of the network, and none made."""

import dataclasses

import pytest
import torch
from PIL import Image

from ldm import Settings, SettingsError, finish, generate, guided, resume, run
from ldm.diffusion.samplers import SAMPLERS
from ldm.generation import denoiser_of
from ldm.generation.asked import guidance_of
from ldm.generation.start import conditions, fitted
from ldm.models.config import ScheduleConfig, UNetConfig
from ldm.models.unet import UNetModel
from tests.conftest import tiny_config, tiny_model
from tests.test_generation import same

S = Settings(
    "a red circle above a blue square", negative_prompt="a green apple", steps=4, width=32, height=32
)
PICTURE = Image.radial_gradient("L").resize((32, 32)).convert("RGB")
MASK = Image.new("L", (32, 32))
MASK.paste(255, (8, 4, 24, 20))
RUNS = {
    "cfg": {},
    "churned": {"sampler": "euler", "s_churn": 3.0},
    "two calls": {"sampler": "heun"},
    "cfg_pp": {"cfg_method": "cfg_pp", "sampler": "euler"},
    "perpendicular": {"cfg_method": "perpendicular"},
    "linear": {"cfg_schedule": "linear", "cfg_final": 7.0},
    "interval": {"cfg_schedule": "interval", "cfg_start": 0.3, "cfg_stop": 0.7},
    "thresholded": {"dynamic_threshold": 0.9},
    "batch": {"batch_size": 2, "cfg_scales": (2.0, 5.0)},
    "two_scale": {"cfg_method": "two_scale"},
}


def editing_model():
    """Reads a picture's latents beside its own."""
    return tiny_model(unet=dataclasses.replace(tiny_config().unet, in_channels=8))


def called(model, settings, step, scale, rescale, picture=None):
    """What a call of the network says about a step at another guidance."""
    reads = conditions(model, settings, picture)
    denoise = denoiser_of(model, settings, [settings.prompt] * settings.batch_size, reads=reads)
    guidance = dataclasses.replace(guidance_of(settings), scale=scale, rescale=rescale)
    x, sigma = (step.x, step.sigma) if step.x_asked is None else (step.x_asked, step.sigma_asked)
    with torch.no_grad():
        return dataclasses.replace(denoise, guidance=guidance)(x, sigma).x0, (1 + sigma**2) ** 0.5


def check_every_step(model, trace, scales, rescales, picture=None):
    for k, step in enumerate(trace.steps):
        for scale in scales:
            for rescale in rescales:
                expected, unit = called(model, trace.settings, step, scale, rescale, picture)
                ours = guided(trace, k, scale, rescale)
                torch.testing.assert_close(ours / unit, expected / unit, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", RUNS)
def test_guidance_after_the_run_is_that_of_a_call(model, name):
    edits = name == "two_scale"
    model, given = (editing_model(), {"init_image": PICTURE}) if edits else (model, {})
    settings = dataclasses.replace(S, **RUNS[name])
    trace = run(model, settings, **given)
    check_every_step(
        model, trace, (-2.0, 0.0, 1.0, 12.0), (0.0, 0.7), fitted(settings, PICTURE, None) if edits else None
    )
    assert any(not torch.equal(guided(trace, k, 9.0), s.prediction.x0) for k, s in enumerate(trace.steps))


@pytest.mark.parametrize("kind", ["v", "x0"])
def test_a_model_of_v_or_x0_up_to_infinite_noise_is_guided_as_by_a_call(kind):
    model = tiny_model(prediction_type=kind, schedule=ScheduleConfig(zero_terminal_snr=True))
    check_every_step(model, run(model, S), (-2.0, 12.0), (0.0, 0.7))


def test_what_the_run_itself_asked_for_gives_its_own_predictions(model):
    trace = run(model, S)
    for k, step in enumerate(trace.steps):
        assert torch.equal(guided(trace, k, S.cfg_scale), step.prediction.x0)


def test_guiding_again_asks_the_network_nothing(model, monkeypatch):
    trace = run(model, S)
    calls = []
    monkeypatch.setattr(UNetModel, "forward", lambda *given, **named: calls.append(1))
    monkeypatch.setattr(type(model), "predict", lambda *given, **named: calls.append(1))
    for k in range(len(trace.steps)):
        assert guided(trace, k, 11.0).isfinite().all()
    assert calls == []


def test_one_picture_of_a_batch_is_guided_alone(model):
    trace = run(model, dataclasses.replace(S, batch_size=2))
    both = guided(trace, 1, 8.0)
    for i in range(2):
        torch.testing.assert_close(guided(trace, 1, 8.0, picture=i), both[i : i + 1], rtol=1e-6, atol=1e-6)


def test_a_masked_run_is_exact_without_what_looks_at_the_whole_picture(model):
    given = {"init_image": PICTURE, "mask": MASK}
    settings = dataclasses.replace(S, strength=0.8)
    trace = run(model, settings, **given)
    check_every_step(model, trace, (-2.0, 12.0), (0.0,), fitted(settings, PICTURE, MASK))
    with pytest.raises(SettingsError, match="A part of the picture was kept in this run"):
        guided(trace, 0, 5.0)
    for changes in ({"dynamic_threshold": 0.9}, {"cfg_method": "perpendicular"}):
        other = run(model, dataclasses.replace(settings, cfg_rescale=0.0, **changes), **given)
        with pytest.raises(SettingsError, match="A part of the picture was kept"):
            guided(other, 0, 5.0)
    everything = run(model, settings, init_image=PICTURE, mask=Image.new("L", (32, 32), 255))
    check_every_step(model, everything, (12.0,), (0.7,))


def test_the_steps_before_a_mask_was_given_are_rescaled(model):
    parent = run(model, S)
    rest = list(resume(model, parent, 2, mask=MASK))
    kept = {"init_image": parent.images[0], "mask": MASK}
    trace = finish(model, S, [*parent.steps[:2], *rest], 0.0, parent=("a run", 2), **kept)
    assert torch.equal(guided(trace, 1, 5.0), guided(parent, 1, 5.0))
    with pytest.raises(SettingsError, match="A part of the picture was kept"):
        guided(trace, 2, 5.0)


def test_an_inpainting_model_s_run_is_rescaled_for_it_holds_nothing():
    model = tiny_model(unet=UNetConfig(**(vars(tiny_config().unet) | {"in_channels": 9})))
    settings = dataclasses.replace(S, strength=0.8)
    trace = run(model, settings, init_image=PICTURE, mask=MASK)
    check_every_step(model, trace, (12.0,), (0.7,), fitted(settings, PICTURE, MASK))


def test_what_cannot_be_guided_again_says_why(model):
    alone = run(model, dataclasses.replace(S, cfg_scale=1.0))
    trace = run(model, S)
    late = dataclasses.replace(S, cfg_schedule="linear", cfg_scale=1.0, cfg_final=4.0, cfg_start=0.5)
    rising = run(model, late)

    def refused(*given, **named):
        with pytest.raises(SettingsError) as error:
            guided(*given, **named)
        return str(error.value)

    assert refused(alone, 0, 5.0) == (
        "This run was made at guidance 1: the network was asked about the prompt alone, and there is no "
        "other prediction to weigh it against."
    )
    assert refused(rising, 0, 5.0).startswith("Step 0 of this run was made at guidance 1")
    assert refused(trace, 0, 30.5) == "cfg_scale must be between -2 and 30 here, got 30.5."
    assert refused(trace, 0, float("nan")) == "cfg_scale must be between -2 and 30 here, got nan."
    assert refused(trace, 0, 3.0, 1.5) == "Guidance rescale must be between 0 and 1, got 1.5."
    assert refused(trace, 4, 3.0) == "step must be between 0 and 3, got 4."
    assert refused(trace, 0, 3.0, picture=1) == "picture must be between 0 and 0, got 1."


@pytest.mark.parametrize("name", ["euler_ancestral", "dpmpp_2m_sde"])
def test_a_picture_of_a_batch_goes_on_alone(model, name):
    assert name in SAMPLERS
    settings = dataclasses.replace(S, batch_size=3, sampler=name, cfg_scales=(2.0, 4.0, 6.0))
    trace = run(model, settings)
    one = trace.of_picture(1)
    assert one.settings == settings.of_picture(1)
    assert one.images[0].tobytes() == trace.images[1].tobytes()
    assert torch.equal(
        one.steps[2].prediction.attention.maps[0], trace.steps[2].prediction.attention.maps[0][1:2]
    )
    rest = list(resume(model, one, 2))
    assert torch.equal(rest[0].x, trace.steps[2].x[1:2])
    for ours, whole in zip(rest, one.steps[2:], strict=True):
        torch.testing.assert_close(ours.x_next, whole.x_next, rtol=1e-3, atol=1e-3)
    alone = list(generate(model, one.settings))
    again = finish(model, one.settings, alone, 0.0)
    assert all(same(a, b) for a, b in zip(resume(model, again, 1), alone[1:], strict=True))


def test_a_picture_of_a_batch_that_cannot_go_on_alone_says_so(model):
    trace = run(model, dataclasses.replace(S, batch_size=2, noise="diffusers"))
    with pytest.raises(SettingsError, match="The noise of 'diffusers' is drawn for the whole batch"):
        trace.of_picture(0)
    with pytest.raises(SettingsError, match="picture must be between 0 and 1, got 2"):
        trace.of_picture(2)
