"""Samplers against diffusers' schedulers: every step of a run over their noise levels, with their noise.

The network goes by the timesteps that diffusers tells it: some schedulers round them, and some interpolate in
sigma between them, where ours does in log(sigma).  Levels are those the scheduler has computed.

Not here: DPMSolverSDE and CosineDPMSolver, whose noise needs torchsde, and schedulers of other methods
(SA-Solver, flow matching, consistency models, RePaint, ...).
"""

import dataclasses
import math
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
import torch

from ldm.diffusion.denoiser import to_x0
from ldm.diffusion.samplers import SamplerOptions
from ldm.trace import Prediction

from .diffusers_replay import (
    PLAIN,
    PREDICTION_TYPES,
    STABLE_DIFFUSION,
    assert_close,
    assert_same,
    difference,
    levels_of,
    run_ours,
    run_theirs,
    schedule_of,
)
from .golden_replay import both_dtypes, scale

diffusers = pytest.importorskip("diffusers")

pytestmark = [
    # diffusers hands tensors to numpy 2
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning"),
]
both_predictions = pytest.mark.parametrize("prediction_type", ["eps", "v"])

# Of the largest latent.  Measured: at most 1.1e-14, mostly 1e-15; 3.4e-6, mostly 4e-7; DEIS has its own.
TOLERANCE = {torch.float64: 1e-13, torch.float32: 1e-5}
DIFFERENT = 1e-4  # what must be larger where two methods are not the same one


def clean(scheduler):
    return 0.0


def first_timestep(scheduler):
    return schedule_of(scheduler).sigmas[0].item()


ETA_1 = SamplerOptions(eta=1.0)


@dataclass(frozen=True)
class Case:
    """A scheduler that is a sampler of ours.

    Attributes:
        kind: its name in diffusers.
        sampler: ours.
        config: its arguments, besides the schedule and the prediction type.
        options: of ours.
        step: arguments of its `step`.
        timesteps: arguments of its `set_timesteps`.
        final: where it ends, if it keeps no list of levels.
        lowered: in how many steps at the end theirs lowers its order; there the two must differ.
        tolerance: other than TOLERANCE, by dtype.
    """

    kind: str
    sampler: str
    config: dict = field(default_factory=dict)
    options: SamplerOptions = PLAIN
    step: dict = field(default_factory=dict)
    timesteps: dict = field(default_factory=lambda: {"num_inference_steps": 10})
    final: object = clean
    lowered: int = 0
    tolerance: dict = field(default_factory=dict)


def theirs_of(case, prediction_type, dtype, **more):
    config = {**STABLE_DIFFUSION, "prediction_type": PREDICTION_TYPES[prediction_type], **case.config}
    return run_theirs(getattr(diffusers, case.kind), config, dtype, case.timesteps, **case.step, **more)


def pair_of(case, prediction_type, dtype, sampler=None, options=None, draws=None):
    """A run of theirs and one of ours, of a case's sampler or of another."""
    theirs = theirs_of(case, prediction_type, dtype)
    levels = levels_of(theirs.scheduler, case.final(theirs.scheduler))
    sampler, options = sampler or case.sampler, options or case.options
    return theirs, run_ours(sampler, theirs, levels, prediction_type, options, draws=draws)


def few(steps):
    return {"num_inference_steps": steps}


# DDIM and DDPM clip x0 to [-1, 1] unless told not to.
NOT_CLIPPED = {"clip_sample": False}
CASES = {}

# With `set_alpha_to_one` DDIM ends at sigma 0, without at timestep 0, as Stable Diffusion's config has it.
for eta in (0.0, 0.5, 1.0):
    ends_at_0 = {**NOT_CLIPPED, "steps_offset": 1, "set_alpha_to_one": False}
    for name, config, final in (("", NOT_CLIPPED, clean), ("_to_timestep_0", ends_at_0, first_timestep)):
        CASES[f"ddim_eta_{eta}{name}"] = Case(
            "DDIMScheduler", "ddim", config, SamplerOptions(eta=eta), {"eta": eta}, final=final
        )
CASES["ddim_trailing"] = Case("DDIMScheduler", "ddim", {**NOT_CLIPPED, "timestep_spacing": "trailing"})

