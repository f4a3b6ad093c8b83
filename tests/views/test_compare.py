import dataclasses
import math

import pytest
import torch
from PIL import Image

from ldm.errors import SettingsError
from ldm.views.compare import (
    FirstDifference,
    difference_sentence,
    distances,
    distances_by_sigma,
    first_difference,
    moved,
)
from ldm.views.latents import heat

from ..traces import TRACES, make_trace, pixels


def changed(trace, index, **values):
    """The run with other values in one step; those of its prediction by their own names."""
    step = trace.steps[index]
    inside = {k: values.pop(k) for k in list(values) if k.startswith("x0") or k == "keeps_uncond"}
    step = dataclasses.replace(step, prediction=dataclasses.replace(step.prediction, **inside), **values)
    return dataclasses.replace(trace, steps=(*trace.steps[:index], step, *trace.steps[index + 1 :]))


def nudged(tensor, by):
    """One number changed."""
    tensor = tensor.clone()
    tensor.view(-1)[5] += by
    return tensor


def shorter(trace, count):
    return dataclasses.replace(trace, steps=trace.steps[:count])


@pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES)
def test_a_run_does_not_differ_from_its_copy(trace):
    copy = dataclasses.replace(trace, steps=tuple(dataclasses.replace(s, x=s.x.clone()) for s in trace.steps))
    assert first_difference(trace, copy) is None
    assert all(d == 0 for name in ("x0", "x") for d in distances(trace, copy)[name])
    assert distances_by_sigma(trace, copy) == {
        ("step_b" if k == "sigma_b" else k): (v if k != "sigma_b" else distances(trace, copy)["step"])
        for k, v in distances(trace, copy).items()
    }


@pytest.mark.parametrize("what", ["x", "x0_cond", "x0_uncond", "x0", "x_next"])
@pytest.mark.parametrize("index", [0, 2, 3])
def test_one_changed_number_is_found_with_its_size_in_unit_variance(what, index):
    trace = make_trace(batch=2)
    step = trace.steps[index]
    before = getattr(step.prediction if what.startswith("x0") else step, what)
    found = first_difference(trace, changed(trace, index, **{what: nudged(before, 0.5)}))
    sigma = {"x": step.sigma, "x_next": step.sigma_next}.get(what, 0.0)
    assert (found.step, found.what) == (index, what)
    assert found.by == pytest.approx(0.5 / (1 + sigma**2) ** 0.5, rel=1e-4)


@pytest.mark.parametrize(
    ("values", "what", "by"),
    [
        ({"sigma": 5.0}, "sigma", abs(make_trace().steps[1].sigma - 5.0)),
        ({"sigma_next": 0.5}, "sigma_next", abs(make_trace().steps[1].sigma_next - 0.5)),
        ({"timestep": 700.0}, "timestep", 999.0 - 250.3 - 700),
        ({"sigma_asked": 3.0}, "sigma_asked", None),
        ({"x_asked": make_trace().steps[0].x}, "x_asked", None),
        ({"x0_third": make_trace().steps[0].x}, "x0_third", None),
        ({"x0_uncond": None}, "x0_uncond", None),
        ({"keeps_uncond": True}, "keeps_uncond", 1.0),
        ({"x": torch.zeros(1, 4, 4, 4)}, "x", None),
        ({"x": torch.full((1, 4, 8, 8), math.nan)}, "x", None),
    ],
)
def test_whatever_a_step_holds_is_compared(values, what, by):
    found = first_difference(make_trace(), changed(make_trace(), 1, **values))
    assert found == FirstDifference(1, what, pytest.approx(by) if by is not None else None)


def test_a_zero_of_another_sign_differs_by_nothing():
    trace = changed(make_trace(), 2, x0=torch.zeros(1, 4, 8, 8))
    assert first_difference(trace, changed(trace, 2, x0=-torch.zeros(1, 4, 8, 8))) == FirstDifference(
        2, "x0", 0.0
    )


