"""Every spacing at every number of steps.  The originals' numbers: `test_golden_spacing`."""

import math
from itertools import pairwise

import pytest
import torch

from ldm.diffusion.beta_quantile import beta_quantile
from ldm.diffusion.schedule import (
    NoiseSchedule,
    offset_cosine_betas,
    rescale_zero_terminal_snr,
    scaled_linear_betas,
    sqrt_betas,
)
from ldm.diffusion.spacing import (
    DEFAULT_RHO,
    FINAL_SIGMAS,
    RHO_LIMITS,
    SPACING_NOTES,
    SPACINGS,
    sampling_sigmas,
)
from ldm.diffusion.spacing_formulas import (
    AYS_SD1,
    AYS_SDXL,
    compvis_timesteps,
    leading_timesteps,
    linspace_timesteps,
    quad_timesteps,
    sgm_uniform_timesteps,
    simple_timesteps,
    trailing_timesteps,
)
from ldm.errors import SettingsError

SD = NoiseSchedule.from_betas(scaled_linear_betas())
ZERO_TERMINAL = NoiseSchedule(rescale_zero_terminal_snr(SD.alphas_cumprod))
COMPUTED = [name for name in SPACINGS if name != "custom"]
PARTIAL = {"leading", "quad"}  # do not begin at the noisiest level
OF_TIMESTEPS = {
    "trailing": trailing_timesteps,
    "leading": leading_timesteps,
    "linspace": linspace_timesteps,
    "simple": simple_timesteps,
    "sgm_uniform": sgm_uniform_timesteps,
    "quad": quad_timesteps,
}
diffusers_own = pytest.mark.filterwarnings(  # with numpy 2
    "ignore:__array__ implementation:DeprecationWarning"
)
every_spacing = pytest.mark.parametrize("spacing", COMPUTED)


def short(steps):
    """Stable Diffusion's betas over so few timesteps that little signal is left."""
    return NoiseSchedule.from_betas(scaled_linear_betas(steps, 0.85 / steps, min(12 / steps, 0.9)))


def assert_falls(sigmas, steps, schedule):
    assert sigmas.shape == (steps + 1,)
    assert sigmas.dtype == torch.float64
    assert sigmas.isfinite().all()
    assert (sigmas.diff() < 0).all()
    assert sigmas[0] <= schedule.sigmas[-1]
    assert sigmas[-2] >= schedule.sigmas[0]


@every_spacing
def test_every_count_of_steps_has_that_many_falling_levels(spacing):
    for steps in range(1, 1001):
        sigmas = sampling_sigmas(SD, steps, spacing)
        assert_falls(sigmas, steps, SD)
        assert spacing in PARTIAL or sigmas[0] == SD.sigmas[-1]


@every_spacing
@pytest.mark.parametrize("train", [1, 2, 3, 4, 7, 9, 10, 11, 100])
def test_schedules_of_few_timesteps_have_every_count_too(spacing, train):
    schedule = short(train)
    for steps in range(1, train + 1):
        assert_falls(sampling_sigmas(schedule, steps, spacing), steps, schedule)


@every_spacing
@pytest.mark.parametrize("final_sigma", FINAL_SIGMAS)
@pytest.mark.parametrize("steps", [1, 2, 7, 30, 999, 1000])
@pytest.mark.parametrize(
    "schedule",
    [
        SD,
        ZERO_TERMINAL,
        NoiseSchedule.from_betas(offset_cosine_betas()),
        NoiseSchedule.from_betas(sqrt_betas()),  # whose largest level is 10**20
    ],
    ids=["sd", "zero_terminal_snr", "offset_cosine", "sqrt"],
)
def test_levels_fall_to_the_end_that_was_asked_for(schedule, steps, spacing, final_sigma):
    sigmas = sampling_sigmas(schedule, steps, spacing, final_sigma)
    assert_falls(sigmas, steps, schedule)
    first = schedule.sigmas[0]
    visits_first = sigmas[-2] <= first
    assert sigmas[-1] == (first if final_sigma == "first_timestep" and not visits_first else 0)


@every_spacing
def test_one_step_starts_at_the_noisiest_level_of_the_spacing(spacing):
    (start, end) = sampling_sigmas(SD, 1, spacing).tolist()
    top = {"leading": SD.sigma_at(1), "quad": SD.sigma_at(801)}.get(spacing, SD.sigma_at(999))
    assert (start, end) == (top, 0)


