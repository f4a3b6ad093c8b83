"""Samplers against the numbers of k-diffusion, CompVis's PLMS and DPM-Solver, and sgm.

Trajectories are replayed from the cases' own noise levels or timesteps, with the noise they were drawn with.
"""

import math

import pytest
import torch

from ldm.diffusion.denoiser import Denoiser
from ldm.diffusion.guidance import Guidance
from ldm.diffusion.samplers import SAMPLERS, Given, SamplerOptions
from ldm.diffusion.samplers.single_step import dpm_solver
from ldm.diffusion.spacing import sampling_sigmas
from tests.golden_cases import assert_whole, case, names

from .golden_replay import (
    Supplied,
    both_dtypes,
    compvis_sigmas,
    ddim_timesteps,
    denoiser_of,
    float64,
    replay,
    scale,
    schedule_of,
    unet,
    unit_variance,
    weights_path,
    x0s,
)

pytestmark = pytest.mark.golden

# cases that are not named after our sampler
KDIFF = {
    "kdiff_euler_cfg": "euler",
    "kdiff_euler_churn": "euler",
    "kdiff_euler_discrete_sigmas": "euler",
    "kdiff_euler_quantize": "euler",
    "kdiff_euler_ancestral_eta05": "euler_ancestral",
    "kdiff_heun_churn": "heun",
    "kdiff_dpmpp_2m_cfg": "dpmpp_2m",
}
SGM = {"sgm_dpmpp_2s_a": "dpmpp_2s_ancestral"}
NOT_SAMPLERS = {"kdiff_denoiser", "kdiff_sigmas", "sgm_denoiser"}
OPTIONS = ("eta", "s_churn", "s_tmin", "s_tmax", "s_noise", "order")


def options_of(name, arguments):
    """The originals' arguments; what is not given is their default, full fresh noise."""
    given = {k: v for k, v in arguments.items() if k in OPTIONS}
    assert set(arguments) - set(given) <= {"solver_type"}
    return SamplerOptions(**{"eta": 1.0 if SAMPLERS[name].eta is not None else 0.0, **given})


class Asked:
    """A denoiser that notes what it was asked, and may be asked about a level near by instead."""

    def __init__(self, denoiser, near=None):
        self.denoiser, self.near = denoiser, near or (lambda sigma: sigma)
        self.x, self.timesteps = [], []

    def __call__(self, x, sigma):
        self.x.append(x)
        sigma = self.near(sigma)
        self.timesteps.append(self.denoiser.timestep(sigma))
        return self.denoiser(x, sigma)

    def timestep(self, sigma):
        return self.denoiser.timestep(sigma)

    def sigma_at(self, t):
        return self.denoiser.schedule.sigma_at(t)


class Schedule:
    """A schedule that names timesteps in another way."""

    def __init__(self, schedule, timestep):
        self.schedule, self.timestep = schedule, timestep

    def sigma_at(self, t):
        return self.schedule.sigma_at(t)

    def __len__(self):
        return len(self.schedule)


def nearest(schedule):
    """Timestep of the level of the table whose log(sigma) is the nearest: k-diffusion's `quantize`."""
    logs = schedule.sigmas.log()
    return lambda sigma: float((math.log(sigma) - logs).abs().argmin())


def replaced(denoiser, schedule):
    arguments = (denoiser.network, schedule, denoiser.prediction_type, denoiser.context)
    return Denoiser(*arguments, denoiser.uncond, denoiser.guidance)


