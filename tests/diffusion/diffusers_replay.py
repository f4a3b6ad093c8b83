"""A scheduler of diffusers run as its pipelines run it, and a sampler of ours over the same noise levels.

diffusers computes its tables and most of its steps in float32.  Its own code is also run in float64: in the
scheduler's module the name `float32` then means float64, so that formulas are compared and not rounding.

Some schedulers keep latents at unit variance, some at unit signal; all are compared at unit variance.
"""

import contextlib
import sys
from dataclasses import dataclass, field

import pytest
import torch
import torch.nn.functional as F

from ldm.diffusion.denoiser import Denoiser
from ldm.diffusion.samplers import SAMPLERS, SamplerOptions
from ldm.diffusion.schedule import NoiseSchedule, scaled_linear_betas

from .golden_replay import Supplied, float64, scale

SHAPE = (2, 3, 4, 5)
STABLE_DIFFUSION = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
PLAIN = SamplerOptions()
PREDICTION_TYPES = {"eps": "epsilon", "v": "v_prediction"}


def network(x, t):
    """Not linear in x, another one at every timestep, and near enough to noise that latents stay small."""
    weight = torch.sin(torch.arange(81, dtype=x.dtype) ** 1.5).view(3, 3, 3, 3)
    return 0.6 * x + 0.5 * torch.tanh(F.conv2d(x, weight, padding=1) + t / 500 - 1)


@dataclass
class Calls:
    """The network, noting what it is asked.

    Attributes:
        told: timesteps it goes by instead of those it is asked about, in the order of the calls.
    """

    told: list | None = None
    x: list = field(default_factory=list)
    t: list = field(default_factory=list)

    def __call__(self, x, t):
        t = float(t.flatten()[0])
        self.x.append(x)
        self.t.append(t)
        return network(x, t if self.told is None else self.told[len(self.t) - 1])


class Wide:
    """A module in which the name `float32` means float64."""

    def __init__(self, module):
        self.module = module

    def __getattr__(self, name):
        return getattr(self.module, "float64" if name == "float32" else name)


@contextlib.contextmanager
def diffusers_in(dtype, kind, randn):
    """The module of a class of diffusers computes in dtype, and its noise is what `randn` returns."""
    module, before = sys.modules[kind.__module__], torch.get_default_dtype()
    with pytest.MonkeyPatch.context() as patch:
        if dtype == torch.float64:
            for name in {"torch", "np"} & set(vars(module)):
                patch.setattr(module, name, Wide(getattr(module, name)))
        patch.setattr(module, "randn_tensor", randn, raising=False)
        torch.set_default_dtype(dtype)
        try:
            yield
        finally:
            torch.set_default_dtype(before)


@dataclass
class Theirs:
    """What diffusers did.

    Attributes:
        unit_signal: whether its latents are x0 + sigma * eps.
        start: the latents it began with.
        latents: what each `step` returned, one for each call of the network.
        draws: its noise, entry k in step k.
        drawn: the entries that it asked for.
    """

    scheduler: object
    unit_signal: bool
    start: torch.Tensor
    calls: Calls
    latents: list
    draws: torch.Tensor
    drawn: list


