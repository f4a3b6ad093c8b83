"""Schedules, guidance and samplers against the numbers of the originals; `DDPM` itself: `test_golden_ddpm`.

Trajectories are replayed from the cases' own timesteps or sigmas.
"""

import dataclasses
import re
from itertools import pairwise

import pytest
import torch

from ldm.diffusion.denoiser import Denoiser, from_x0, to_x0
from ldm.diffusion.gaussian import q_sample, target
from ldm.diffusion.guidance import Guidance
from ldm.diffusion.samplers import SAMPLERS, SamplerOptions, ancestral_step
from ldm.diffusion.schedule import NoiseSchedule, cosine_betas, linear_betas, scaled_linear_betas, sqrt_betas
from ldm.diffusion.spacing import sampling_sigmas
from tests.golden_cases import assert_whole, case, names

from .golden_replay import (
    Supplied,
    both_dtypes,
    compvis_sigmas,
    ddim_timesteps,
    denoiser_of,
    float64,
    one_picture,
    posterior_tables,
    replay,
    scale,
    schedule_of,
    unit_variance,
    x0s,
)

pytestmark = pytest.mark.golden


def test_betas_and_alphas_cumprod_are_the_originals():
    golden = case("schedules")
    compvis = {"linear": scaled_linear_betas, "sqrt_linear": linear_betas, "sqrt": sqrt_betas}
    checked = 0
    for key, expected in golden.expected.items():
        name, _, kind = key.rpartition(".")
        if kind not in ("betas", "alphas_cumprod"):
            continue
        steps = len(expected)
        if name.startswith("guided_diffusion_linear"):
            betas = linear_betas(steps, 0.1 / steps, 20 / steps)
        elif name.startswith("cosine_s"):
            betas = cosine_betas(steps, offset=float(name.removeprefix("cosine_s")))
        elif "cos" in name:
            betas = cosine_betas(steps)
        else:
            kind_of_betas, start, end = name.rsplit("_", 2)
            betas = compvis[kind_of_betas](steps, float(start), float(end))
        ours = betas if kind == "betas" else NoiseSchedule.from_betas(betas).alphas_cumprod
        golden.assert_matches(key, ours)
        torch.testing.assert_close(ours, expected, rtol=1e-9, atol=1e-15)
        checked += 1
    assert checked


def test_the_posterior_of_every_timestep_is_guided_diffusions():
    golden = case("schedules")
    steps = len(golden.expected["guided_diffusion_linear.betas"])
    schedule = NoiseSchedule.from_betas(linear_betas(steps, 0.1 / steps, 20 / steps))
    for name, ours in posterior_tables(schedule).items():
        if name == "posterior_log_variance_clipped":
            ours[0] = ours[1]  # guided-diffusion's way around log(0)
        golden.assert_matches(f"guided_diffusion_linear.{name}", ours)
    golden.assert_matches("guided_diffusion_linear.sqrt_recipm1_alphas_cumprod", schedule.sigmas)


def ddim_tables(sigmas, eta):
    """CompVis's numbers per step, the last step first, from falling noise levels."""
    pairs = list(pairwise(sigmas))[::-1]
    return {
        "alphas": float64([1 / scale(sigma) ** 2 for sigma, _ in pairs]),
        "alphas_prev": float64([1 / scale(sigma_next) ** 2 for _, sigma_next in pairs]),
        "sigmas": float64([ancestral_step(*pair, eta)[1] / scale(pair[1]) for pair in pairs]),
    }


def test_ddim_tables_follow_from_our_noise_levels():
    golden = case("ddim_tables")
    schedule = schedule_of(golden)
    for key, timesteps in golden.expected.items():
        prefix, _, last = key.rpartition(".")
        if last != "timesteps":
            continue
        kind, _, count = prefix.partition(".S")
        golden.assert_matches(key, ddim_timesteps(kind, int(count), len(schedule)))
        if f"{prefix}.alphas" not in golden.expected:
            assert max(timesteps) == len(schedule)  # the original stops with an IndexError
            continue
        sigmas = compvis_sigmas(schedule, timesteps)
        for name in (k for k in golden.expected if k.startswith(f"{prefix}.") and k != key):
            table, _, eta = name.removeprefix(f"{prefix}.").partition("_eta")
            values = ddim_tables(sigmas, float(eta or 0))[table]
            golden.assert_matches(name, values)
            torch.testing.assert_close(values, golden.expected[name], rtol=1e-9, atol=1e-12)


