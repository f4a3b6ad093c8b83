import dataclasses
import math

import pytest
import torch

from ldm.diffusion.denoiser import guide
from ldm.diffusion.guidance import CFG_SCHEDULES, METHODS, Guidance, combine, limited, progress
from ldm.errors import SettingsError

every_method = pytest.mark.parametrize("method", METHODS)
every_schedule = pytest.mark.parametrize("schedule", CFG_SCHEDULES)


def randn(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


X, COND, UNCOND, THIRD = randn(4, 2, 4, 6, 5).unbind()


def guided(guidance, cond=COND, uncond=UNCOND, third=THIRD):
    return guide(X, 2.0, cond, uncond, third, guidance, "x0")


def dot(a, b):
    """Of one picture."""
    return float((a * b).sum())


@pytest.mark.parametrize("method", ["cfg", "cfg_pp"])
@pytest.mark.parametrize("scale", [0.0, 0.6, 3.0, 7.5])
def test_classifier_free_guidance_is_its_formula(method, scale):
    expected = UNCOND + scale * (COND - UNCOND)
    assert torch.equal(guided(Guidance(scale, method=method), third=None), expected)
    torch.testing.assert_close(expected, scale * COND + (1 - scale) * UNCOND)


@pytest.mark.parametrize("scale", [0.0, 1.0, 7.5])
@pytest.mark.parametrize("negative_scale", [0.5, 1.0, 2.0])
def test_perpendicular_guidance_is_its_formula_for_each_picture(scale, negative_scale):
    x0 = guided(Guidance(scale, method="perpendicular", negative_scale=negative_scale))
    for i in range(2):
        positive, negative = COND[i] - UNCOND[i], THIRD[i] - UNCOND[i]
        perp = negative - dot(negative, positive) / dot(positive, positive) * positive
        torch.testing.assert_close(x0[i], UNCOND[i] + scale * (positive - negative_scale * perp))


def test_what_perpendicular_guidance_takes_away_is_orthogonal_to_what_the_prompt_asks_for():
    scale = 5.0
    away = guided(Guidance(scale), third=None) - guided(Guidance(scale, method="perpendicular"))
    for i in range(2):
        positive = COND[i] - UNCOND[i]
        assert abs(dot(away[i], positive)) < 1e-9 * math.sqrt(dot(away[i], away[i]) * dot(positive, positive))
        assert dot(away[i], THIRD[i] - UNCOND[i]) > 0  # and on the side of the negative prompt


@pytest.mark.parametrize("along", [2.0, 0.0, -1.5])
def test_a_negative_prompt_parallel_to_the_prompt_changes_nothing(along):
    third = UNCOND + along * (COND - UNCOND)
    perpendicular = guided(Guidance(5.0, method="perpendicular", negative_scale=3.0), third=third)
    torch.testing.assert_close(perpendicular, guided(Guidance(5.0), third=None), rtol=0, atol=1e-12)


def test_a_prompt_that_changes_nothing_leaves_all_of_the_negative_one():
    x0 = guided(Guidance(5.0, method="perpendicular", negative_scale=2.0), cond=UNCOND)
    torch.testing.assert_close(x0, UNCOND - 5.0 * 2.0 * (THIRD - UNCOND))


def test_perpendicular_guidance_without_a_negative_prompt_is_plain():
    for scale in (1.0, 5.0):
        x0 = guided(Guidance(scale, method="perpendicular"), third=None)
        assert torch.equal(x0, guided(Guidance(scale), third=None))


@pytest.mark.parametrize("scale", [0.0, 1.0, 7.5])
@pytest.mark.parametrize("image_scale", [0.0, 1.0, 1.5])
def test_two_scales_are_instruct_pix2pix_s_equation(scale, image_scale):
    x0 = guided(Guidance(scale, method="two_scale", image_scale=image_scale))
    expected = UNCOND + image_scale * (THIRD - UNCOND) + scale * (COND - THIRD)
    torch.testing.assert_close(x0, expected)


def test_two_scales_that_are_equal_are_one():
    x0 = guided(Guidance(4.0, method="two_scale", image_scale=4.0))
    torch.testing.assert_close(x0, guided(Guidance(4.0), third=None))


def test_two_scales_without_a_picture_that_matters_are_plain_guidance():
    x0 = guided(Guidance(4.0, method="two_scale"), third=UNCOND)
    torch.testing.assert_close(x0, guided(Guidance(4.0), third=None))


def test_two_scales_of_1_are_the_prediction_with_both():
    assert torch.equal(guided(Guidance(1.0, method="two_scale", image_scale=1.0)), COND)


def test_two_scales_cannot_do_without_the_picture_alone():
    with pytest.raises(SettingsError) as error:
        guided(Guidance(4.0, method="two_scale"), third=None)
    said = "two_scale guidance needs the prediction of the picture alone, and there is none."
    assert str(error.value) == said


@every_method
def test_a_scale_of_1_is_the_prediction_with_the_prompt_to_the_last_bit(method):
    """Where nothing else is asked for."""
    alone = Guidance(1.0, 0.7, method, threshold=0.9, negative_scale=0.0, image_scale=1.0)
    assert torch.equal(guided(alone), COND)
    assert torch.equal(guided(dataclasses.replace(alone, scale=(1.0, 1.0))), COND)
    one = guided(dataclasses.replace(alone, scale=(3.0, 1.0)))
    assert torch.equal(one[1], COND[1])
    assert torch.equal(one[0], guided(dataclasses.replace(alone, scale=3.0))[0])


@every_method
def test_without_the_unconditional_prediction_guidance_is_off(method):
    assert guided(Guidance(3.0, 0.7, method), uncond=None, third=None) is COND


@every_method
def test_a_scale_for_each_picture_is_what_each_has_alone(method):
    both = combine(COND, UNCOND, THIRD, Guidance((3.0, 0.5), method=method))
    for i, scale in enumerate((3.0, 0.5)):
        one = combine(COND, UNCOND, THIRD, Guidance(scale, method=method))
        assert torch.equal(both[i], one[i])


@every_method
def test_pictures_of_a_batch_do_not_meet(method):
    guidance = Guidance(3.0, 0.7, method, threshold=0.9)
    batch = guided(guidance)
    for i in range(2):
        one = slice(i, i + 1)
        alone = guide(X[one], 2.0, COND[one], UNCOND[one], THIRD[one], guidance, "x0")
        torch.testing.assert_close(batch[one], alone, rtol=0, atol=1e-13)


@every_method
def test_guiding_changes_no_argument(method):
    given = (X, COND, UNCOND, THIRD)
    before = [tensor.clone() for tensor in given]
    guided(Guidance((3.0, 1.0), 0.7, method, threshold=0.9))
    assert all(torch.equal(a, b) for a, b in zip(given, before, strict=True))


def imagen(x0, percentile, limit=1.0):
    """Of one picture, as in the paper: clip to [-s, s], then divide by s, if s is above the limit."""
    s = float(x0.abs().flatten().quantile(percentile))
    return x0.clamp(-s, s) / s * limit if s > limit else x0


@pytest.mark.parametrize("percentile", [0.5, 0.9, 0.995, 1.0])
def test_with_a_limit_of_1_dynamic_thresholding_is_imagen_s(percentile):
    large = torch.stack([8 * COND[0], 0.1 * COND[1]])
    ours = limited(large, torch.ones_like(large), percentile)
    torch.testing.assert_close(ours, torch.stack([imagen(x0, percentile) for x0 in large]))
    assert torch.equal(ours[1], large[1])


@pytest.mark.parametrize("percentile", [0.5, 0.9, 0.995, 1.0])
def test_the_limit_of_latents_is_what_they_reach_without_guidance(percentile):
    guidance = Guidance(7.5, threshold=percentile)
    x0, plain = guided(guidance, third=None), guided(Guidance(7.5), third=None)
    for i in range(2):
        limit = float(COND[i].abs().flatten().quantile(percentile))
        torch.testing.assert_close(x0[i], imagen(plain[i], percentile, limit))
        assert x0[i].abs().max() <= limit * (1 + 1e-12)


def test_what_guidance_did_not_blow_up_is_left_as_it_is():
    assert torch.equal(limited(0.5 * COND, COND, 0.9), 0.5 * COND)
    assert torch.equal(limited(torch.zeros_like(COND), torch.zeros_like(COND), 0.9), torch.zeros_like(COND))


def test_the_rescale_comes_before_the_threshold():
    rescaled = guided(Guidance(7.5, 0.7), third=None)
    expected = limited(rescaled, COND, 0.9)
    assert torch.equal(guided(Guidance(7.5, 0.7, threshold=0.9), third=None), expected)


def test_the_way_goes_from_the_noisiest_timestep_to_the_first():
    assert progress(999, 1000) == 0
    assert progress(0, 1000) == 1
    assert progress(499.5, 1000) == 0.5
    assert progress(0, 1) == 1


@pytest.mark.parametrize(
    ("schedule", "scales"),  # at 0, 0.2, 0.4, 0.5, 0.6, 0.8 and 1 of the way, between 0.2 and 0.8
    [
        ("constant", [5, 5, 5, 5, 5, 5, 5]),
        ("interval", [1, 5, 5, 5, 5, 5, 1]),
        ("linear", [5, 5, 4, 3.5, 3, 2, 2]),
        ("cosine", [5, 5, 4.25, 3.5, 2.75, 2, 2]),
    ],
)
def test_a_schedule_has_these_scales(schedule, scales):
    guidance = Guidance(5.0, schedule=schedule, start=0.2, stop=0.8, final_scale=2.0)
    points = (0.0, 0.2, 0.4, 0.5, 0.6, 0.8, 1.0)
    assert [guidance.scale_at(point) for point in points] == pytest.approx(scales)
    pictures = dataclasses.replace(guidance, scale=(5.0, 2.0))
    for point, scale in zip(points, scales, strict=True):
        first, second = pictures.scale_at(point)
        assert first == pytest.approx(scale)
        assert second == (1 if schedule == "interval" and scale == 1 else 2)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_schedule_is_exact_at_both_ends(schedule):
    guidance = Guidance(0.1 + 0.2, schedule=schedule, start=0.25, stop=0.75, final_scale=1.0)
    assert [guidance.scale_at(p) for p in (0.0, 0.25)] == [0.1 + 0.2] * 2
    assert [guidance.scale_at(p) for p in (0.75, 1.0)] == [1.0] * 2


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_schedule_without_length_is_a_jump(schedule):
    guidance = Guidance(5.0, schedule=schedule, start=0.5, stop=0.5, final_scale=2.0)
    assert [guidance.scale_at(p) for p in (0.49, 0.5, 0.51)] == [5.0, 5.0, 2.0]


@every_schedule
@every_method
def test_what_holds_at_a_point_of_the_way_is_constant(schedule, method):
    guidance = Guidance((5.0, 2.0), 0.7, method, schedule, 0.2, 0.8, 3.0, 0.9, 2.0, 1.2)
    for point in (0.0, 0.5, 1.0):
        here = guidance.at(point)
        assert here.schedule == "constant"
        assert here.at(0.3) is here
        if schedule == "interval" and point != 0.5:
            assert here.is_off(has_third=True)
        else:
            expected = dataclasses.replace(guidance, schedule="constant", scale=guidance.scale_at(point))
            assert here == expected


@every_schedule
def test_the_whole_way_of_an_unchanging_scale_is_constant(schedule):
    guidance = Guidance(4.0, schedule=schedule, final_scale=4.0)
    assert [guidance.at(p) for p in (0.0, 0.3, 1.0)] == [
        dataclasses.replace(guidance, schedule="constant")
    ] * 3


NOT_FINITE = "must be a finite number, got"
BETWEEN = "must be between 0 and 1, got"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"method": "cfg_p"},
            "Unknown guidance method 'cfg_p'. Did you mean 'cfg_pp'? "
            "Choose one of: cfg, cfg_pp, perpendicular, two_scale.",
        ),
        (
            {"schedule": "cosin"},
            "Unknown guidance schedule 'cosin'. Did you mean 'cosine'? "
            "Choose one of: constant, interval, linear, cosine.",
        ),
        ({"scale": ()}, "Guidance scale must have a number for each picture, got none."),
        ({"scale": math.nan}, f"Guidance scale {NOT_FINITE} nan."),
        ({"scale": (1.0, math.inf)}, f"Guidance scale {NOT_FINITE} inf."),
        ({"final_scale": -math.inf}, f"Guidance final_scale {NOT_FINITE} -inf."),
        ({"negative_scale": math.nan}, f"Guidance negative_scale {NOT_FINITE} nan."),
        ({"image_scale": math.inf}, f"Guidance image_scale {NOT_FINITE} inf."),
        ({"rescale": 1.5}, f"Guidance rescale {BETWEEN} 1.5."),
        ({"start": -0.1}, f"Guidance start {BETWEEN} -0.1."),
        ({"stop": math.nan}, f"Guidance stop {BETWEEN} nan."),
        ({"threshold": 99.5}, f"Guidance threshold {BETWEEN} 99.5."),
        ({"start": 0.8, "stop": 0.2}, "Guidance start must be at most its stop 0.2, got 0.8."),
    ],
)
def test_values_that_mean_nothing_are_refused(change, message):
    with pytest.raises(SettingsError) as error:
        Guidance(**change)
    assert str(error.value) == message


def test_guidance_is_off_unless_it_is_asked_for():
    assert Guidance().is_off(has_third=False)
    assert Guidance().at(0.5) == Guidance()
