"""The shape ledger: what a picture of a given size is on its way through a model's own blocks.

The blocks are built and run on the meta device, which computes shapes and nothing else: a network of two
and a half billion weights takes a second and no memory.  What stands in a row was seen by a hook as it
passed, not worked out from a formula.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import SettingsError
from ..latent_diffusion import LatentDiffusion
from ..models.config import ModelConfig
from ..models.tokenizer import Tokenizer

UNET, FIRST_STAGE, TEXT = "U-Net", "first stage", "conditioner"
LARGE = 0.6  # share of a part's weights from which a module is too much for one row
QUERIES = {"CrossAttention": 1, "AttentionBlock": 2, "AttnBlock": 2, "MultiheadAttention": 1}
"""Modules that attend -> whether their input is (B, N, C) or (B, C, H, W): where positions begin."""

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Row:
    """One block.

    Attributes:
        part: `UNET`, `FIRST_STAGE` or `TEXT`.
        name: as in the file; "layers.0 to 11" are several alike.
        kind: classes of what is in it, without those that every network has.
        shape_in, shape_out: without the batch; None of what is not run (a table of words, ...).
        parameters: how many numbers are learned in it.
        queries: positions that ask in its attention, and width of each; None without attention.
    """

    part: str
    name: str
    kind: str
    shape_in: Shape | None
    shape_out: Shape | None
    parameters: int
    queries: tuple[int, int] | None = None


@dataclass
class _Seen:
    """When a module began and ended first, and with what."""

    began: int
    shape_in: Shape | None
    ended: int = 0
    shape_out: Shape | None = None


def ledger(model: LatentDiffusion | ModelConfig, width: int, height: int) -> list[Row]:
    """Every block of a model with the shapes that a picture has there, in the order of the computation.

    Args:
        model: loaded or not; only its config is used.
        width, height: of the picture, in pixels.

    Raises:
        SettingsError: the size is none for this model.
    """
    config = model if isinstance(model, ModelConfig) else model.config
    for name, side in (("width", width), ("height", height)):
        if side < 1 or side % config.size_multiple:
            raise SettingsError(
                f"{name} must be a multiple of {config.size_multiple} for {config.name}, got {side}."
            )
    # shapes alone are computed, so that any words will do
    tokenizer = Tokenizer.clip(getattr(config.text, "max_position_embeddings", None) or 77)
    with torch.device("meta"), torch.no_grad():
        built = LatentDiffusion(config, tokenizer).eval()
        f, stage = config.autoencoder.downsampling_factor, built.first_stage_model
        image = torch.zeros(1, getattr(config.autoencoder, "in_channels", 3), height, width)
        latents = torch.zeros(1, config.autoencoder.embed_dim, height // f, width // f)
        rows = _rows(TEXT, built.cond_stage_model, lambda: built.get_conditioning([""]))
        rows += _rows(UNET, built.model.diffusion_model, lambda: _ask(built, height // f, width // f))
        rows += _rows(FIRST_STAGE, stage, lambda: (stage.posterior(image), stage.decode(latents)))
    return rows


def totals(rows: list[Row]) -> dict[str, int]:
    """Part -> number of its parameters."""
    found = dict.fromkeys((row.part for row in rows), 0)
    for row in rows:
        found[row.part] += row.parameters
    return found


def _ask(model: LatentDiffusion, height: int, width: int) -> object:
    """One call of the network with everything that it reads, all of it zeros."""
    sizes = model.config.unet
    context = torch.zeros(1, model.conditioner.length or 1, sizes.context_dim or 0)
    classes, guided = getattr(sizes, "num_classes", None), getattr(sizes, "time_cond_proj_dim", None)
    vector = None
    if isinstance(classes, int) or getattr(sizes, "n_classes", None) is not None:
        vector = torch.zeros(1, dtype=torch.int64)
    elif classes is not None or guided is not None:
        vector = torch.zeros(1, (getattr(sizes, "adm_in_channels", None) or 0) + (guided or 0))
    inputs = torch.zeros(1, sizes.in_channels, height, width)
    return model.model.diffusion_model(inputs, torch.zeros(1), context, vector)


def _rows(part: str, root: nn.Module, run: Callable[[], object]) -> list[Row]:
    seen: dict[str, _Seen] = {}
    handles: list[Any] = []
    for name, module in root.named_modules():
        handles += _hooked(seen, name, module)
    try:
        run()
    except (RuntimeError, NotImplementedError, SettingsError, ValueError, TypeError, AttributeError):
        if part == UNET:
            raise  # what reads words may need real ones; the networks never do
    finally:
        for handle in handles:
            handle.remove()
    total = _count(root)
    rows = [_row(part, name, module, seen) for name, module in _blocks("", root, total)]
    rows = [row for row in rows if row[1].parameters or row[1].shape_in is not None]
    ordered = [row for _, row in sorted(rows, key=lambda pair: pair[0])]
    rest = total - sum(row.parameters for row in ordered)
    if rest:
        ordered.append(Row(part, "(weights of its own)", type(root).__name__, None, None, rest))
    return _merged(ordered) if part == TEXT else ordered


def _hooked(seen: dict[str, _Seen], name: str, module: nn.Module) -> list[Any]:
    def before(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if name not in seen:
            seen[name] = _Seen(_next(seen), _shape([*args, *kwargs.values()]))

    def after(_: nn.Module, args: tuple[Any, ...], output: object) -> None:
        found = seen[name]
        if found.shape_out is None:
            found.shape_out, found.ended = _shape([output]), _next(seen)

    return [
        module.register_forward_pre_hook(before, with_kwargs=True),
        module.register_forward_hook(after),
    ]


def _next(seen: dict[str, _Seen]) -> int:
    """A number higher than all before."""
    return 1 + max((max(found.began, found.ended) for found in seen.values()), default=0)


def _shape(values: list[Any]) -> Shape | None:
    """Of the first tensor, without its batch."""
    for value in values:
        if isinstance(value, Tensor):
            return tuple(value.shape[1:])
        inner = list(value) if isinstance(value, (tuple, list)) else list(getattr(value, "values", tuple)())
        found = _shape(inner) if inner else None
        if found is not None:
            return found
    return None


def _blocks(name: str, module: nn.Module, total: int) -> Iterator[tuple[str, nn.Module]]:
    """What gets a row: children of the part, of lists, and of what holds most of the part."""
    for key, child in module.named_children():
        path = f"{name}.{key}" if name else key
        is_list = isinstance(child, (nn.ModuleList, nn.ModuleDict))
        is_outer = key in ("encoder", "decoder") or _count(child) > LARGE * total
        if is_list or (
            is_outer and any(True for _ in child.children()) and not isinstance(child, nn.Sequential)
        ):
            yield from _blocks(path, child, total)
        else:
            yield path, child


def _row(part: str, name: str, module: nn.Module, seen: dict[str, _Seen]) -> tuple[float, Row]:
    """When it began (never: after all others), and its row."""
    inside = [(key, found) for key, found in seen.items() if key == name or key.startswith(name + ".")]
    kinds = (
        dict.fromkeys(type(m).__name__ for m in module.children())
        if isinstance(module, nn.Sequential)
        else {}
    )
    kind = " + ".join(kinds) or type(module).__name__
    parameters = _count(module)
    if not inside:
        return float("inf"), Row(part, name, kind, None, None, parameters)
    first = min(inside, key=lambda pair: pair[1].began)[1]
    last = max(inside, key=lambda pair: pair[1].ended)[1]
    return first.began, Row(
        part, name, kind, first.shape_in, last.shape_out, parameters, _queries(name, module, seen)
    )


def _queries(name: str, module: nn.Module, seen: dict[str, _Seen]) -> tuple[int, int] | None:
    """Positions that ask, and their width, in the first attention inside."""
    for key, inner in module.named_modules():
        found = seen.get(f"{name}.{key}" if key else name)
        dims = QUERIES.get(type(inner).__name__)
        if dims is None or found is None or found.shape_in is None:
            continue
        shape = found.shape_in
        if dims == 1 and len(shape) == 2:
            return shape[0], shape[1]
        if len(shape) > 2:
            return shape[1] * shape[2], shape[0]
    return None


def _merged(rows: list[Row]) -> list[Row]:
    """Rows of layers that are alike as one."""
    merged: list[Row] = []
    runs: list[list[Row]] = []
    for row in rows:
        if runs and _alike(runs[-1][-1], row):
            runs[-1].append(row)
        else:
            runs.append([row])
    for run in runs:
        first, last = run[0], run[-1]
        name = first.name if len(run) == 1 else f"{first.name} to {last.name.rpartition('.')[2]}"
        parameters = sum(row.parameters for row in run)
        merged.append(
            Row(first.part, name, first.kind, first.shape_in, last.shape_out, parameters, first.queries)
        )
    return merged


def _alike(one: Row, other: Row) -> bool:
    place, number = one.name.rpartition(".")[::2]
    same = (one.kind, one.shape_in, one.shape_out, one.parameters)
    return (
        number.isdigit()
        and other.name.rpartition(".")[0] == place
        and same == (other.kind, other.shape_in, other.shape_out, other.parameters)
    )


def _count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