def test_noise_levels_and_timesteps_convert_as_in_k_diffusion():
    golden = case("kdiff_denoiser")
    schedule = schedule_of(golden)
    ours = {
        "sigmas": schedule.sigmas,
        "log_sigmas": schedule.sigmas.log(),
        "sigma_to_t": float64([schedule.timestep(sigma) for sigma in golden.inputs["sigma"].tolist()]),
        "t_to_sigma": float64([schedule.sigma_at(t) for t in golden.inputs["t"].tolist()]),
    }
    for name in (k for k in golden.expected if re.fullmatch(r"get_sigmas_\d+", k)):
        ours[name] = sampling_sigmas(schedule, int(name.removeprefix("get_sigmas_")), "linspace", "zero")
    for name, values in ours.items():
        golden.assert_matches(name, values.float())
        golden.assert_matches(f"{name}.f64", values)
    # k-diffusion's `quantize`: the timestep whose log(sigma) is the nearest
    distances = golden.inputs["sigma"].double().log()[:, None] - schedule.sigmas.log()
    golden.assert_matches("sigma_to_t_quantized", distances.abs().argmin(1))


@both_dtypes
def test_guidance_is_compvis_s(dtype):
    golden = case("cfg")
    e_uncond, e_cond = (golden.inputs[k].to(dtype) for k in ("e_uncond", "e_cond"))
    calls = []

    def network(x, t, context):
        calls.append(len(x))
        return torch.cat([e_uncond, e_cond])[-len(x) :], ()

    x, context = torch.zeros_like(e_cond), torch.zeros(len(e_cond), 1, 1)
    for key in golden.expected:
        if key.endswith(".f64"):
            continue
        cfg_scale = float(key.removeprefix("scale_"))
        denoiser = Denoiser(network, schedule_of(golden), "eps", context, context, Guidance(cfg_scale))
        ours = from_x0(x, 1.0, denoiser(x, 1.0).x0, "eps")
        golden.assert_matches(key + (".f64" if dtype == torch.float64 else ""), ours)
        # "with scale exactly 1 the original evaluates the conditional branch only"
        assert calls.pop() == len(x) * (1 if cfg_scale == 1 else 2)


@both_dtypes
def test_v_converts_as_in_stable_diffusion_2(dtype):
    golden = case("vpred")
    schedule = schedule_of(golden)
    inputs = {k: v.to(dtype) for k, v in golden.inputs.items() if k != "t"}
    t, x0, eps = golden.inputs["t"], inputs["x_start"], inputs["noise"]
    sigma = schedule.sigmas[t].reshape(-1, 1, 1, 1).to(dtype)
    z = q_sample(schedule, x0, t, eps)
    v = target(schedule, x0, t, eps, "v")
    x = z * scale(sigma)
    ours = {"z": z, "v_target": v}
    for name, output in (("v_target", v), ("v", inputs["v"])):
        ours[f"x0_from_{name}"] = to_x0(x, sigma, output, "v")
        ours[f"eps_from_{name}"] = from_x0(x, sigma, ours[f"x0_from_{name}"], "eps")
    for name, value in ours.items():
        if name.startswith("eps") and dtype == torch.float32:
            continue  # (x - x0) / sigma is as inexact as sigma is small; samplers only use sigma times that
        golden.assert_matches(name + (".f64" if dtype == torch.float64 else ""), value)


@pytest.mark.parametrize("prediction_type", ["eps", "v"])
def test_one_call_of_the_denoiser_is_k_diffusions(prediction_type):
    golden = case("kdiff_denoiser")
    denoiser = denoiser_of(golden, torch.float32, 1.0, prediction_type)
    x, sigmas = golden.inputs["x"], golden.inputs["sigma_x"].tolist()
    ours = [one_picture(denoiser, x, i, sigma).x0 for i, sigma in enumerate(sigmas)]
    golden.assert_matches(f"denoised_{prediction_type}", torch.cat(ours))


