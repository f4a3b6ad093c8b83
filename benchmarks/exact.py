"""Every sampler against denoisers whose answer is known: order of convergence, moments, calls.

    python benchmarks/exact.py                  # prints the tables
    python benchmarks/exact.py --out docs/samplers_exact.md

Two dimensions, a Gaussian and a mixture of two; 100,000 points for the moments.  Nothing here is timed: the
numbers are the same on every machine.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from ldm.diffusion.exact import Mixture, gaussian, two_gaussians
from ldm.diffusion.noise import NoiseStream
from ldm.diffusion.samplers import DEFAULT_ETA, SAMPLERS, SamplerOptions, sampler_levels
from ldm.diffusion.schedule import NoiseSchedule, scaled_linear_betas
from ldm.trace import Prediction, Step

SCHEDULE = NoiseSchedule.from_betas(scaled_linear_betas())
TOP, BOTTOM = 10.0, 0.3  # noise levels between which orders are measured
BEFORE = AFTER = (
    3  # exact steps above, and steps below that are not looked at: the last ones are of lower order
)
FINE = 3000  # steps of the reference solution of a mixture, of third order
POINTS = (1, 250, 400)
CHURN = 20.0


def moment_steps(name: str) -> int:
    """Enough for the steps' own error to be small beside three standard errors of 100,000 points."""
    if name == "langevin":
        return 8000
    return 2000 if SAMPLERS[name].order == 1 and not SAMPLERS[name].distilled else 400


@dataclass(frozen=True)
class Moments:
    """How far the mean and the covariance of what came out are from the data's, in standard errors.

    Attributes:
        mean: largest over the dimensions.
        covariance: largest over its entries.
        bias: largest relative error of a standard deviation.
    """

    mean: float
    covariance: float
    bias: float


class Counted:
    """A denoiser that counts its calls."""

    def __init__(self, mixture: Mixture) -> None:
        self.mixture, self.calls = mixture, 0
        self.timestep, self.sigma_at = mixture.timestep, mixture.sigma_at

    def __call__(self, x: Tensor, sigma: float) -> Prediction:
        """As the mixture."""
        self.calls += 1
        return self.mixture(x, sigma)


class Distilled(Counted):
    """What a perfectly distilled model says: the x0 from which the jump lands on the ODE's own point.

    A consistency model's jump ends at sigma 0; of TCD at the timestep between.
    """

    def __init__(self, mixture: Mixture, sigmas: Tensor, eta: float) -> None:
        super().__init__(mixture)
        levels = sigmas.tolist()
        self.ends = dict(pairwise(levels))
        self.eta = eta

    def __call__(self, x: Tensor, sigma: float) -> Prediction:
        """The x0 that is jumped by."""
        self.calls += 1
        end = self.ends[sigma] if self.eta < 1 else 0.0
        if end > 0:
            end = min(self.sigma_at((1 - self.eta) * self.timestep(end)), end)
        ratio = end / sigma
        x0 = (self.mixture.flow(x, sigma, end) - ratio * x) / (1 - ratio)
        return Prediction(x0, x0)


@cache
def reference(mixture: Mixture, x: Tensor, sigma: float, sigma_next: float) -> Tensor:
    """Where the ODE takes x: the formula, or of a mixture many small steps of third order."""
    if len(mixture.means) == 1:
        return mixture.flow(x, sigma, sigma_next)
    steps = max(20, round(FINE * abs(math.log(sigma / sigma_next)) / math.log(TOP / BOTTOM)))
    levels = _log_levels(sigma, sigma_next, steps)
    *_, last = SAMPLERS["dpmpp_3s"].run(mixture, x, levels, SamplerOptions(), _no_noise(), ())
    return last.x_next


def order(name: str, mixture: Mixture, counts: Sequence[int] = (32, 64, 128)) -> list[float]:
    """Measured order of convergence at each doubling of the steps, from exact starting values.

    A sampler that remembers starts from exact steps, because its first own steps are of lower order; and what
    is measured is the error some steps before the end.
    """
    x = _start(mixture)
    exact = reference(mixture, x, TOP, BOTTOM)
    errors = [float((_after(name, mixture, x, count) - exact).abs().max()) for count in counts]
    return [math.log2(a / b) for a, b in pairwise(errors)]


@cache
def _start(mixture: Mixture) -> Tensor:
    return mixture.noisy(TOP, (1, 8, 8), torch.Generator().manual_seed(0))


def _after(name: str, mixture: Mixture, x: Tensor, count: int) -> Tensor:
    """Latents at BOTTOM after `count` steps from x at TOP."""
    ratio = (TOP / BOTTOM) ** (1 / count)
    numbers = range(-BEFORE, count + AFTER + 1)
    levels = [TOP * ratio**-k for k in numbers]
    history: list[Step] = []
    for index, (sigma, sigma_next) in enumerate(pairwise(levels[: BEFORE + 1])):
        above = reference(mixture, x, TOP, sigma)
        below = reference(mixture, x, TOP, sigma_next) if index < BEFORE - 1 else x
        history.append(Step(index, sigma, sigma_next, 0.0, above, mixture(above, sigma), below))
    sigmas = torch.tensor(levels, dtype=torch.float64)
    options = SamplerOptions(eta=0.0)
    for step in SAMPLERS[name].run(mixture, x, sigmas, options, _no_noise(), history):
        if step.index == BEFORE + count - 1:
            return step.x_next
    raise AssertionError(f"{name} stopped early")


