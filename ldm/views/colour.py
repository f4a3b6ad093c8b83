"""Colours as people tell them apart: CIELAB, in which a distance of about 2.3 is just seen.

Source: CIE 15:2004 for CIELAB and Delta E 1976, IEC 61966-2-1 for sRGB and its white, D65; the distance that
is just seen, Mahy et al. 1994, "Evaluation of uniform color spaces developed after the adoption of CIELAB
and CIELUV".
"""

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..errors import SettingsError

JUST_SEEN = 2.3  # Delta E
_XYZ = (
    (0.4124564, 0.3575761, 0.1804375),
    (0.2126729, 0.7151522, 0.0721750),
    (0.0193339, 0.1191920, 0.9503041),
)
_WHITE = tuple(sum(row) for row in _XYZ)  # so that white has no colour at all
_LAB = ((0.0, 116.0, 0.0), (500.0, -500.0, 0.0), (0.0, 200.0, -200.0))


def lab(image: Image.Image) -> Tensor:
    """(3, h, w) float32: lightness L* from 0 to 100, a* from green to red, b* from blue to yellow."""
    levels = torch.from_numpy(np.array(image.convert("RGB")))  # (h, w, 3)
    table, to_xyz, to_lab = _tables()
    light = table[levels.reshape(-1).int()].view(-1, 3)  # (h * w, 3), linear
    xyz = to_xyz @ light.T  # (3, h * w), white is 1
    roots = torch.where(xyz > (6 / 29) ** 3, xyz.pow(1 / 3), xyz * (29 / 6) ** 2 / 3 + 4 / 29)
    values = to_lab @ roots
    values[0] -= 16
    return values.unflatten(1, levels.shape[:2])


def cell_means(values: Tensor, cell: int) -> Tensor:
    """(C, h, w) -> (C, h / cell, w / cell) means, sides rounded up: cells at the edge may be smaller."""
    return F.avg_pool2d(values, cell, ceil_mode=True) if cell > 1 else values


def delta_e(a: Tensor, b: Tensor) -> Tensor:
    """(..., 3, h, w) CIELAB colours, twice -> (..., h, w) how far apart they are: Delta E of 1976."""
    return (a - b).square().sum(-3).sqrt()


def check_cell(cell: int) -> None:
    """Refuse what is no number of pixels.

    Raises:
        SettingsError: cell is below 1 or no whole number.
    """
    if not isinstance(cell, int) or cell < 1:
        raise SettingsError(f"cell must be a whole number of pixels, at least 1, got {cell!r}.")


@lru_cache(maxsize=1)
def _tables() -> tuple[Tensor, Tensor, Tensor]:
    """Light of each sRGB level (256,); light -> XYZ, white is 1; cube roots of XYZ -> CIELAB with L* + 16."""
    level = torch.arange(256, dtype=torch.float64) / 255
    light = torch.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)
    to_xyz = torch.tensor(_XYZ, dtype=torch.float64) / torch.tensor(_WHITE, dtype=torch.float64)[:, None]
    return light.float(), to_xyz.float(), torch.tensor(_LAB)
