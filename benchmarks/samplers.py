"""How good the default model's pictures are for how many network calls: each sampler, then each spacing.

    python benchmarks/samplers.py --state runs/samplers.jsonl            # measures; goes on where it stopped
    python benchmarks/samplers.py --state runs/samplers.jsonl --table    # prints what was measured
    python benchmarks/samplers.py --grid docs/samplers.jpg               # draws a prompt with each

Singles and pairs are shares of pictures in which the judge of `python -m ldm evaluate` sees what was asked
for: object and background of single objects, both objects of a pair in their places.  Away is how far the
pictures are from those of the probability-flow ODE, solved in 199 calls: root mean square, of 255.
Takes about an hour on one core.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).parents[1]))

import ldm
from ldm.diffusion.samplers import SAMPLERS
from ldm.diffusion.spacing import SPACINGS
from ldm.evaluation import BATCH, Judged, judged
from ldm.images import to_tensor
from ldm.training.judge import JUDGE, Judge, load_judge
from ldm.views.layout import grid

CALLS = (5, 10, 20)
SINGLES, PAIRS = 48, 32
FOR_SPACINGS = ("dpmpp_2m", "euler")
REFERENCE = ldm.Settings("-", sampler="heun", steps=100)


def steps_for(name: str, calls: int) -> int:
    """The most steps that a sampler makes with so many calls; the last one always costs one."""
    entry = SAMPLERS[name]
    more = (entry.first_calls or entry.calls) - entry.calls
    return max(1, (calls - 1 - more) // entry.calls + 1)


def jobs() -> Iterator[dict[str, Any]]:
    """What is measured: sampler, spacing, calls."""
    for calls in CALLS:
        for name in SAMPLERS:
            yield {"sampler": name, "spacing": "trailing", "calls": calls}
        for name in FOR_SPACINGS if calls < CALLS[-1] else FOR_SPACINGS[:1]:
            for spacing in SPACINGS:
                if spacing not in ("trailing", "custom"):
                    yield {"sampler": name, "spacing": spacing, "calls": calls}


@cache
def model_and_judge() -> tuple[ldm.LatentDiffusion, Judge]:
    """The ones that ship."""
    return ldm.load(), load_judge(JUDGE)


def pictures(settings: ldm.Settings, level: str, count: int) -> Iterator[Judged]:
    """Fixed prompts of a level, seeds 0, 1, 2 ..., judged."""
    return judged(*model_and_judge(), settings, count, level=level)


@cache
def reference() -> torch.Tensor:
    """(BATCH, 3, h, w) pictures of the ODE, solved finely."""
    return to_tensor([one.image for one in pictures(settings_of(REFERENCE), "easy", BATCH)])


def settings_of(settings: ldm.Settings) -> ldm.Settings:
    """With the model's own guidance and size."""
    best = model_and_judge()[0].config.recommended
    return replace(
        settings, cfg_scale=best.cfg_scale, cfg_rescale=best.cfg_rescale, width=best.width, height=best.height
    )


def measured(job: dict[str, Any]) -> dict[str, Any]:
    """The job with what was found."""
    steps = steps_for(job["sampler"], job["calls"])
    settings = settings_of(
        ldm.Settings("-", sampler=job["sampler"], spacing=job["spacing"], steps=steps, steps_per_level=1)
    )
    singles, pairs = list(pictures(settings, "easy", SINGLES)), list(pictures(settings, "pairs", PAIRS))
    right = sum(one.object_right and one.background_right for one in singles)
    away = to_tensor([one.image for one in singles[:BATCH]]) - reference()
    return {
        **job,
        "steps": steps,
        "singles": right / SINGLES,
        "pairs": sum(one.object_right for one in pairs) / PAIRS,
        "away": float(away.square().mean().sqrt()) * 127.5,
    }


def table(found: list[dict[str, Any]]) -> Iterator[str]:
    """Two tables: samplers with the trailing spacing, then spacings."""
    heads = " | ".join(f"{calls} calls: singles, pairs, away" for calls in CALLS)
    by = {(row["sampler"], row["spacing"], row["calls"]): row for row in found}

    def line(label: str, sampler: str, spacing: str) -> str:
        cells = []
        for calls in CALLS:
            row = by.get((sampler, spacing, calls))
            if row is None:
                cells.append("")
                continue
            cells.append(f"{row['singles']:.2f}, {row['pairs']:.2f}, {row['away']:.1f}")
        return f"| {label} | " + " | ".join(cells) + " |"

    yield f"| sampler | {heads} |"
    yield "|---" * (1 + len(CALLS)) + "|"
    for name in SAMPLERS:
        yield line(f"`{name}`", name, "trailing")
    for name in FOR_SPACINGS:
        yield ""
        yield f"| spacing, with `{name}` | {heads} |"
        yield "|---" * (1 + len(CALLS)) + "|"
        for spacing in SPACINGS:
            if spacing != "custom":
                yield line(f"`{spacing}`", name, spacing)


def grid_of_samplers() -> Image.Image:
    """One prompt and seed with every sampler, in 12 steps; annealed Langevin in 300."""
    pictures = []
    for name in SAMPLERS:
        steps = 300 if name == "langevin" else 12
        asked = ldm.Settings("a red apple on a blue background", sampler=name, steps=steps, seed=3)
        pictures.append(ldm.run(model_and_judge()[0], settings_of(asked)).images[0].resize((160, 160)))
    return grid(pictures, 7, list(SAMPLERS))


def main() -> None:
    """Measure what is not measured yet, or print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--state", type=Path, default=Path("runs/samplers.jsonl"), help="what was measured")
    parser.add_argument("--table", action="store_true", help="print the tables and measure nothing")
    parser.add_argument(
        "--grid", type=Path, default=None, help="draw a prompt with every sampler here, no more"
    )
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.grid is not None:
        grid_of_samplers().save(options.grid, quality=88)
        return
    lines = options.state.read_text().splitlines() if options.state.exists() else []
    found = [json.loads(line) for line in lines]
    if not options.table:
        done = [(row["sampler"], row["spacing"], row["calls"]) for row in found]
        options.state.parent.mkdir(parents=True, exist_ok=True)
        for job in jobs():
            if tuple(job.values()) in done:
                continue
            found.append(measured(job))
            with options.state.open("a") as file:
                file.write(json.dumps(found[-1]) + "\n")
            print(found[-1], flush=True)
    for text in table(found):
        print(text)


if __name__ == "__main__":
    main()