# DDPM draws in every step but that from timestep 0, where ours draws none either; elsewhere its last
# draw would have a variance of 1e-20 or, with "fixed_large", of beta.
CASES["ddpm"] = Case("DDPMScheduler", "ddpm", NOT_CLIPPED)
CASES["ddpm_large"] = Case("DDPMScheduler", "ddpm_large", {**NOT_CLIPPED, "variance_type": "fixed_large"})

# Euler, Heun, DPM2 and LMS in k-diffusion's form, at unit signal.  Of 9 steps the timesteps are fractions.
CASES["euler"] = Case("EulerDiscreteScheduler", "euler", timesteps=few(9))
CASES["euler_karras_leading"] = Case(
    "EulerDiscreteScheduler",
    "euler",
    {
        "timestep_spacing": "leading",
        "steps_offset": 1,
        "use_karras_sigmas": True,
        "final_sigmas_type": "sigma_min",
    },
)
CASES["euler_ancestral"] = Case(
    "EulerAncestralDiscreteScheduler", "euler_ancestral", options=ETA_1, timesteps=few(9)
)
CASES["heun"] = Case("HeunDiscreteScheduler", "heun", timesteps=few(9))
CASES["heun_karras"] = Case("HeunDiscreteScheduler", "heun", {"use_karras_sigmas": True})
CASES["dpm_2"] = Case("KDPM2DiscreteScheduler", "dpm_2", timesteps=few(9))
CASES["dpm_2_karras"] = Case("KDPM2DiscreteScheduler", "dpm_2", {"use_karras_sigmas": True})
CASES["dpm_2_ancestral"] = Case(
    "KDPM2AncestralDiscreteScheduler", "dpm_2_ancestral", options=ETA_1, timesteps=few(9)
)
for order in (1, 2, 3, 4):
    CASES[f"lms_{order}"] = Case(
        "LMSDiscreteScheduler", "lms", {}, SamplerOptions(order=order), {"order": order}, few(9)
    )

# DPM-Solver++.  A step to sigma 0 is of first order for both.  To another level ours keeps the order;
# theirs lowers it there, below 15 steps, unless `lower_order_final` is off.
MULTISTEP = "DPMSolverMultistepScheduler"
SIGMA_MIN = {"final_sigmas_type": "sigma_min"}
CASES["dpmpp_1"] = Case(MULTISTEP, "dpmpp_1", {"solver_order": 1})
CASES["dpmpp_2m"] = Case(MULTISTEP, "dpmpp_2m")
CASES["dpmpp_2m_full_order"] = Case(MULTISTEP, "dpmpp_2m", {"lower_order_final": False})
CASES["dpmpp_2m_karras"] = Case(MULTISTEP, "dpmpp_2m", {"use_karras_sigmas": True})
CASES["dpmpp_2m_sigma_min"] = Case(MULTISTEP, "dpmpp_2m", {**SIGMA_MIN, "lower_order_final": False})
CASES["dpmpp_2m_sigma_min_lowered"] = Case(MULTISTEP, "dpmpp_2m", SIGMA_MIN, lowered=1)
CASES["dpmpp_2m_is_2m_sde_at_eta_0"] = Case(MULTISTEP, "dpmpp_2m_sde")
CASES["dpmpp_2m_heun"] = Case(MULTISTEP, "dpmpp_2m_sde_heun", {"solver_type": "heun"})
# Third order as the authors' program has it, half the bend.  Theirs takes its second step, which is of second
# order, by the midpoint rule unless `solver_type` is "heun"; ours, as k-diffusion, by Heun's.
THIRD = {"solver_order": 3, "solver_type": "heun"}
CASES["dpmpp_3m_sde_eta_0"] = Case(MULTISTEP, "dpmpp_3m_sde", {**THIRD, "lower_order_final": False})
CASES["dpmpp_3m_sde_eta_0_15_steps"] = Case(MULTISTEP, "dpmpp_3m_sde", THIRD, timesteps=few(15))
CASES["dpmpp_3m_sde_eta_0_karras"] = Case(
    MULTISTEP, "dpmpp_3m_sde", {**THIRD, "lower_order_final": False, "use_karras_sigmas": True}
)
CASES["dpmpp_3m_sde_eta_0_lowered"] = Case(MULTISTEP, "dpmpp_3m_sde", THIRD, lowered=2)
SDE = {"algorithm_type": "sde-dpmsolver++"}
CASES["sde_1"] = Case(MULTISTEP, "ddim", {**SDE, "solver_order": 1}, ETA_1)
CASES["dpmpp_2m_sde"] = Case(MULTISTEP, "dpmpp_2m_sde", SDE, ETA_1)
CASES["dpmpp_2m_sde_karras"] = Case(MULTISTEP, "dpmpp_2m_sde", {**SDE, "use_karras_sigmas": True}, ETA_1)
CASES["dpmpp_2m_sde_heun"] = Case(MULTISTEP, "dpmpp_2m_sde_heun", {**SDE, "solver_type": "heun"}, ETA_1)