def test_levels_begin_with_the_largest_and_end_with_the_smallest_to_the_last_bit():
    for spacing in ("linspace", "normal", "karras", "exponential", "polyexponential", "kl_optimal"):
        for schedule in (SD, ZERO_TERMINAL):
            for steps in (2, 3, 10, 777):
                sigmas = sampling_sigmas(schedule, steps, spacing)
                assert sigmas[[0, -2]].tolist() == schedule.sigmas[[-1, 0]].tolist()


def test_spacings_are_those_of_the_literature():
    spaced = {name: timesteps(1000, 10).tolist() for name, timesteps in OF_TIMESTEPS.items()}
    assert spaced["trailing"] == list(range(999, 0, -100))  # Lin et al. 2023, table 2
    assert spaced["leading"] == list(range(901, 0, -100))  # CompVis: one above Lin et al.'s
    assert spaced["linspace"] == list(range(999, -1, -111))
    assert spaced["simple"] == list(range(999, 0, -100))
    assert spaced["sgm_uniform"] == pytest.approx([999 - 99.9 * k for k in range(10)], rel=1e-14)
    assert spaced["quad"] == pytest.approx([800 * (k / 9) ** 2 + 1 for k in range(9, -1, -1)], rel=1e-14)


@pytest.mark.parametrize("spacing", OF_TIMESTEPS)
def test_timesteps_come_back_from_their_levels(spacing):
    t = OF_TIMESTEPS[spacing](1000, 25)
    told = torch.tensor([SD.timestep(s) for s in sampling_sigmas(SD, 25, spacing)[:-1].tolist()])
    if torch.equal(t, t.round()):
        assert torch.equal(told.double(), t)
    torch.testing.assert_close(told.double(), t, rtol=0, atol=1e-4)


def test_normal_is_linspace_by_another_name():
    for steps in (1, 2, 30, 1000):
        assert torch.equal(sampling_sigmas(SD, steps, "normal"), sampling_sigmas(SD, steps, "linspace"))


