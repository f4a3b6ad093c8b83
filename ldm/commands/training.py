"""`train` and `evaluate`."""

import argparse
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import SettingsError, check_choice
from . import Command, model_options, settings_for

if TYPE_CHECKING:
    from ..training.state import TrainStep

Lines = Iterator[str]
Companion = tuple["Iterator[TrainStep]", Callable[[Path], Lines]]


def add(command: Command) -> None:
    """Register both."""
    train = command("train", _train, "Train a model from nothing, or go on where it stopped.")
    train.add_argument("--config", default="default", help="default, small, preview, draft, vq or judge")
    train.add_argument("--parts", default="", help="latents, decoder, encoder, latent; all if empty")
    train.add_argument(
        "--start-from",
        "--teacher",
        type=Path,
        default=None,
        metavar="CHECKPOINT",
        help="go on from a checkpoint of this config; the model that preview, vq and draft begin with",
    )
    train.add_argument("--folder", type=Path, default=None, help="state; runs/<config> if not given")
    train.add_argument("--threads", type=int, default=0, help="of each process; 0 is all the processor has")
    train.add_argument("--processes", type=int, default=1, help="that share each batch of the last part")
    train.add_argument("--device", default="cpu", help="cpu or cuda")
    train.add_argument("--out", type=Path, default=None, help="write the checkpoint here when done")
    train.add_argument("--export-only", action="store_true", help="write the checkpoint of the state so far")

    evaluate = command("evaluate", _evaluate, "Judge the default model on fixed prompts.")
    model_options(evaluate)
    evaluate.add_argument("--judge", type=Path, default=None, help="another judge than the one that ships")
    evaluate.add_argument("--count", type=int, default=160, help="prompts of single objects")
    evaluate.add_argument("--table", action="store_true", help="at several steps, guidances and samplers")
    evaluate.add_argument("--steps", type=int, default=None)
    evaluate.add_argument("--cfg-scale", type=float, default=None)
    evaluate.add_argument(
        "--seen", action="store_true", help="prompts of combinations training may have seen"
    )
    evaluate.add_argument("--grid", type=Path, default=None, help="also write 48 pictures here")


def _train(options: argparse.Namespace) -> None:
    import torch

    from ..training.config import TRAININGS
    from ..training.run import logged
    from ..training.state import Log

    check_choice("config", options.config, (*TRAININGS, *COMPANIONS))
    if options.threads:
        torch.set_num_threads(options.threads)
    folder = options.folder or Path("runs") / options.config
    if options.config in TRAININGS:
        _train_model(options, folder)
        return
    steps, export = COMPANIONS[options.config](options, folder)
    if not options.export_only:
        _show(logged(steps, Log(folder)))
    if options.out is not None:
        for line in export(options.out):
            print(line)
        print(options.out)


def _train_model(options: argparse.Namespace, folder: Path) -> None:
    from ..training.config import TRAININGS
    from ..training.export import export
    from ..training.run import PARTS, Workplace, train_all
    from ..training.warm import start_from

    parts = tuple(options.parts.replace(",", " ").split()) or PARTS
    for part in parts:
        check_choice("part", part, PARTS)
    if options.processes < 1:
        raise SettingsError(f"processes must be at least 1, got {options.processes}.")
    training = TRAININGS[options.config]
    if options.start_from is not None:
        start_from(training, options.start_from, folder)
    if not options.export_only:
        place = Workplace(folder, processes=options.processes, threads=options.threads, device=options.device)
        _show(train_all(training, place, parts))
    if options.out is not None:
        export(training, folder, options.out)
        print(options.out)


def _preview(options: argparse.Namespace, folder: Path) -> Companion:
    from ..checkpoints import load
    from ..training.config import PREVIEW
    from ..training.preview import export_preview, train_preview

    model = load(options.start_from, device="cpu")

    def export(path: Path) -> Lines:
        export_preview(PREVIEW, model, folder, path)
        yield from ()

    return train_preview(PREVIEW, model, folder), export


def _draft(options: argparse.Namespace, folder: Path) -> Companion:
    from ..checkpoints import find_file
    from ..training.config import DRAFT
    from ..training.draft import export_draft, train_draft

    teacher = find_file(options.start_from)

    def export(path: Path) -> Lines:
        export_draft(DRAFT, teacher, folder, path)
        yield from ()

    return train_draft(DRAFT, teacher, folder), export


def _vq(options: argparse.Namespace, folder: Path) -> Companion:
    import torch

    from ..checkpoints import load
    from ..training.config import VQ
    from ..training.vq import export_vq, train_vq

    model = load(options.start_from, device="cpu", dtype=torch.bfloat16)

    def export(path: Path) -> Lines:
        found = export_vq(VQ, folder, path)
        yield ", ".join(f"{name} {value:.4g}" for name, value in found.items())

    return train_vq(VQ, model.first_stage_model, folder), export


def _judge(options: argparse.Namespace, folder: Path) -> Companion:
    from ..data.scenes import DEFAULT_OBJECTS
    from ..training.judge import JudgeTraining, accuracy_on_renders, load_judge, train_judge
    from ..writing import write_file

    del options
    made = folder / "judge.safetensors"

    def export(path: Path) -> Lines:
        write_file(path, [made.read_bytes()])
        found = accuracy_on_renders(load_judge(path))
        yield ", ".join(f"{name} {share:.3f}" for name, share in found.items())

    return train_judge(JudgeTraining(DEFAULT_OBJECTS), made), export


COMPANIONS: dict[str, Callable[[argparse.Namespace, Path], Companion]] = {
    "preview": _preview,
    "draft": _draft,
    "vq": _vq,
    "judge": _judge,
}


def _show(steps: Iterable["TrainStep"]) -> None:
    for step in steps:
        if step.step % 20 == 0:
            print(
                f"{step.part} step {step.step}, {step.samples} pictures, "
                f"loss {step.loss:.4f}, {step.rate:.0f}/s",
                flush=True,
            )


def _evaluate(options: argparse.Namespace) -> None:
    from ..checkpoints import load
    from ..evaluation import HEADER, judged, reconstruction, row, table
    from ..training.judge import JUDGE, accuracy_on_renders, load_judge
    from ..views.layout import grid

    if options.count < 2:
        raise SettingsError(f"count must be at least 2, got {options.count}.")
    model = load(options.weights, device=options.device)
    judge = load_judge(options.judge or JUDGE)
    settings = settings_for(options, model, "?")
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
