"""Attention against cause: does muting a noun move what its attention lies on?

    python benchmarks/cause.py            # half a minute on one core

The scenes and noise levels of `pointing.py`.  The network is asked about each of them once with the whole
caption, and once for each noun with nobody listening to its tokens.  What moved is the root mean square
change of the predicted clean latents at each place.  The map of the other noun shows what any noun's would
give.  What the text encoder carried of a noun into the tokens after it stays.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

import ldm
from benchmarks.pointing import LEVELS, REPORTED, SCENES, Question, noun, questions
from ldm.diffusion.denoiser import to_x0
from ldm.views.cause import agreement, caught

TOP = 0.1  # share of the picture with the most attention


@torch.no_grad()
def compared(model: ldm.LatentDiffusion, asked: Question, levels: Sequence[float]) -> Tensor:
    """(2, levels, 5) numbers of each noun.

    They are agreement by its own map and by the other noun's, what the top catches by its own and by the
    other's, and how much of what moved lies on its object: 1 is evenly spread.
    """
    whole, recorded = model.predict(asked.x, asked.t, asked.context, record=True)
    maps = [noun(recorded[0].float().cpu(), asked.words, which) for which in (0, 1)]
    rows = []
    for which in (0, 1):
        heard = torch.ones(asked.context.shape[:2], dtype=torch.bool)
        heard[:, list(asked.words.nouns[which])] = False
        without, _ = model.predict(asked.x, asked.t, asked.context, heard=heard)
        mask = asked.masks[which].float()
        for k, sigma in enumerate(levels):
            x = asked.x[k] * (1 + sigma**2) ** 0.5
            both = [
                to_x0(x, sigma, output[k].float().cpu(), model.prediction_type) for output in (whole, without)
            ]
            moved = (both[1] - both[0]).square().mean(0).sqrt()
            own, other = maps[which][k], maps[1 - which][k]
            wide = F.interpolate(moved[None, None], size=mask.shape)[0, 0]
            on_object = float((wide * mask).sum() / wide.sum() / mask.mean())
            scores = (agreement(own, moved), agreement(other, moved))
            rows.append([*scores, caught(own, moved, TOP), caught(other, moved, TOP), on_object])
    return torch.tensor(rows).unflatten(0, (2, len(levels)))


def table(model: ldm.LatentDiffusion, count: int) -> Iterator[str]:
    """A line for each level, and one for all."""
    found = torch.stack([compared(model, asked, LEVELS) for asked in questions(model, REPORTED, count)])
    means = found.mean((0, 1))  # (levels, 5)
    yield (
        "| noise level | agreement | with the other noun's map | top tenth catches | the other noun's "
        "| moved on its object, even is 1 |"
    )
    yield "|---" * 6 + "|"
    for name, row in [*zip((f"{v:g}" for v in LEVELS), means, strict=True), ("all", means.mean(0))]:
        yield f"| {name} | " + " | ".join(f"{v:.2f}" for v in row.tolist()) + " |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--scenes", type=int, default=SCENES)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for line in table(ldm.load(), options.scenes):
        print(line, flush=True)


if __name__ == "__main__":
    main()
