"""The study's noise schedule and its sampling loop, from our schedule, closed forms, denoiser and sampler."""

import json

import pytest
import torch

from ldm.diffusion.denoiser import Denoiser, to_x0
from ldm.diffusion.gaussian import posterior, q_sample
from ldm.diffusion.guidance import Guidance
from ldm.diffusion.samplers import SAMPLERS, SamplerOptions
from ldm.diffusion.schedule import build_schedule
from ldm.models.study import StudyUNet
from ldm.models.study_config import StudyUNetConfig
from tests.golden_cases import assert_whole, case

from .golden_replay import Supplied, both_dtypes, replay, scale, unit_variance, weights_path, x0s

pytestmark = pytest.mark.golden


def schedule_of(golden):
    return build_schedule(
        n_steps=golden.config["num_timesteps"],
        betas="scaled_linear",
        linear_start=golden.config["beta_start"],
        linear_end=golden.config["beta_end"],
    )


def text_unet(golden, dtype):
    """The U-Net whose weights a case uses; its parameters lie beside them."""
    path = weights_path(golden)
    config = json.loads((path.parent / "config.json").read_text())
    params = {k: tuple(v) if isinstance(v, list) else v for k, v in config["model_config"].items()}
    text = params.pop("condition_config")["text_condition_config"]["text_embed_dim"]
    net = StudyUNet(StudyUNetConfig(**params, im_channels=config["im_channels"], text_dim=text)).eval()
    net.load_state_dict(golden.weights)
    return net.to(dtype)


def test_the_study_s_tables_follow_from_our_schedule():
    golden = case("exai_scheduler")
    schedule = schedule_of(golden)
    a = schedule.alphas_cumprod
    ours = {
        "betas": schedule.betas,
        "alphas": 1 - schedule.betas,
        "alpha_cum_prod": a,
        "sqrt_alpha_cum_prod": a.sqrt(),
        "sqrt_one_minus_alpha_cum_prod": (1 - a).sqrt(),
    }
    for name, values in ours.items():
        golden.assert_matches(name, values.float())
        golden.assert_matches(f"{name}.f64", values)


@both_dtypes
def test_the_study_s_noise_and_steps_back_are_ours(dtype):
    golden = case("exai_scheduler")
    schedule, suffix = schedule_of(golden), ".f64" if dtype == torch.float64 else ""
    t = golden.inputs["t"]
    original, noise, z = (golden.inputs[k].to(dtype) for k in ("original", "noise", "z"))
    golden.assert_matches("add_noise" + suffix, q_sample(schedule, original, t, noise), key="add_noise")
    for name in golden.expected:
        kind, _, step = name.partition("_t")
        if kind != "prev" or not step.isdigit():
            continue
        now = torch.full((len(original),), int(step))
        sigma = schedule.sigma_at(int(step))
        x0 = to_x0(original * scale(sigma), sigma, noise, "eps")
        mean, variance = posterior(schedule, x0, original, now)
        golden.assert_matches(name + suffix, mean + variance.sqrt() * z, key=name)
        golden.assert_matches(f"x0_t{step}{suffix}", x0.clamp(-1, 1), key=f"x0_t{step}")


@both_dtypes
@pytest.mark.parametrize("run", ["g1", "g3"])
def test_the_study_s_sampling_is_our_ddpm(run, dtype):
    golden = case("exai_sampling")
    schedule, net = schedule_of(golden), text_unet(golden, dtype)
    cond, uncond, start = (golden.inputs[k].to(dtype) for k in ("cond_text", "uncond_text", "x_T"))

    def network(x, t, context):
        with torch.no_grad():
            return net(x, t, context), ()

    scale_of_run = float(run.removeprefix("g"))
    guidance = (uncond, Guidance(scale_of_run)) if scale_of_run > 1 else ()
    denoiser = Denoiser(network, schedule, "eps", cond, *guidance)
    sigmas = [schedule.sigma_at(t) for t in reversed(range(len(schedule)))] + [0.0]
    noise = Supplied(golden.inputs["noise"])
    steps = replay("ddpm", denoiser, start, sigmas, SamplerOptions(eta=SAMPLERS["ddpm"].eta), noise)
    assert noise.used == list(range(len(steps) - 1))  # the last step draws none
    suffix = ".f64" if dtype == torch.float64 else ""
    golden.assert_matches(f"latent_{run}{suffix}", unit_variance(steps)[-1], key=f"latent_{run}")
    golden.assert_matches(f"x0_{run}", x0s(steps).clamp(-1, 1))


def test_every_number_of_these_cases_is_compared(request):
    assert_whole(request, {})
