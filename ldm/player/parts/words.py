"""Where each word of the prompt was listened to, through time, and what each place listened to."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from ...trace import AttentionMaps, Trace
from ...views.attention import NOT_RECORDED, daam
from ...views.prompt import Word
from ...views.prompt import words as prompt_words
from ..pack import Put
from .context import Context

BYTES = 3 * 2**20  # of all maps of a run
SIDES = (32, 16, 8)  # the longest side of a map, as large as fits
DAAM_SIDE = 64
HEAD_SIDE = 32

Size = tuple[int, int]


class Heads(Protocol):
    """Attention of one layer, head by head.

    Attributes:
        name: of the layer.
        attention: (h, T, H, W), each head's sums to 1 over T.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def attention(self) -> Tensor: ...  # noqa: D102


@dataclass(frozen=True, eq=False)
class _Half:
    """What was recorded of one half.

    Attributes:
        negative: whether it is the half with the negative prompt.
        steps: those that read this prompt.
        maps: for each of them one (words, H, W) tensor per size, the sums over each word's positions.
    """

    negative: bool
    words: list[Word]
    steps: list[int]
    maps: list[list[Tensor]]


def words(trace: Trace, context: Context) -> dict[str, Any] | None:
    """Shares of attention as bytes, word by word.

    Maps larger than fits are averaged down (`rows`, `columns`), and of a very long run only every `apart`-th
    step is taken, so that a file has at most BYTES.

    Returns:
        `why` alone where nothing was recorded; None without steps.  Else: file: uint8; sizes: height, width
        of the feature maps, rows, columns of what is in the file; apart: one step in so many is there;
        halves: negative, words, steps (their numbers), blocks: for each size the offset in the file of
        (steps, words, rows, columns) and for each word what 255 stands for; daam: `_daam`; heads_bytes: what
        `heads_pack` would make of one step, null if unknown.
    """
    if not trace.steps:
        return None
    halves = [_half(trace, negative, context.look.picture) for negative in (False, True)]
    found = [half for half in halves if half is not None]
    if not found:
        return {"why": NOT_RECORDED}
    sizes = [(int(m.shape[-2]), int(m.shape[-1])) for m in found[0].maps[0]]
    shapes, apart = _plan(found, sizes)
    content = bytearray()
    packed = [_packed(half, shapes, apart, content) for half in found]
    for half, made in zip(found, packed, strict=True):
        made["daam"] = _daam(trace, half, context.look.picture, content)
    return {
        "file": context.put("words.bin", bytes(content)),
        "sizes": [
            {"height": h, "width": w, "rows": rows, "columns": columns}
            for (h, w), (rows, columns) in zip(sizes, shapes, strict=True)
        ],
        "apart": apart,
        "halves": packed,
        "heads_bytes": heads_bytes(trace),
    }


def heads_bytes(trace: Trace) -> int | None:
    """How many bytes `heads_pack` makes of one step of this run; None where the heads were not counted."""
    maps = next((a for s in trace.steps if (a := s.prediction.attention) is not None), None)
    if maps is None or not maps.heads:
        return None
    cells = [math.prod(_fitted(size, HEAD_SIDE)) for size in maps.sizes]
    return len(trace.tokens) * sum(heads * n for heads, n in zip(maps.heads, cells, strict=True))


def heads_pack(maps: Sequence[Heads], put: Put) -> list[dict[str, Any]]:
    """Every head of every layer at one step, averaged down to HEAD_SIDE.

    Returns:
        For each layer: name; size: [H, W] of its maps; heads, tokens: how many; rows, columns; largest: for
        each token what 255 stands for; file: (heads, tokens, rows, columns) uint8.
    """
    made: list[dict[str, Any]] = []
    for layer in maps:
        height, width = int(layer.attention.shape[-2]), int(layer.attention.shape[-1])
        rows, columns = _fitted((height, width), HEAD_SIDE)
        small = F.adaptive_avg_pool2d(layer.attention.float().cpu(), (rows, columns))  # (h, T, rows, columns)
        levels, largest = _levels(small)
        made.append(
            {
                "name": layer.name,
                "size": [height, width],
                "heads": len(small),
                "tokens": int(small.shape[1]),
                "rows": rows,
                "columns": columns,
                "largest": largest,
                "file": put(f"heads-{len(made)}.bin", levels),
            }
        )
    return made


