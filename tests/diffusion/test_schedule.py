import math

import pytest
import torch

from ldm.diffusion.schedule import (
    BETAS,
    FINAL_SIGMAS,
    SPACINGS,
    NoiseSchedule,
    build_schedule,
    cosine_betas,
    linear_betas,
    rescale_zero_terminal_snr,
    sampling_sigmas,
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


def test_spacings_are_those_of_the_literature():
    spaced = {name: spacing(1000, 10).tolist() for name, spacing in SPACINGS.items()}
    assert spaced["trailing"] == list(range(999, 0, -100))  # Lin et al. 2023, table 2
    assert spaced["leading"] == list(range(901, 0, -100))  # CompVis: one above Lin et al.'s
    assert spaced["linspace"] == list(range(999, -1, -111))


@pytest.mark.parametrize("spacing", SPACINGS)
def test_every_count_of_steps_has_that_many_different_timesteps(spacing):
    for train in (1, 2, 5, 1000):
        for steps in range(1, train + 1):
            t = SPACINGS[spacing](train, steps)
            assert len(t) == steps
            assert (t.diff() < 0).all()
            assert 0 <= t[-1] <= t[0] <= train - 1


@pytest.mark.parametrize("final_sigma", FINAL_SIGMAS)
@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("steps", [1, 2, 7, 30, 999, 1000])
@pytest.mark.parametrize("schedule", [SD, ZERO_TERMINAL], ids=["sd", "zero_terminal_snr"])
def test_noise_levels_fall_over_exactly_the_steps_asked_for(schedule, steps, spacing, final_sigma):
    sigmas = sampling_sigmas(schedule, steps, spacing, final_sigma)
    assert sigmas.dtype == torch.float64
    assert len(sigmas) == steps + 1
    assert (sigmas.diff() < 0).all()
    first = schedule.sigmas[0]
    visits_first = sigmas[-2] <= first
    assert sigmas[-1] == (first if final_sigma == "first_timestep" and not visits_first else 0)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_whole_timesteps_stay_whole_on_the_way_through_sigma(spacing):
    t = SPACINGS[spacing](1000, 25)
    told = torch.tensor([SD.timestep(s) for s in sampling_sigmas(SD, 25, spacing)[:-1].tolist()])
    if torch.equal(t, t.round()):
        assert torch.equal(told.double(), t)
    torch.testing.assert_close(told.double(), t, rtol=0, atol=1e-4)


def test_first_timestep_ends_where_compvis_s_ddim_does():
    sigmas = sampling_sigmas(SD, 50, "leading", "first_timestep")
    alphas_cumprod_prev = 1 / (1 + sigmas[-1] ** 2)
    assert alphas_cumprod_prev.item() == pytest.approx(0.99915, abs=1e-12)  # alphas_cumprod[0]


def test_first_timestep_ends_at_zero_where_the_spacing_visits_it():
    for spacing, steps in (("linspace", 10), ("leading", 1000), ("trailing", 1000)):
        sigmas = sampling_sigmas(SD, steps, spacing, "first_timestep")
        assert sigmas[-2:].tolist() == [SD.sigma_at(0), 0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            (1001, "trailing", "zero"),
            "steps must be between 1 and 1000, the model's training timesteps; got 1001.",
        ),
        ((0, "trailing", "zero"), "steps must be between 1 and 1000, the model's training timesteps; got 0."),
        (
            (10, "trailling", "zero"),
            "Unknown spacing 'trailling'. Did you mean 'trailing'? "
            "Choose one of: trailing, leading, linspace.",
        ),
        (
            (10, "trailing", "one"),
            "Unknown final_sigma 'one'. Choose one of: zero, first_timestep.",
        ),
    ],
)
def test_impossible_levels_are_refused(arguments, message):
    with pytest.raises(SettingsError) as error:
        sampling_sigmas(SD, *arguments)
    assert str(error.value) == message


def test_unknown_betas_are_refused():
    with pytest.raises(SettingsError) as error:
        build_schedule(n_steps=1000, betas="scaled", linear_start=0.1, linear_end=0.2)
    assert str(error.value) == (
        "Unknown betas 'scaled'. Did you mean 'scaled_linear'? "
        "Choose one of: scaled_linear, linear, cosine, sqrt."
    )