@both_dtypes
@pytest.mark.parametrize("name", sorted(set(names("kdiff_*")) - NOT_SAMPLERS))
def test_samplers_are_k_diffusions(name, dtype):
    golden = case(name)
    config, inputs = golden.config, golden.inputs
    ours = KDIFF.get(name, name.removeprefix("kdiff_"))
    denoiser = denoiser_of(golden, dtype, config["guidance"] or 1.0)
    if config["quantize"]:
        schedule = denoiser.schedule
        denoiser = replaced(denoiser, Schedule(schedule, nearest(schedule)))
    asked = Asked(denoiser)
    sigmas = golden.expected["sigmas.f64"]
    suffix = ".f64" if dtype == torch.float64 else ""
    if config["sigmas"] == "karras":
        levels = schedule_of(golden), config["n"], "karras"
        golden.assert_matches(f"sigmas{suffix}", sampling_sigmas(*levels).to(dtype))
    else:
        sigmas = sampling_sigmas(denoiser.schedule, config["n"], "linspace")
        golden.assert_matches(f"sigmas{suffix}", sigmas.to(dtype))
    noise = Supplied(inputs.get("noise"))
    x = inputs["noise0"].to(dtype) * sigmas[0].item()
    if ours == "dpm_fast":
        calls = config["n"]
        orders = [3] * (calls // 3) + [calls % 3]
        if calls % 3 == 0:
            orders = [3] * (calls // 3 - 1) + [2, 1]
        ends = (sigmas[0].item(), sigmas[-2].item())
        sigmas = torch.logspace(*(math.log10(s) for s in ends), len(orders) + 1, dtype=torch.float64)
        steps = list(dpm_solver(Given(asked, x, sigmas, SamplerOptions(), noise), orders))
    else:
        options = options_of(ours, config["sampler_args"])
        steps = list(SAMPLERS[ours].run(asked, x, sigmas, options, noise, ()))
    levels = [s.sigma if s.sigma_asked is None else s.sigma_asked for s in steps]
    golden.assert_matches(f"latent{suffix}", steps[-1].x_next)
    golden.assert_matches(f"sigma_hat{suffix}", float64(levels).to(dtype))
    told = float64(asked.timesteps)
    golden.assert_matches(
        f"model_timesteps{suffix}", told.to(golden.expected["model_timesteps"].dtype) if not suffix else told
    )
    if noise.draws is not None:
        assert len(noise.used) == config["noise_draws_used"] or ours in ("euler", "heun")  # drawn, not used
    if dtype == torch.float32:
        x = [s.x if s.x_asked is None else s.x_asked for s in steps]
        golden.assert_matches("x_inter", torch.stack(x))
        golden.assert_matches("denoised", x0s(steps))


@both_dtypes
@pytest.mark.parametrize("name", names("plms_S*"))
def test_plms_is_compvis_s(name, dtype):
    golden = case(name)
    config, inputs = golden.config, golden.inputs
    timesteps = ddim_timesteps("uniform", config["S"], len(schedule_of(golden)))
    golden.assert_matches("timesteps", timesteps)
    denoiser = denoiser_of(golden, dtype, config["unconditional_guidance_scale"])
    asked = Asked(denoiser)
    sigmas = compvis_sigmas(denoiser.schedule, timesteps)
    steps = replay("plms", asked, inputs["x_T"].to(dtype), sigmas, SamplerOptions(), Supplied())
    assert len(asked.x) == len(timesteps) + 1
    x = unit_variance(steps)
    if dtype == torch.float64:
        golden.assert_matches("latent.f64", x[-1])
    else:
        golden.assert_matches("x_inter", x)
        golden.assert_matches("latent", x[-1])


@both_dtypes
def test_dpm_solver_is_compvis_s(dtype):
    """Its levels lie evenly between timesteps and are interpolated in log(alpha), not in log(sigma)."""
    golden = case("dpm_solver_2m")
    config, inputs = golden.config, golden.inputs
    schedule, steps = schedule_of(golden), config["S"]
    train = len(schedule)
    t = torch.linspace(1, 1 / train, steps + 1, dtype=torch.float64) * train - 1  # timesteps
    low = t.floor().clamp(0, train - 2).long()
    logs = 0.5 * schedule.alphas_cumprod.log()
    log_alpha = logs[low] + (t - low) * (logs[low + 1] - logs[low])
    sigmas = torch.expm1(-2 * log_alpha).sqrt()
    told = dict(zip(sigmas.tolist(), t.tolist(), strict=True))
    denoiser = denoiser_of(golden, dtype, config["unconditional_guidance_scale"])
    asked = Asked(replaced(denoiser, Schedule(schedule, told.__getitem__)))
    made = replay("dpmpp_2m", asked, inputs["x_T"].to(dtype), sigmas.tolist(), SamplerOptions(), Supplied())
    suffix = ".f64" if dtype == torch.float64 else ""
    golden.assert_matches(f"model_timesteps{suffix}", float64(asked.timesteps).to(dtype))
    golden.assert_matches(f"latent{suffix}", unit_variance(made)[-1])


def sgm_denoiser(golden, dtype):
    """SDXL's: a vector y beside the context, levels and timesteps rounded to the table's."""
    inputs = {k: v.to(dtype) for k, v in golden.inputs.items()}
    network, _ = unet(weights_path(golden), dtype)
    y = torch.cat([inputs["y_uncond"], inputs["y"]])
    schedule = schedule_of(golden)
    denoiser = Denoiser(
        lambda x, t, context: network(x, t, context, y),
        schedule,
        "eps",
        inputs["context"],
        inputs["context_uncond"],
        Guidance(scale=golden.config["guidance"]),
    )
    table = schedule.sigmas
    return Asked(denoiser, lambda sigma: float(table[(table - sigma).abs().argmin()]))


def sgm_sigmas(schedule, steps):
    """LegacyDDPMDiscretization: whole timesteps, evenly from the last one down, the first left out."""
    train = len(schedule)
    t = torch.linspace(train - 1, 0, steps + 1, dtype=torch.float64)[:-1]
    return [*(schedule.sigma_at(math.floor(value)) for value in t.tolist()), 0.0]


@both_dtypes
@pytest.mark.parametrize("name", sorted(set(names("sgm_*")) - NOT_SAMPLERS))
def test_samplers_are_sgm_s(name, dtype):
    golden = case(name)
    config, inputs = golden.config, golden.inputs
    ours = SGM.get(name, name.removeprefix("sgm_"))
    asked = sgm_denoiser(golden, dtype)
    suffix = ".f64" if dtype == torch.float64 else ""
    sigmas = golden.expected["sigmas.f64"]
    legacy = float64(sgm_sigmas(asked.denoiser.schedule, config["num_steps"]))
    golden.assert_matches(f"sigmas{suffix}", legacy.to(dtype))
    options = options_of(ours, config["sampler_args"])
    x = inputs["x_T"].to(dtype) * scale(sigmas[0].item())
    steps = list(SAMPLERS[ours].run(asked, x, sigmas, options, Supplied(inputs.get("noise")), ()))
    golden.assert_matches(f"latent{suffix}", steps[-1].x_next)
    if dtype == torch.float32:
        golden.assert_matches("x_at_each_model_call", torch.stack(asked.x))


def test_every_number_of_these_cases_is_compared(request):
    assert_whole(request, {})
