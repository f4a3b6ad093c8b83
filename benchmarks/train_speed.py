"""How fast text encoder and U-Net train, beside diffusers' layers and loop with the very same weights.

    python benchmarks/train_speed.py
    python benchmarks/train_speed.py --threads 2 --rounds 3

Each candidate lives in a process of its own, goes on training the model that ships, and takes a step when it
is told to, in turn (A B C D A B C D); a ratio is the median over rounds of two steps that stood side by side.
Latents and token numbers are random: a step takes as long with them as with pictures.

A busy machine stretches a step's seconds, but hardly its processor seconds: compare those there.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from ldm.latent_diffusion import LatentDiffusion
    from ldm.training.cache import Batch
    from ldm.training.latent import LatentTraining, Networks

sys.path.insert(0, str(Path(__file__).parents[1]))

WARM_UP = 2
PARTS = ("forward", "backward", "optimiser")
Times = dict[str, list[float]]  # clock -> of each of PARTS
Loss, Update = Callable[[], "Tensor"], Callable[[], object]


def networks_of(model: LatentDiffusion) -> tuple[Networks, LatentTraining]:
    """The model's text encoder and U-Net as `ldm train` holds them, and how it would train them."""
    from ldm.training.config import DEFAULT
    from ldm.training.latent import build

    sizes = model.config
    config = replace(DEFAULT.latent, unet=sizes.unet, text=sizes.text, schedule=sizes.schedule)
    networks = build(config, SimpleNamespace(tokenizer=model.cond_stage_model.tokenizer))
    networks.unet.load_state_dict(model.model.diffusion_model.state_dict())
    networks.text.load_state_dict(model.cond_stage_model.state_dict())
    return networks, config


def random_batch(model: LatentDiffusion, size: int, generator: torch.Generator) -> Batch:
    """`size` training pictures of the model's own shapes, at the size it recommends."""
    import torch

    from ldm.training.cache import Batch

    recommended, text, f = model.config.recommended, model.config.text, model.downsampling_factor
    shape = (recommended.height // f, recommended.width // f)
    return Batch(
        torch.randn(size, model.latent_channels, *shape, generator=generator),
        torch.rand(size, 1, *shape, generator=generator),
        torch.randint(text.vocab_size, (size, text.max_position_embeddings), generator=generator),
    )


def ours(_: Path, size: int) -> tuple[Loss, Update]:
    """A step of `ldm train`: bfloat16 with float32 masters; Muon, AdamW and a moving average."""
    import torch

    import ldm
    from ldm.training.latent import loss_of, optimiser_for

    model = ldm.load(device="cpu")
    networks, config = networks_of(model)
    optimiser = optimiser_for(networks, config)
    empty = torch.tensor(networks.text.tokenizer.ids(""))
    generator = torch.Generator().manual_seed(0)
    batch = random_batch(model, size, generator)
    rate = config.rate(config.steps // 2)

    def loss() -> Tensor:
        return loss_of(networks, batch, config, 2.0, empty, generator)

    return loss, lambda: optimiser.step(rate)


class Peer:
    """diffusers' U-Net and noise scheduler and transformers' text encoder, of an exported folder.

    Source: diffusers' `examples/text_to_image/train_text_to_image.py`, with a text encoder that learns too.
    """

    def __init__(self, folder: Path) -> None:
        import torch
        from diffusers import DDPMScheduler, UNet2DConditionModel
        from transformers import CLIPTextModel

        kind = torch.float32
        self.unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=kind).train()
        self.text = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=kind).train()
        self.scheduler = DDPMScheduler.from_pretrained(folder / "scheduler")

    def named_parameters(self) -> list[tuple[str, torch.nn.Parameter]]:
        """Of both networks."""
        return [*self.unet.named_parameters(), *self.text.named_parameters()]

    def loss(self, latents: Tensor, ids: Tensor, t: Tensor, noise: Tensor) -> Tensor:
        """Mean squared error of v; shapes as in `ldm.training.cache.Batch`, t (B,)."""
        import torch.nn.functional as F

        context = self.text(input_ids=ids)[0]
        x = self.scheduler.add_noise(latents, noise, t)
        v = self.scheduler.get_velocity(latents, noise, t)
        output = self.unet(x, t, context, return_dict=False)[0]
        return F.mse_loss(output.float(), v.float(), reduction="mean")


def diffusers_loop(
    folder: Path, size: int, *, autocast: bool = False, muon: bool = False
) -> tuple[Loss, Update]:
    """A step of diffusers' example: AdamW, clipped gradients and its `EMAModel`, each in its fastest form.

    Args:
        autocast: forward in bfloat16 where torch finds it safe, as `--mixed_precision bf16` has it.
        muon: torch's own Muon for what it takes, parameters with two dimensions but for the embeddings.
    """
    import torch
    from diffusers.training_utils import EMAModel

    import ldm

    peer = Peer(folder)
    named = peer.named_parameters()
    parameters = [p for _, p in named]
    matrices = [p for n, p in named if muon and p.ndim == 2 and "embedding" not in n]
    taken = {id(p) for p in matrices}
    rest = [p for p in parameters if id(p) not in taken]
    optimisers: list[torch.optim.Optimizer] = [torch.optim.AdamW(rest, lr=1e-4, fused=True)]
    if matrices:
        optimisers.append(torch.optim.Muon(matrices, lr=1e-3))
    average = EMAModel(parameters, foreach=True)
    generator = torch.Generator().manual_seed(0)
    batch = random_batch(ldm.load(device="cpu"), size, generator)
    n_steps = peer.scheduler.config.num_train_timesteps

    def loss() -> Tensor:
        noise = torch.randn_like(batch.latents)
        t = torch.randint(n_steps, (size,))
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            return peer.loss(batch.latents, batch.ids, t, noise)

    def update() -> None:
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad()
        average.step(parameters)

    return loss, update