@both_dtypes
@pytest.mark.parametrize("name", names("ddim_S*"))
def test_ddim_is_compvis_s(name, dtype):
    golden = case(name)
    config, inputs = golden.config, golden.inputs
    schedule = schedule_of(golden)
    timesteps = ddim_timesteps("uniform", config["S"], len(schedule))
    denoiser = denoiser_of(golden, dtype, config["unconditional_guidance_scale"])
    noise = Supplied(inputs["noise"], config["temperature"]) if "noise" in inputs else Supplied()
    sigmas = compvis_sigmas(schedule, timesteps)
    steps = replay(
        "ddim", denoiser, inputs["x_T"].to(dtype), sigmas, SamplerOptions(eta=config["eta"]), noise
    )
    assert [s.timestep for s in steps] == timesteps.tolist()[::-1]
    check_trajectory(golden, steps, dtype)
    suffix = ".f64" if dtype == torch.float64 else ""
    golden.assert_matches("timesteps", timesteps)
    for table, values in ddim_tables(sigmas, config["eta"]).items():
        golden.assert_matches(f"ddim_{table}{suffix}", values.to(dtype))


@both_dtypes
@pytest.mark.parametrize("name", names("ddim_v_S*"))
def test_ddim_with_a_network_that_predicts_v_is_stability_s(name, dtype):
    golden = case(name)
    config, inputs = golden.config, golden.inputs
    schedule = schedule_of(golden)
    denoiser = denoiser_of(golden, dtype, config["unconditional_guidance_scale"], "v")
    noise = Supplied(inputs["noise"]) if "noise" in inputs else Supplied()
    timesteps = ddim_timesteps("uniform", config["S"], len(schedule))
    golden.assert_matches("timesteps", timesteps)
    sigmas = compvis_sigmas(schedule, timesteps)
    steps = replay(
        "ddim", denoiser, inputs["x_T"].to(dtype), sigmas, SamplerOptions(eta=config["eta"]), noise
    )
    check_trajectory(golden, steps, dtype)


def check_trajectory(golden, steps, dtype):
    x = unit_variance(steps)
    if dtype == torch.float64:
        golden.assert_matches("latent.f64", x[-1])
        return
    golden.assert_matches("x_inter", x)
    golden.assert_matches("pred_x0", x0s(steps))
    golden.assert_matches("latent", x[-1])


def paste_in_between(denoiser, x, sigmas, options, noise, *, before=None, after=None):
    """Step one at a time with a change to x, at unit variance, before or after each step; all results.

    Args:
        before, after: functions of (step number, x of unit variance).
    """
    sigmas = float64(sigmas)
    history, results = [], [x]
    for index in range(len(sigmas) - 1):
        x = before(index, x) if before else x
        latents = x * scale(sigmas[index].item())
        step = next(SAMPLERS["ddim"].run(denoiser, latents, sigmas, options, noise, history))
        history.append(step)
        x = step.x_next / scale(step.sigma_next)
        x = after(index, x) if after else x
        results.append(x)
    return torch.stack(results)


@both_dtypes
def test_inpainting_by_pasting_before_each_step_is_compvis_s(dtype):
    golden = case("ddim_inpaint")
    config, inputs = golden.config, {k: v.to(dtype) for k, v in golden.inputs.items()}
    schedule = schedule_of(golden)
    timesteps = ddim_timesteps("uniform", config["S"], len(schedule))
    denoiser = denoiser_of(golden, dtype, config["unconditional_guidance_scale"])

    def paste(index, x):
        t = timesteps[-1 - index].repeat(len(x))
        kept = q_sample(schedule, inputs["x0"], t, inputs["q_sample_noise"][index])
        return kept * inputs["mask"] + (1 - inputs["mask"]) * x

    sigmas = compvis_sigmas(schedule, timesteps)
    x = paste_in_between(
        denoiser,
        inputs["x_T"],
        sigmas,
        SamplerOptions(eta=config["eta"]),
        Supplied(inputs["noise"]),
        before=paste,
    )
    if dtype == torch.float64:
        golden.assert_matches("latent.f64", x[-1])
    else:
        golden.assert_matches("x_inter", x)
        golden.assert_matches("latent", x[-1])


