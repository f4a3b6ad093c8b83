"""Whether opening another model gives the memory of the one before back.

    python benchmarks/switching.py              # ten switches between the default model and a copy of it
    python benchmarks/switching.py --times 30 --weights sd15.safetensors

Each model draws one picture, so that everything it holds on to is there.  Prints the memory of the process
after each switch, and by how much it grew from the third to the last: the first two fill caches that stay.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

MEGABYTE = 2**20
FIRST = 2  # switches that fill caches


def resident() -> int:
    """Bytes of this process that lie in memory."""
    import os

    with Path("/proc/self/statm").open() as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def switches(weights: Path, copy: Path, times: int) -> list[int]:
    """The process's memory after each switch."""
    import torch

    from ldm.engine import Engine, Opened
    from ldm.settings import Settings
    from ldm.speed import keep_freed_memory

    torch.set_num_threads(1)
    keep_freed_memory()
    engine, seen = Engine(weights, device="cpu"), []
    try:
        for number in range(times):
            engine.open(Opened((copy, weights)[number % 2]))
            best = engine.model.config.recommended
            settings = Settings("a red apple", steps=2, width=best.width, height=best.height)
            *_, run = engine.follow(engine.start(settings, "nobody"))
            engine.delete(run.id, "nobody")
            seen.append(resident())
    finally:
        engine.close()
    return seen


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, default=None)
    parser.add_argument("--times", type=int, default=10)
    given = parser.parse_args()
    from ldm.checkpoints import weights_folder

    weights = given.weights or weights_folder() / "default.safetensors"
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / f"copy{weights.suffix}"
        shutil.copyfile(weights, copy)
        seen = switches(weights, copy, given.times)
    for number, memory in enumerate(seen, 1):
        print(f"switch {number:3}: {memory / MEGABYTE:8.1f} MB")
    size = weights.stat().st_size
    grown = seen[-1] - seen[FIRST]
    print(f"from switch {FIRST + 1} on: {grown / MEGABYTE:+.1f} MB; the file has {size / MEGABYTE:.1f} MB")


if __name__ == "__main__":
    main()