def run_theirs(kind, config, dtype, timesteps, *, setup=None, before_step=None, skip=0, **arguments):
    """Run a scheduler over its own timesteps.

    Args:
        kind: a class of diffusers.
        config: its arguments.
        timesteps: arguments of `set_timesteps`.
        setup: called with the scheduler when its timesteps are set.
        before_step: called with the scheduler before each `step`.
        skip: how many timesteps to leave out at the start, as from a picture.
        arguments: of `step`.
    """
    draws = torch.randn(32, *SHAPE, generator=torch.Generator().manual_seed(3), dtype=torch.float64).to(dtype)
    calls, latents, drawn = Calls(), [], []

    def randn(shape, **_):
        assert shape == SHAPE
        drawn.append(len(latents) // scheduler.order)  # order 2 is two calls a step, and one draw
        return draws[drawn[-1]]

    with diffusers_in(dtype, kind, randn):
        scheduler = kind(**config)
        scheduler.set_timesteps(**timesteps)
        if setup is not None:
            setup(scheduler)
        start = x = draws[-1] * scheduler.init_noise_sigma
        for t in scheduler.timesteps[skip:]:
            output = calls(scheduler.scale_model_input(x, t), t)
            if before_step is not None:
                before_step(scheduler)
            x = scheduler.step(output, t, x, **arguments).prev_sample
            assert x.dtype == dtype
            latents.append(x)
    return Theirs(scheduler, scheduler.init_noise_sigma != 1, start, calls, latents, draws, drawn)


def schedule_of(scheduler):
    """The training schedule as diffusers has it; of those that have none, any."""
    if hasattr(scheduler, "alphas_cumprod"):
        return NoiseSchedule(scheduler.alphas_cumprod.double())
    return NoiseSchedule.from_betas(scaled_linear_betas())


def levels_of(scheduler, final=0.0):
    """The noise levels that a scheduler steps through.

    Args:
        final: where it ends, of those that keep no list of levels.
    """
    if hasattr(scheduler, "sigmas"):
        return scheduler.sigmas.double().unique_consecutive().tolist()  # steps of two calls have each twice
    timesteps = scheduler.timesteps.unique_consecutive()
    return [*schedule_of(scheduler).sigmas[timesteps].tolist(), final]


@dataclass
class Ours:
    """What our sampler did.

    Attributes:
        ends: number of calls of the network until the end of each step.
    """

    steps: list
    calls: Calls
    ends: list
    noise: Supplied


def run_ours(name, theirs, levels, prediction_type="eps", options=PLAIN, *, ask=None, draws=None):
    """Run our sampler from where diffusers began; the network goes by the timesteps that diffusers told it.

    Args:
        ask: called with the denoiser and its network, returns what the sampler asks instead.
        draws: other noise than theirs.
    """
    calls, noise = Calls(theirs.calls.t), Supplied(theirs.draws if draws is None else draws)
    context = torch.zeros(len(theirs.start), 1, 1)
    schedule = schedule_of(theirs.scheduler)
    denoise = Denoiser(lambda x, t, _: (calls(x, t), ()), schedule, prediction_type, context)
    if ask is not None:
        denoise = ask(denoise, calls)
    x = theirs.start if theirs.unit_signal else theirs.start * scale(levels[0])
    ours = Ours([], calls, [], noise)
    for step in SAMPLERS[name].run(denoise, x, float64(levels), options, noise, ()):
        ours.steps.append(step)
        ours.ends.append(len(calls.t))
    return ours


def at_unit_variance(theirs, ours):
    """The latents after each of our steps, and theirs there, stacked."""
    scales = [scale(step.sigma_next) for step in ours.steps]
    x = [step.x_next / s for step, s in zip(ours.steps, scales, strict=True)]
    y = [theirs.latents[end - 1] for end in ours.ends]
    if theirs.unit_signal:
        y = [latents / s for latents, s in zip(y, scales, strict=True)]
    return torch.stack(x), torch.stack(y)


def assert_close(x, y, tolerance):
    """Closer than this part of the largest latent."""
    torch.testing.assert_close(x, y, rtol=0, atol=tolerance * y.abs().max().item())


def assert_same(theirs, ours, tolerance, steps=None):
    """Every step gave the same latents, and the network was shown the same.

    Args:
        steps: how many are compared; None is all, and no call may be left over.
    """
    x, y = at_unit_variance(theirs, ours)
    assert_close(x[:steps], y[:steps], tolerance)
    shown, shown_theirs = ours.calls.x, theirs.calls.x
    if steps is not None:
        shown, shown_theirs = (calls[: ours.ends[steps - 1]] for calls in (shown, shown_theirs))
    assert_close(torch.stack(shown), torch.stack(shown_theirs), tolerance)
    assert bool(ours.noise.used) == bool(theirs.drawn)


def difference(theirs, ours):
    """(steps,) the largest in each step, as a part of the largest latent."""
    x, y = at_unit_variance(theirs, ours)
    return (x - y).abs().amax(dim=(1, 2, 3, 4)) / y.abs().max()
