"""How fast it is, beside diffusers' own pipeline with the very same weights.

    python benchmarks/bench.py              # the default model and one U-Net call of Stable Diffusion's size
    python benchmarks/bench.py --case small --rounds 3
    python benchmarks/bench.py --case samplers   # what each sampler costs outside the network

Each candidate runs in processes of its own, in turn (A B C A B C), because kept memory is a setting of the
process and because a machine drifts: compare ratios, not seconds.  Prints a table; the medians are over all
timed repetitions of all rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).parents[1]))

PROMPT = "a red apple on a blue background"
STEPS, GUIDANCE, RESCALE, SIZE = 20, 3.0, 0.7, 256
CANDIDATES = ("ours", "diffusers fp32", "diffusers bf16")
REPEATS = {"small": 5, "sd": 3}


def ours_small(_: Path) -> dict[str, list[float]]:
    """Seconds per picture, to the first preview, of the network calls alone, and on top of them per step.

    And milliseconds of one preview by the linear map and by the small decoder.
    """
    import torch

    import ldm
    from ldm.checkpoints import add_preview, find_file
    from ldm.generation import finish, generate
    from ldm.images import to_images
    from ldm.speed import keep_freed_memory

    keep_freed_memory()
    model = ldm.load()
    add_preview(model, find_file(None))
    settings = ldm.Settings(
        PROMPT, steps=STEPS, cfg_scale=GUIDANCE, cfg_rescale=RESCALE, width=SIZE, height=SIZE
    )
    ldm.run(model, settings)
    found: dict[str, list[float]] = {
        "picture": [],
        "first preview": [],
        "network": [],
        "on top, ms a step": [],
    }
    predict, calls = model.predict, []

    def timed(
        x: Tensor, t: Tensor, context: Tensor, record: bool = False
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        start = time.perf_counter()
        result = predict(x, t, context, record)
        calls.append(time.perf_counter() - start)
        return result

    model.predict = timed  # type: ignore[method-assign]
    for seed in range(REPEATS["small"]):
        calls.clear()
        start, steps, first = time.perf_counter(), [], 0.0
        for step in generate(model, ldm.Settings.from_dict(settings.to_dict() | {"seed": seed})):
            steps.append(step)
            if len(steps) == 1:
                begun = time.perf_counter()
                with torch.no_grad():
                    to_images(model.quick_decode(step.prediction.x0))
                first = time.perf_counter() - start
                looked = time.perf_counter() - begun
                after_first = time.perf_counter()
                network_of_first = calls[0]
        denoised = time.perf_counter()
        finish(model, settings, steps, 0.0)
        found["picture"].append(time.perf_counter() - start - looked)
        found["first preview"].append(first)
        found["network"].append(sum(calls))
        rest = denoised - after_first - (sum(calls) - network_of_first)
        found["on top, ms a step"].append(1000 * rest / (STEPS - 1))
    x0 = steps[-1].prediction.x0
    previews = {"linear map, ms": model.preview_decode, "small decoder, ms": model.quick_decode}
    for name, decode in previews.items():
        found[name] = [1000 * seconds for seconds in _timed_calls(partial(decode, x0))]
    return found | {"engine, start to preview": engine_first_preview()}


def engine_first_preview() -> list[float]:
    """Seconds from `Engine.start` to the first preview that a follower gets, on a warm engine."""
    import ldm
    from ldm.engine import Engine

    engine, found = Engine(), []
    try:
        for seed in range(REPEATS["small"] + 1):
            settings = ldm.Settings(
                PROMPT,
                steps=STEPS,
                cfg_scale=GUIDANCE,
                cfg_rescale=RESCALE,
                width=SIZE,
                height=SIZE,
                seed=seed,
            )
            began = time.perf_counter()
            run_id = engine.start(settings, "bench")
            next(run for run in engine.follow(run_id) if run.preview)
            found.append(time.perf_counter() - began)
            engine.stop(run_id)
            list(engine.follow(run_id))
    finally:
        engine.close()
    return found[1:]  # the first one warms it up


def diffusers_small(folder: Path, dtype: str) -> dict[str, list[float]]:
    """Seconds per picture of diffusers' pipeline on the exported weights."""
    import torch
    from diffusers import DPMSolverMultistepScheduler, StableDiffusionPipeline

    kind = {"fp32": torch.float32, "bf16": torch.bfloat16}[dtype]
    pipe = StableDiffusionPipeline.from_pretrained(folder, torch_dtype=kind, safety_checker=None)
    pipe.scheduler = DPMSolverMultistepScheduler.from_config(
        pipe.scheduler.config, timestep_spacing="trailing", final_sigmas_type="zero"
    )
    pipe.set_progress_bar_config(disable=True)
    found = []
    for seed in range(REPEATS["small"] + 1):
        start = time.perf_counter()
        pipe(
            PROMPT,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            guidance_rescale=RESCALE,
            width=SIZE,
            height=SIZE,
            generator=torch.Generator().manual_seed(seed),
        )
        found.append(time.perf_counter() - start)
    return {"picture": found[1:]}


