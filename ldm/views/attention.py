"""Where the network looked for each token of the prompt.

Maps are the mean over heads, layers and, here, feature-map sizes; at every position they sum to 1 over the
tokens.  What is drawn is attention, which is not yet influence.
"""

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..errors import SettingsError
from ..trace import AttentionMaps, Trace
from .latents import heat
from .layout import blank, grid
from .predictions import Decode, check_picture, check_step

NOT_RECORDED = "Attention was not recorded in this run."
MAX_TILES = 24
GROUND = 0.6  # how bright the picture is below the heat, whose bright end is lost on white
TILE = 160  # pixels of a tile's longer side


def attention_map(
    trace: Trace, step: int | None, token: int, picture: int = 0, *, negative: bool = False
) -> Tensor | None:
    """(H, W) share of attention a token gets, in [0, 1], at the largest recorded size; None if not recorded.

    Args:
        step: None is the mean over all steps.
        token: a position in the prompt as the text encoder reads it.
        negative: of the half with the negative prompt.

    Raises:
        SettingsError: the run has no such step, picture or token.
    """
    check_picture(trace, picture)
    steps = [check_step(trace, step)] if step is not None else list(trace.steps)
    predictions = [s.prediction for s in steps]
    found = [p.attention_uncond if negative else p.attention for p in predictions]
    means = [_mean_over_sizes(maps, token, picture) for maps in found if maps is not None]
    return torch.stack(means).mean(0) if means else None


def attention_overlay(
    trace: Trace,
    step: int | None,
    token: int,
    picture: int = 0,
    size: tuple[int, int] | None = None,
    *,
    negative: bool = False,
) -> Image.Image:
    """A token's attention laid over the finished picture in dark grey; its largest value is brightest.

    Args:
        size: (width, height) of the result; None is the picture's.
    """
    size = size or (trace.settings.width, trace.settings.height)
    amount = attention_map(trace, step, token, picture, negative=negative)
    if amount is None:
        return blank(size, NOT_RECORDED)
    amount = amount.nan_to_num() / max(float(amount.nan_to_num().max()), 1e-12)
    wide = F.interpolate(amount[None, None], size=(size[1], size[0]), mode="bilinear")[0, 0]  # (h, w)
    if picture < len(trace.images):
        ground = trace.images[picture].convert("L").resize(size, Image.Resampling.BILINEAR)
    else:  # a run stopped before its first picture
        ground = Image.new("L", size, 128)
    dark = ground.point([round(GROUND * level) for level in range(256)]).convert("RGB")
    colour = heat(0.4 + 0.6 * wide)  # the dark end would hide what lies below
    mask = Image.fromarray((wide * 0.8 * 255).round().clamp(0, 255).byte().numpy())
    return Image.composite(colour, dark, mask)


def shown_tokens(tokens: tuple[str, ...]) -> list[int]:
    """Positions worth a tile: all up to the first of the padding at the end, at most MAX_TILES."""
    end = len(tokens)
    while end > 1 and tokens[end - 1] == tokens[end - 2]:
        end -= 1
    return list(range(min(end, MAX_TILES)))


def attention_grid(trace: Trace, step_index: int, decode: Decode, picture: int = 0) -> Image.Image:
    """One overlay per token of the prompt."""
    step = check_step(trace, step_index)
    width, height = trace.settings.width, trace.settings.height
    maps = step.prediction.attention
    if maps is None or not trace.tokens:
        return blank((width, height), NOT_RECORDED)
    scale = TILE / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    tokens = [t for t in shown_tokens(trace.tokens) if t < maps.maps[0].shape[1]]
    tiles = [attention_overlay(trace, step_index, t, picture, size) for t in tokens]
    return grid(tiles, min(6, len(tiles)), [trace.tokens[t] for t in tokens])


def _mean_over_sizes(maps: AttentionMaps, token: int, picture: int) -> Tensor:
    largest = maps.sizes[0]
    found = []
    for m in maps.maps:
        if not 0 <= token < m.shape[1]:
            raise SettingsError(f"token must be between 0 and {m.shape[1] - 1}, got {token}.")
        found.append(
            F.interpolate(m[picture, token].float()[None, None], size=largest, mode="bilinear")[0, 0]
        )
    return torch.stack(found).mean(0)