def test_simple_takes_the_table_s_entries_from_its_end():
    for steps in (1, 7, 30, 38, 333, 1000):
        levels = [SD.sigmas[-(1 + x * 1000 // steps)].item() for x in range(steps)]
        assert sampling_sigmas(SD, steps, "simple").tolist() == [*levels, 0]


def test_each_family_of_levels_is_even_in_its_own_measure():
    sigmas = {name: sampling_sigmas(SD, 50, name)[:-1] for name in COMPUTED}
    measures = {
        "karras": sigmas["karras"] ** (1 / 7),
        "exponential": sigmas["exponential"].log(),
        "polyexponential": sigmas["polyexponential"].log(),
        "kl_optimal": sigmas["kl_optimal"].atan(),
    }
    for values in measures.values():
        strides = values.diff()
        torch.testing.assert_close(strides, strides.mean().expand(49), rtol=1e-10, atol=0)


def test_rho_bends_the_levels_and_its_default_is_the_usual_one():
    for spacing, default in DEFAULT_RHO.items():
        usual = sampling_sigmas(SD, 12, spacing)
        assert torch.equal(sampling_sigmas(SD, 12, spacing, rho=default), usual)
        bent = sampling_sigmas(SD, 12, spacing, rho=3)
        assert not torch.equal(bent, usual)
        assert bent[[0, -2, -1]].tolist() == usual[[0, -2, -1]].tolist()
    even = sampling_sigmas(SD, 12, "karras", rho=3)[:-1] ** (1 / 3)
    torch.testing.assert_close(even.diff().diff(), torch.zeros(10).double(), rtol=0, atol=1e-12)
    powers = (sampling_sigmas(SD, 12, "polyexponential", rho=3)[:-1] / SD.sigma_at(0)).log() ** (1 / 3)
    torch.testing.assert_close(powers[:-1].diff().diff(), torch.zeros(9).double(), rtol=0, atol=1e-12)


@pytest.mark.parametrize("rho", [*RHO_LIMITS, 0.5, 3])
@pytest.mark.parametrize("schedule", [SD, ZERO_TERMINAL], ids=["sd", "zero_terminal_snr"])
def test_karras_falls_with_every_rho(schedule, rho):
    for steps in (1, 2, 30, 1000):
        assert_falls(sampling_sigmas(schedule, steps, "karras", rho=rho), steps, schedule)


def test_spacings_without_a_rho_pass_it_by():
    for spacing in set(COMPUTED) - set(DEFAULT_RHO):
        assert torch.equal(sampling_sigmas(SD, 9, spacing, rho=3), sampling_sigmas(SD, 9, spacing))


@pytest.mark.parametrize("shape", [0.05, 0.3, 0.6, 1.0])
def test_quantiles_of_the_beta_distribution_are_scipy_s(shape):
    stats = pytest.importorskip("scipy.stats")
    share = torch.cat([torch.arange(1001, dtype=torch.float64) / 1000, torch.logspace(-12, -1, 200).double()])
    found = beta_quantile(share, shape)
    wanted = torch.from_numpy(stats.beta.ppf(share.numpy(), shape, shape))
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("steps", [1, 2, 10, 30, 333, 1000])
def test_beta_is_comfyui_s_without_its_rounding(steps):
    """ComfyUI rounds to whole timesteps and drops doubles, so that 1000 steps become 847."""
    np, stats = pytest.importorskip("numpy"), pytest.importorskip("scipy.stats")
    quantiles = stats.beta.ppf(1 - np.linspace(0, 1, steps, endpoint=False), 0.6, 0.6)
    told = [SD.timestep(s) for s in sampling_sigmas(SD, steps, "beta")[:-1].tolist()]
    assert told == pytest.approx(999 * quantiles, abs=1e-8)


@pytest.mark.parametrize(("spacing", "table"), [("ays_sd1", AYS_SD1), ("ays_sdxl", AYS_SDXL)])
def test_align_your_steps_is_its_table_and_log_linear_in_between(spacing, table):
    ten = sampling_sigmas(SD, 10, spacing)
    assert ten[:-1].tolist() == pytest.approx(table[:-1], rel=1e-7)
    assert sampling_sigmas(SD, 10, spacing, "first_timestep")[-1] == SD.sigma_at(0)  # the table's last
    twenty = sampling_sigmas(SD, 20, spacing)
    torch.testing.assert_close(twenty[:-1:2], ten[:-1], rtol=1e-14, atol=0)
    means = [math.sqrt(a * b) for a, b in pairwise([*ten[:-1].tolist(), SD.sigma_at(0)])]
    assert twenty[1::2].tolist() == pytest.approx(means, rel=1e-12)
    five = sampling_sigmas(SD, 5, spacing)
    torch.testing.assert_close(five[:-1], ten[:-1:2], rtol=1e-14, atol=0)


def test_align_your_steps_is_stretched_between_other_ends():
    stretched = sampling_sigmas(ZERO_TERMINAL, 10, "ays_sd1", "first_timestep").log()
    table = torch.tensor(AYS_SD1, dtype=torch.float64).log()
    assert stretched[[0, -1]].exp().tolist() == pytest.approx(ZERO_TERMINAL.sigmas[[-1, 0]].tolist())
    ratios = stretched.diff() / table.diff()
    torch.testing.assert_close(ratios, ratios.mean().expand(10), rtol=1e-10, atol=0)


@pytest.mark.parametrize("steps", [2, 5, 10, 50, 100, 333, 1000])
def test_quad_is_compvis_s_before_its_truncation(steps):
    ours, theirs = quad_timesteps(1000, steps).flip(0), compvis_timesteps("quad", steps, 1000)
    cut_off = ours - torch.tensor(theirs)
    assert (cut_off > -1e-9).all()
    assert (cut_off < 1 + 1e-9).all()


def test_compvis_s_own_lists_run_other_counts_or_past_the_last_timestep():
    lists = {steps: compvis_timesteps("uniform", steps, 1000) for steps in range(1, 1001)}
    assert len(lists[30]) == 31
    assert sum(len(timesteps) != steps for steps, timesteps in lists.items()) == 984
    past = {steps for steps, timesteps in lists.items() if timesteps[-1] > 999}
    assert past == {3, 9, 27, 36, 37, *range(101, 112), *range(251, 334), *range(501, 1001)}
    assert len(set(compvis_timesteps("quad", 100, 1000))) < 100
    with pytest.raises(SettingsError) as error:
        compvis_timesteps("quads", 10, 1000)
    assert str(error.value) == "Unknown kind 'quads'. Did you mean 'quad'? Choose one of: uniform, quad."


def test_first_timestep_ends_where_compvis_s_ddim_does():
    sigmas = sampling_sigmas(SD, 50, "leading", "first_timestep")
    alphas_cumprod_prev = 1 / (1 + sigmas[-1] ** 2)
    assert alphas_cumprod_prev.item() == pytest.approx(0.99915, abs=1e-12)  # alphas_cumprod[0]


def test_first_timestep_ends_at_zero_where_the_spacing_visits_it():
    for spacing, steps in (("linspace", 10), ("karras", 10), ("leading", 1000), ("trailing", 1000)):
        sigmas = sampling_sigmas(SD, steps, spacing, "first_timestep")
        assert sigmas[-2:].tolist() == [SD.sigma_at(0), 0]


def test_a_list_of_levels_is_taken_as_it_is():
    levels = [80.0, 7.5, 1.0]  # beyond the schedule's largest too
    for steps, custom in ((3, levels), (3, [*levels, 0.0]), (3, tuple(levels)), (3, [80, 7.5, 1, 0])):
        sigmas = sampling_sigmas(SD, steps, "custom", custom=custom)
        assert sigmas.dtype == torch.float64
        assert sigmas.tolist() == [80, 7.5, 1, 0]
    assert levels == [80.0, 7.5, 1.0]
    assert sampling_sigmas(SD, 1, "custom", custom=[5.0]).tolist() == [5, 0]
    many = torch.linspace(10, 1, 1000).tolist()
    assert len(sampling_sigmas(short(7), 1000, "custom", custom=[*many, 0.0])) == 1001


def test_a_list_of_levels_ends_at_its_zero_or_where_final_sigma_says():
    first = SD.sigma_at(0)
    ends = [
        sampling_sigmas(SD, 2, "custom", "first_timestep", custom=custom)[-1].item()
        for custom in ([5.0, 1.0], [5.0, 1.0, 0.0], [5.0, first], [5.0, 0.001])
    ]
    assert ends == [first, 0, 0, 0]


NUMBERS = "Noise levels must be numbers from 1e-06 to 1e+06, the last may be 0; got {}."


@pytest.mark.parametrize(
    ("steps", "custom", "message"),
    [
        (1, [], "A list of noise levels needs at least one above 0."),
        (1, [0.0], "A list of noise levels needs at least one above 0."),
        (3, [5.0, 1.0], "steps must be 2, the number of noise levels above 0, got 3."),
        (3, [5.0, 1.0, 0.0], "steps must be 2, the number of noise levels above 0, got 3."),
        (2, [5.0, 5.0], "Noise levels must fall, but 5 is followed by 5."),
        (3, [5.0, 1.0, 2.5], "Noise levels must fall, but 1 is followed by 2.5."),
        (2, [5.0, 4.9999], "Noise levels must fall by 0.01% or more, but 5 is followed by 4.9999."),
        (2, [5.0, math.nan], NUMBERS.format("nan")),
        (2, [math.inf, 5.0], NUMBERS.format("inf")),
        (2, [5.0, -1.0], NUMBERS.format("-1.0")),
        (3, [5.0, 0.0, 0.0], NUMBERS.format("0.0")),
        (2, [1e7, 1.0], NUMBERS.format("10000000.0")),
        (2, [1.0, 1e-7], NUMBERS.format("1e-07")),
        (2, ["5", 1.0], NUMBERS.format("'5'")),
        (2, [5.0, True], NUMBERS.format("True")),
        (1, [10**400], NUMBERS.format("100000000000000000...0000000000000000000")),
        (
            1001,
            [2000.0 - k for k in range(1001)],
            "A list of noise levels may have at most 1000 above 0, got 1001.",
        ),
    ],
)
def test_lists_that_cannot_be_used_are_refused(steps, custom, message):
    with pytest.raises(SettingsError) as error:
        sampling_sigmas(SD, steps, "custom", custom=custom)
    assert str(error.value) == message


CHOICES = (
    "trailing, leading, linspace, normal, simple, sgm_uniform, karras, exponential, polyexponential, beta, "
    "ays_sd1, ays_sdxl, kl_optimal, quad, custom"
)


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (
            (1001,),
            {},
            "steps must be between 1 and 1000, the model's training timesteps; got 1001.",
        ),
        ((0,), {}, "steps must be between 1 and 1000, the model's training timesteps; got 0."),
        (
            (10, "trailling"),
            {},
            f"Unknown spacing 'trailling'. Did you mean 'trailing'? Choose one of: {CHOICES}.",
        ),
        (
            (10, "trailing", "one"),
            {},
            "Unknown final_sigma 'one'. Choose one of: zero, first_timestep.",
        ),
        ((10, "custom"), {}, "The spacing 'custom' needs a list of noise levels."),
        (
            (2, "karras"),
            {"custom": [5.0, 1.0]},
            "A list of noise levels needs the spacing 'custom', got 'karras'.",
        ),
        ((10, "karras"), {"rho": 0.05}, "rho must be between 0.1 and 100, got 0.05."),
        ((10, "polyexponential"), {"rho": 101}, "rho must be between 0.1 and 100, got 101."),
        ((10, "karras"), {"rho": math.nan}, "rho must be between 0.1 and 100, got nan."),
        (
            (1000, "polyexponential"),
            {"rho": 20},
            "With rho 20 some of 1000 noise levels are equal; take a rho nearer to 1, or fewer steps.",
        ),
    ],
)
def test_impossible_levels_are_refused(arguments, options, message):
    with pytest.raises(SettingsError) as error:
        sampling_sigmas(SD, *arguments, **options)
    assert str(error.value) == message


def test_every_spacing_is_explained_in_a_line():
    assert list(SPACING_NOTES) == list(SPACINGS)
    assert all(10 < len(note) < 100 and not note.endswith(".") for note in SPACING_NOTES.values())


def euler(steps, **options):
    """diffusers' levels and timesteps on Stable Diffusion's schedule."""
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", steps_offset=1, **options
    )
    scheduler.set_timesteps(steps)
    return scheduler.sigmas.double(), scheduler.timesteps.double()