# UniPC to sigma 0, its orders lowered towards the end as ours are.
for order in (1, 2, 3):
    CASES[f"unipc_{order}"] = Case(
        "UniPCMultistepScheduler", "unipc", {"solver_order": order}, SamplerOptions(order=order)
    )

# DEIS always ends at timestep 0, and lowers its order there as DPM-Solver++ does.  Its integrals' closed form
# loses digits in float32 (measured: 1.1e-5).  Ours are Gauss's rule in sigma: in the long last step they may
# be off by 3e-6, in float64 too (measured; 3e-14 in the steps before).
DEIS = "DEISMultistepScheduler"
DEIS_TOLERANCE = {torch.float32: 5e-5}
CASES["deis_1"] = Case(DEIS, "deis", {"solver_order": 1}, SamplerOptions(order=1))
for order in (2, 3):
    deis = Case(DEIS, "deis", {"solver_order": order}, SamplerOptions(order=order), tolerance=DEIS_TOLERANCE)
    CASES[f"deis_{order}_lowered"] = dataclasses.replace(deis, lowered=order - 1)
    full = {"solver_order": order, "lower_order_final": False}
    CASES[f"deis_{order}"] = dataclasses.replace(deis, config=full)

# LCM mixes in some of x, for a network that must not move at timestep 0: nothing with a large scaling.
CASES["lcm"] = Case("LCMScheduler", "lcm", {"timestep_scaling": 1e6}, timesteps=few(4))

# TCD ends at timestep 0, and rounds the timestep that it jumps to down: here these are whole.
for eta in (0.0, 0.25, 0.5, 1.0):
    CASES[f"tcd_{eta}"] = Case(
        "TCDScheduler",
        "tcd",
        {},
        SamplerOptions(eta=eta),
        {"eta": eta},
        {"timesteps": [800, 600, 400, 200]},
        first_timestep,
    )

# From a picture to its noise: levels rise, from timestep 0.
INVERSE = "DPMSolverMultistepInverseScheduler"
CASES["inverse_2m"] = Case(INVERSE, "dpmpp_2m", {"lower_order_final": False})
CASES["inverse_3m_sde"] = Case(INVERSE, "dpmpp_3m_sde", {**THIRD, "lower_order_final": False})


@both_dtypes
@both_predictions
@pytest.mark.parametrize("name", CASES)
def test_every_step_is_that_of_diffusers(name, prediction_type, dtype):
    case = CASES[name]
    theirs, ours = pair_of(case, prediction_type, dtype)
    tolerance = case.tolerance.get(dtype, TOLERANCE[dtype])
    assert_same(theirs, ours, tolerance, len(ours.steps) - case.lowered if case.lowered else None)
    if case.lowered:
        assert difference(theirs, ours)[-case.lowered :].min() > DIFFERENT / 10
    # what ours would have told the network, had it been asked: rounded timesteps apart, the same
    assert max(abs(a - b) for a, b in zip(ours.calls.t, theirs.calls.t, strict=True)) < 1