def moments(name: str, mixture: Mixture, steps: int = 0, seed: int = 0) -> Moments:
    """Mean and covariance of POINTS points that the sampler makes of exact noise, beside the data's."""
    steps = steps or moment_steps(name)
    eta = DEFAULT_ETA[name] if SAMPLERS[name].fresh else max(DEFAULT_ETA[name], 0.5)
    options = SamplerOptions(eta=eta, s_churn=CHURN if SAMPLERS[name].churns else 0.0)
    options = replace(options, steps_per_level=max(1, steps // 40))
    sigmas = _moment_levels(name, steps, options)
    denoise = Counted(mixture)
    if SAMPLERS[name].distilled:
        denoise = Distilled(mixture, sigmas, 1.0 if name == "lcm" else eta)
    generator = torch.Generator().manual_seed(seed)
    x = mixture.noisy(float(sigmas[0]), POINTS, generator).float()
    noise = NoiseStream(seed, 1, tuple(x.shape[1:]))
    for step in SAMPLERS[name].run(denoise, x, sigmas, options, noise, ()):
        x = step.x_next
    return compared(x, mixture)


def _moment_levels(name: str, steps: int, options: SamplerOptions) -> Tensor:
    def sigmas_of(count: int) -> Tensor:
        levels = _log_levels(SCHEDULE.sigma_at(len(SCHEDULE) - 1), SCHEDULE.sigma_at(0), max(count - 1, 1))
        return torch.cat([levels[:count], levels.new_zeros(1)])

    return sampler_levels(name, sigmas_of, steps, options)


def compared(x: Tensor, mixture: Mixture) -> Moments:
    """The moments of (B, C, H, W) points beside the data's."""
    points = x.double().permute(0, 2, 3, 1).flatten(0, 2)  # (N, C)
    away = points - mixture.mean
    count = len(points)
    mean = away.mean(0) / (mixture.covariance.diagonal() / count).sqrt()
    products = away[:, :, None] * away[:, None, :]  # (N, C, C)
    error = products.mean(0) - mixture.covariance
    spread = products.var(0).div(count).sqrt()
    bias = (products.mean(0).diagonal() / mixture.covariance.diagonal()).sqrt() - 1
    return Moments(float(mean.abs().max()), float((error / spread).abs().max()), float(bias.abs().max()))


def calls(name: str, steps: int) -> int:
    """Of the network in a run that ends at sigma 0."""
    mixture = gaussian(SCHEDULE)
    options = SamplerOptions(eta=DEFAULT_ETA[name])
    sigmas = _moment_levels(name, steps, options)
    denoise = Counted(mixture)
    x = mixture.noisy(float(sigmas[0]), (1, 2, 2), torch.Generator().manual_seed(0))
    for _ in SAMPLERS[name].run(denoise, x, sigmas, options, NoiseStream(0, 1, tuple(x.shape[1:])), ()):
        pass
    return denoise.calls


def _log_levels(sigma: float, sigma_next: float, steps: int) -> Tensor:
    return torch.logspace(math.log10(sigma), math.log10(sigma_next), steps + 1, dtype=torch.float64)


def _no_noise() -> NoiseStream:
    return NoiseStream(0, 1, (1,))


def report() -> Iterator[str]:
    """The tables, line by line."""
    kinds = {"Gaussian": gaussian(SCHEDULE), "mixture": two_gaussians(SCHEDULE)}
    yield "| sampler | its order | measured, Gaussian | measured, mixture | calls of 20 steps |"
    yield "|---|---|---|---|---|"
    for name, entry in SAMPLERS.items():
        measured = ["", ""]
        if not entry.fresh:
            measured = [f"{order(name, mixture)[-1]:.2f}" for mixture in kinds.values()]
        yield f"| `{name}` | {entry.order} | {measured[0]} | {measured[1]} | {calls(name, 20)} |"
    yield ""
    yield "| sampler | data | steps | mean, standard errors | covariance, standard errors | sd, relative |"
    yield "|---|---|---|---|---|---|"
    for name, entry in SAMPLERS.items():
        if not (entry.fresh or entry.churns or entry.eta is not None):
            continue
        for kind, mixture in kinds.items():
            if entry.distilled and kind == "mixture":
                continue
            found = moments(name, mixture)
            numbers = f"{found.mean:.2f} | {found.covariance:.2f} | {found.bias:.2%}"
            yield f"| `{name}` | {kind} | {moment_steps(name)} | {numbers} |"


def main() -> None:
    """Print the tables, or write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", type=Path, default=None, help="write them here too")
    options = parser.parse_args()
    lines = []
    for line in report():
        print(line, flush=True)
        lines.append(line)
    if options.out is not None:
        options.out.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
