"""Latents as pictures, drawn as they are, and the two colour maps that all views share.

`heat` is for amounts (0 is black), `diverging` for values with a sign (0 is white).  Both can be read by
people who see no red or no green.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from .layout import enlarge, grid

# Nine colours each, evenly spaced, linear between them: matplotlib's "inferno", ColorBrewer's "PuOr" turned.
_HEAT = "000004 1f0c48 550f6d 88226a ba3655 e35933 f98c0a f9c932 fcffa4"
_DIVERGING = "542788 8073ac b2abd2 d8daeb f7f7f7 fee0b6 fdb863 e08214 b35806"

NOISE_RANGE = 3.0  # standard deviations of unit noise from black to white, each way
ERROR_RANGE = 32.0  # of 255 levels: an error as large as this is brightest
TILE = 128  # pixels a channel is enlarged to, about


def heat(values: Tensor) -> Image.Image:
    """(H, W) values in [0, 1] on black, purple, orange, yellow; lightness rises evenly."""
    return _paint(values, _HEAT, 0.0, 1.0)


def diverging(values: Tensor) -> Image.Image:
    """(H, W) values in [-1, 1] on purple, white, orange."""
    return _paint(values, _DIVERGING, -1.0, 1.0)


def channel_maps(latents: Tensor, picture: int = 0) -> Image.Image:
    """One tile per channel of (B, C, H, W) latents, all on one scale that is symmetric about 0.

    Labels give the channel's number and its range.
    """
    channels = latents[picture].float().cpu().nan_to_num()  # (C, H, W)
    largest = max(float(channels.abs().max()), 1e-12)
    height, width = channels.shape[-2:]
    times = max(1, TILE // max(height, width))
    tiles = [enlarge(diverging(c / largest), (width * times, height * times)) for c in channels]
    labels = [f"{i}: {float(c.min()):.1f} to {float(c.max()):.1f}" for i, c in enumerate(channels)]
    return grid(tiles, min(4, len(tiles)), labels)


def colours(latents: Tensor) -> Image.Image:
    """(C, H, W) latents: channels 0, 1 and 2 as red, green and blue, from -3 to 3; fewer channels repeat."""
    rgb = latents[[min(i, len(latents) - 1) for i in range(3)]].float().cpu().nan_to_num()  # (3, H, W)
    levels = ((rgb / NOISE_RANGE + 1) * 127.5).round().clamp(0, 255).byte()
    return Image.fromarray(levels.permute(1, 2, 0).contiguous().numpy())


def error_map(a: Image.Image, b: Image.Image, largest: float = ERROR_RANGE) -> Image.Image:
    """How far two pictures of one size differ, pixel by pixel: black is not at all.

    Args:
        largest: mean difference of red, green and blue, of 255 levels, that is drawn brightest.
    """
    first, second = (torch.from_numpy(np.array(image.convert("RGB"))).float() for image in (a, b))
    return heat((first - second).abs().mean(2) / largest)


def _paint(values: Tensor, table: str, low: float, high: float) -> Image.Image:
    stops = np.linspace(low, high, len(table.split()))
    colours = np.array([list(bytes.fromhex(colour)) for colour in table.split()], dtype=np.float64)  # (9, 3)
    v: NDArray[np.float64] = values.double().cpu().nan_to_num(low).numpy()
    rgb = np.stack([np.interp(v, stops, colours[:, i]) for i in range(3)], axis=-1)  # (H, W, 3)
    return Image.fromarray(rgb.round().astype(np.uint8))
