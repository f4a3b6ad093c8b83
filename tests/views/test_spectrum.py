import dataclasses
import math

import pytest
import torch

from ldm.errors import SettingsError
from ldm.views.spectrum import frequencies, power, rings, spectra, spectrum

from ..traces import TRACES, make_trace


def randn(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def wave(height, width, down, across):
    """(1, height, width) so many whole waves, of mean square 1/2."""
    y, x = torch.arange(height)[:, None] / height, torch.arange(width) / width
    return torch.cos(2 * math.pi * (down * y + across * x) + 0.3)[None]


@pytest.mark.parametrize("size", [(16, 16), (15, 15), (6, 10), (33, 8), (1, 7), (1, 1)])
def test_power_adds_up_to_the_mean_square(size):
    latents = randn(3, *size)
    assert power(latents).shape == size
    assert float(power(latents).mean()) == pytest.approx(float(latents.double().square().mean()), rel=1e-12)


def test_white_noise_has_its_variance_in_every_ring():
    found = spectrum(2 * randn(64, 48, 64))
    assert len(found) == 25
    assert found == pytest.approx([4.0] * 25, rel=0.25)
    assert found[5:] == pytest.approx([4.0] * 20, rel=0.05)


@pytest.mark.parametrize(
    ("height", "width", "down", "across", "ring"),
    [
        (16, 16, 0, 3, 3),
        (16, 16, 5, 0, 5),
        (16, 16, 3, 4, 5),
        (16, 16, 0, 8, 8),  # Nyquist's
        (32, 16, 6, 0, 3),  # 6 waves on the longer side are as long as 3 on the shorter
        (16, 32, 0, 6, 3),
        (15, 9, 5, 0, 3),
    ],
)
def test_a_wave_is_in_its_ring_and_in_no_other(height, width, down, across, ring):
    found = spectrum(wave(height, width, down, across))
    assert max(range(len(found)), key=found.__getitem__) == ring
    assert sum(found) - found[ring] < 1e-9
    count = int((rings(height, width) == ring).sum())
    mean_square = float(wave(height, width, down, across).double().square().mean())
    assert found[ring] * count / (height * width) == pytest.approx(mean_square, rel=1e-6)
    shortest = math.hypot(down / height, across / width)
    assert frequencies(height, width)[ring] == pytest.approx(shortest, abs=0.5 / min(height, width))


def test_a_constant_is_all_in_the_first_ring():
    assert spectrum(torch.full((2, 6, 10), 3.0)) == pytest.approx([9.0 * 60, 0, 0, 0], abs=1e-9)


def test_beyond_the_frequency_of_nyquist_nothing_is_counted():
    checker = (torch.arange(8)[:, None] + torch.arange(8)) % 2 * 2.0 - 1  # sqrt(2) times Nyquist's
    assert spectrum(checker[None]) == pytest.approx([0] * 5, abs=1e-9)
    assert frequencies(8, 8) == [0, 0.125, 0.25, 0.375, 0.5]


@pytest.mark.parametrize("size", [(6, 10), (10, 6), (7, 64), (5, 5), (2, 3)])
def test_no_ring_is_empty(size):
    count = len(frequencies(*size))
    assert set(range(count)) <= set(rings(*size).flatten().tolist())


@pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES)
def test_every_run_has_a_finite_spectrum_at_every_step(trace):
    found = spectra(trace, trace.settings.batch_size - 1)
    for lane in (found["x0"], found["x_t"]):
        assert len(lane) == len(trace.steps)
        assert {len(row) for row in lane} == {len(found["frequency"])}
        assert torch.tensor(lane).isfinite().all()


def test_spectra_are_those_of_one_picture_at_unit_variance():
    trace = make_trace(batch=2, height=6, width=10)
    found = spectra(trace, 1)
    step = trace.steps[1]
    assert found["x0"][1] == pytest.approx(spectrum(step.prediction.x0[1]))
    assert found["x_t"][1] == pytest.approx(spectrum(step.x[1] / (1 + step.sigma**2) ** 0.5), rel=1e-5)


def test_numbers_that_are_not_finite_count_as_nothing():
    trace = make_trace(steps=1)
    x = trace.steps[0].x.clone()
    x[0, 0, 0, 0] = math.nan
    trace = dataclasses.replace(trace, steps=(dataclasses.replace(trace.steps[0], x=x),))
    assert torch.tensor(spectra(trace)["x_t"]).isfinite().all()


def test_a_run_without_steps_has_no_spectrum_and_a_missing_picture_is_named():
    assert spectra(make_trace(steps=0)) == {"frequency": [], "x0": [], "x_t": []}
    with pytest.raises(SettingsError) as error:
        spectra(make_trace(), 1)
    assert str(error.value) == "picture must be between 0 and 0, got 1."