# Samplers that are near to the right one, and ask the network as often.
WRONG = {
    "ddim_eta_0.5": ("ddim", ETA_1),
    "ddim_eta_1.0": ("ddpm_large", None),
    "ddpm": ("ddpm_large", None),
    "euler": ("lms", None),
    "euler_ancestral": ("euler_ancestral", SamplerOptions(eta=0.9)),
    "heun": ("dpm_2", None),
    "dpm_2": ("heun", None),
    "lms_4": ("lms", SamplerOptions(order=3)),
    "dpmpp_2m": ("dpmpp_2m_sde_heun", None),
    "dpmpp_3m_sde_eta_0": ("dpmpp_3m", None),
    "dpmpp_2m_sde": ("dpmpp_2m_sde_heun", None),
    "unipc_3": ("unipc", SamplerOptions(order=2)),
    "deis_3": ("lms", SamplerOptions(order=3)),
    "lcm": ("euler", None),
    "tcd_0.5": ("tcd", SamplerOptions(eta=0.49)),
    "inverse_2m": ("euler", None),
}


@pytest.mark.parametrize("name", WRONG)
def test_another_sampler_is_noticed(name):
    sampler, options = WRONG[name]
    theirs, ours = pair_of(CASES[name], "eps", torch.float64, sampler, options)
    assert difference(theirs, ours).max() > DIFFERENT
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        assert_same(theirs, ours, TOLERANCE[torch.float32])


def test_a_network_that_is_asked_too_often_is_noticed():
    theirs, ours = pair_of(CASES["heun"], "eps", torch.float64, "euler")
    assert difference(theirs, ours).max() > DIFFERENT
    x, y = torch.stack(ours.calls.x), torch.stack(theirs.calls.x)
    with pytest.raises(AssertionError, match="The values for attribute 'shape' do not match"):
        assert_close(x, y, 1.0)


def test_other_noise_is_noticed():
    case = CASES["ddpm"]
    draws = theirs_of(case, "eps", torch.float64).draws.clone()
    draws[8, 0, 0, 0, 0] += 1e-9  # the last draw
    theirs, ours = pair_of(case, "eps", torch.float64, draws=draws)
    assert_same(theirs, ours, TOLERANCE[torch.float64], 8)
    with pytest.raises(AssertionError, match="Tensor-likes are not close"):
        assert_same(theirs, ours, TOLERANCE[torch.float64])


@both_dtypes
@pytest.mark.parametrize("at_0", [True, False])
def test_plms_is_pndm_without_its_runge_kutta_steps(at_0, dtype):
    """Its list of timesteps has the second one twice: that call is the look ahead of our first step.

    To sigma 0 it extrapolates through four slopes as everywhere; ours ends with x0 there.
    """
    config = {"skip_prk_steps": True, "set_alpha_to_one": at_0, "steps_offset": 1 - at_0}
    case = Case("PNDMScheduler", "plms", config, final=clean if at_0 else first_timestep)
    theirs, ours = pair_of(case, "eps", dtype)
    assert_same(theirs, ours, TOLERANCE[dtype], 9 if at_0 else None)
    if at_0:
        assert torch.equal(ours.steps[-1].x_next, ours.steps[-1].prediction.x0)
        assert difference(theirs, ours)[-1] > DIFFERENT
    assert ours.calls.t == theirs.calls.t
    assert ours.ends == list(range(2, 12))


def test_pndm_averages_what_the_network_says_even_if_that_is_v():
    """Ours averages eps, which is the method: the mean of several v belongs to no one noise level."""
    case = Case("PNDMScheduler", "plms", {"skip_prk_steps": True, "set_alpha_to_one": True})
    theirs, ours = pair_of(case, "v", torch.float64)
    assert difference(theirs, ours).max() > DIFFERENT


def stirred_after(levels, draws, options):
    """Ask about the latents before noise was stirred in, as diffusers does; ours asks about those after."""

    def ask(denoise, calls):
        def asked(x, sigma_hat):
            step = len(calls.t)
            sigma = levels[step]
            assert sigma <= sigma_hat < sigma * 1.5
            x_before = x - options.s_noise * math.sqrt(sigma_hat**2 - sigma**2) * draws[step]
            output = calls(x_before / scale(sigma), torch.tensor(denoise.timestep(sigma)))
            x0 = to_x0(x, sigma_hat, output, "eps")
            return Prediction(x0, x0)

        asked.timestep = denoise.timestep
        return asked

    return ask


