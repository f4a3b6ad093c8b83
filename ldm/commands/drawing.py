"""`generate` and `grid`: pictures from prompts; `invert`: the noise of a picture."""

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

from ..lora.typed import as_pairs
from ..settings import Settings
from . import Command, model_options, settings_for

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


def add(command: Command) -> None:
    """Register them."""
    generate = command("generate", _generate, "Draw a picture from a prompt.")
    model_options(generate)
    generate.add_argument("prompt")
    for field in fields(Settings):
        if field.name != "prompt":
            kind, name = _kind(str(field.type))
            generate.add_argument(f"--{field.name.replace('_', '-')}", type=kind, default=None, metavar=name)
    generate.add_argument("--init-image", type=Path, default=None, help="a picture to start from")
    generate.add_argument("--mask", type=Path, default=None, help="what of it to paint anew, white on black")
    generate.add_argument("--draft", action="store_true", help="with the model's draft, in a few steps")
    generate.add_argument("--out", type=Path, default=Path("outputs"), help="folder for the pictures")
    generate.add_argument("--trace", type=Path, default=None, help="also write the run file here")

    invert = command(
        "invert", _invert, "Find the noise that a picture would be drawn from, and draw it again."
    )
    model_options(invert)
    invert.add_argument("image", type=Path)
    invert.add_argument("prompt", help="what the picture shows")
    invert.add_argument("--steps", type=int, default=50)
    invert.add_argument("--spacing", default="trailing")
    invert.add_argument("--cfg-scale", type=float, default=1.0, help="above 1 the way back is less exact")
    invert.add_argument("--refinements", type=int, default=3, help="fixed-point iterations of each step")
    invert.add_argument("--out", type=Path, default=Path("inverted.png"), help="the picture drawn again")
    invert.add_argument("--trace", type=Path, default=None, help="also write the run that draws it")

    grid = command("grid", _grid, "Draw sixteen fixed prompts with seeds 0 to 15, none chosen.")
    model_options(grid)
    grid.add_argument("--out", type=Path, default=Path("docs/grid.png"))


def _kind(annotation: str) -> tuple[Callable[[str], object], str]:
    """How a field of `Settings` is read from the command line, and what its help calls it."""
    if "str, float" in annotation:
        return as_pairs, "name:weight,..."
    if "tuple" in annotation:
        return _numbers, "n,n,..."
    for kind in (float, int):
        if kind.__name__ in annotation:
            return kind, kind.__name__
    return str, "str"


def _numbers(text: str) -> tuple[float, ...]:
    """Numbers with commas or spaces between them."""
    return tuple(float(word) for word in text.replace(",", " ").split())


def _generate(options: argparse.Namespace) -> None:
    from .. import png, run_file
    from ..checkpoints import find_file, load, weights_folder
    from ..engine import find_draft, required
    from ..engine.weights import equip
    from ..generation import finish, generate
    from ..generation.start import steps_of
    from ..images import open_image
    from ..words import notice

    model = load(options.weights, device=options.device)
    draft = required(find_draft(model, find_file(options.weights)), model) if options.draft else None
    equip(model, weights_folder())
    model = model if draft is None else draft.open()
    settings = settings_for(options, model, options.prompt)
    if draft is not None:
        draft.check(settings)
    said = notice(settings.prompt, settings.negative_prompt, model.config, model.conditioner.unread)
    if said:
        print(f"note: {said}", file=sys.stderr)
    image, mask = (None if p is None else open_image(p) for p in (options.init_image, options.mask))
    total = steps_of(settings, image is not None)
    start, steps = time.perf_counter(), []
    for step in generate(model, settings, init_image=image, mask=mask):
        steps.append(step)
        print(f"\rstep {len(steps)} of {total}", end="", file=sys.stderr)
    print(file=sys.stderr)
    seconds = time.perf_counter() - start
    trace = finish(model, settings, steps, seconds, init_image=image, mask=mask)
    options.out.mkdir(parents=True, exist_ok=True)
    for i, made in enumerate(trace.images):
        alone = settings.of_picture(i)
        path = _free(options.out, alone.seed)
        png.save(made, path, alone, model.name)
        print(path)
    if options.trace is not None:
        run_file.save(trace, options.trace)
        print(options.trace)


def _invert(options: argparse.Namespace) -> None:
    from .. import png, run_file
    from ..checkpoints import load
    from ..generation import finish, generate, invert
    from ..generation.start import resized
    from ..images import open_image, to_tensor
    from ..metrics import psnr
    from ..roundtrip import roundtrip

    model = load(options.weights, device=options.device)
    settings = replace(settings_for(options, model, options.prompt), sampler="ddim", eta=0.0)
    image = resized(settings, open_image(options.image))
    start = time.perf_counter()
    *_, last = invert(model, settings, image, refinements=options.refinements)
    steps = list(generate(model, settings, latents=last.x_next))
    trace = finish(model, settings, steps, time.perf_counter() - start)
    noise = last.x_next / (1 + last.sigma_next**2) ** 0.5
    print(f"noise found: mean {noise.mean():.3f}, standard deviation {noise.std():.3f}")
    made = {"drawn from it": trace.images[0], "its round trip": roundtrip(model, image).reconstruction}
    for name, other in made.items():
        print(f"{name}: PSNR {psnr(to_tensor([other]), to_tensor([image])):.2f} dB")
    png.save(trace.images[0], options.out, settings, model.name)
    print(options.out)
    if options.trace is not None:
        run_file.save(trace, options.trace)
        print(options.trace)


def _free(folder: Path, seed: int) -> Path:
    """A name that is not taken: nothing is overwritten."""
    number = 0
    while (path := folder / f"{seed:010d}-{number:03d}.png").exists():
        number += 1
    return path


def _grid(options: argparse.Namespace) -> None:
    from ..checkpoints import load
    from ..generation import run
    from ..views.layout import grid

    model = load(options.weights, device=options.device)
    images = []
    for seed, prompt in enumerate(GRID_PROMPTS):
        settings = replace(settings_for(options, model, prompt), seed=seed)
        images.append(run(model, settings).images[0])
    options.out.parent.mkdir(parents=True, exist_ok=True)
    grid(images, 4, list(GRID_PROMPTS)).save(options.out)
    print(options.out)
