"""Objects put on a background, with the mask of where they are and soft shadows on the ground.

Knows nothing about sentences, nor about why an object is where it is.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image

from ldm.data.backgrounds import SIZE, background, floor_of
from ldm.data.glyphs import cutout

_SOLID = 127  # a pixel with more alpha than this is the object's
_CLASH_DISTANCE = 52.0
_CLASH_ON_WHITE = 38.0  # pale things keep an edge there, and prompts without a background ask for them


@dataclass(frozen=True)
class Placement:
    """One object in a picture.

    Attributes:
        color: a key of COLORS, or None for the object's own.
        long_side: in pixels, of the upright cut-out.
        x: of the middle, in pixels from the left.
        y: of the middle, in pixels from the top.
        angle: in radians, anticlockwise.
    """

    name: str
    color: str | None
    long_side: float
    x: float
    y: float
    angle: float = 0.0


@cache
def clashes(name: str, color: str | None, background_name: str) -> bool:
    """Whether most of an object's outline has nearly the colour of what lies behind it."""
    if color is not None and color in background_name.split(" to "):
        return True
    rows, columns, paint = _outline(name, color)
    gap = paint - background(background_name)[rows, columns]
    nearest = _CLASH_ON_WHITE if background_name == "white" else _CLASH_DISTANCE
    return bool(((gap**2).sum(axis=1) < nearest**2).mean() > 0.5)


@cache
def _outline(name: str, color: str | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows, columns and colours (n, 3) of the rim, three pixels wide, of an object in the middle."""
    _, _, layer = _layer(Placement(name, color, 150, SIZE / 2, SIZE / 2))
    height, width = layer.shape[:2]
    solid = np.pad(layer[..., 3] > 200, 3)
    inner = solid.copy()
    for shift, axis in ((3, 0), (-3, 0), (3, 1), (-3, 1)):
        inner &= np.roll(solid, shift, axis)
    rows, columns = np.nonzero((solid & ~inner)[3:-3, 3:-3])
    paint = layer[rows, columns, :3].astype(np.float32)
    return rows + (SIZE - height) // 2, columns + (SIZE - width) // 2, paint


def compose(placements: Sequence[Placement], name: str, variant: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """The picture, (256, 256, 3) uint8, and the mask of its objects, (256, 256) uint8 of 0 and 255.

    Args:
        name: of the background.
        variant: of the background, below `variants_of(name)`.
    """
    pixels = background(name, variant).copy()
    mask = np.zeros((SIZE, SIZE), np.uint8)
    floor = floor_of(name)
    for placement in placements:
        top, left, layer = _layer(placement)
        alpha = layer[..., 3]
        window = slice(top, top + layer.shape[0]), slice(left, left + layer.shape[1])
        if floor is not None:
            _shadow(pixels, alpha, top, left, floor)
        behind = pixels[window] * (1 - alpha[..., None] * np.float32(1 / 255))
        pixels[window] = np.minimum(behind + layer[..., :3] + np.float32(0.5), 255)
        mask[window] |= np.where(alpha > _SOLID, np.uint8(255), np.uint8(0))
    return pixels, mask


def object_masks(placements: Sequence[Placement]) -> np.ndarray:
    """Where each object shows, (n, 256, 256) bool: without what a later one covers."""
    masks = np.zeros((len(placements), SIZE, SIZE), bool)
    for which, placement in enumerate(placements):
        top, left, layer = _layer(placement)
        solid = layer[..., 3] > _SOLID
        window = slice(top, top + layer.shape[0]), slice(left, left + layer.shape[1])
        for earlier in masks[:which]:
            earlier[window] &= ~solid
        masks[which][window] = solid
    return masks


def _layer(placement: Placement) -> tuple[int, int, np.ndarray]:
    """Top, left and the object's premultiplied pixels, (h, w, 4) uint8, cut at the picture's edge."""
    picture = cutout(placement.name, placement.color, placement.long_side)
    scale = max(picture.size) / placement.long_side
    cos, sin = math.cos(placement.angle), math.sin(placement.angle)
    width, height = picture.width / scale, picture.height / scale
    half_x = (abs(cos) * width + abs(sin) * height) / 2 + 1
    half_y = (abs(cos) * height + abs(sin) * width) / 2 + 1
    left, right = max(0, int(placement.x - half_x)), min(SIZE, math.ceil(placement.x + half_x))
    top, bottom = max(0, int(placement.y - half_y)), min(SIZE, math.ceil(placement.y + half_y))
    # PIL wants the way back: from a pixel of the result to a place in the source
    x, y = left - placement.x, top - placement.y
    cos, sin = cos * scale, sin * scale
    matrix = (
        cos, -sin, picture.width / 2 + cos * x - sin * y,
        sin, cos, picture.height / 2 + sin * x + cos * y,
    )  # fmt: skip
    turned = picture.transform(
        (right - left, bottom - top), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC
    )
    return top, left, np.asarray(turned)


def _shadow(pixels: np.ndarray, alpha: np.ndarray, top: int, left: int, floor: int) -> None:
    """Darken `pixels`, in place, under the foot of an object that reaches the ground."""
    rows = np.flatnonzero(alpha.max(axis=1) > 128)
    if not len(rows) or top + rows[-1] < floor + 4:
        return
    columns = np.flatnonzero(alpha[max(0, rows[-1] - 28) : rows[-1] + 1].max(axis=0) > 128)
    foot = top + int(rows[-1])
    middle, half = left + (columns[0] + columns[-1]) / 2, (columns[-1] - columns[0]) / 2 + 8
    depth = max(6.5, 0.18 * half)
    first, last = max(0, int(foot - depth)), min(SIZE, math.ceil(foot + depth))
    start, end = max(0, int(middle - half)), min(SIZE, math.ceil(middle + half))
    y, x = np.ogrid[first:last, start:end]
    distance = ((x - middle) / half) ** 2 + ((y - foot) / depth) ** 2
    strength = 0.42 * np.clip(1 - distance, 0, 1)[..., None]
    pixels[first:last, start:end] = pixels[first:last, start:end] * (1 - strength)