@both_dtypes
def test_starting_from_a_noised_picture_is_compvis_s(dtype):
    golden = case("img2img")
    config, inputs = golden.config, {k: v.to(dtype) for k, v in golden.inputs.items()}
    schedule = schedule_of(golden)
    timesteps, start = ddim_timesteps("uniform", config["S"], len(schedule)), config["t_enc"]
    golden.assert_matches("timesteps", timesteps)
    # the quirk: noised to the timestep above the first one that is denoised
    t = timesteps[start].repeat(len(inputs["x0"]))
    z = q_sample(schedule, inputs["x0"], t, inputs["noise"])
    denoiser = denoiser_of(golden, dtype, config["unconditional_guidance_scale"])
    sigmas = compvis_sigmas(schedule, timesteps[:start])
    x = unit_variance(replay("ddim", denoiser, z, sigmas, SamplerOptions(eta=config["eta"]), Supplied()))
    if dtype == torch.float64:
        golden.assert_matches("z_enc.f64", z)
        golden.assert_matches("latent.f64", x[-1])
    else:
        golden.assert_matches("z_enc", z)
        name = next(k for k in golden.expected if k.startswith("z_enc_original_steps"))
        t = torch.tensor([int(number) for number in re.findall(r"_t(\d+)", name)])
        golden.assert_matches(name, q_sample(schedule, inputs["x0"], t, inputs["noise"]))
        golden.assert_matches("steps", x[1:])
        golden.assert_matches("latent", x[-1])


@both_dtypes
def test_ancestral_sampling_at_every_timestep_is_compvis_s_ddpm(dtype):
    golden = case("ddpm_ancestral")
    inputs = {k: v.to(dtype) for k, v in golden.inputs.items()}
    schedule = schedule_of(golden)
    count = golden.config["timesteps"]
    denoiser = denoiser_of(golden, dtype, 1.0)
    sigmas = [*(schedule.sigma_at(t) for t in reversed(range(count))), 0.0]
    noise = Supplied(inputs["noise"])
    x = unit_variance(replay("ddpm", denoiser, inputs["x_T"], sigmas, SamplerOptions(), noise))

    def paste(index, x):  # the quirk: at the noise level before the step
        t = torch.full((len(x),), count - 1 - index)
        kept = q_sample(schedule, inputs["x0"], t, inputs["q_sample_noise"][index])
        return kept * inputs["mask"] + (1 - inputs["mask"]) * x

    masked = paste_in_between(denoiser, inputs["x_T"], sigmas, SamplerOptions(eta=1.0), noise, after=paste)
    last = len(schedule) - 1
    high = []
    for index, draw in enumerate(inputs["noise_high_t"]):
        levels = [schedule.sigma_at(last - index), schedule.sigma_at(last - index - 1)]
        x_high = high[-1] if high else inputs["x_T"]
        high.append(
            unit_variance(replay("ddpm", denoiser, x_high, levels, SamplerOptions(), Supplied(draw[None])))[
                -1
            ]
        )
    ours = {"latent": x[-1], "masked_latent": masked[-1], "p_sample_t999_998_997": torch.stack(high)}
    if dtype == torch.float64:
        for name, value in ours.items():
            golden.assert_matches(f"{name}.f64", value)
        return
    for name, value in {**ours, "x_inter": x, "masked_x_inter": masked}.items():
        golden.assert_matches(name, value)


def with_own_error(golden, relative):
    """The case with `f32_vs_f64` filled in from `agreement`, where labml's cases have theirs."""
    own = {k: {"max_abs": relative * float(v.abs().max())} for k, v in golden.expected.items()}
    return dataclasses.replace(golden, config={**golden.config, "f32_vs_f64": own})


def float64_agreement(golden):
    """How far labml's float32 is from CompVis's float64, relative, at worst."""
    found = [v["rel_max"] for k, v in golden.config["agreement"].items() if "float64" in k]
    return max(found)


