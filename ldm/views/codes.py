"""Codes of a codebook as a picture: which one each latent took."""

import colorsys

import torch
from PIL import Image
from torch import Tensor

from .layout import enlarge

SIDE = 512  # pixels the longer side is enlarged to, about
HUE, LIGHTNESS = 0.61803398875, 0.75487766625  # steps that never come near to where they were before


def index_map(indices: Tensor) -> Image.Image:
    """(H, W) codes, each in a colour of its own: equal colours are equal codes, near ones mean nothing."""
    height, width = indices.shape
    present, places = indices.unique(return_inverse=True)
    colours = torch.tensor([_colour(int(index)) for index in present], dtype=torch.uint8)  # (K, 3)
    times = max(1, SIDE // max(height, width))
    return enlarge(Image.fromarray(colours[places].numpy()), (width * times, height * times))


def _colour(index: int) -> tuple[int, int, int]:
    hue, lightness = index * HUE % 1, 0.35 + 0.45 * (index * LIGHTNESS % 1)
    red, green, blue = (round(255 * part) for part in colorsys.hls_to_rgb(hue, lightness, 0.5))
    return red, green, blue