@both_dtypes
@pytest.mark.parametrize("s_churn", [2.0, 20.0])
def test_euler_with_churn_stirs_in_the_same_noise(s_churn, dtype):
    """eps only: of v diffusers takes the level before the noise for the one after it."""
    options = SamplerOptions(s_churn=s_churn, s_tmin=0.3, s_tmax=5.0, s_noise=1.007)
    churned = {k: getattr(options, k) for k in ("s_churn", "s_tmin", "s_tmax", "s_noise")}
    case = Case("EulerDiscreteScheduler", "euler", step=churned)
    theirs = theirs_of(case, "eps", dtype)
    levels = levels_of(theirs.scheduler)
    ask = stirred_after(levels, theirs.draws, options)
    ours = run_ours("euler", theirs, levels, "eps", options, ask=ask)
    assert_same(theirs, ours, TOLERANCE[dtype])
    assert ours.noise.used == theirs.drawn
    assert 0 < len(theirs.drawn) < len(levels) - 1


@both_predictions
def test_dpmpp_3m_has_twice_the_bend_of_the_authors_third_order(prediction_type):
    theirs, ours = pair_of(CASES["dpmpp_3m_sde_eta_0"], prediction_type, torch.float64, "dpmpp_3m")
    found = difference(theirs, ours)
    assert found[:2].max() < TOLERANCE[torch.float64]  # of first and second order
    assert found[2:].max() > DIFFERENT


@both_predictions
def test_the_default_third_order_takes_its_second_step_by_the_midpoint_rule(prediction_type):
    case = dataclasses.replace(CASES["dpmpp_3m_sde_eta_0"], config={**THIRD, "solver_type": "midpoint"})
    found = difference(*pair_of(case, prediction_type, torch.float64))
    assert found[0] < TOLERANCE[torch.float64]
    assert found[1] > TOLERANCE[torch.float32]


def with_the_whole_bend(scheduler):
    """Add alpha * D2 to a step of third order."""
    update = scheduler.multistep_dpm_solver_third_order_update

    def added(outputs, *, sample, noise):
        end, *nodes = (scheduler.sigmas[scheduler.step_index + k].log() for k in (1, 0, -1, -2))
        slopes = [
            (outputs[-1 - k] - outputs[-2 - k]) / (high - low)
            for k, (low, high) in enumerate(pairwise(nodes))
        ]
        bend = (nodes[0] - end) ** 2 * (slopes[0] - slopes[1]) / (nodes[2] - nodes[0])
        alpha = 1 / scale(scheduler.sigmas[scheduler.step_index + 1])
        return update(outputs, sample=sample, noise=noise) + alpha * bend

    scheduler.multistep_dpm_solver_third_order_update = added


@both_dtypes
@both_predictions
def test_third_order_with_noise_is_diffusers_plus_a_whole_bend(prediction_type, dtype):
    """A slip of theirs: D2's weight is (1 - exp(-2h) - 2h) / (2h)**2 - 1/2, which should go to 0 with h.

    With + 1/2 it does, as in k-diffusion; so theirs lacks alpha * D2 (since their pull request 9104).
    """
    case = Case(MULTISTEP, "dpmpp_3m_sde", {**SDE, **THIRD}, ETA_1, timesteps=few(15))
    assert difference(*pair_of(case, prediction_type, dtype))[2:].min() > DIFFERENT
    theirs = theirs_of(case, prediction_type, dtype, setup=with_the_whole_bend)
    ours = run_ours(case.sampler, theirs, levels_of(theirs.scheduler), prediction_type, ETA_1)
    assert_same(theirs, ours, TOLERANCE[dtype])


# DPMSolverSinglestepScheduler spends several of its timesteps on one step of ours.  Where they are even in
# log(sigma), its inner levels are ours: the middle, or a third and two thirds.

SINGLESTEP = "DPMSolverSinglestepScheduler"
EVEN = {"use_exponential_sigmas": True, "lower_order_final": True}


def outer_levels(scheduler):
    """Those at which a step of ours begins, and the end."""
    levels = scheduler.sigmas.double().tolist()
    return [*(s for s, order in zip(levels, scheduler.order_list, strict=False) if order == 1), levels[-1]]


