import dataclasses
import math

import pytest
import torch
from PIL import Image

from ldm import Settings, run
from ldm.diffusion.inversion import encode
from ldm.views.schedule import COLUMNS, LARGEST_SNR, schedule_columns, schedule_warnings

from ..traces import TRACES, make_trace


def walk(levels, timesteps=None, **changes):
    """A run down (or up) these noise levels, one more than its steps."""
    timesteps = timesteps or [100.0 * (len(levels) - k) for k in range(len(levels) - 1)]
    step = make_trace(steps=1).steps[0]
    steps = tuple(
        dataclasses.replace(step, index=k, sigma=a, sigma_next=b, timestep=t)
        for k, (a, b, t) in enumerate(zip(levels[:-1], levels[1:], timesteps, strict=True))
    )
    return dataclasses.replace(make_trace(), steps=steps, **changes)


CLEAN = [4096.0, 10.0, 1.0, 0.0]


@pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES)
def test_columns_are_of_equal_length_and_finite(trace):
    columns = schedule_columns(trace)
    assert list(columns) == list(COLUMNS)
    assert {len(c) for c in columns.values()} == {len(trace.steps)}
    assert all(torch.tensor(c).isfinite().all() for c in columns.values())


def test_numbers_are_those_worked_out_by_hand():
    columns = schedule_columns(walk([3.0**0.5, 0.5, 0.0], [999.0, 0.25]))
    assert columns["step"] == [0, 1]
    assert columns["sigma"] == [3.0**0.5, 0.5]
    assert columns["timestep"] == [999.0, 0.25]
    assert columns["snr"] == pytest.approx([1 / 3, 4])
    assert columns["log_snr"] == pytest.approx([-math.log(3), math.log(4)])
    assert columns["alpha_bar"] == pytest.approx([0.25, 0.8])
    assert columns["signal"] == pytest.approx([0.5, 0.8**0.5])


def test_without_noise_the_ratio_is_the_largest_that_is_given():
    columns = schedule_columns(walk([0.0, 1e-9, 4096.0]))
    assert columns["snr"] == [LARGEST_SNR, LARGEST_SNR]
    assert columns["alpha_bar"] == [1.0, 1.0]
    assert all(math.isfinite(v) for column in columns.values() for v in column)


def test_a_run_with_nothing_to_say_about_it_has_no_warnings():
    assert schedule_warnings(walk(CLEAN)) == []
    assert schedule_warnings(make_trace(steps=0)) == []
    assert schedule_columns(make_trace(steps=0)) == {name: [] for name in COLUMNS}


def test_stable_diffusions_first_level_lets_6_8_percent_through():
    (sentence,) = schedule_warnings(walk([14.6146, *CLEAN[1:]]))
    assert sentence.startswith("The first noise level still lets 6.8 % of a picture's amplitude through")


def test_a_run_from_a_picture_has_a_reason_to_start_with_a_trace_of_it():
    assert schedule_warnings(walk([2.0, 1.0, 0.0], init_image=Image.new("RGB", (64, 64)))) == []


def test_two_levels_told_as_one_timestep_are_named():
    assert schedule_warnings(walk([4096.0, 0.02, 0.01, 0.0], [999.0, 0.0, 0.0])) == [
        "Steps 2 and 3 have noise levels 0.02 and 0.01, but the network is told the same timestep, 0."
    ]


def test_timesteps_that_round_to_one_are_named():
    assert schedule_warnings(walk([4096.0, 0.05, 0.04, 0.0], [999.0, 2.3, 1.75])) == [
        "Steps 2 and 3 are told timesteps 2.300 and 1.750: a program that rounds them would tell 2 twice."
    ]
    assert schedule_warnings(walk([4096.0, 0.05, 0.04, 0.0], [999.0, 2.6, 1.75])) == []


def test_what_the_network_was_asked_about_counts_where_noise_was_stirred_in():
    trace = walk([4096.0, 10.0, 9.0, 0.0], [999.0, 800.0, 800.0])
    stirred = dataclasses.replace(trace.steps[2], sigma_asked=10.0)
    assert len(schedule_warnings(trace)) == 1
    assert schedule_warnings(dataclasses.replace(trace, steps=(*trace.steps[:2], stirred))) == []


def test_a_step_that_stays_on_its_level_is_named():
    assert schedule_warnings(walk([4096.0, 2.0, 2.0, 0.0])) == [
        "Step 2 ends at the noise level that it starts at, 2: it changes nothing."
    ]


def test_a_step_that_adds_noise_is_named():
    assert schedule_warnings(walk([4096.0, 0.3, 1.1, 0.3, 0.0], [999.0, 300.0, 500.0, 300.0])) == [
        "Step 2 ends by adding noise: from 0.3 it goes up to 1.1."
    ]


def test_a_run_that_rises_all_the_way_is_said_to_be_one():
    assert schedule_warnings(walk([0.0, 0.5, 3.0])) == [
        "The noise level rises at every step: this run goes from a picture to its noise."
    ]


def test_an_end_with_noise_left_is_named_if_the_run_was_to_end_there():
    trace = walk([4096.0, 10.0, 0.0292])
    assert schedule_warnings(trace) == [
        "The run ends at noise level 0.0292, not at 0: 2.9 % of its amplitude is noise."
    ]
    assert schedule_warnings(dataclasses.replace(trace, finished=False)) == []


def test_a_restarted_run_of_a_model_has_finite_columns_and_names_its_rises(model):
    settings = Settings("a red circle", steps=12, width=32, height=32, sampler="restart")
    trace = run(model, settings)
    rises = [s for s in trace.steps if s.sigma_next > s.sigma]
    assert rises
    assert sum("ends by adding noise" in w for w in schedule_warnings(trace)) == len(rises)
    assert all(math.isfinite(v) for column in schedule_columns(trace).values() for v in column)


def test_an_inverted_picture_has_finite_columns():
    class Nothing:
        def __call__(self, x, sigma):
            return dataclasses.replace(make_trace(steps=1).steps[0].prediction, x0=torch.zeros_like(x))

        def timestep(self, sigma):
            return 100 * sigma

    steps = tuple(encode(Nothing(), torch.ones(1, 4, 8, 8), torch.tensor([0.0, 1.0, 5.0])))
    trace = dataclasses.replace(make_trace(), steps=steps)
    assert all(math.isfinite(v) for column in schedule_columns(trace).values() for v in column)
    assert len(schedule_warnings(trace)) == 1