@diffusers_own
@pytest.mark.parametrize("steps", [1, 2, 7, 10, 30, 36, 50, 333, 999])
@pytest.mark.parametrize(
    ("spacing", "options"),
    [
        ("leading", {"timestep_spacing": "leading"}),
        ("trailing", {"timestep_spacing": "trailing"}),
        ("linspace", {"timestep_spacing": "linspace"}),
        ("karras", {"timestep_spacing": "linspace", "use_karras_sigmas": True}),
        ("exponential", {"timestep_spacing": "linspace", "use_exponential_sigmas": True}),
    ],
)
def test_levels_and_timesteps_are_diffusers(spacing, options, steps):
    if spacing in ("linspace", "karras", "exponential") and steps == 1:
        pytest.skip("diffusers' linspace of one step is timestep 0, the cleanest")
    sigmas, timesteps = euler(steps, **options)
    ours = sampling_sigmas(SD, steps, spacing)
    told = torch.tensor([SD.timestep(s) for s in ours[:-1].tolist()], dtype=torch.float64)
    # theirs are float32 throughout, and interpolate sigma where we interpolate its logarithm
    torch.testing.assert_close(told, timesteps, rtol=0, atol=3e-3)
    torch.testing.assert_close(ours, sigmas, rtol=6e-3 if spacing == "linspace" else 2e-5, atol=0)


