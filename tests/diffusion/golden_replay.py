"""What the tests against the originals' numbers share: a case's network and schedule, and its trajectory.

CompVis and labml work at unit variance, we at unit signal, so x is compared after division by
sqrt(1 + sigma**2).
"""

import dataclasses
import functools
import json
import math

import pytest
import torch
from safetensors.torch import load_file

from ldm.diffusion.denoiser import Denoiser
from ldm.diffusion.gaussian import posterior
from ldm.diffusion.guidance import Guidance
from ldm.diffusion.samplers import SAMPLERS
from ldm.diffusion.schedule import build_schedule
from ldm.models.config import UNetConfig
from ldm.models.unet import UNetModel

both_dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


@functools.cache
def unet(path, dtype):
    """The U-Net of a weights file; its config lies beside it.  Returns (network, that config)."""
    config = json.loads((path.parent / "config.json").read_text())
    if "compvis_config" in config:
        config = config["compvis_config"]["model"]["params"]
    config = config.get("compvis_params", config)
    params = config["unet_config"]["params"] if "unet_config" in config else config["params"]
    if not any("transformer_blocks" in name for name in load_file(path)):  # CompVis leaves out its defaults
        params = params | {"use_spatial_transformer": False, "context_dim": None}
    known = {k: tuple(v) if isinstance(v, list) else v for k, v in params.items()}
    net = UNetModel(UNetConfig(**{k: v for k, v in known.items() if k in UNetConfig.__dataclass_fields__}))
    prefix = "model.diffusion_model."
    weights = {k.removeprefix(prefix): v.float() for k, v in load_file(path).items()}
    net.load_state_dict({k: weights[k] for k in net.state_dict()})

    def network(x, t, context, y=None):
        with torch.no_grad():
            return net(x, t, context, y), ()

    net.to(dtype)
    return network, config


def weights_path(golden):
    name = next(word for word in golden.config["weights"].split() if word.startswith("../"))
    return (golden.folder / name).resolve()


def schedule_of(golden):
    """The schedule a case names, or the model whose weights it uses, else Stable Diffusion's."""
    config = golden.config
    if "linear_start" not in config and "weights" in config:
        config = unet(weights_path(golden), torch.float32)[1]
    return build_schedule(
        n_steps=config.get("timesteps", 1000),
        betas="scaled_linear",
        linear_start=config.get("linear_start", 0.00085),
        linear_end=config.get("linear_end", 0.012),
    )


def denoiser_of(golden, dtype, cfg_scale, prediction_type="eps"):
    network, _ = unet(weights_path(golden), dtype)
    context, uncond = (embedding(golden, name, dtype) for name in ("cond", "uncond"))
    return Denoiser(network, schedule_of(golden), prediction_type, context, uncond, Guidance(cfg_scale))


def embedding(golden, name, dtype):
    """The context a case was run with; its float64 run took that of the model's float64 text encoder."""
    value = golden.inputs.get(name)
    model = weights_path(golden).parent / "expected.safetensors"
    if value is None or dtype == torch.float32:
        return value
    exact = load_file(model).get(f"{name}.f64") if model.exists() else None
    if exact is None or exact.shape != value.shape or not torch.allclose(exact.float(), value, atol=1e-5):
        return value.to(dtype)
    return exact


class Supplied:
    """A noise source from a stack of draws: step k takes entry k, Brownian noise the next one.

    Attributes:
        used: numbers of the draws that were asked for.
    """

    def __init__(self, draws=None, factor=1.0):
        self.draws, self.factor, self.used = draws, factor, []

    def __call__(self, draw):
        assert self.draws is not None, "a deterministic sampler drew noise"
        self.used.append(draw - 1)
        return self.draws[draw - 1].double() * self.factor

    def between(self, sigma, sigma_next):
        return self(len(self.used) + 1)


def float64(values):
    return torch.tensor(values, dtype=torch.float64)


def scale(sigma):
    """From unit variance to unit signal."""
    return (1 + sigma**2) ** 0.5


def replay(sampler, denoiser, x, sigmas, options, noise):
    """Steps of a sampler from x of unit variance."""
    sigmas = float64(sigmas)
    x = x * scale(sigmas[0].item())
    return list(SAMPLERS[sampler].run(denoiser, x, sigmas, options, noise, ()))


def compvis_sigmas(schedule, timesteps):
    """Falling noise levels of rising timesteps, ending where CompVis and labml end."""
    return [schedule.sigma_at(t) for t in (*reversed(timesteps.tolist()), 0)]


def unit_variance(steps):
    """The start and the result of every step, stacked, at unit variance."""
    first = steps[0].x / scale(steps[0].sigma)
    return torch.stack([first, *(s.x_next / scale(s.sigma_next) for s in steps)])


def x0s(steps):
    return torch.stack([s.prediction.x0 for s in steps])


def posterior_tables(schedule):
    """CompVis's buffers of the posterior, from our function of it."""
    t = torch.arange(len(schedule))
    zeros, ones = torch.zeros(len(t), 1, dtype=torch.float64), torch.ones(len(t), 1, dtype=torch.float64)
    coef1, variance = posterior(schedule, ones, zeros, t)
    coef2, _ = posterior(schedule, zeros, ones, t)
    return {
        "posterior_variance": variance[:, 0],
        "posterior_log_variance_clipped": variance[:, 0].clamp(min=1e-20).log(),
        "posterior_mean_coef1": coef1[:, 0],
        "posterior_mean_coef2": coef2[:, 0],
    }


def ddim_timesteps(kind, steps, train):
    """CompVis's and labml's list, quirks included."""
    if kind == "uniform":
        return torch.arange(0, train, train // steps) + 1
    return (torch.linspace(0, math.sqrt(train * 0.8), steps, dtype=torch.float64) ** 2).long() + 1


def one_picture(denoiser, x, index, sigma):
    """What is predicted for one picture of a batch whose pictures have noise levels of their own."""
    denoiser = dataclasses.replace(denoiser, context=denoiser.context[index : index + 1])
    return denoiser(x[index : index + 1], sigma)
