"""Where the network looked for each token of the prompt.

Maps are the mean over heads, layers and, here, feature-map sizes; at every position they sum to 1 over the
tokens.  What is drawn is attention, which is not yet influence.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..errors import SettingsError, check_index
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
    steps = None if step is None else [step]
    return word_map(trace, [token], steps, picture=picture, negative=negative)


def word_map(
    trace: Trace,
    tokens: Sequence[int],
    steps: Sequence[int] | None = None,
    sizes: Sequence[tuple[int, int]] | None = None,
    picture: int = 0,
    *,
    negative: bool = False,
) -> Tensor | None:
    """(H, W) share of attention, mean over tokens, steps and feature-map sizes, each weighed the same.

    At the largest recorded size, whatever sizes are asked for; None if attention was not recorded.  Steps of
    another prompt's length than the last one's, from before the run was taken up with a new prompt, are left
    out.

    Args:
        tokens: positions in the prompt as it was recorded.
        steps: None is all of them.
        sizes: (height, width) of those to take; None is all of them.

    Raises:
        SettingsError: the run has no such step, size, picture or token, or an empty list of them.
    """
    found = _recorded(trace, tokens, steps, picture, negative)
    if not found:
        return None
    largest = found[0].sizes[0]
    chosen = found[0].sizes if sizes is None else list(sizes)
    known = ", ".join(f"{h} x {w}" for h, w in found[0].sizes)
    if not chosen or not set(chosen) <= set(found[0].sizes):
        got = ", ".join(" x ".join(map(str, size)) for size in chosen)
        raise SettingsError(f"sizes must be some of {known}, got {got or 'none'}.")
    wide = [
        _resized(_mean(found, tokens, picture, index), largest, "bilinear").mean(0)
        for index, size in enumerate(found[0].sizes)
        if size in chosen
    ]
    return torch.stack(wide).mean(0)


def daam(trace: Trace, tokens: Sequence[int], picture: int = 0, *, negative: bool = False) -> Tensor | None:
    """(H, W) DAAM's heat map of a word, at the size of the latents; None if attention was not recorded.

        mean over tokens, layers, heads of max(0, bicubic(mean over steps of attention))

    What is recorded are means over the heads of all layers of a size, so sizes are weighed by how many heads
    they stand for (the same where that is not recorded), and values below 0, which bicubic enlargement makes
    beside steep edges, are cut off after that mean instead of before.  Cutting before gives as much or more,
    by at most the mean over layers and heads of what is cut off; the same where nothing is below 0.

    As in DAAM's program maps of an eighth of the latents' size are left out, where there are others; of the
    middle block, which it leaves out too, only those are told apart.  It sums over steps: its values are
    these times the number of steps.

    Raises:
        SettingsError: the run has no such picture or token, or no token is given.

    Source: Tang et al. 2022 (arXiv:2210.04885), section 2.2, and the `compute_global_heat_map` and
    `compute_word_heat_map` of its authors' program.
    """
    found = _recorded(trace, tokens, None, picture, negative)
    if not found:
        return None
    height, width = trace.steps[0].x.shape[-2:]
    first = found[0]
    weights = dict(enumerate(first.heads or [1] * len(first.maps)))
    fine = {index: weight for index, weight in weights.items() if height < 8 * first.sizes[index][0]}
    fine = fine or weights
    total = torch.zeros(len(tokens), height, width)
    for index, weight in fine.items():
        wide = _resized(_mean(found, tokens, picture, index), (height, width), "bicubic")
        total += weight / sum(fine.values()) * wide.clamp(min=0)
    return total.mean(0)


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
    """One overlay per token of the prompt; numbers instead of tokens where the step read another prompt."""
    step = check_step(trace, step_index)
    width, height = trace.settings.width, trace.settings.height
    maps = step.prediction.attention
    if maps is None or not trace.tokens:
        return blank((width, height), NOT_RECORDED)
    scale = TILE / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    names, count = trace.recorded_tokens, maps.maps[0].shape[1]
    if len(names) != count:
        names = tuple(map(str, range(count)))
    tokens = shown_tokens(names)
    tiles = [attention_overlay(trace, step_index, t, picture, size) for t in tokens]
    return grid(tiles, min(6, len(tiles)), [names[t] for t in tokens])


def _recorded(
    trace: Trace, tokens: Sequence[int], steps: Sequence[int] | None, picture: int, negative: bool
) -> list[AttentionMaps]:
    """The maps of these steps that are of one prompt, the last one's."""
    check_picture(trace, picture)
    if not tokens or (steps is not None and not steps):
        raise SettingsError(f"{'steps' if tokens else 'tokens'} must have at least one number, got none.")
    taken = trace.steps if steps is None else [check_step(trace, step) for step in steps]
    predictions = [step.prediction for step in taken]
    found = [p.attention_uncond if negative else p.attention for p in predictions]
    maps = [m for m in found if m is not None]
    if not maps:
        return []
    count = maps[-1].maps[0].shape[1]
    for token in tokens:
        check_index("token", token, count)
    return [m for m in maps if m.maps[0].shape[1] == count]


def _mean(found: list[AttentionMaps], tokens: Sequence[int], picture: int, index: int) -> Tensor:
    """(tokens, H, W) of one of the recorded maps, mean over steps."""
    return torch.stack([m.maps[index][picture, list(tokens)].float() for m in found]).mean(0)


def _resized(maps: Tensor, size: tuple[int, int], mode: str) -> Tensor:
    """(tokens, H, W) at another size."""
    return F.interpolate(maps[:, None], size=size, mode=mode)[:, 0]