@both_dtypes
def test_ddim_and_paint_are_labml_s(dtype):
    golden = case("labml_ddim")
    golden = with_own_error(golden, float64_agreement(golden))
    config, inputs = golden.config, {k: v.to(dtype) for k, v in golden.inputs.items()}
    schedule = schedule_of(golden)
    timesteps = golden.expected["time_steps"]
    golden.assert_matches("time_steps", ddim_timesteps("uniform", config["S"], len(schedule)))
    denoiser = denoiser_of(golden, dtype, config["uncond_scale"])
    sigmas, noise = compvis_sigmas(schedule, timesteps), Supplied(inputs["noise"])
    ours = {"ddim_alpha": schedule.alphas_cumprod[timesteps]}
    pairs = list(pairwise(sigmas))[::-1]
    ours["ddim_alpha_prev"] = float64([1 / scale(s) ** 2 for _, s in pairs])
    ours["ddim_sigma"] = float64([ancestral_step(*p, config["eta"])[1] / scale(p[1]) for p in pairs])

    def last(levels, eta, x=inputs["x_T"]):
        return unit_variance(replay("ddim", denoiser, x, levels, SamplerOptions(eta=eta), noise))[-1]

    ours["eta0_latent"] = last(sigmas, 0.0)
    ours["eta_latent"] = last(sigmas, config["eta"])
    skipped = compvis_sigmas(schedule, timesteps[: len(timesteps) - config["skip_steps"]])
    ours["skip_latent"] = last(skipped, 0.0)
    start = config["t_start"]

    def noised(index):
        t = timesteps[index].repeat(len(inputs["orig"]))
        return q_sample(schedule, inputs["orig"], t, inputs["orig_noise"])

    def paste(index, x):  # the quirk: at the noise level before the step
        return noised(start - 1 - index) * inputs["mask"] + x * (1 - inputs["mask"])

    ours["q_sample"] = noised(start)
    levels = compvis_sigmas(schedule, timesteps[:start])
    ours["paint_latent"] = paste_in_between(
        denoiser, noised(start), levels, SamplerOptions(), Supplied(), after=paste
    )[-1]
    ours["img2img_latent"] = last(levels, 0.0, noised(start))
    for name, value in ours.items():
        golden.assert_matches(name, value.to(golden.expected[name].dtype))


@both_dtypes
def test_ddpm_is_labml_s(dtype):
    golden = case("labml_ddpm")
    golden = with_own_error(golden, float64_agreement(golden))
    config, inputs = golden.config, {k: v.to(dtype) for k, v in golden.inputs.items()}
    schedule = schedule_of(golden)
    count = len(schedule) - config["skip_steps"]
    sigmas = [*(schedule.sigma_at(t) for t in reversed(range(count))), 0.0]
    noise = Supplied(inputs["noise"])
    ours = {}
    for name, cfg_scale in (("latent", config["uncond_scale"]), ("latent_no_guidance", 1.0)):
        denoiser = denoiser_of(golden, dtype, cfg_scale)
        ours[name] = unit_variance(replay("ddpm", denoiser, inputs["x_T"], sigmas, SamplerOptions(), noise))[
            -1
        ]
    denoiser = denoiser_of(golden, dtype, config["uncond_scale"])
    levels = [schedule.sigma_at(len(schedule) - 1), schedule.sigma_at(len(schedule) - 2)]
    steps = replay("ddpm", denoiser, inputs["x_T"], levels, SamplerOptions(), noise)
    ours["p_sample_t999"] = unit_variance(steps)[-1]
    ours["p_sample_t999_x0"] = steps[0].prediction.x0
    ours["p_sample_t999_eps"] = steps[0].eps
    half = torch.full((len(inputs["x0"]),), len(schedule) // 2)
    ours["q_sample_t500"] = q_sample(schedule, inputs["x0"], half, inputs["noise"][0])
    for name, value in ours.items():
        golden.assert_matches(name, value.to(golden.expected[name].dtype))


def test_every_number_of_these_cases_is_compared(request):
    exceptions = {
        ("vpred", "eps_from_v"): "inexact in float32 where sigma is small; compared in float64",
        ("vpred", "eps_from_v_target"): "the same",
    }
    assert_whole(request, exceptions)
