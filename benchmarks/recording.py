"""What it costs to record attention: time of the default model's steps, memory at Stable Diffusion's size.

    python benchmarks/recording.py --threads 1

Two runs, with and without, take turns step by step in one process, and the ratio is the median over pairs of
steps, so that a machine with other work shows in both.  The memory is that of the maps as they are kept;
nothing is run for it.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from ldm import LatentDiffusion, Settings, generate, load
from ldm.generation.record import compact
from ldm.speed import keep_freed_memory, preferred_device, preferred_dtype

WEIGHTS = Path(__file__).parents[1] / "weights" / "default.safetensors"
SIZES, TOKENS, STEPS = (64, 32, 16, 8), 77, 100
LATENTS = 5 * 4 * 64 * 64 * 4  # bytes: x, x_next, x0 and both predictions


def pairs(model: LatentDiffusion, settings: Settings) -> Iterator[tuple[float, float]]:
    """Milliseconds of each step of two runs that take turns, the first of which records attention.

    Of the processor's time on a CPU, which others that wait for it do not lengthen.
    """
    clock = time.process_time if model.device.type == "cpu" else time.perf_counter
    runs = [generate(model, settings, record_attention=record) for record in (True, False)]
    for _ in range(settings.steps):
        times = []
        for steps in runs:
            start = clock()
            next(steps)
            times.append((clock() - start) * 1000)
        yield times[0], times[1]


def megabytes(tokens: int) -> float:
    """Memory of a run of 100 steps with guidance, both prompts of so many positions before their padding."""
    maps = (compact(torch.zeros(1, TOKENS, size, size), tokens) for size in SIZES)
    return STEPS * (2 * sum(m.nbytes for m in maps) + LATENTS) / 1e6


def report(rounds: int) -> Iterator[str]:
    """The two tables."""
    device = preferred_device()
    model = load(WEIGHTS, device, preferred_dtype(device))
    settings = Settings("a red circle above a blue square", steps=30)
    list(pairs(model, settings))
    times = [pair for _ in range(rounds) for pair in pairs(model, settings)]
    on, off = (statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(a / b for a, b in times)
    threads = torch.get_num_threads()
    yield f"{model.name}, {rounds} x {settings.steps} steps, {device}, {model.dtype}, {threads} threads\n"
    yield "| ms a step with attention | without | ratio |"
    yield "|---|---|---|"
    yield f"| {on:.2f} | {off:.2f} | {ratio:.3f} |\n"
    yield "| 100 steps of Stable Diffusion 1, 512 x 512 | MB |"
    yield "|---|---|"
    for tokens in (10, 30, TOKENS):
        yield f"| prompts of {tokens} positions | {megabytes(tokens):.0f} |"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--threads", type=int, default=0, help="torch's own choice if not given")
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    keep_freed_memory()
    for line in report(options.rounds):
        print(line, flush=True)


if __name__ == "__main__":
    main()