@diffusers_own
def test_diffusers_trailing_rounds_a_sum_of_strides_where_ours_rounds_a_quotient():
    """So at 463 steps it has one too many, and at 176 some, halfway between two, go the other way."""
    assert len(euler(463, timestep_spacing="trailing")[1]) == 464
    assert len(sampling_sigmas(SD, 463, "trailing")) == 464  # 463 steps and the end
    theirs = euler(176, timestep_spacing="trailing")[1]
    apart = (trailing_timesteps(1000, 176) - theirs).abs()
    assert apart.max() == 1


@diffusers_own
@pytest.mark.parametrize("steps", [2, 10, 30, 333])
def test_diffusers_beta_lays_the_same_quantiles_over_sigma_instead_of_timesteps(steps):
    """As AUTOMATIC1111's web UI; the paper's and ComfyUI's are over timesteps, as ours."""
    sigmas = euler(steps, timestep_spacing="linspace", use_beta_sigmas=True)[0][:-1]
    quantiles = (sigmas - sigmas[-1]) / (sigmas[0] - sigmas[-1])
    share = 1 - torch.linspace(0, 1, steps, dtype=torch.float64)
    torch.testing.assert_close(beta_quantile(share, 0.6), quantiles, rtol=0, atol=2e-7)


@pytest.mark.parametrize(
    ("spacing", "name"), [("ays_sd1", "StableDiffusion"), ("ays_sdxl", "StableDiffusionXL")]
)
def test_align_your_steps_is_diffusers(spacing, name):
    published = pytest.importorskip("diffusers.schedulers").AysSchedules
    sigmas = sampling_sigmas(SD, 10, spacing)
    told = [SD.timestep(s) for s in sigmas[:-1].tolist()]
    # the table has the levels of these whole timesteps to ten digits; the page prints them to three, and some
    # are a unit or three off in the last
    assert told == pytest.approx(published[f"{name}Timesteps"], abs=1e-4)
    assert sigmas.tolist() == pytest.approx(published[f"{name}Sigmas"], rel=2e-3, abs=2e-3)
