"""The buffers, closed forms and losses of CompVis's `DDPM` against its own numbers."""

import dataclasses
import re

import pytest
import torch

from ldm.diffusion.denoiser import from_x0, to_x0
from ldm.diffusion.gaussian import denoising_loss, posterior, prior_bits, q_sample, target, vlb_weights
from ldm.diffusion.samplers import SamplerOptions
from tests.golden_cases import assert_whole, case

from .golden_replay import (
    Supplied,
    both_dtypes,
    denoiser_of,
    one_picture,
    posterior_tables,
    replay,
    scale,
    schedule_of,
    unit_variance,
)

pytestmark = pytest.mark.golden


def assert_these(golden, dtype, values):
    """By the original's names; its float64 numbers have a suffix."""
    for name, value in values.items():
        golden.assert_matches(name + (".f64" if dtype == torch.float64 else ""), value, key=name)


def test_the_buffers_of_compvis_s_ddpm_follow_from_our_schedule():
    golden = case("ddpm_core")
    schedule = schedule_of(golden)
    a = schedule.alphas_cumprod
    ours = {
        "betas": schedule.betas,
        "alphas_cumprod": a,
        "alphas_cumprod_prev": a / (1 - schedule.betas),
        "sqrt_alphas_cumprod": a.sqrt(),
        "sqrt_one_minus_alphas_cumprod": (1 - a).sqrt(),
        "log_one_minus_alphas_cumprod": (1 - a).log(),
        "sqrt_recip_alphas_cumprod": (1 + schedule.sigmas**2).sqrt(),
        "sqrt_recipm1_alphas_cumprod": schedule.sigmas,
        **posterior_tables(schedule),
        "lvlb_weights": vlb_weights(schedule),
    }
    for name, values in ours.items():
        golden.assert_matches(f"buffer.{name}", values.float())
        golden.assert_matches(f"buffer.{name}.f64", values)


@both_dtypes
def test_the_closed_forms_are_compvis_s(dtype):
    golden = case("ddpm_core")
    inputs = {k: v.to(dtype) for k, v in golden.inputs.items() if k != "t"}
    t, schedule = golden.inputs["t"], schedule_of(golden)
    x0, eps, x_t = inputs["x_start"], inputs["noise"], inputs["x_t"]
    sigma = schedule.sigmas[t].reshape(-1, 1, 1, 1).to(dtype)
    mean, variance = posterior(schedule, x0, x_t, t)
    ours = {
        "q_sample": q_sample(schedule, x0, t, eps),
        "q_mean": q_sample(schedule, x0, t, torch.zeros_like(x0)),
        "q_variance": q_sample(schedule, torch.zeros_like(sigma), t, torch.ones_like(sigma)) ** 2,
        "predict_start_from_noise": to_x0(x_t * scale(sigma), sigma, eps, "eps"),
        "predict_eps_from_xstart": from_x0(x_t * scale(sigma), sigma, x0, "eps"),
        "q_posterior_mean": mean,
        "q_posterior_variance": variance,
        "q_posterior_log_variance": variance.clamp(min=1e-20).log(),
    }
    ours["prior_bpd"] = prior_bits(schedule, x0)
    ours["q_log_variance"] = ours["q_variance"].log()
    denoiser = denoiser_of(golden, dtype, 1.0)
    levels, x = [schedule.sigma_at(step) for step in t.tolist()], x_t * scale(sigma)
    ours["p_x0_clip0"] = torch.cat([one_picture(denoiser, x, *pair).x0 for pair in enumerate(levels)])
    ours["p_x0_clip1"] = ours["p_x0_clip0"].clamp(-1, 1)
    for clip in ("clip0", "clip1"):
        ours[f"p_mean_{clip}"], variance = posterior(schedule, ours[f"p_x0_{clip}"], x_t, t)
        ours[f"p_log_variance_{clip}"] = variance.clamp(min=1e-20).log()
    temperature = float(re.search(r"temperature ([\d.]+)", golden.config["p_sample_note"])[1])
    ours["p_sample"] = torch.cat(
        [
            unit_variance(
                replay(
                    "ddpm",
                    dataclasses.replace(denoiser, context=denoiser.context[i : i + 1]),
                    x_t[i : i + 1],
                    [schedule.sigma_at(step), schedule.sigma_at(step - 1) if step else 0.0],
                    SamplerOptions(eta=1.0),
                    Supplied(eps[None, i : i + 1], temperature),
                )
            )[-1]
            for i, step in enumerate(t.tolist())
        ]
    )
    assert_these(golden, dtype, ours)


def loss_weights(golden):
    """What each norm was run with, in words in the case: {"l1": {"original_elbo_weight": ..., ...}, ...}."""
    parts = re.findall(r"(l[12]): ([^;]*)", golden.config["p_losses_note"])
    return {
        norm: {k: float(v) for k, v in re.findall(r"(\w+_weight) ([\d.]+)", rest)} for norm, rest in parts
    }


def loss_inputs(golden, dtype):
    """The schedule, the timesteps, what the network says of the noisy latents, and the target per kind."""
    x0, eps = (golden.inputs[k].to(dtype) for k in ("x_start", "noise"))
    t, schedule, denoiser = golden.inputs["t"], schedule_of(golden), denoiser_of(golden, dtype, 1.0)
    output, _ = denoiser.network(q_sample(schedule, x0, t, eps), t, denoiser.context)
    return schedule, t, output, {kind: target(schedule, x0, t, eps, kind) for kind in ("eps", "x0", "v")}


@both_dtypes
def test_the_losses_are_compvis_s(dtype):
    golden = case("ddpm_core")
    schedule, t, output, targets = loss_inputs(golden, dtype)
    # "lvlb_weights stay those of eps", also where the network's output is taken for x0
    weights = vlb_weights(schedule)
    for norm, factors in loss_weights(golden).items():
        for kind in ("eps", "x0"):
            loss = denoising_loss(
                output,
                targets[kind],
                t,
                weights,
                norm=norm,
                simple_weight=factors["l_simple_weight"],
                vlb_weight=factors["original_elbo_weight"],
            )
            # the original calls its total by two names
            names = {"total": loss.total, "val_loss": loss.total}
            names |= {"val_loss_simple": loss.simple, "val_loss_vlb": loss.vlb}
            assert_these(golden, dtype, {f"p_losses.{kind}.{norm}.{k}": v for k, v in names.items()})


@both_dtypes
def test_the_losses_with_a_network_that_predicts_v_are_stability_s(dtype):
    golden = case("p_losses_v")
    schedule, t, output, targets = loss_inputs(golden, dtype)
    # Stability's weights for v are all 1
    loss = denoising_loss(output, targets["v"], t, torch.ones(len(schedule)))
    names = {"loss": loss.total, "val_loss": loss.total}
    assert_these(golden, dtype, names | {"val_loss_simple": loss.simple, "val_loss_vlb": loss.vlb})


def test_every_number_of_these_cases_is_compared(request):
    assert_whole(request, {})
