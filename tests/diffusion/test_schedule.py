import math

import pytest
import torch

from ldm.diffusion.schedule import (
    BETAS,
    NoiseSchedule,
    build_schedule,
    cosine_betas,
    linear_betas,
    offset_cosine_betas,
    rescale_zero_terminal_snr,
    scaled_linear_betas,
)
from ldm.errors import SettingsError

SD = NoiseSchedule.from_betas(scaled_linear_betas())
ZERO_TERMINAL = NoiseSchedule(rescale_zero_terminal_snr(SD.alphas_cumprod))
SCHEDULES = {
    **{name: NoiseSchedule.from_betas(make(1000, 0.00085, 0.012)) for name, make in BETAS.items()},
    "zero_terminal_snr": ZERO_TERMINAL,
    "of_four_timesteps": NoiseSchedule.from_betas(linear_betas(4, 0.1, 0.6)),
    "of_one_timestep": NoiseSchedule.from_betas(linear_betas(1, 0.5, 0.5)),
}
every_schedule = pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)


@pytest.mark.parametrize(
    ("betas", "start", "end", "fingerprint"),
    [  # last alphas_cumprod, its root, largest and smallest sigma
        ("scaled_linear", 0.00085, 0.012, "0.004660 0.0683 14.615 0.0292"),  # Stable Diffusion, labml
        ("scaled_linear", 0.0015, 0.0195, "0.000142 0.0119 83.82 0.0388"),  # celeba, ffhq, beds, cin
        ("scaled_linear", 0.0015, 0.0155, "0.000669 0.0259 38.66 0.0388"),  # churches, bsr_sr
        ("scaled_linear", 0.0015, 0.0205, "0.000097 0.0098 101.6 0.0388"),  # layout, semantic, inpainting
        ("scaled_linear", 0.0015, 0.015, "0.000813 0.0285 35.07 0.0388"),  # rdm768
        ("linear", 1e-4, 2e-2, "0.0000404 0.0064 157 0.0100"),  # DDPM
    ],
)
def test_known_schedules_have_their_fingerprints(betas, start, end, fingerprint):
    schedule = build_schedule(n_steps=1000, betas=betas, linear_start=start, linear_end=end)
    last = schedule.alphas_cumprod[-1].item()
    values = (last, math.sqrt(last), schedule.sigmas[-1].item(), schedule.sigmas[0].item())
    places = [len(number.partition(".")[2]) for number in fingerprint.split()]
    assert " ".join(f"{v:.{n}f}" for v, n in zip(values, places, strict=True)) == fingerprint


def test_linear_and_scaled_linear_are_what_they_are_called():
    assert (linear_betas().diff().diff().abs() < 1e-15).all()
    assert (scaled_linear_betas().sqrt().diff().diff().abs() < 1e-15).all()
    assert linear_betas()[[0, -1]].tolist() == pytest.approx([1e-4, 2e-2], rel=1e-15)
    assert scaled_linear_betas()[[0, -1]].tolist() == pytest.approx([0.00085, 0.012], rel=1e-14)


def test_the_cosine_schedule_is_a_squared_cosine_until_betas_are_cut():
    t = (torch.arange(1, 1001, dtype=torch.float64) / 1000 + 0.008) / 1.008
    exact = (t * math.pi / 2).cos() ** 2 / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    ours = NoiseSchedule.from_betas(cosine_betas(1000)).alphas_cumprod
    torch.testing.assert_close(ours[:-1], exact[:-1], rtol=1e-10, atol=0)
    assert cosine_betas(1000)[-1] == 0.999


@pytest.mark.parametrize("steps", [1, 2, 7, 100, 1000])
def test_the_offset_cosine_schedule_turns_an_angle_evenly_from_95_to_2_percent_of_signal(steps):
    alphas_cumprod = NoiseSchedule.from_betas(offset_cosine_betas(steps)).alphas_cumprod
    signal, noise = alphas_cumprod.sqrt(), (1 - alphas_cumprod).sqrt()
    ends = [0.95, 0.02] if steps > 1 else [0.95, 0.95]
    assert signal[[0, -1]].tolist() == pytest.approx(ends, rel=1e-11)
    angles = torch.atan2(noise, signal)
    even = torch.linspace(math.acos(ends[0]), math.acos(ends[1]), steps, dtype=torch.float64)
    torch.testing.assert_close(angles, even, rtol=1e-13, atol=0)