def _randomised(module: nn.Module) -> nn.Module:
    """Real memory and small random weights for a module built on the meta device."""
    import torch

    module = module.to_empty(device="cpu")
    for p in module.parameters():
        torch.nn.init.normal_(p, std=0.02)
    return module.eval().requires_grad_(False)


def ours_sd(_: Path) -> dict[str, list[float]]:
    """Seconds of one guided U-Net call at Stable Diffusion's size."""
    import torch

    from ldm.models.config import UNetConfig
    from ldm.models.unet import UNetModel
    from ldm.speed import Graphs, keep_freed_memory, preferred_dtype

    keep_freed_memory()
    dtype = preferred_dtype(torch.device("cpu"))
    with torch.device("meta"):
        net = UNetModel(UNetConfig()).to(dtype)
    net = _randomised(net)
    graphs = Graphs(net)
    x = torch.randn(2, 4, 64, 64).to(dtype).contiguous(memory_format=torch.channels_last)
    t, context = torch.tensor([500.0, 500.0]), torch.randn(2, 77, 768).to(dtype)
    return {"call": _timed_calls(lambda: graphs(x, t, context, False))}


def diffusers_sd(_: Path, dtype: str) -> dict[str, list[float]]:
    """The same call by diffusers."""
    import torch
    from diffusers import UNet2DConditionModel

    kind = {"fp32": torch.float32, "bf16": torch.bfloat16}[dtype]
    with torch.device("meta"):
        net = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8).to(kind)
    net = _randomised(net)
    x, context = torch.randn(2, 4, 64, 64).to(kind), torch.randn(2, 77, 768).to(kind)
    return {"call": _timed_calls(lambda: net(x, 500, encoder_hidden_states=context).sample)}


def _timed_calls(call: Callable[[], object]) -> list[float]:
    import torch

    found = []
    with torch.no_grad():
        for _ in range(REPEATS["sd"] + 2):
            start = time.perf_counter()
            call()
            found.append(time.perf_counter() - start)
    return found[2:]  # the first traces, the second faults memory in


def child(case: str, candidate: str, folder: Path) -> None:
    """Measure one candidate and print JSON."""
    name, _, dtype = candidate.partition(" ")
    if name == "ours":
        found = {"small": ours_small, "sd": ours_sd}[case](folder)
    else:
        found = {"small": diffusers_small, "sd": diffusers_sd}[case](folder, dtype)
    print("RESULT " + json.dumps(found))


def measure(case: str, rounds: int, folder: Path) -> dict[str, dict[str, list[float]]]:
    """All candidates in turn, `rounds` times, each in a fresh process."""
    found: dict[str, dict[str, list[float]]] = {candidate: {} for candidate in CANDIDATES}
    for _ in range(rounds):
        for candidate in CANDIDATES:
            command = [
                sys.executable,
                __file__,
                "--child",
                candidate,
                "--case",
                case,
                "--folder",
                str(folder),
            ]
            result = subprocess.run(command, capture_output=True, text=True, check=False)
            lines = [line for line in result.stdout.splitlines() if line.startswith("RESULT ")]
            if not lines:
                sys.exit(f"{candidate} failed:\n{result.stderr[-2000:]}")
            for key, values in json.loads(lines[-1].removeprefix("RESULT ")).items():
                found[candidate].setdefault(key, []).extend(values)
    return found


def report(case: str, found: dict[str, dict[str, list[float]]]) -> None:
    """Print medians and ratios."""
    main = {"small": "picture", "sd": "call"}[case]
    title = {
        "small": f"default model, one picture, {STEPS} guided steps, {SIZE} x {SIZE}, decode included",
        "sd": "one guided U-Net call (batch 2) of Stable Diffusion 1's size, 64 x 64 latents, random weights",
    }[case]
    print(f"\n{title}\n{'':<18}{'median s':>10}{'min':>8}{'max':>8}{'x slower than ours':>20}")
    ours = statistics.median(found["ours"][main])
    for candidate, values in found.items():
        median = statistics.median(values[main])
        low, high = min(values[main]), max(values[main])
        print(f"{candidate:<18}{median:>10.3f}{low:>8.3f}{high:>8.3f}{median / ours:>20.2f}")
    for key, values in found["ours"].items():
        if key != main:
            middle, low, high = statistics.median(values), min(values), max(values)
            print(f"ours, {key:<24}{middle:>10.3f}   (min {low:.3f}, max {high:.3f})")


def main() -> None:
    """Parse the command line, measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--case", choices=("small", "sd", "samplers", "all"), default="all")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--child", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(options.case, options.child, options.folder)
        return
    if options.case in ("samplers", "all"):
        from overhead import report as overhead

        print("\n".join(overhead()))
    if options.case == "samplers":
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "default"
        cases = ("small", "sd") if options.case == "all" else (options.case,)
        if "small" in cases:
            import ldm
            from ldm.checkpoints import convert

            convert(ldm.load(device="cpu"), folder)
        for case in cases:
            report(case, measure(case, options.rounds, folder))


if __name__ == "__main__":
    main()
