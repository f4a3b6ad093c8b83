"""`page` and `animate`: a run file as something to look at elsewhere."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SettingsError
from . import Command, model_options

if TYPE_CHECKING:
    from ..latent_diffusion import LatentDiffusion
    from ..trace import Trace


def add(command: Command) -> None:
    """Register both."""
    page = command("page", _page, "Write a run as a web page in one file, which needs no network.")
    _common(page)
    page.add_argument("--out", type=Path, default=Path("run.html"))

    animate = command("animate", _animate, "Write a run as an animation: .gif, .webp or .mp4.")
    _common(animate)
    animate.add_argument("--lane", nargs="+", default=["x0"], help="one, or several to stand side by side")
    animate.add_argument("--ms", type=int, default=120, help="milliseconds a picture")
    animate.add_argument("--out", type=Path, default=Path("run.gif"))


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", type=Path, metavar="run", help="a run file, as generate --trace and the app write it"
    )
    model_options(parser)
    parser.add_argument("--picture", type=int, default=0, help="which one of a batch, from 0")


def _opened(options: argparse.Namespace) -> tuple["LatentDiffusion", "Trace"]:
    """The model that decodes the run, and the run."""
    from .. import run_file
    from ..checkpoints import load

    trace = run_file.load(options.file)
    model = load(options.weights, device=options.device)
    channels = trace.steps[0].x.shape[1] if trace.steps else model.latent_channels
    if channels != model.latent_channels:
        raise SettingsError(
            f"{options.file.name} was made by {trace.model_name} with {channels} latent channels; "
            f"{model.name} has {model.latent_channels} and cannot decode it. "
            "Name its own checkpoint with --weights."
        )
    return model, trace


def _page(options: argparse.Namespace) -> None:
    from ..latent_diffusion import FULL_DECODER
    from ..player import Look, linear_map, page
    from ..writing import write_file

    model, trace = _opened(options)
    text = page(
        trace,
        lambda latents: model.autoencoder_decode(latents).float().cpu(),
        Look(options.picture, decoder=FULL_DECODER),
        linear=linear_map(model),
        n_steps=model.n_steps,
        run_file=options.file.name,
    )
    write_file(options.out, [text.encode()])
    print(f"{options.out} ({len(text) / 1e6:.1f} MB)")


def _animate(options: argparse.Namespace) -> None:
    from ..export import ANIMATIONS, frames
    from ..writing import write_file

    kind = options.out.suffix.lower().removeprefix(".")
    if kind not in ANIMATIONS:
        names = ", ".join(f".{name}" for name in ANIMATIONS)
        raise SettingsError(f"out must end in one of {names}, got {str(options.out)!r}.")
    if not 10 <= options.ms <= 10_000:
        raise SettingsError(f"ms must be between 10 and 10000, got {options.ms}.")
    model, trace = _opened(options)
    decoded = frames(
        trace,
        options.lane,
        lambda latents: model.autoencoder_decode(latents).float().cpu(),
        options.picture,
    )
    images = list(decoded)
    write_file(options.out, [ANIMATIONS[kind](images, options.ms)])
    print(f"{options.out} ({len(images)} pictures)")