@every_schedule
def test_alphas_cumprod_fall_and_sigmas_rise(schedule):
    alphas_cumprod, sigmas = schedule.alphas_cumprod, schedule.sigmas
    assert alphas_cumprod.dtype == sigmas.dtype == torch.float64
    assert (alphas_cumprod.diff() < 0).all()
    assert (alphas_cumprod > 0).all()
    assert (alphas_cumprod < 1).all()
    assert (sigmas.diff() > 0).all()
    torch.testing.assert_close(1 / (1 + sigmas**2), alphas_cumprod, rtol=1e-12, atol=0)


@every_schedule
def test_betas_give_the_schedule_back(schedule):
    again = NoiseSchedule.from_betas(schedule.betas)
    torch.testing.assert_close(again.alphas_cumprod, schedule.alphas_cumprod, rtol=1e-8, atol=0)


@every_schedule
def test_noise_levels_of_the_table_are_their_timesteps_exactly(schedule):
    assert [schedule.timestep(sigma) for sigma in schedule.sigmas.tolist()] == list(range(len(schedule)))
    assert [schedule.sigma_at(t) for t in range(len(schedule))] == schedule.sigmas.tolist()


def test_a_fraction_of_a_timestep_is_interpolated_in_log_sigma():
    low, high = SD.sigmas[500].item(), SD.sigmas[501].item()
    assert SD.timestep(math.sqrt(low * high)) == pytest.approx(500.5, abs=1e-9)
    assert SD.sigma_at(500.25) == pytest.approx(low**0.75 * high**0.25, rel=1e-12)
    for t in (0.25, 10.5, 998.75):
        assert SD.timestep(SD.sigma_at(t)) == pytest.approx(t, abs=1e-9)


def test_timesteps_and_noise_levels_stay_within_the_table():
    assert [SD.timestep(sigma) for sigma in (0.0, 1e-9, 15.0, math.inf)] == [0, 0, 999, 999]
    assert [SD.sigma_at(t) for t in (-1, 2000)] == SD.sigmas[[0, -1]].tolist()


def test_zero_terminal_snr_ends_in_noise_and_keeps_the_start():
    before, after = SD.alphas_cumprod, ZERO_TERMINAL.alphas_cumprod
    assert after[-1] == 2**-24
    assert after[0].item() == pytest.approx(before[0].item(), rel=1e-14)
    assert ZERO_TERMINAL.sigmas[-1].item() == pytest.approx(4096, abs=0.001)
    # a straight line between the roots, through 0 at the end
    x, y = before.sqrt()[1:-1], after.sqrt()[1:-1]
    a0, a_last = before[0].sqrt(), before[-1].sqrt()
    torch.testing.assert_close(y, (x - a_last) * a0 / (a0 - a_last), rtol=1e-10, atol=0)


@pytest.mark.parametrize("steps", [1, 2, 4000, 20000])
def test_zero_terminal_snr_falls_for_any_number_of_timesteps(steps):
    betas = linear_betas(steps, 0.1 / steps, 20 / steps) if steps > 2 else torch.full((steps,), 0.5)
    after = rescale_zero_terminal_snr(NoiseSchedule.from_betas(betas).alphas_cumprod)
    assert 0 < after[-1] <= 2**-24
    assert (after.diff() < 0).all()


def test_rescaling_leaves_its_argument_alone():
    before = SD.alphas_cumprod.clone()
    rescale_zero_terminal_snr(SD.alphas_cumprod)
    assert torch.equal(SD.alphas_cumprod, before)


def test_a_config_s_fields_build_the_schedule():
    fields = {"n_steps": 1000, "betas": "scaled_linear", "linear_start": 0.00085, "linear_end": 0.012}
    assert torch.equal(build_schedule(**fields).alphas_cumprod, SD.alphas_cumprod)
    rescaled = build_schedule(**fields, zero_terminal_snr=True)
    assert torch.equal(rescaled.alphas_cumprod, ZERO_TERMINAL.alphas_cumprod)


def test_unknown_betas_are_refused():
    with pytest.raises(SettingsError) as error:
        build_schedule(n_steps=1000, betas="scaled", linear_start=0.1, linear_end=0.2)
    assert str(error.value) == (
        "Unknown betas 'scaled'. Did you mean 'scaled_linear'? "
        "Choose one of: scaled_linear, linear, cosine, sqrt, offset_cosine, geometric."
    )
