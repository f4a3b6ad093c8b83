"""`inspect`: what a checkpoint, a LoRA or a folder of them is, whether it is whole, and what it predicts."""

import argparse
import json
import sys
from pathlib import Path

from ..errors import CheckpointError, SettingsError


def add_options(parser: argparse.ArgumentParser) -> None:
    """What can be asked for."""
    parser.add_argument(
        "checkpoint", type=Path, nargs="?", default=None, help="a file or folder; the default model if none"
    )
    parser.add_argument("--full", action="store_true", help="read every weight too: NaN, zeros, hashes")
    parser.add_argument("--behaviour", action="store_true", help="load it and find out what it predicts")
    parser.add_argument(
        "--ledger", metavar="WxH", default=None, help="shapes of a picture on its way through"
    )
    parser.add_argument("--beside", type=Path, default=None, help="the model that a LoRA is for")
    parser.add_argument("--json", action="store_true", help="for programs")


def inspect(options: argparse.Namespace) -> None:
    """Print it."""
    from ..checkpoints import find_file, identify, load
    from ..doctor import examine, ledger, render, render_ledger

    path = find_file(options.checkpoint)
    if path.is_dir() and not _is_one(path):
        return _folder(path, as_json=options.json)
    beside = None if options.beside is None else load(options.beside, device="cpu")
    report = examine(
        path, weights=options.full, behaviour=options.behaviour, beside=beside, progress=_progress()
    )
    config = identify(path).config
    rows = None
    if options.ledger is not None:
        if config is None:
            raise CheckpointError(f"{path.name} is no model whose sizes are known, so it has no ledger.")
        rows = ledger(config, *_size(options.ledger))
    if options.json:
        said = report.to_dict() | {"config": None if config is None else config.to_dict()}
        said |= {} if rows is None else {"ledger": [vars(row) for row in rows]}
        return print(json.dumps(said, indent=2, ensure_ascii=False))
    print(render(report), end="")
    if rows is not None:
        print("\n" + render_ledger(rows), end="")
    return None


def _folder(path: Path, *, as_json: bool) -> None:
    """One line for each file in a folder."""
    from ..checkpoints import identify

    found = [identify(one) for one in sorted(path.iterdir()) if not one.name.startswith(".")]
    if as_json:
        keys = ("family", "title", "layout", "loads", "refusal")
        rows = [{"name": one.path.name} | {key: getattr(one, key) for key in keys} for one in found]
        return print(json.dumps(rows, indent=2, ensure_ascii=False))
    width = max((len(one.path.name) for one in found), default=0)
    for one in found:
        print(f"{one.path.name:<{width}}  {one.title if one.loads else one.refusal}")
    return None


def _is_one(folder: Path) -> bool:
    """Whether a folder is one model, or one LoRA, and not a place for many."""
    from ..checkpoints import identify
    from ..lora import is_lora

    return bool(identify(folder).layout) or is_lora(folder)


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.lower().partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise SettingsError(f"ledger must be a size such as 512x512, got {text!r}.")
    return int(width), int(height)


def _progress():  # type: ignore[no-untyped-def]  # noqa: ANN202
    if not sys.stderr.isatty():
        return None

    def show(share: float) -> None:
        print(f"\r{share:.0%}", end="\n" if share == 1 else "", file=sys.stderr)

    return show
