"""Time per step outside the network call, for every sampler: 64 x 64 latents, guidance with rescale.

    python benchmarks/overhead.py            # also part of `make bench`

The network is a tensor that is there already, so all that is timed is ours: scaling, guidance, the sampler's
formula, its noise.  Medians over runs of 20 steps in Karras's spacing, divided by the steps.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from ldm.diffusion.denoiser import Denoiser
from ldm.diffusion.guidance import Guidance
from ldm.diffusion.noise import NoiseStream
from ldm.diffusion.samplers import SAMPLERS, SamplerOptions, sampler_levels
from ldm.diffusion.schedule import NoiseSchedule, scaled_linear_betas
from ldm.diffusion.spacing import sampling_sigmas

SHAPE, STEPS, LIMIT_MS = (4, 64, 64), 20, 1.0
SCHEDULE = NoiseSchedule.from_betas(scaled_linear_betas())


def milliseconds(name: str, rounds: int = 9) -> float:
    """Median time of one step with all its calls answered at once."""
    answer = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0))
    context = torch.zeros(1, 77, 8)

    def network(x: Tensor, t: Tensor, context: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        return answer, ()

    denoiser = Denoiser(network, SCHEDULE, "eps", context, context, Guidance(7.5, rescale=0.7))
    entry = SAMPLERS[name]
    options = SamplerOptions(eta=entry.eta or 0.0)

    def sigmas_of(steps: int) -> Tensor:
        return sampling_sigmas(SCHEDULE, steps, "karras")

    sigmas = sampler_levels(name, sigmas_of, STEPS, options)
    times = []
    for seed in range(rounds):
        noise = NoiseStream(seed, 1, SHAPE)
        x = noise(0) * float(sigmas[0])
        start = time.perf_counter()
        for _ in entry.run(denoiser, x, sigmas, options, noise, ()):
            pass
        times.append((time.perf_counter() - start) * 1000 / STEPS)
    return statistics.median(times)


def report() -> Iterator[str]:
    """A line for each sampler."""
    yield "| sampler | calls a step | ms a step | ms a call |"
    yield "|---|---|---|---|"
    for name, entry in SAMPLERS.items():
        found = milliseconds(name)
        yield f"| `{name}` | {entry.calls} | {found:.2f} | {found / entry.calls:.2f} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--threads", type=int, default=0, help="torch's own choice if not given")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    for line in report():
        print(line, flush=True)


if __name__ == "__main__":
    main()
