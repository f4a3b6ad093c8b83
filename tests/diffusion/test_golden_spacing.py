"""Spacings, and the denoiser at the table's nearest level, against the numbers of k-diffusion and of sgm."""

import re

import pytest
import torch

from ldm.diffusion.denoiser import to_x0
from ldm.diffusion.samplers import ancestral_step
from ldm.diffusion.schedule import NoiseSchedule, scaled_linear_betas
from ldm.diffusion.spacing import sampling_sigmas
from ldm.diffusion.spacing_formulas import (
    compvis_timesteps,
    exponential_sigmas,
    karras_sigmas,
    polyexponential_sigmas,
    sgm_uniform_timesteps,
)
from ldm.models.config import UNetConfig
from ldm.models.unet import UNetModel
from tests.golden_cases import assert_whole, case

from .golden_replay import float64

pytestmark = pytest.mark.golden

SD = NoiseSchedule.from_betas(scaled_linear_betas())


def vp_sigmas(steps):
    """Levels of Song et al.'s variance-preserving SDE at even times (k-diffusion's `get_sigmas_vp`).

    None of our spacings: it knows no schedule, and no such SDE ends where some of ours do.
    """
    t = torch.linspace(1, 1e-3, steps, dtype=torch.float64)
    return (torch.exp(19.9 * t**2 / 2 + 0.1 * t) - 1).sqrt().tolist()


def test_levels_are_k_diffusion_s():
    golden = case("kdiff_sigmas")
    pattern = re.compile(r"([a-z]+)(?:_rho([\d.]+))?\.n(\d+)(?:\.[\d._]+)?")
    formulas = {
        "karras": karras_sigmas,
        "exponential": exponential_sigmas,
        "polyexponential": polyexponential_sigmas,
    }
    for name in (k for k in golden.expected if ".n" in k and not k.endswith(".f64")):
        kind, rho, steps = pattern.fullmatch(name).groups()
        high, low = golden.expected[f"{name}.f64"][[0, -2]].tolist()  # the name has six digits of them
        if kind == "vp":
            ours = sampling_sigmas(SD, int(steps), "custom", custom=vp_sigmas(int(steps)))
        else:
            options = {} if rho is None else {"rho": float(rho)}
            ours = float64([*formulas[kind](high, low, int(steps), **options), 0.0])
        golden.assert_matches(name, ours.float())
        golden.assert_matches(f"{name}.f64", ours)


def test_what_a_step_keeps_and_draws_is_k_diffusion_s():
    golden = case("kdiff_sigmas")
    rows = golden.expected["ancestral_steps_from_to_eta_down_up"][:, :3].tolist()
    ours = float64([[*row, *ancestral_step(*row)] for row in rows])
    golden.assert_matches("ancestral_steps_from_to_eta_down_up", ours)


def test_levels_are_sgm_s():
    golden = case("sgm_denoiser")
    golden.assert_matches("sigmas_table", SD.sigmas.float())
    golden.assert_matches("edm_sigmas_n12", float64([*karras_sigmas(80.0, 0.002, 12), 0.0]).float())
    for name in (k for k in golden.expected if k.startswith("legacy_timesteps_n")):
        steps = int(name.removeprefix("legacy_timesteps_n"))
        # sgm cuts the fraction of a timestep off, and lists them rising
        whole = (sgm_uniform_timesteps(1000, steps) + 1e-9).floor().flip(0)
        golden.assert_matches(name, whole.long())
        levels = [SD.sigma_at(t) for t in reversed(whole.tolist())]
        golden.assert_matches(f"legacy_ddpm_sigmas_n{steps}", float64([*levels, 0.0]).float())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
def test_the_denoiser_is_sgm_s(dtype):
    """sgm moves each noise level to the nearest of the table, and asks with that one's whole timestep."""
    golden = case("sgm_denoiser")
    params = case("unet_sdxl").config["params"]
    known = {k: tuple(v) if isinstance(v, list) else v for k, v in params.items()}
    net = UNetModel(UNetConfig(**{k: v for k, v in known.items() if k in UNetConfig.__dataclass_fields__}))
    net.load_state_dict(golden.weights)
    net.to(dtype)
    x, context, y = (golden.inputs[k].to(dtype) for k in ("x", "context", "y"))
    index = (golden.inputs["sigma"].double()[:, None] - SD.sigmas).abs().argmin(1)
    golden.assert_matches("sigma_to_idx", index)
    sigma = SD.sigmas[index].to(dtype)[:, None, None, None]
    with torch.no_grad():
        output = net(x / (1 + sigma**2).sqrt(), index, context, y)
    for name, prediction_type in (("EpsScaling", "eps"), ("VScaling", "v")):
        golden.assert_matches(f"denoised_{name}", to_x0(x, sigma, output, prediction_type).float())


def test_compvis_s_own_timesteps_are_kept_for_replay():
    golden = case("ddim_tables")
    for name in (k for k in golden.expected if k.endswith(".timesteps")):
        kind, steps = name.removesuffix(".timesteps").split(".S")
        golden.assert_matches(name, torch.tensor(compvis_timesteps(kind, int(steps), 1000)))


def test_every_number_of_these_cases_is_compared(request):
    exceptions = {
        ("ddim_tables", "*.[as]*"): "alphas and sigmas of these timesteps are compared in test_golden",
        ("unet_sdxl", "*"): "named for its network only; compared in models/test_golden",
    }
    assert_whole(request, exceptions)