def evenly_to_the_end(scheduler):
    """Without it the last level is there twice."""
    scheduler.sigmas[-1] = scheduler.sigmas[-2] ** 2 / scheduler.sigmas[-3]


def like_the_authors(scheduler):
    """In a step of third order, the formula "heun" to two thirds of the way and "midpoint" at its end.

    As DPM-Solver's authors have it, and ours.  diffusers takes one name for both.
    """
    orders, index = scheduler.order_list, scheduler.step_index
    inside = index is not None and orders[index : index + 2] == [2, 3]
    scheduler.register_to_config(solver_type="heun" if inside else "midpoint")


SINGLESTEPS = {
    "dpmpp_2s": ({"solver_order": 2}, 11, PLAIN),
    "dpmpp_sde": ({"solver_order": 2, **SDE}, 11, ETA_1),
    "dpmpp_3s": ({"solver_order": 3}, 10, PLAIN),
}


@both_dtypes
@both_predictions
@pytest.mark.parametrize("sampler", SINGLESTEPS)
def test_singlestep_solvers_are_ours_over_its_outer_levels(sampler, prediction_type, dtype):
    config, steps, options = SINGLESTEPS[sampler]
    case = Case(SINGLESTEP, sampler, {**EVEN, **config}, options, timesteps=few(steps))
    theirs = theirs_of(case, prediction_type, dtype, before_step=like_the_authors)
    ours = run_ours(sampler, theirs, outer_levels(theirs.scheduler), prediction_type, options)
    assert_same(theirs, ours, TOLERANCE[dtype])
    assert ours.ends[-1] == steps


@both_dtypes
@both_predictions
@pytest.mark.filterwarnings("ignore:`algorithm_types=dpmsolver` is deprecated:FutureWarning")
@pytest.mark.parametrize(
    ("sampler", "order", "steps", "orders"),
    [("dpm_2", 2, 10, [1, 2] * 5), ("dpm_fast", 3, 9, [1, 2, 3] * 2 + [1, 2, 1])],
)
def test_dpm_solver_is_ours_over_its_outer_levels(sampler, order, steps, orders, prediction_type, dtype):
    """DPM-Solver without ++, in terms of eps: DPM-Solver-2, and DPM-Solver-fast of orders 3, 3, 2, 1."""
    config = {**EVEN, **SIGMA_MIN, "lower_order_final": order == 3, "solver_order": order}
    case = Case(SINGLESTEP, sampler, {**config, "algorithm_type": "dpmsolver"}, timesteps=few(steps))
    theirs = theirs_of(case, prediction_type, dtype, setup=evenly_to_the_end, before_step=like_the_authors)
    assert theirs.scheduler.order_list == orders
    ours = run_ours(sampler, theirs, outer_levels(theirs.scheduler), prediction_type)
    assert_same(theirs, ours, TOLERANCE[dtype])


@both_predictions
@pytest.mark.parametrize("solver_type", ["midpoint", "heun"])
def test_diffusers_has_the_authors_singlestep_third_order_by_neither_name(solver_type, prediction_type):
    case = Case(SINGLESTEP, "dpmpp_3s", {**EVEN, "solver_order": 3, "solver_type": solver_type})
    theirs = theirs_of(case, prediction_type, torch.float64)
    ours = run_ours("dpmpp_3s", theirs, outer_levels(theirs.scheduler), prediction_type)
    assert difference(theirs, ours).max() > DIFFERENT


@both_dtypes
def test_ipndm_is_diffusers_until_its_step_to_0(dtype):
    """It begins at infinite noise, which ours cannot: left out, as from a picture.  It is for v alone.

    To sigma 0 ours takes Euler's step, theirs one of Adams and Bashforth's.
    """
    theirs = run_theirs(diffusers.IPNDMScheduler, {}, dtype, few(11), skip=1)
    levels = (theirs.scheduler.betas / theirs.scheduler.alphas).double().tolist()[1:]
    ours = run_ours("ipndm", theirs, levels, "v")
    assert_same(theirs, ours, TOLERANCE[dtype], 9)
    assert difference(theirs, ours)[9] > DIFFERENT


