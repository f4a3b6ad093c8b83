"""What the page is given to guide a step again, added up here as the page adds it up."""

import dataclasses
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from ldm.diffusion.denoiser import guide, to_x0
from ldm.diffusion.guidance import Guidance
from ldm.player.parts.guidance import AT_1, HELD, LEVELS, PERPENDICULAR, THRESHOLD, TWO_SCALE, guidance
from ldm.trace import Prediction

from .parts import made_part
from .traces import TRACES, make_trace

KINDS = ("eps", "v", "x0")


def guided_trace(kind, sigma, scale=3.0, rescale=0.7, steps=1, **sizes):
    """A run whose one step was guided as its settings say, at a noise level."""
    trace = make_trace(steps=steps, **sizes)
    made = []
    for step in trace.steps:
        generator = torch.Generator().manual_seed(step.index)
        x = torch.randn(step.x.shape, generator=generator) * (1 + sigma**2) ** 0.5
        uncond, cond = (to_x0(x, sigma, torch.randn(x.shape, generator=generator), kind) for _ in range(2))
        x0 = guide(x, sigma, cond, uncond, None, Guidance(scale, rescale=rescale), kind)
        prediction = Prediction(x0, cond, uncond)
        made.append(dataclasses.replace(step, sigma=sigma, x=x, prediction=prediction))
    settings = dataclasses.replace(trace.settings, cfg_scale=scale, cfg_rescale=rescale)
    return dataclasses.replace(trace, steps=tuple(made), settings=settings, prediction_type=kind)


def latents(part, files, index):
    """x0_uncond, x0_cond and x of one step, as the file has them."""
    slot = sum(step is not None for step in part["steps"][:index])
    file = part["files"][slot // part["count"]]["url"]
    size = part["channels"], part["height"], part["width"]
    levels = np.frombuffer(files[file], "<i2").reshape(-1, 3, *size)[slot % part["count"]]
    return [
        torch.tensor(row / LEVELS * largest)
        for row, largest in zip(levels, part["steps"][index]["largest"], strict=True)
    ]


def added_up(numbers, tensors, scale, rescale):
    """The sum as assets/guidance.js has it."""
    variance, covariance, difference, cond = numbers["spread"]
    spread = (variance + 2 * scale * covariance + scale**2 * difference) ** 0.5
    k = 1 - rescale + rescale * (cond / spread if spread > 0 else 1)
    uncond, cond, x = (t.double() for t in tensors)
    return k * (1 - scale) * uncond + k * scale * cond + (1 - k) * numbers["shift"] * x


@pytest.mark.parametrize("sigma", [4096.0, 14.6, 0.03])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("scale", "rescale"), [(-2.0, 0.0), (0.0, 1.0), (1.0, 0.7), (7.5, 0.7), (30.0, 1.0)])
def test_the_sum_is_what_guiding_the_step_gives(kind, sigma, scale, rescale):
    trace = guided_trace(kind, sigma)
    part, files = made_part(trace, guidance)
    step, [numbers] = trace.steps[0], part["steps"]
    p = step.prediction
    asked = Guidance(scale, rescale=rescale)
    want = guide(step.x.double(), sigma, p.x0_cond.double(), p.x0_uncond.double(), None, asked, kind)[0]
    unit = max(1.0, sigma if kind == "eps" else 1.0)  # x0 of an eps model is as large as sigma
    exact = [t[0] for t in (p.x0_uncond, p.x0_cond, step.x)]
    assert (added_up(numbers, exact, scale, rescale) - want).abs().max() / unit < 1e-5
    stored = latents(part, files, 0)
    # each stored number is off by half a level at most, times its weight
    assert (added_up(numbers, stored, scale, rescale) - want).abs().max() / unit < 2e-4 * max(2, abs(scale))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("scale", "rescale"), [(3.0, 0.7), (7.5, 0.0), (0.5, 1.0), (1.0, 0.0)])
def test_a_step_says_how_it_was_guided_whatever_the_settings_are(kind, scale, rescale):
    trace = guided_trace(kind, 2.0, scale, rescale)
    changed = dataclasses.replace(trace.settings, cfg_scale=11.0, cfg_rescale=0.2)
    part, _ = made_part(dataclasses.replace(trace, settings=changed), guidance)
    [numbers] = part["steps"]
    assert numbers["scale"] == pytest.approx(scale, abs=2e-3)
    if scale != 1:  # there a rescale changes nothing
        assert numbers["rescale"] == pytest.approx(rescale, abs=2e-3)


def test_where_the_settings_tell_it_the_numbers_are_theirs_to_the_bit():
    part, _ = made_part(guided_trace("v", 2.0, 3.1, 0.65), guidance)
    assert [(n["scale"], n["rescale"]) for n in part["steps"]] == [(3.1, 0.65)]


def test_what_the_network_was_asked_about_counts_where_noise_was_stirred_in():
    trace = guided_trace("v", 2.0)
    [step] = trace.steps
    stirred = dataclasses.replace(
        step, sigma=1.5, x=torch.zeros_like(step.x), sigma_asked=2.0, x_asked=step.x
    )
    part, files = made_part(dataclasses.replace(trace, steps=(stirred,)), guidance)
    [numbers] = part["steps"]
    assert numbers["shift"] == 1 / 5
    torch.testing.assert_close(latents(part, files, 0)[2].float(), step.x[0], atol=1e-3, rtol=0)


@pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES)
def test_every_run_has_this_part_or_a_sentence(trace):
    part, files = made_part(trace, guidance)
    if trace.steps[0].prediction.x0_uncond is None:
        assert part == {"why": AT_1}
        return
    assert len(part["steps"]) == len(trace.steps)
    assert {len(c["values"]) for c in part["curves"]} == {len(trace.steps)}
    for k, step in enumerate(trace.steps):
        for got, want in zip(
            latents(part, files, k), (step.prediction.x0_uncond, step.prediction.x0_cond, step.x), strict=True
        ):
            assert (got - want[0]).abs().max() <= want[0].abs().max() / LEVELS


def test_a_batch_gives_the_picture_that_is_looked_at():
    trace = TRACES["batch of 2"]
    part, files = made_part(trace, guidance, picture=1)
    want = trace.steps[2].prediction.x0_cond[1]
    torch.testing.assert_close(latents(part, files, 2)[1].float(), want, atol=1e-3, rtol=0)


def test_steps_at_which_guidance_was_off_have_no_numbers():
    trace = make_trace()
    first = trace.steps[0]
    off = Prediction(first.prediction.x0_cond, first.prediction.x0_cond)
    steps = (dataclasses.replace(first, prediction=off), *trace.steps[1:])
    part, files = made_part(dataclasses.replace(trace, steps=steps), guidance)
    assert [numbers is None for numbers in part["steps"]] == [True, False, False, False]
    want = trace.steps[1].prediction.x0_uncond[0]
    torch.testing.assert_close(latents(part, files, 1)[0].float(), want, atol=1e-3, rtol=0)


def test_a_long_run_comes_in_several_files(monkeypatch):
    monkeypatch.setattr(sys.modules[guidance.__module__], "PIECE", 2 * 6 * 256)
    trace = make_trace(steps=5)
    part, files = made_part(trace, guidance)
    assert (part["count"], len(part["files"])) == (2, 3)
    want = trace.steps[3].prediction.x0_cond[0]
    torch.testing.assert_close(latents(part, files, 3)[1].float(), want, atol=1e-3, rtol=0)


def changed(trace, **settings):
    return dataclasses.replace(trace, settings=dataclasses.replace(trace.settings, **settings))


def held(rescale):
    """A run of which the left half was kept."""
    trace = make_trace()
    mask = Image.new("L", (64, 64), 0)
    mask.paste(255, (32, 0, 64, 64))
    steps = []
    for step in trace.steps:
        tensors = [t.clone() for t in (step.prediction.x0_uncond, step.prediction.x0_cond)]
        for tensor in tensors:
            tensor[..., :4] = 0.5
        uncond, cond = tensors
        x0 = uncond + 3 * (cond - uncond)
        steps.append(dataclasses.replace(step, prediction=Prediction(x0, cond, uncond)))
    return changed(dataclasses.replace(trace, steps=tuple(steps), mask=mask), cfg_rescale=rescale)


def perpendicular():
    trace = make_trace()
    steps = tuple(
        dataclasses.replace(s, prediction=dataclasses.replace(s.prediction, x0_third=s.prediction.x0_cond))
        for s in trace.steps
    )
    return changed(dataclasses.replace(trace, steps=steps), cfg_method="perpendicular")


@pytest.mark.parametrize(
    ("trace", "why"),
    [
        (make_trace(guided=False), AT_1),
        (perpendicular(), PERPENDICULAR),
        (changed(make_trace(), cfg_method="two_scale"), TWO_SCALE),
        (changed(make_trace(), dynamic_threshold=0.9), THRESHOLD),
        (held(0.7), HELD),
    ],
    ids=["off", "perpendicular", "two_scale", "threshold", "held"],
)
def test_a_run_that_one_slider_cannot_guide_says_why(trace, why):
    part, files = made_part(trace, guidance)
    assert (part, files) == ({"why": why}, {})


def test_without_a_rescale_a_kept_part_is_no_obstacle():
    part, _ = made_part(held(0.0), guidance)
    assert part["rescales"] is False
    assert [numbers["scale"] for numbers in part["steps"]] == [3.0] * 4


def test_with_many_latents_the_map_draws_fewer_pixels_each_a_mean(monkeypatch):
    part, files = made_part(make_trace(), guidance)
    whole = np.frombuffer(files[part["map"]["url"]], "<f4")
    assert (part["factor"], whole.size) == (4, 4 * 3 * 16 + 3)
    monkeypatch.setattr(sys.modules[guidance.__module__], "WORK", 4 * 3 * 4 * 64)
    part, files = made_part(make_trace(), guidance)
    small = np.frombuffer(files[part["map"]["url"]], "<f4")
    assert part["factor"] == 2
    blocks = whole[:-3].reshape(4, 3, 2, 2, 2, 2).mean((3, 5))
    np.testing.assert_allclose(small[:-3], blocks.ravel(), atol=1e-6)
    np.testing.assert_array_equal(small[-3:], whole[-3:])


def test_a_run_without_steps_has_no_such_part():
    assert made_part(make_trace(steps=0), guidance) == (None, {})
