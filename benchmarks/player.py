"""What the player is given of a run: sizes, and how long the page waits for it after the last step.

    python benchmarks/player.py                     # 30 steps of the model that ships
    python benchmarks/player.py --weights PATH --steps 100

Sizes are of what crosses the network: the pack is JSON, sheets and files of numbers are fetched when they
are shown.  The payload is the pack and the sheets of the default lanes; times are the least of a few rounds.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from ldm import player
from ldm.engine.weights import open_model
from ldm.generation import run
from ldm.latent_diffusion import LatentDiffusion
from ldm.player import Context, Look
from ldm.settings import Settings
from ldm.trace import Trace
from ldm.views.predictions import LANES

LIMITS = {"all ready": (1.0, "s"), "payload": (3.0, "MB"), "page": (5.0, "MB")}
ROUNDS = 3
REST = [name for name in LANES if name not in player.DEFAULT_LANES]


class Measured:
    """A player's pack as the app makes it, and when each piece of it was there.

    Attributes:
        seconds: from the last step to the first lanes, to all lanes, and to all parts.
        files: name -> bytes.
    """

    def __init__(self, model: LatentDiffusion, trace: Trace) -> None:
        self.files: dict[str, int] = {}
        self.of: dict[str, list[str]] = {}
        look, decode = Look(decoder=model.quick_decoder), model.quick_decode
        start = time.perf_counter()
        self.numbers = player.run_pack(trace, look)
        x0 = player.x0_frames(trace, decode, look)
        self.lanes = player.lanes_pack(trace, player.DEFAULT_LANES, decode, look, self._put, x0)
        first = time.perf_counter()
        self.lanes += player.lanes_pack(trace, REST, decode, look, self._put, x0)
        lanes = time.perf_counter()
        context = Context(look, decode, self._put, x0, player.linear_map(model), model.n_steps)
        self.parts, self.part_seconds = {}, {}
        for name, part in player.PARTS.items():
            began, before = time.perf_counter(), set(self.files)
            self.parts[name] = part(trace, context)
            self.part_seconds[name] = time.perf_counter() - began
            self.of[name] = [file for file in self.files if file not in before]
        self.seconds = (first - start, lanes - start, time.perf_counter() - start)

    def _put(self, name: str, content: bytes) -> dict[str, Any]:
        self.files[name] = len(content)
        return {"url": name}


def sized(value: object) -> int:
    """Bytes of a value as JSON."""
    return len(json.dumps(value, separators=(",", ":")).encode())


def report(model: LatentDiffusion, trace: Trace) -> Iterator[str]:
    """The tables."""
    rounds = [Measured(model, trace) for _ in range(ROUNDS)]
    made = rounds[-1]
    yield "| lane | sheet kB |"
    yield "|---|---|"
    for lane in made.lanes:
        yield f"| `{lane['name']}` | {made.files[lane['sheet']['url']] / 1e3:.0f} |"
    yield ""
    yield "| part | JSON kB | files kB | ms |"
    yield "|---|---|---|---|"
    for name, value in made.parts.items():
        lazy = sum(made.files[file] for file in made.of[name])
        seconds = min(r.part_seconds[name] for r in rounds)
        yield f"| `{name}` | {sized(value) / 1e3:.0f} | {lazy / 1e3:.0f} | {1000 * seconds:.0f} |"
    yield ""
    yield from _summary(model, trace, rounds)


def _summary(model: LatentDiffusion, trace: Trace, rounds: list[Measured]) -> Iterator[str]:
    made = rounds[-1]
    sheets = sum(
        made.files[lane["sheet"]["url"]] for lane in made.lanes if lane["name"] in player.DEFAULT_LANES
    )
    payload = sized(made.numbers) + sized(made.lanes) + sized(made.parts) + sheets
    first, lanes, ready = (min(r.seconds[i] for r in rounds) for i in range(3))
    seconds, text = timed(
        lambda: player.page(trace, model.quick_decode, Look(), linear=player.linear_map(model))
    )
    found = {"all ready": ready, "payload": payload / 1e6, "page": len(text) / 1e6}
    yield "| | measured | limit |"
    yield "|---|---|---|"
    yield f"| first lanes | {first:.2f} s | |"
    yield f"| all lanes | {lanes:.2f} s | |"
    for name, (limit, unit) in LIMITS.items():
        yield f"| {name} | {found[name]:.2f} {unit} | {limit:g} {unit} |"
    yield f"| writing the page | {seconds:.2f} s | |"


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    """How long it took, and what it gave."""
    start = time.perf_counter()
    made = work()
    return time.perf_counter() - start, made


def main() -> None:
    """Draw once, then print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--weights", type=Path, default=None)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--threads", type=int, default=0, help="torch's own choice if not given")
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    model = open_model(options.weights, None, None)
    asked = {**vars(model.config.recommended), "prompt": "a red apple on a blue background", "seed": 3}
    trace = run(model, Settings.from_dict(asked | {"steps": options.steps}))
    print(f"{trace.model_name}, {len(trace.steps)} steps, {torch.get_num_threads()} threads\n")
    for line in report(model, trace):
        print(line, flush=True)


if __name__ == "__main__":
    main()
