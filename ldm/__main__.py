"""The command line: `python -m ldm generate | roundtrip | inspect | convert | grid | train | evaluate`.

The same names as in the app.  Mistakes of the user end with one sentence and exit code 2.  This file prints,
and no other.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import LdmError, SettingsError, check_choice
from .settings import Settings

if TYPE_CHECKING:
    from .latent_diffusion import LatentDiffusion

GRID_PROMPTS = (
    "a red apple on a blue background",
    "a cat on the grass",
    "a rocket in space",
    "a penguin in the snow",
    "a fish underwater",
    "a purple car on a yellow background",
    "a house in the mountains at sunset",
    "a heart on white",
    "a blue elephant on an orange background",
    "a sunflower in a meadow by day",
    "a robot in the city at night",
    "a pizza on a green background",
    "a sailboat under a blue sky",
    "a butterfly on a pink background",
    "a castle in the desert at sunset",
    "a banana on a purple background",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; gives the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        options.run(options)
    except LdmError as error:
        print(f"ldm: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a folder that cannot be made, a disk that is full
        print(f"ldm: {error.strerror or error}: {error.filename or 'the file'}.", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ldm", description="Latent diffusion you can watch.")
    commands = parser.add_subparsers(required=True, metavar="command")

    def command(
        name: str, function: Callable[[argparse.Namespace], None], text: str
    ) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.set_defaults(run=function)
        return made

    generate = command("generate", _generate, "Draw a picture from a prompt.")
    _model_options(generate)
    generate.add_argument("prompt")
    for field in fields(Settings):
        if field.name != "prompt":
            kind = {"int": int, "str": str}.get(str(getattr(field.type, "__name__", field.type)), float)
            generate.add_argument(
                f"--{field.name.replace('_', '-')}", type=kind, default=None, metavar=kind.__name__
            )
    generate.add_argument("--out", type=Path, default=Path("outputs"), help="folder for the pictures")
    generate.add_argument("--trace", type=Path, default=None, help="also write the run file here")

    roundtrip = command("roundtrip", _roundtrip, "Send a picture through the autoencoder and back.")
    _model_options(roundtrip)
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

    grid = command("grid", _grid, "Draw sixteen fixed prompts with seeds 0 to 15, none chosen.")
    _model_options(grid)
    grid.add_argument("--out", type=Path, default=Path("docs/grid.png"))

    train = command("train", _train, "Train a model from nothing, or go on where it stopped.")
    train.add_argument("--config", default="default", help="default or small")
    train.add_argument("--parts", default="", help="latents, decoder, encoder, latent; all if empty")
    train.add_argument(
        "--start-from",
        type=Path,
        default=None,
        metavar="CHECKPOINT",
        help="go on from a checkpoint of this config",
    )
    train.add_argument("--folder", type=Path, default=None, help="state; runs/<config> if not given")
    train.add_argument("--threads", type=int, default=0, help="of each process; 0 is all the processor has")
    train.add_argument("--processes", type=int, default=1, help="that share each batch of the last part")
    train.add_argument("--device", default="cpu", help="cpu or cuda")
    train.add_argument("--out", type=Path, default=None, help="write the checkpoint here when done")
    train.add_argument("--export-only", action="store_true", help="write the checkpoint of the state so far")

    evaluate = command("evaluate", _evaluate, "Judge the default model on fixed prompts.")
    _model_options(evaluate)
    evaluate.add_argument("--judge", type=Path, default=None, help="another judge than the one that ships")
    evaluate.add_argument("--count", type=int, default=160, help="prompts of single objects")
    evaluate.add_argument("--table", action="store_true", help="at several steps, guidances and samplers")
    evaluate.add_argument("--steps", type=int, default=None)
    evaluate.add_argument("--cfg-scale", type=float, default=None)
    evaluate.add_argument(
        "--seen", action="store_true", help="prompts of combinations training may have seen"
    )
    evaluate.add_argument("--grid", type=Path, default=None, help="also write 48 pictures here")
    return parser


def _model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--weights", type=Path, default=None, help="a checkpoint; the one that ships if not given"
    )
    parser.add_argument("--device", default=None, help="cpu, cuda or mps; the best there is if not given")


def _settings(options: argparse.Namespace, model: "LatentDiffusion", prompt: str) -> Settings:
    """The model's recommended settings with what was asked for on top."""
    values: dict[str, Any] = dict(vars(model.config.recommended))
    for field in fields(Settings):
        given = getattr(options, field.name, None)
        if given is not None:
            values[field.name] = given
    return Settings.from_dict(values | {"prompt": prompt})


def _generate(options: argparse.Namespace) -> None:
    from . import png, run_file
    from .checkpoints import load
    from .generation import finish, generate

    model = load(options.weights, device=options.device)
    settings = _settings(options, model, options.prompt)
    start, steps = time.perf_counter(), []
    for step in generate(model, settings):
        steps.append(step)
        print(f"\rstep {len(steps)} of {settings.steps}", end="", file=sys.stderr)
    print(file=sys.stderr)
    trace = finish(model, settings, steps, time.perf_counter() - start)
    options.out.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(trace.images):
        path = _free(options.out, settings.seed + i)
        png.save(image, path, png.settings_of_image(settings, i), model.name)
        print(path)
    if options.trace is not None:
        run_file.save(trace, options.trace)
        print(options.trace)


