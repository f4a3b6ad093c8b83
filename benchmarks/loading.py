"""What it takes to load Stable Diffusion 1.5: seconds and memory, beside diffusers, on random weights.

    python benchmarks/loading.py                       # makes 9 GB of files below runs/loading, float32
    python benchmarks/loading.py --small               # a tiny model: that it runs, not how fast

Every load is a process of its own.  Before each, the files are read once, so that they lie in the page cache,
and reading the single file twice is timed as the bound.  The memory is the peak of the process (VmHWM), less
what it held after its imports; windows into a file count while they are held.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

FOLDER = ROOT / "runs" / "loading"
CHUNK = 64 * 2**20
OURS = """
from pathlib import Path
import ldm, torch
from ldm.checkpoints import build, load, read
import transformers.models.clip.modeling_clip
begin()
model = load({path!r}, "cpu", {dtype}) if {dtype} else build(read(Path({path!r})), "cpu", None)
"""
THEIRS = """
import torch, logging
from diffusers import StableDiffusionPipeline
from transformers import CLIPTextModel, CLIPTokenizer
import diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion
begin()
model = StableDiffusionPipeline.from_pretrained({path!r}, torch_dtype={dtype}, safety_checker=None)
"""
FRAME = """
import json, sys, time
sys.path.insert(0, {root!r})
def status(name):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024
def begin():
    global started, held
    held = status("VmRSS")
    started = time.perf_counter()
{code}
print(json.dumps([time.perf_counter() - started, status("VmHWM") - held]))
"""
TORCH = {"kept": "None", "bfloat16": "torch.bfloat16", "float32": "torch.float32"}


def make(folder: Path, small: bool) -> None:
    """A random model as a CompVis file and as a diffusers folder, in float32 as Stable Diffusion 1.5's."""
    import torch

    from ldm.checkpoints import convert
    from ldm.checkpoints.compvis_export import write_compvis
    from ldm.latent_diffusion import LatentDiffusion
    from ldm.models.config import AutoencoderConfig, ModelConfig, TextConfig, UNetConfig
    from ldm.models.tokenizer import Tokenizer

    config = ModelConfig()
    if small:
        config = ModelConfig(
            unet=UNetConfig(model_channels=32, num_res_blocks=1, context_dim=64),
            autoencoder=AutoencoderConfig(ch=32, num_res_blocks=1),
            text=TextConfig(hidden_size=64, intermediate_size=64, num_hidden_layers=1, num_attention_heads=1),
        )
    with torch.device("meta"):
        model = LatentDiffusion(config, Tokenizer.clip())
    torch.manual_seed(0)
    made = {}
    for name, tensor in model.state_dict().items():
        whole = tensor.dtype in (torch.int64, torch.int32)
        made[name] = torch.arange(tensor.shape[-1])[None] if whole else torch.randn(tensor.shape) * 0.02
    model.load_state_dict(made, assign=True)
    folder.mkdir(parents=True, exist_ok=True)
    write_compvis(model, folder / "model.safetensors")
    convert(model, folder / "diffusers")


def measured(code: str) -> tuple[float, float]:
    """Seconds, and bytes at most, of a load in a process of its own."""
    program = FRAME.format(root=str(ROOT), code=code)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    seconds, peak = json.loads(done.stdout.strip().splitlines()[-1])
    return seconds, peak


def read(paths: list[Path]) -> float:
    """Seconds that reading files takes."""
    start = time.perf_counter()
    for path in paths:
        with path.open("rb") as file:
            while file.read(CHUNK):
                pass
    return time.perf_counter() - start


def report(folder: Path, rounds: int) -> Iterator[str]:
    """The table."""
    single, parts = folder / "model.safetensors", sorted((folder / "diffusers").rglob("*.safetensors"))
    size = single.stat().st_size
    read([single, *parts])
    twice = min(read([single]) + read([single]) for _ in range(rounds))
    yield f"One file of {size / 1e9:.2f} GB; reading it twice from the page cache takes {twice:.2f} s.\n"
    yield "| loaded by | from | computes in | seconds | of reading twice | peak, GB | of the file |"
    yield "|---|---|---|---|---|---|---|"
    rows = [
        (who, where, dtype, template.format(path=str(path), dtype=TORCH[dtype]))
        for dtype in ("kept", "bfloat16", "float32")
        for who, where, template, path in (
            ("ours", "one file", OURS, single),
            ("ours", "folder", OURS, folder / "diffusers"),
            ("diffusers", "folder", THEIRS, folder / "diffusers"),
        )
        if not (who == "diffusers" and dtype == "kept")
    ]
    for who, where, dtype, code in rows:
        times = [measured(code) for _ in range(rounds)]
        seconds, peak = min(t for t, _ in times), min(p for _, p in times)
        yield (
            f"| {who} | {where} | {dtype} | {seconds:.2f} | {seconds / twice:.2f} | {peak / 1e9:.2f} "
            f"| {peak / size:.2f} |"
        )


def main() -> None:
    """Make what is missing, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, default=None, help="where the files are, or are to be made")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    folder = options.folder or FOLDER.with_name("loading-small" if options.small else "loading")
    if not (folder / "diffusers" / "model_index.json").exists():
        make(folder, options.small)
    for line in report(folder, options.rounds):
        print(line, flush=True)


if __name__ == "__main__":
    main()