@both_dtypes
@both_predictions
@pytest.mark.parametrize("sampler", ["ddim", "euler", "dpmpp_1"])
def test_ddim_inverse_is_ours_over_rising_levels(sampler, prediction_type, dtype):
    """Its timesteps are where steps go, and it tells the network those, not the ones it comes from."""
    config = {**NOT_CLIPPED, "set_alpha_to_one": False, "steps_offset": 1}
    theirs = theirs_of(Case("DDIMInverseScheduler", sampler, config), prediction_type, dtype)
    timesteps = [0, *theirs.scheduler.timesteps.tolist()]
    levels = schedule_of(theirs.scheduler).sigmas[timesteps].tolist()
    ours = run_ours(sampler, theirs, levels, prediction_type)
    assert_same(theirs, ours, TOLERANCE[dtype])
    assert (ours.calls.t, theirs.calls.t) == (timesteps[:-1], timesteps[1:])


@both_dtypes
@both_predictions
def test_lcm_is_diffusers_with_its_boundary_condition(prediction_type, dtype):
    """c_skip and c_out belong to how the network was trained: ours is asked with them applied."""
    case = Case("LCMScheduler", "lcm", {"timestep_scaling": 1e-3}, timesteps=few(4))
    theirs = theirs_of(case, prediction_type, dtype)
    scalings = theirs.scheduler.get_scalings_for_boundary_condition_discrete
    assert scalings(999)[0] > 0.2

    def ask(denoise, _):
        def asked(x, sigma):
            c_skip, c_out = scalings(denoise.timestep(sigma))
            x0 = c_out * denoise(x, sigma).x0 + c_skip * x / scale(sigma)
            return Prediction(x0, x0)

        asked.timestep = denoise.timestep
        return asked

    ours = run_ours("lcm", theirs, levels_of(theirs.scheduler), prediction_type, ask=ask)
    assert_same(theirs, ours, TOLERANCE[dtype])


@both_predictions
def test_tcd_rounds_down_the_timestep_that_it_jumps_to(prediction_type):
    """7/10 of 759, 499, ... is between timesteps, where ours interpolates."""
    case = dataclasses.replace(
        CASES["tcd_0.5"], options=SamplerOptions(eta=0.3), step={"eta": 0.3}, timesteps=few(4)
    )
    found = difference(*pair_of(case, prediction_type, torch.float64))
    assert DIFFERENT < found.max() < 1e-2


def preconditioned(scheduler):
    """Ask the network as Karras et al. do, by the scheduler's own functions."""

    def ask(denoise, calls):
        def asked(x, sigma):
            shown = scheduler.precondition_inputs(x, sigma)
            x0 = scheduler.precondition_outputs(x, calls(shown, torch.tensor(math.log(sigma) / 4)), sigma)
            return Prediction(x0, x0)

        asked.timestep = denoise.timestep
        return asked

    return ask


EDM = {
    "euler": ("EDMEulerScheduler", {}, PLAIN),
    "ddim": ("EDMEulerScheduler", {"sigma_schedule": "exponential"}, PLAIN),
    "dpmpp_1": ("EDMDPMSolverMultistepScheduler", {"solver_order": 1}, PLAIN),
    "dpmpp_2m": ("EDMDPMSolverMultistepScheduler", {}, PLAIN),
    "dpmpp_2m_sde": ("EDMDPMSolverMultistepScheduler", SDE, ETA_1),
    "dpmpp_3m_sde": ("EDMDPMSolverMultistepScheduler", THIRD, PLAIN),
}


@both_dtypes
@both_predictions
@pytest.mark.parametrize("sampler", EDM)
def test_edm_schedulers_are_ours_with_their_preconditioning(sampler, prediction_type, dtype):
    kind, config, options = EDM[sampler]
    config = {"prediction_type": PREDICTION_TYPES[prediction_type], **config}
    theirs = run_theirs(getattr(diffusers, kind), config, dtype, few(15))
    ask = preconditioned(theirs.scheduler)
    ours = run_ours(sampler, theirs, levels_of(theirs.scheduler), prediction_type, options, ask=ask)
    assert_same(theirs, ours, TOLERANCE[dtype])
    assert_close(torch.tensor(ours.calls.t), torch.tensor(theirs.calls.t), 1e-6)
