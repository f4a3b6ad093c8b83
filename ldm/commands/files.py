"""`roundtrip`, `inspect` and `convert`: pictures and checkpoints that are there."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import SettingsError
from . import Command, model_options

if TYPE_CHECKING:
    from torch import nn


def add(command: Command) -> None:
    """Register all three."""
    roundtrip = command("roundtrip", _roundtrip, "Send a picture through the autoencoder and back.")
    model_options(roundtrip)
    roundtrip.add_argument("image", type=Path)
    roundtrip.add_argument("--policy", default="pad", help="pad or crop to the multiple needed")
    roundtrip.add_argument("--sample", action="store_true", help="sample the posterior, not its mean")
    roundtrip.add_argument("--seed", type=int, default=0)
    roundtrip.add_argument("--out", type=Path, default=Path("outputs/roundtrip.png"))

    inspect = command("inspect", _inspect, "Say what a checkpoint is.")
    inspect.add_argument("checkpoint", type=Path, nargs="?", default=None)

    convert = command("convert", _convert, "Write a checkpoint as a diffusers folder.")
    convert.add_argument("checkpoint", type=Path)
    convert.add_argument("folder", type=Path)


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


def _inspect(options: argparse.Namespace) -> None:
    from ..checkpoints import find_file, load
    from ..checkpoints.first_stage import is_first_stage, load_first_stage

    path = find_file(options.checkpoint)
    if is_first_stage(path):
        stage = load_first_stage(path, device="cpu")
        net = stage.first_stage_model
        print("a first stage alone, a VQ autoencoder: for round trips")
        _describe(
            stage.config.to_dict(),
            {"encoder": net.encoder, "codebook": net.quantize, "decoder": net.decoder},
        )
        return
    model = load(path, device="cpu")
    parts = {
        "U-Net": model.model,
        "autoencoder": model.first_stage_model,
        "text encoder": model.cond_stage_model,
    }
    _describe(model.config.to_dict(), parts)


def _describe(config: dict[str, Any], parts: dict[str, "nn.Module"]) -> None:
    config["training"] = {
        k: v for k, v in config["training"].items() if not isinstance(v, dict)
    } or "see the file"
    print(json.dumps(config, indent=2, ensure_ascii=False))
    for name, module in parts.items():
        print(f"{name:<14}{sum(p.numel() for p in module.parameters()):>14,} parameters")


def _convert(options: argparse.Namespace) -> None:
    from ..checkpoints import build, convert, find_file, read

    convert(build(read(find_file(options.checkpoint)), "cpu", None), options.folder)  # in its own precision
    print(options.folder)
