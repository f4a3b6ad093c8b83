import dataclasses

import pytest
import torch

from ldm.errors import SettingsError
from ldm.trace import Prediction, Step
from ldm.views.curves import COLUMNS, curves

from ..traces import TRACES, make_trace


@pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES)
def test_columns_are_of_equal_length_and_finite(trace):
    columns = curves(trace)
    assert list(columns) == list(COLUMNS)
    assert {len(c) for c in columns.values()} == {len(trace.steps)}
    assert all(torch.tensor(c).isfinite().all() for c in columns.values())


def constant(value):
    return torch.full((1, 2, 2, 2), float(value))


def known(guided=True):
    """Two steps whose numbers can be worked out by hand."""
    x = constant(0)
    x[:, 1] = 6.0
    first = Prediction(constant(3), constant(1), constant(2) if guided else None)
    second = Prediction(constant(4), constant(4), constant(-2) if guided else None)
    steps = (Step(0, 3.0**0.5, 1.0, 999.0, x, first, x), Step(1, 1.0, 0.0, 500.5, x, second, x))
    return dataclasses.replace(make_trace(), steps=steps)


def test_numbers_are_those_worked_out_by_hand():
    columns = curves(known())
    assert columns["step"] == [0.0, 1.0]
    assert columns["timestep"] == [999.0, 500.5]
    assert columns["sigma"] == [3.0**0.5, 1.0]
    assert columns["latent_std"] == pytest.approx([3 / 2, 3 / 2**0.5])
    assert columns["x0_std"] == [0.0, 0.0]
    assert columns["x0_change"] == [0.0, 1.0]
    assert columns["relative_change"] == [0.0, 0.25]
    assert columns["guidance"] == [1.0, 6.0]
    assert columns["guidance_norm"] == pytest.approx([8**0.5, 6 * 8**0.5])
    # (-1, 5) and (-2, 4); (-4, 2) and (2, 8)
    assert columns["cosine"] == pytest.approx([22 / (26 * 20) ** 0.5, 8 / (20 * 68) ** 0.5])


def test_without_guidance_nothing_pulls():
    columns = curves(known(guided=False))
    assert (columns["guidance"], columns["cosine"]) == ([0.0, 0.0], [1.0, 1.0])


def test_latents_have_unit_deviation_before_the_network():
    trace = make_trace(height=32, width=32, steps=1)
    assert curves(trace)["latent_std"][0] == pytest.approx(1, abs=0.03)


def test_saturation_is_the_spread_of_x0_beside_that_of_the_end():
    columns, trace = curves(make_trace(steps=3)), make_trace(steps=3)
    end = trace.steps[-1].x_next.double().std(correction=0)
    assert columns["saturation"] == pytest.approx([float(std / end) for std in columns["x0_std"]])
    stopped = dataclasses.replace(trace, steps=trace.steps[:2])  # the last x0 is what its picture shows
    assert curves(stopped)["saturation"][1] == pytest.approx(1)


def test_noise_is_what_is_left_of_what_the_network_was_asked_about():
    trace = known()
    first = dataclasses.replace(trace.steps[0], x_asked=constant(7), sigma_asked=2.0)
    columns = curves(dataclasses.replace(trace, steps=(first, trace.steps[1])))
    assert columns["cosine"][0] == pytest.approx(1)  # (6, 6) and (5, 5)


def test_one_picture_of_a_batch_has_curves_of_its_own():
    trace = make_trace(batch=2)
    both, first, second = curves(trace), curves(trace, 0), curves(trace, 1)
    for name in ("x0_change", "guidance"):
        assert both[name] == pytest.approx(
            [(a + b) / 2 for a, b in zip(first[name], second[name], strict=True)]
        )


def test_a_picture_that_is_not_there_is_named():
    with pytest.raises(SettingsError) as error:
        curves(make_trace(), 1)
    assert str(error.value) == "picture must be between 0 and 0, got 1."


def test_a_run_without_steps_has_empty_columns():
    assert curves(make_trace(steps=0)) == {name: [] for name in COLUMNS}