CANDIDATES: dict[str, Callable[[Path, int], tuple[Loss, Update]]] = {
    "ours": ours,
    "diffusers, float32, AdamW": diffusers_loop,
    "diffusers, bfloat16 autocast, AdamW": partial(diffusers_loop, autocast=True),
    "diffusers, bfloat16 autocast, Muon and AdamW": partial(diffusers_loop, autocast=True, muon=True),
}


def timed_step(loss: Loss, update: Update) -> Times:
    """Seconds and processor seconds of a step's three parts."""
    marks = [(time.perf_counter(), time.process_time())]
    value = loss()
    marks.append((time.perf_counter(), time.process_time()))
    value.backward()
    marks.append((time.perf_counter(), time.process_time()))
    update()
    marks.append((time.perf_counter(), time.process_time()))
    spent = [(b[0] - a[0], b[1] - a[1]) for a, b in pairwise(marks)]
    return {"seconds": [s for s, _ in spent], "processor": [s for _, s in spent]}


def child(candidate: str, folder: Path, size: int, threads: int) -> None:
    """Get ready, then answer every line of input with a step's times as JSON."""
    import torch

    torch.set_num_threads(threads)
    loss, update = CANDIDATES[candidate](folder, size)
    for _ in range(WARM_UP):
        timed_step(loss, update)
    print("RESULT {}", flush=True)
    for _ in sys.stdin:
        print("RESULT " + json.dumps(timed_step(loss, update)), flush=True)


def answer(name: str, process: subprocess.Popen[str], log: Path) -> Times:
    """What a child says next; ends the program with its last words where it says nothing more."""
    for line in process.stdout:
        if line.startswith("RESULT "):
            return json.loads(line.removeprefix("RESULT "))
    sys.exit(f"{name} failed:\n{log.read_text()[-2000:]}")


def start(name: str, arguments: Sequence[str], log: TextIO) -> subprocess.Popen[str]:
    """A candidate's process, ready to take steps."""
    command = [sys.executable, __file__, "--child", name, *arguments]
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=log, text=True)
    answer(name, process, Path(log.name))
    return process


def measure(folder: Path, size: int, threads: int, rounds: int) -> dict[str, list[Times]]:
    """The times of `rounds` steps of every candidate."""
    found: dict[str, list[Times]] = {name: [] for name in CANDIDATES}
    arguments = ["--folder", str(folder), "--batch", str(size), "--threads", str(threads)]
    with ExitStack() as stack:
        processes = {}
        for i, name in enumerate(CANDIDATES):
            log = stack.enter_context((folder.parent / f"{i}.log").open("w"))
            processes[name] = stack.enter_context(start(name, arguments, log))
            stack.callback(processes[name].kill)
        print(f"{len(processes)} candidates are ready.", file=sys.stderr, flush=True)
        for _ in range(rounds):
            for i, (name, process) in enumerate(processes.items()):
                process.stdin.write("step\n")
                process.stdin.flush()
                found[name].append(answer(name, process, folder.parent / f"{i}.log"))
    return found


def ratio(theirs: Sequence[float], ours: Sequence[float]) -> float:
    """The median of a / b over rounds, which a slow drift of the machine does not move."""
    return statistics.median(a / b for a, b in zip(theirs, ours, strict=True))


def report(found: dict[str, list[Times]], size: int, threads: int) -> str:
    """Markdown: a table of speeds and one of where a step's time goes."""
    first = found["ours"]
    lines = [
        f"Batch {size}, {threads} thread{'s' * (threads > 1)}, {len(first)} rounds; medians:",
        "",
        "| | samples/s | slower than ours | processor s a step | more than ours |",
        "|---|---|---|---|---|",
    ]
    for name, steps in found.items():
        cells = []
        for clock in ("seconds", "processor"):
            totals = [sum(step[clock]) for step in steps]
            middle = statistics.median(totals)
            cells.append(f"{size / middle:.1f}" if clock == "seconds" else f"{middle:.2f}")
            cells.append(f"{ratio(totals, [sum(step[clock]) for step in first]):.2f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    lines += ["", f"| processor s of | {' | '.join(PARTS)} |", "|---|" + "---|" * len(PARTS)]
    for name, steps in found.items():
        columns = zip(*(step["processor"] for step in steps), strict=True)
        lines.append(f"| {name} | {' | '.join(f'{statistics.median(c):.2f}' for c in columns)} |")
    return "\n".join(lines)


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--child", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.child, options.folder, options.batch, options.threads)
        return
    import ldm
    from ldm.checkpoints import convert

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "default"
        convert(ldm.load(device="cpu"), folder)
        found = measure(folder, options.batch, options.threads, options.rounds)
    print(report(found, options.batch, options.threads))


if __name__ == "__main__":
    main()
