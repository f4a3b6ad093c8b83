import dataclasses
import math
from itertools import accumulate

import pytest
import torch
from PIL import Image

from ldm.diffusion.exact import gaussian, two_gaussians
from ldm.diffusion.inversion import encode
from ldm.diffusion.samplers import SAMPLERS
from ldm.errors import SettingsError
from ldm.settings import Settings
from ldm.views.equation import rms
from ldm.views.race import Runner, aligned, race

from .runs import SCHEDULE, denoiser, levels_of, made, stream, traced, walk

KINDS = {"gaussian": gaussian(SCHEDULE), "mixture": two_gaussians(SCHEDULE)}
TOP, BOTTOM = 12.0, 0.1
START = torch.randn(1, 2, 8, 8, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def fall(sampler, steps, kind="mixture", last=None, **asked):
    """A run of the ideal denoiser, over levels even in log sigma; 0 after them if asked for."""
    settings = Settings(prompt="a", sampler=sampler, steps=steps, width=64, height=64, **asked)
    levels = torch.logspace(math.log10(TOP), math.log10(BOTTOM), steps + 1, dtype=torch.float64)
    if last is not None:
        levels[-1] = last
    x = START * (1 + TOP**2) ** 0.5
    steps, _ = walk(settings, KINDS[kind], levels, x, stream(settings, (2, 8, 8)))
    return traced(settings, steps)


FINE = {kind: fall("dpmpp_3s", 400, kind) for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("sampler", "order"),
    [("euler", 1), ("heun", 2), ("dpm_2", 2), ("dpmpp_2s", 2), ("dpmpp_2m", 2), ("dpmpp_3s", 3)],
)
def test_final_distances_fall_with_the_sampler_s_order(sampler, order, kind):
    runs = race([fall(sampler, steps, kind) for steps in (10, 20, 40)], FINE[kind]).runs
    coarse, middle, fine = (run.final_distance for run in runs)
    assert math.log2(middle / fine) == pytest.approx(order, abs=0.35)
    assert coarse > 1.5 * middle


def test_the_reference_is_where_the_ode_takes_the_noise():
    mixture, runner = KINDS["gaussian"], race([FINE["gaussian"]], FINE["gaussian"])
    assert runner.runs[0] == runner.reference
    assert set(runner.reference.x_distance) == {0.0}
    exact = mixture.flow(START * (1 + TOP**2) ** 0.5, TOP, BOTTOM)
    assert rms(FINE["gaussian"].steps[-1].x_next - exact) < 1e-6


def test_between_two_levels_the_reference_passes_nearly_where_the_ode_does():
    """Steps of other levels than its own that are the ODE's: what is left is what interpolation costs."""
    mixture, start = KINDS["gaussian"], START * (1 + TOP**2) ** 0.5
    trace = fall("euler", 7, "gaussian")
    steps = [dataclasses.replace(s, x_next=mixture.flow(start, TOP, s.sigma_next)) for s in trace.steps]
    exact = dataclasses.replace(trace, steps=tuple(steps))
    (ours,), (euler,) = (race([t], FINE["gaussian"]).runs for t in (exact, trace))
    assert max(ours.x_distance) < 1e-4
    assert all(a < 0.01 * b for a, b in zip(ours.x_distance, euler.x_distance, strict=True))


def test_distances_are_those_of_the_tensors():
    trace = fall("heun", 5)
    (run,) = race([trace], FINE["mixture"]).runs
    end = FINE["mixture"].steps[-1].x_next[0]
    assert run.x0_distance == tuple(rms(step.prediction.x0[0] - end) for step in trace.steps)
    last = rms(trace.steps[-1].x_next[0] - end) / (1 + BOTTOM**2) ** 0.5
    assert (run.final_distance, run.x_distance[-1]) == (pytest.approx(last), run.final_distance)
    assert run.sigma_next[:-1] == run.sigma[1:]
    assert (run.sampler, run.spacing, len(run.calls)) == ("heun", "trailing", 5)


def test_runs_that_end_at_other_levels_are_measured_where_they_end():
    (clean,), (noisy,) = (
        race([fall("heun", 40, last=last)], fall("dpmpp_3s", 400, last=0.0)).runs for last in (0.0, BOTTOM)
    )
    assert clean.final_distance < 0.01
    assert noisy.final_distance < 0.01


@pytest.mark.parametrize("name", SAMPLERS)
def test_calls_are_those_that_were_counted(name):
    trace, counted = made(name, steps=12)
    reference, _ = made("heun", steps=20)
    (run,) = race([trace], reference).runs
    assert run.calls == tuple(accumulate(counted))


def test_a_stopped_run_has_no_final_distance():
    whole = fall("euler", 10)
    part = dataclasses.replace(whole, steps=whole.steps[:4], finished=False)
    a, b = race([whole, part], FINE["mixture"]).runs
    assert b.final_distance is None
    assert b.x_distance == a.x_distance[:4]
    with pytest.raises(SettingsError) as error:
        race([whole], part)
    assert str(error.value) == "The run that others are measured against was stopped before its end."


def test_every_picture_of_a_batch_has_a_race_of_its_own():
    trace, _ = made("euler", steps=6, batch_size=2)
    reference, _ = made("heun", steps=40, batch_size=2)
    first, second = (race([trace], reference, picture).runs[0] for picture in (0, 1))
    alone, _ = made("euler", steps=6, seed=4)
    fine, _ = made("heun", steps=40, seed=4)
    (expected,) = race([alone], fine).runs
    assert second.x_distance == pytest.approx(expected.x_distance, rel=1e-3)
    assert first.x_distance != second.x_distance
    with pytest.raises(SettingsError, match="picture must be between 0 and 1, got 2"):
        race([trace], reference, 2)


def test_rows_by_calls_show_what_each_run_had_made_by_then():
    rows = aligned([fall("heun", 3), fall("euler", 5)])
    assert rows == [(None, 0), (0, 1), (0, 2), (1, 3), (1, 4), (2, 4)]
    # three runs whose last step is to sigma 0, of one call
    rows = aligned([fall("heun", 3, last=0.0), fall("dpmpp_3s", 2, last=0.0), fall("euler", 2, last=0.0)])
    assert rows == [(None, None, 0), (0, None, 1), (0, 0, 1), (1, 1, 1), (2, 1, 1)]


def test_rows_by_noise_level_show_the_nearest():
    """Even in log sigma over a factor of 120: two steps end where every second of four does."""
    rows = aligned([fall("heun", 2), fall("euler", 4)], by="sigma")
    assert rows == [(0, 0), (0, 1), (1, 2), (1, 3)]
    with pytest.raises(SettingsError, match="Unknown alignment 'time'"):
        aligned([fall("heun", 2)], by="time")


def other(trace, **changes):
    return dataclasses.replace(trace, settings=dataclasses.replace(trace.settings, **changes))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"seed": 1}, "Runs of one race must have the same seed: 1 is not the reference's 0."),
        ({"width": 72}, "Runs of one race must have the same width: 72 is not the reference's 64."),
        ({"prompt": "b"}, "Runs of one race must have the same prompt: 'b' is not the reference's 'a'."),
        (
            {"cfg_scale": 7.0},
            "Runs of one race must have the same cfg_scale: 7.0 is not the reference's 3.0.",
        ),
    ],
)
def test_runs_that_do_not_start_and_aim_alike_are_refused(changes, sentence):
    with pytest.raises(SettingsError) as error:
        race([fall("euler", 4), other(fall("euler", 4), **changes)], FINE["mixture"])
    assert str(error.value) == sentence