def _half(trace: Trace, negative: bool, picture: int) -> _Half | None:
    """One half as it was recorded; None if it was not.

    Steps that read a prompt of another length, before the run was taken up with a new one, are left out.
    """
    predictions = [step.prediction for step in trace.steps]
    recorded = [p.attention_uncond if negative else p.attention for p in predictions]
    there = [maps for maps in recorded if maps is not None]
    found = prompt_words(trace, negative=negative)
    if not there or not found:
        return None
    count = there[-1].maps[0].shape[1]
    found = [word for word in found if word.positions[-1] < count]
    fitting = [(k, a) for k, a in enumerate(recorded) if a is not None and a.maps[0].shape[1] == count]
    steps, maps = [k for k, _ in fitting], [_sums(a, found, picture) for _, a in fitting]
    return _Half(negative, found, steps, maps)


def _sums(attention: AttentionMaps, words: list[Word], picture: int) -> list[Tensor]:
    """One (words, H, W) for each size: what all positions of a word get together."""
    return [
        torch.stack([m[picture, list(word.positions)].float().sum(0) for word in words])
        for m in attention.maps
    ]


def _plan(halves: list[_Half], sizes: list[Size]) -> tuple[list[Size], int]:
    """The sizes that maps are averaged down to, and of how many steps one is taken."""
    maps = sum(len(half.steps) * len(half.words) for half in halves)
    shapes, needed = sizes, 0
    for side in SIDES:
        shapes = [_fitted(size, side) for size in sizes]
        needed = maps * sum(rows * columns for rows, columns in shapes)
        if needed <= BYTES:
            break
    return shapes, max(1, math.ceil(needed / BYTES))


def _fitted(size: Size, side: int) -> Size:
    """(rows, columns) of a map whose longer side is divided by a whole number to be at most `side`."""
    times = math.ceil(max(size) / side)
    return math.ceil(size[0] / times), math.ceil(size[1] / times)


def _packed(half: _Half, shapes: list[Size], apart: int, content: bytearray) -> dict[str, Any]:
    blocks = []
    for i, shape in enumerate(shapes):
        maps = torch.stack([F.adaptive_avg_pool2d(maps[i], shape) for maps in half.maps[::apart]])
        levels, largest = _levels(maps)
        blocks.append({"offset": len(content), "largest": largest})
        content += levels
    return {
        "negative": half.negative,
        "words": [
            {"text": word.text, "positions": list(word.positions), "mark": word.mark} for word in half.words
        ],
        "steps": half.steps[::apart],
        "blocks": blocks,
    }


def _daam(trace: Trace, half: _Half, picture: int, content: bytearray) -> dict[str, Any]:
    """DAAM's heat map of each word: offset of (words, rows, columns) in the file, each 255 at its largest."""
    found = [daam(trace, word.positions, picture, negative=half.negative) for word in half.words]
    maps = torch.stack([m for m in found if m is not None])  # (words, H, W)
    shape = _fitted((int(maps.shape[-2]), int(maps.shape[-1])), DAAM_SIDE)
    levels, _ = _levels(F.adaptive_avg_pool2d(maps, shape)[None])
    offset = len(content)
    content += levels
    return {"offset": offset, "rows": shape[0], "columns": shape[1]}


def _levels(maps: Tensor) -> tuple[bytes, list[float]]:
    """(S, words, h, w) shares as bytes, each word's from 0 to its largest, and what its 255 stands for."""
    maps = maps.nan_to_num(0, 0, 0)
    largest = maps.amax(dim=(0, 2, 3)).clamp(min=1e-12)  # (words,)
    levels = (maps / largest[:, None, None] * 255).round().byte()
    return levels.numpy().tobytes(), largest.tolist()
