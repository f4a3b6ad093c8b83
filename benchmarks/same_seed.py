"""How far a picture drawn in a batch of four is from the same seed drawn alone, in another order.

    python benchmarks/same_seed.py

The default model, 10 steps, in float32 and bfloat16.  Prints the largest difference of the last latents, as
a share of the largest latent.  It differs between processors: a batch of another size is summed in another
order.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

import ldm

SAMPLERS = ("dpmpp_2m", "euler_ancestral", "dpmpp_sde")


def difference(model: ldm.LatentDiffusion, sampler: str) -> float:
    """The largest of four pictures."""
    settings = ldm.Settings(
        "a red apple on a blue background", sampler=sampler, steps=10, seed=11, batch_size=4
    )
    *_, batch = ldm.generate(model, settings, record_attention=False)
    found = 0.0
    for i in (2, 0, 3, 1):
        *_, alone = ldm.generate(model, settings.of_picture(i), record_attention=False)
        found = max(found, float((alone.x_next - batch.x_next[i : i + 1]).abs().max()))
    return found / float(batch.x_next.abs().max())


def main() -> None:
    """Print a line for each type and sampler."""
    for dtype in (torch.float32, torch.bfloat16):
        model = ldm.load(dtype=dtype)
        for sampler in SAMPLERS:
            print(f"{str(dtype).removeprefix('torch.')}, {sampler}: {difference(model, sampler):.1e}")


if __name__ == "__main__":
    main()