def test_runs_of_other_models_pictures_latents_and_noise_are_refused():
    trace = fall("euler", 4)
    image = Image.new("RGB", (8, 8))
    moved = [dataclasses.replace(s, x=s.x + 1) for s in trace.steps]
    smaller = [dataclasses.replace(s, x=s.x[:, :1]) for s in trace.steps]
    refused = {
        "Runs of one race must have the same model, and two have not.": {"model_name": "other"},
        "Runs of one race must have the same picture to start from, and two have not.": {"init_image": image},
        "Runs of one race must have the same mask, and two have not.": {"mask": image},
        "Runs of one race must start from the same noise, and two do not.": {"steps": tuple(moved)},
        "Runs of one race must have latents of one shape: (1, 1, 8, 8) is not the reference's "
        "(1, 2, 8, 8).": {"steps": tuple(smaller)},
        "A run without a step cannot be in a race.": {"steps": ()},
        "A run that was taken up at step 2 of another cannot be in a race: its first steps are another "
        "sampler's.": {"parent": ("run", 2)},
    }
    for sentence, changes in refused.items():
        with pytest.raises(SettingsError) as error:
            race([dataclasses.replace(trace, **changes)], FINE["mixture"])
        assert str(error.value) == sentence


def test_a_run_from_a_picture_to_its_noise_is_refused():
    settings = Settings(prompt="a", sampler="ddim", eta=0.0, steps=4, cfg_scale=1.0)
    x = torch.zeros(1, 4, 8, 8)
    steps = encode(denoiser(settings), x, levels_of(settings).flip(0))
    with pytest.raises(SettingsError, match="it goes the other way"):
        aligned([traced(settings, steps)])


def test_samplers_spacings_and_counts_may_differ():
    runs = [made("ddpm", steps=5)[0], made("dpmpp_2m", steps=7, spacing="karras")[0]]
    result = race(runs, made("heun", steps=40)[0])
    assert [run.spacing for run in result.runs] == ["trailing", "karras"]
    assert all(isinstance(run, Runner) and run.final_distance > 0 for run in result.runs)
    assert len(aligned(runs, by="sigma")[-1]) == 2
    assert aligned(runs, by="sigma")[-1] == (4, 6)
