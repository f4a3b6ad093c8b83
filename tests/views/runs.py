"""Whole runs of real samplers whose network is a formula, so that there can be many of them."""

import torch

from ldm.diffusion.denoiser import Denoiser
from ldm.diffusion.noise import noise_of
from ldm.diffusion.samplers import SAMPLERS, sampler_levels
from ldm.diffusion.schedule import build_schedule
from ldm.diffusion.spacing import sampling_sigmas
from ldm.generation.asked import guidance_of, options_of
from ldm.settings import Settings
from ldm.trace import Trace

SHAPE = (4, 8, 8)
SCHEDULE = build_schedule(n_steps=1000, betas="scaled_linear", linear_start=0.00085, linear_end=0.012)
TO_NOISE = build_schedule(
    n_steps=1000, betas="scaled_linear", linear_start=0.00085, linear_end=0.012, zero_terminal_snr=True
)


def network(x, t, context):
    """Something that bends, and hears the words and the time."""
    heard = context.mean(dim=(1, 2))[:, None, None, None]
    return torch.tanh(x * (0.7 + 0.3 * heard) + 0.4 * heard) + 1e-4 * t[:, None, None, None] * x.roll(
        1, 3
    ), ()


class Counted:
    """Counts what is asked of a denoiser, step by step."""

    def __init__(self, denoise):
        self.denoise, self.asked = denoise, 0
        self.timestep, self.sigma_at = denoise.timestep, denoise.sigma_at

    def __call__(self, x, sigma):
        self.asked += 1
        return self.denoise(x, sigma)


def denoiser(settings, schedule=SCHEDULE, kind="v", count=1):
    context = torch.full((count, 2, 3), 1.0)
    uncond = torch.full((count, 2, 3), -0.5) if settings.guided else None
    third = torch.full((count, 2, 3), 0.2) if settings.cfg_method == "perpendicular" else None
    return Denoiser(network, schedule, kind, context, uncond, guidance_of(settings), third=third)


def walk(settings, denoise, levels, x, noise=None, history=()):
    """The steps, and how often the network was asked in each."""
    counted, made, asked = Counted(denoise), [*history], []
    noise = noise or stream(settings)
    sampler = SAMPLERS[settings.sampler]
    before = 0
    for step in sampler.run(counted, x, levels, options_of(settings), noise, history):
        made.append(step)
        asked.append(counted.asked - before)
        before = counted.asked
    return made, asked


def stream(settings, shape=SHAPE):
    return noise_of(settings.noise, settings.seed, settings.batch_size, shape)


def levels_of(settings, schedule=SCHEDULE):
    return sampler_levels(
        settings.sampler,
        lambda n: sampling_sigmas(schedule, n, settings.spacing, settings.final_sigma),
        settings.steps,
        options_of(settings),
    )


def traced(settings, steps, kind="v", **more):
    return Trace(settings, "formula", kind, ("a",), (), tuple(steps), (), 0.0, **more)


def made(sampler, schedule=SCHEDULE, kind="v", shape=SHAPE, **asked):
    """A run in float32, and the calls of each step."""
    values = {"prompt": "a", "steps": 9, "seed": 3, "width": 64, "height": 64} | asked
    settings = Settings(sampler=sampler, **values)
    levels, noise = levels_of(settings, schedule), stream(settings, shape)
    x = noise(0) * (1 + float(levels[0]) ** 2) ** 0.5
    denoise = denoiser(settings, schedule, kind, settings.batch_size)
    steps, calls = walk(settings, denoise, levels, x, noise)
    return traced(settings, steps, kind), calls
