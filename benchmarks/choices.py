"""What the choices of `docs/speed.md` are worth: each beside the other way, in one process, in turn.

    python benchmarks/choices.py
    python benchmarks/choices.py --only drawing training

Processor seconds of one thread, which a busy machine hardly stretches; a ratio is the median over pairs of
calls.
"""

from __future__ import annotations

import argparse
import copy
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING
from unittest import mock

if TYPE_CHECKING:
    from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))

Call = Callable[[], object]
Row = tuple[str, Call, Call]  # what is compared; as chosen; as not


def matrices() -> Iterator[Row]:
    """A matrix product in three dtypes."""
    import torch
    import torch.nn.functional as F

    x, weight = torch.randn(4096, 640), torch.randn(640, 640)

    def product(kind: torch.dtype) -> Call:
        a, b = x.to(kind), weight.to(kind)
        return lambda: F.linear(a, b)

    float32, float16, bfloat16 = (product(k) for k in (torch.float32, torch.float16, torch.bfloat16))
    yield "matrix product: float32, not float16", float32, float16
    yield "matrix product: bfloat16, not float16", bfloat16, float16
    yield "matrix product: bfloat16, not float32", bfloat16, float32


def attention() -> Iterator[Row]:
    """Self-attention with eight heads, at Stable Diffusion's largest size and the next."""
    import torch
    import torch.nn.functional as F

    for positions in (4096, 1024):
        q = torch.randn(2, 8, positions, 40).bfloat16()

        def fused(q: Tensor = q) -> Tensor:
            return F.scaled_dot_product_attention(q, q, q)

        def by_hand(q: Tensor = q) -> Tensor:
            return (q @ q.transpose(-1, -2) * q.shape[-1] ** -0.5).softmax(-1) @ q

        yield f"attention of {positions:,} positions: fused, not by hand", fused, by_hand


def stable_diffusion() -> Iterator[Row]:
    """A guided call of a U-Net of Stable Diffusion 1's size, 64 x 64 latents, random weights."""
    import torch

    from ldm.models.config import UNetConfig
    from ldm.models.unet import UNetModel

    with torch.device("meta"):
        net = UNetModel(UNetConfig())
    net = net.to_empty(device="cpu").requires_grad_(False)
    for p in net.parameters():
        p.normal_(std=0.02)
    small = copy.deepcopy(net).to(torch.bfloat16).to(memory_format=torch.channels_last)
    x, context = torch.randn(2, 4, 64, 64), torch.randn(2, 77, 768)

    def call(unet: nn.Module, count: int = 2) -> None:
        inputs = x[:count].to(unet.dtype).to(memory_format=torch.channels_last)
        unet(inputs, torch.full((count,), 500.0), context[:count].to(unet.dtype))

    yield "Stable Diffusion's size: bfloat16, not float32", lambda: call(small), lambda: call(net)
    yield (
        "Stable Diffusion's size: a batch of two, not two calls",
        lambda: call(small),
        lambda: (call(small, 1), call(small, 1)),
    )


def drawing() -> Iterator[Row]:
    """The model that ships, at the size it draws."""
    import torch

    import ldm

    model, exact = ldm.load(device="cpu", dtype=torch.bfloat16), ldm.load(device="cpu", dtype=torch.float32)
    size = model.config.recommended.height // model.downsampling_factor
    x, t = torch.randn(2, model.latent_channels, size, size), torch.tensor([500.0, 500.0])
    context = model.get_text_conditioning(["a red apple", ""]).float()

    def call(chosen: ldm.LatentDiffusion, count: int = 2) -> None:
        chosen.predict(x[:count], t[:count], context[:count])

    def eager() -> None:
        model.graphs.enabled = False
        call(model)
        model.graphs.enabled = True

    yield "default model: bfloat16, not float32", lambda: call(model), lambda: call(exact)
    yield (
        "default model: a batch of two, not two calls",
        lambda: call(model),
        lambda: (call(model, 1), call(model, 1)),
    )
    yield "default model: traced, not eager", lambda: call(model), eager
    stored = ldm.load(device="cpu", dtype=torch.bfloat16)
    for part in (stored.model, stored.first_stage_model):
        part.to(memory_format=torch.contiguous_format)
    z = x[:1].bfloat16()
    yield "default model: weights in channels_last", lambda: call(model), lambda: call(stored)
    yield (
        "decoder: weights in channels_last",
        lambda: model.autoencoder_decode(z),
        lambda: stored.autoencoder_decode(z),
    )


def training() -> Iterator[Row]:
    """A step of `ldm train` on the model that ships, batch 64."""
    from benchmarks.train_speed import ours

    loss, update = ours(Path(), 64)

    def step() -> None:
        loss().backward()
        update()

    def fused() -> None:
        with mock.patch("ldm.training.latent.sdpa_kernel", lambda *_: nullcontext()):
            step()

    yield "training step: attention without the fused kernel", step, fused


CASES: dict[str, Callable[[], Iterator[Row]]] = {
    "matrices": matrices,
    "attention": attention,
    "drawing": drawing,
    "training": training,
    "stable-diffusion": stable_diffusion,
}


def processor_seconds(call: Call) -> float:
    """Of one call."""
    begun = time.process_time()
    call()
    return time.process_time() - begun


def compare(chosen: Call, other: Call, rounds: int) -> tuple[list[float], list[float]]:
    """Processor seconds of `rounds` calls of each, in turn; the first two trace and are not counted."""
    pairs = [(processor_seconds(chosen), processor_seconds(other)) for _ in range(rounds + 2)][2:]
    return [a for a, _ in pairs], [b for _, b in pairs]


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    import torch

    from benchmarks.train_speed import ratio

    torch.set_num_threads(1)
    print(f"torch {torch.__version__}, {torch.backends.cpu.get_cpu_capability()}\n")
    print("| | as chosen, s | otherwise, s | otherwise takes |\n|---|---|---|---|")
    for name in options.only:
        for label, chosen, other in CASES[name]():
            with nullcontext() if name == "training" else torch.no_grad():
                ours, theirs = compare(chosen, other, options.rounds)
            print(
                f"| {label} | {min(ours):.4f} | {min(theirs):.4f} | x {ratio(theirs, ours):.2f} |", flush=True
            )


if __name__ == "__main__":
    main()
