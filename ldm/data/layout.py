"""Where the objects of a rendered picture stand, and how large."""

import math

import numpy as np

from ldm.data.backgrounds import SIZE
from ldm.data.captions import Labels
from ldm.data.compose import Placement

_EASY_SIZES = (140.0, 165.0)
_WORDED_SIZES = {"small": (70.0, 95.0), "big": (190.0, 218.0)}
_PAIR_SIZES = (98.0, 118.0)
# size and centres of things in tidy rows
_ROWS: dict[int, tuple[float, tuple[tuple[float, float], ...]]] = {
    2: (112, ((68, 128), (188, 128))),
    3: (78, ((44, 128), (128, 128), (212, 128))),
    4: (100, ((70, 70), (186, 70), (70, 186), (186, 186))),
    5: (78, ((44, 80), (128, 80), (212, 80), (86, 176), (170, 176))),
}
_PAIR_CENTERS: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "left of": ((68, 128), (188, 128)),
    "right of": ((188, 128), (68, 128)),
    "above": ((128, 68), (128, 188)),
    "below": ((128, 188), (128, 68)),
}
_MARGIN = 3


def _fitted(center: float, long_side: float) -> float:
    """A centre moved so that the object stays inside the picture."""
    half = long_side / 2 + _MARGIN
    return min(max(center, half), SIZE - half) if half < SIZE / 2 else SIZE / 2


def _angle(rng: np.random.Generator) -> float:
    return math.radians(rng.uniform(-4, 4))


def layout(labels: Labels, rng: np.random.Generator) -> list[Placement]:
    """Where everything goes, in the order in which it is drawn."""
    name, color = labels.objects[0], labels.colors[0]
    jitter = rng.uniform(-1, 1, 2)
    if labels.relation is not None:
        centers = _PAIR_CENTERS[labels.relation]
        sizes = rng.uniform(*_PAIR_SIZES, 2)
        return [
            Placement(each, paint, float(size), x + 3 * jitter[0], y + 3 * jitter[1], _angle(rng))
            for each, paint, size, (x, y) in zip(labels.objects, labels.colors, sizes, centers, strict=True)
        ]
    if labels.count > 1:
        size, centers_of_row = _ROWS[labels.count]
        size *= rng.uniform(0.93, 1.0)
        return [
            Placement(name, color, size, x + 3 * jitter[0], y + 3 * jitter[1], _angle(rng))
            for x, y in centers_of_row
        ]
    size = float(rng.uniform(*(_WORDED_SIZES[labels.size] if labels.size else _EASY_SIZES)))
    x, y = 128 + 5 * jitter[0], 128 + 5 * jitter[1]
    if labels.position not in (None, "center"):
        words = labels.position.split()
        reach = 78 if labels.size == "small" else 54
        x += reach * (("right" in words) - ("left" in words))
        y += reach * (("bottom" in words) - ("top" in words))
    return [Placement(name, color, size, _fitted(x, size), _fitted(y, size), _angle(rng))]


def pair_box(relation: str, which: int) -> tuple[int, int, int, int]:
    """(left, top, right, bottom) in pixels of the square around one object of a pair.

    Args:
        relation: a key of RELATIONS.
        which: 0 is the object named first, 1 the other.
    """
    x, y = (int(v) for v in _PAIR_CENTERS[relation][which])
    half = SIZE // 4
    return x - half, y - half, x + half, y + half