def _free(folder: Path, seed: int) -> Path:
    """A name that is not taken: nothing is overwritten."""
    number = 0
    while (path := folder / f"{seed:010d}-{number:03d}.png").exists():
        number += 1
    return path


def _roundtrip(options: argparse.Namespace) -> None:
    from .checkpoints import load
    from .images import open_image
    from .roundtrip import roundtrip

    if options.out.suffix.lower() not in (".png", ".jpg", ".jpeg", ".webp"):
        raise SettingsError(f"out must end in .png, .jpg or .webp, got {str(options.out)!r}.")
    image = open_image(options.image)
    model = load(options.weights, device=options.device)
    result = roundtrip(model, image, policy=options.policy, sample=options.sample, seed=options.seed)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    result.reconstruction.save(options.out)
    if result.note:
        print(result.note)
    print(f"PSNR {result.psnr:.2f} dB, SSIM {result.ssim:.4f}, mean error {result.mae:.2f} of 255")
    print(options.out)


def _inspect(options: argparse.Namespace) -> None:
    from .checkpoints import load

    model = load(options.checkpoint, device="cpu")
    config = model.config.to_dict()
    config["training"] = {
        k: v for k, v in config["training"].items() if not isinstance(v, dict)
    } or "see the file"
    print(json.dumps(config, indent=2, ensure_ascii=False))
    parts = (
        ("U-Net", model.model),
        ("autoencoder", model.first_stage_model),
        ("text encoder", model.cond_stage_model),
    )
    for name, module in parts:
        print(f"{name:<14}{sum(p.numel() for p in module.parameters()):>14,} parameters")


def _convert(options: argparse.Namespace) -> None:
    from .checkpoints import build, convert, find_file, read

    convert(build(read(find_file(options.checkpoint)), "cpu", None), options.folder)  # in its own precision
    print(options.folder)


def _grid(options: argparse.Namespace) -> None:
    from .checkpoints import load
    from .generation import run
    from .views.layout import grid

    model = load(options.weights, device=options.device)
    images = []
    for seed, prompt in enumerate(GRID_PROMPTS):
        settings = replace(_settings(options, model, prompt), seed=seed)
        images.append(run(model, settings).images[0])
    options.out.parent.mkdir(parents=True, exist_ok=True)
    grid(images, 4, list(GRID_PROMPTS)).save(options.out)
    print(options.out)


def _train(options: argparse.Namespace) -> None:

    from .training.config import TRAININGS
    from .training.export import export
    from .training.run import PARTS, Workplace, train_all
    from .training.warm import start_from

    check_choice("config", options.config, TRAININGS)
    parts = tuple(options.parts.replace(",", " ").split()) or PARTS
    for part in parts:
        check_choice("part", part, PARTS)
    if options.processes < 1:
        raise SettingsError(f"processes must be at least 1, got {options.processes}.")
    training = TRAININGS[options.config]
    folder = options.folder or Path("runs") / options.config
    if options.start_from is not None:
        start_from(training, options.start_from, folder)
    if not options.export_only:
        place = Workplace(folder, processes=options.processes, threads=options.threads, device=options.device)
        for step in train_all(training, place, parts):
            if step.step % 20 == 0:
                print(
                    f"{step.part} step {step.step}, {step.samples} pictures, "
                    f"loss {step.loss:.4f}, {step.rate:.0f}/s",
                    flush=True,
                )
    if options.out is not None:
        export(training, folder, options.out)
        print(options.out)


def _evaluate(options: argparse.Namespace) -> None:
    from .checkpoints import load
    from .evaluation import HEADER, judged, reconstruction, row, table
    from .training.judge import JUDGE, accuracy_on_renders, load_judge
    from .views.layout import grid

    if options.count < 2:
        raise SettingsError(f"count must be at least 2, got {options.count}.")
    model = load(options.weights, device=options.device)
    judge = load_judge(options.judge or JUDGE)
    settings = _settings(options, model, "?")
    own = accuracy_on_renders(judge)
    print("judge, on renders it has not seen: " + ", ".join(f"{k} {v:.3f}" for k, v in own.items()))
    quality = reconstruction(model, judge.objects)
    print(f"autoencoder, on held-out renders: PSNR {quality['psnr']:.2f} dB, SSIM {quality['ssim']:.4f}")
    print(f"{options.count} prompts of singles, half as many of counts and pairs")
    print(HEADER)
    held_out = not options.seen
    for line in (
        table(model, judge, settings, options.count)
        if options.table
        else [row(model, judge, settings, options.count, held_out)]
    ):
        print(line.markdown(), flush=True)
    if options.grid is not None:
        shown = [
            r
            for level in ("easy", "to three", "pairs")
            for r in judged(model, judge, settings, 16, held_out, level)
        ]
        options.grid.parent.mkdir(parents=True, exist_ok=True)
        grid([r.image for r in shown], 8, [r.prompt for r in shown]).save(options.grid)
        print(options.grid)


if __name__ == "__main__":
    sys.exit(main())