def test_the_same_numbers_in_half_precision_are_other_bits():
    trace = changed(make_trace(), 2, x0=torch.ones(1, 4, 8, 8))
    other = changed(trace, 2, x0=torch.ones(1, 4, 8, 8).half())
    assert first_difference(trace, other) == FirstDifference(2, "x0", 0.0)


def test_not_a_number_is_equal_to_itself():
    trace = changed(make_trace(), 1, x=torch.full((1, 4, 8, 8), math.nan))
    assert first_difference(trace, changed(trace, 1, timestep=trace.steps[1].timestep)) is None


def test_what_is_made_first_is_named_first():
    trace = make_trace()
    other = changed(trace, 1, x0=nudged(trace.steps[1].prediction.x0, 1), x_next=trace.steps[0].x)
    assert first_difference(trace, other).what == "x0"


def test_a_run_that_goes_on_does_not_differ_in_what_both_have():
    trace = make_trace()
    assert first_difference(shorter(trace, 2), trace) is None


def test_the_sentence_says_where_and_how_many_steps_more():
    trace = make_trace()
    other = changed(trace, 1, x0=nudged(trace.steps[1].prediction.x0, 0.5))
    nowhere = changed(trace, 0, x0_uncond=None)
    same = "are the same, bit for bit."
    assert difference_sentence(trace, trace) == f"The first 4 steps {same}"
    assert (
        difference_sentence(shorter(trace, 2), trace)
        == f"The first 2 steps {same} The second run has 2 more."
    )
    assert (
        difference_sentence(trace, shorter(trace, 3)) == f"The first 3 steps {same} The first run has 1 more."
    )
    assert difference_sentence(trace, other) == (
        "The first step is the same, bit for bit. At step 1, x0 differs by up to 0.5."
    )
    assert difference_sentence(trace, nowhere) == "At step 0, x0_uncond cannot be subtracted."
    assert difference_sentence(trace, make_trace(steps=0)) == (
        "There is no step that both runs have. The first run has 4 more."
    )


def test_distances_are_those_worked_out_by_hand():
    trace = make_trace(batch=2)
    other = changed(trace, 2, x=trace.steps[2].x + 3.0, x0=trace.steps[2].prediction.x0 - 0.25)
    columns = distances(trace, shorter(other, 3), 1)
    assert list(columns) == ["step", "sigma", "sigma_b", "x0", "x"]
    assert columns["step"] == [0, 1, 2]
    assert columns["sigma"] == columns["sigma_b"] == [s.sigma for s in trace.steps[:3]]
    assert columns["x0"] == pytest.approx([0, 0, 0.25])
    assert columns["x"] == pytest.approx([0, 0, 3 / (1 + trace.steps[2].sigma ** 2) ** 0.5], rel=1e-5)


def test_only_the_picture_asked_for_counts():
    trace = make_trace(batch=2)
    x0 = trace.steps[0].prediction.x0.clone()
    x0[0] += 1
    other = changed(trace, 0, x0=x0)
    assert distances(trace, other, 0)["x0"][0] == pytest.approx(1)
    assert distances(trace, other, 1)["x0"][0] == 0


def straight(sigmas):
    """A run whose x0 is log sigma everywhere and whose x, at unit variance, is twice that."""
    steps = []
    for k, sigma in enumerate(sigmas):
        level = math.log(sigma) if sigma else -5.0
        x0 = torch.full((1, 4, 8, 8), level, dtype=torch.float64)
        trace = make_trace(steps=1)
        prediction = dataclasses.replace(trace.steps[0].prediction, x0=x0)
        x = 2 * x0 * (1 + sigma**2) ** 0.5
        steps.append(
            dataclasses.replace(
                trace.steps[0], index=k, sigma=sigma, sigma_next=0.0, x=x, prediction=prediction
            )
        )
    return dataclasses.replace(make_trace(), steps=tuple(steps))


