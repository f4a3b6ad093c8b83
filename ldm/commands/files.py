"""`roundtrip`, `inspect` and `convert`: pictures and checkpoints that are there."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SettingsError, check_choice
from . import Command, fetching, model_options
from .inspecting import add_options, inspect

if TYPE_CHECKING:
    from ..latent_diffusion import LatentDiffusion


def add(command: Command) -> None:
    """Register all three."""
    roundtrip = command("roundtrip", _roundtrip, "Send a picture through the autoencoder and back.")
    model_options(roundtrip)
    roundtrip.add_argument("image", type=Path)
    roundtrip.add_argument("--policy", default="pad", help="pad or crop to the multiple needed")
    roundtrip.add_argument("--sample", action="store_true", help="sample the posterior, not its mean")
    roundtrip.add_argument("--seed", type=int, default=0)
    roundtrip.add_argument("--out", type=Path, default=Path("outputs/roundtrip.png"))

    add_options(command("inspect", inspect, "Say what a checkpoint is, and whether it is whole."))

    convert = command("convert", _convert, "Write a checkpoint in another layout, every tensor as it is.")
    convert.add_argument("checkpoint", type=Path, help="a file, a folder, or a repository of the Hub")
    convert.add_argument("target", type=Path, help="a new folder, or a .safetensors file")
    convert.add_argument(
        "--to",
        default=None,
        help="native, compvis or diffusers; by the target if not given: a .safetensors file is native",
    )


def _roundtrip(options: argparse.Namespace) -> None:
    from ..checkpoints import find_file, load
    from ..checkpoints.first_stage import is_first_stage, load_first_stage
    from ..images import open_image
    from ..roundtrip import roundtrip

    if options.out.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise SettingsError(f"out must end in .png, .jpg or .webp, got {str(options.out)!r}.")
    image = open_image(options.image)
    path = find_file(options.weights)
    opened = load_first_stage if is_first_stage(path) else load
    model = opened(path, device=options.device)
    result = roundtrip(model, image, policy=options.policy, sample=options.sample, seed=options.seed)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    result.reconstruction.save(options.out)
    if result.note:
        print(result.note)
    print(f"PSNR {result.psnr:.2f} dB, SSIM {result.ssim:.4f}, mean error {result.mae:.2f} of 255")
    if result.codes is not None:
        codes = result.codes
        print(
            f"{codes.used} of {codes.total} codes, perplexity {codes.perplexity:.0f}, "
            f"{codes.bits} bits ({codes.bits_per_code} for each of {codes.indices.numel()} latents)"
        )
    print(options.out)


def _convert(options: argparse.Namespace) -> None:
    from ..checkpoints import build, convert, find_file, read, save
    from ..checkpoints.compvis_export import write_compvis

    writers: dict[str, Callable[[LatentDiffusion, Path], None]] = {
        "native": save,
        "compvis": write_compvis,
        "diffusers": convert,
    }
    is_file = options.target.suffix.lower() == ".safetensors"
    to = options.to or ("native" if is_file else "diffusers")
    check_choice("layout", to, writers)
    if is_file == (to == "diffusers"):
        wanted = "a folder" if to == "diffusers" else "a .safetensors file"
        raise SettingsError(f"The layout {to} is {wanted}, got the target {str(options.target)!r}.")
    path = find_file(options.checkpoint, fetching)
    writers[to](build(read(path), "cpu", None), options.target)  # in its own precision
    print(options.target)