def test_at_the_same_noise_level_two_runs_on_one_line_are_nowhere_apart():
    a, b = straight([10, 5, 2, 1, 0.5]), straight([8, 4, 1, 0.25])
    columns = distances_by_sigma(a, b)
    assert list(columns) == ["step", "sigma", "step_b", "x0", "x"]
    assert columns["step"] == [1, 2, 3, 4]  # b never is as noisy as 10
    assert columns["sigma"] == [5, 2, 1, 0.5]
    assert columns["step_b"] == pytest.approx(
        [math.log(8 / 5) / math.log(2), 1 + math.log(4 / 2) / math.log(4), 2, 2.5]
    )
    assert columns["x0"] == pytest.approx([0] * 4, abs=1e-12)
    assert columns["x"] == pytest.approx([0] * 4, abs=1e-12)
    assert max(distances(a, b)["x0"]) > 0.2  # step by step they are


def test_of_several_passes_the_last_one_counts():
    b = straight([8, 2, 8, 4, 1])
    assert distances_by_sigma(straight([8, 3]), b)["step_b"] == pytest.approx(
        [2, 3 + math.log(4 / 3) / math.log(4)]
    )


def test_a_run_that_rises_from_no_noise_can_be_compared():
    a, b = straight([0.0, 0.5, 4]), straight([0.0, 1.0, 8])
    columns = distances_by_sigma(a, b)
    assert columns["step_b"] == pytest.approx([0, 0.5, 1 + math.log(4) / math.log(8)])
    assert all(math.isfinite(v) for column in columns.values() for v in column)
    assert distances_by_sigma(straight([4.0]), straight([2.0])) == {name: [] for name in columns}


def test_runs_that_cannot_be_compared_are_named():
    for compare in (distances, distances_by_sigma):
        with pytest.raises(SettingsError) as error:
            compare(make_trace(), make_trace(channels=16, width=10))
        assert str(error.value) == (
            "Both runs must have latents of one shape, got 4 x 8 x 8 and 16 x 8 x 10."
        )
        with pytest.raises(SettingsError) as error:
            compare(make_trace(batch=2), make_trace(), 1)
        assert str(error.value) == "picture must be between 0 and 0, got 1."
    assert first_difference(make_trace(), make_trace(channels=16)).by is None


def test_what_moved_is_bright_and_measured():
    a = Image.new("RGB", (12, 8), "white")
    b = a.copy()
    b.paste("black", (6, 4, 12, 8))
    found = moved(a, b)
    assert found.delta_e.shape == (8, 12)
    assert found.mean == pytest.approx(25, abs=1e-3)
    assert found.picture.size == (12, 8)
    black, bright = pixels(heat(torch.tensor([[0.0, 1.0]])))
    assert (found.picture.getpixel((5, 7)), found.picture.getpixel((6, 4))) == (black, bright)
    half = moved(a, b, largest=200).picture.getpixel((6, 4))
    assert half == pixels(heat(torch.tensor([[0.5]])))[0]


def test_what_moved_is_the_mean_colour_of_cells_that_may_be_cut_off():
    a = Image.new("RGB", (11, 5), "white")
    b = a.copy()
    b.paste("black", (8, 4, 11, 5))  # all of the last cell, which is three pixels of one row
    found = moved(a, b, cell=4)
    torch.testing.assert_close(found.delta_e, torch.tensor([[0.0, 0, 0], [0, 0, 100]]), rtol=0, atol=1e-3)
    assert found.mean == pytest.approx(100 / 6, abs=1e-3)
    assert found.picture.size == (11, 5)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"b": Image.new("RGB", (8, 9))}, "Both pictures must have one size, got 8 x 8 and 8 x 9."),
        ({"cell": 0}, "cell must be a whole number of pixels, at least 1, got 0."),
        ({"largest": 0}, "largest must be a Delta E above 0, got 0."),
    ],
)
def test_pictures_that_cannot_be_compared_are_named(arguments, sentence):
    with pytest.raises(SettingsError) as error:
        moved(**{"a": Image.new("RGB", (8, 8)), "b": Image.new("RGB", (8, 8)), **arguments})
    assert str(error.value) == sentence
