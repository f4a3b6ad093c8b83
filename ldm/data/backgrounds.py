"""Rendered backgrounds: plain colours, gradients, four settings and eight grounds by three times of day.

Knows nothing about objects or sentences.  `BACKGROUNDS` lists the names; a new ground is an entry of
`_GROUNDS`.  All are calm on purpose: fine texture costs an autoencoder much and gains a prompt nothing.
"""

import math
from collections.abc import Callable
from functools import cache

import numpy as np
from PIL import Image, ImageDraw

from ldm.data.vocabulary import COLORS

SIZE = 256
VARIANTS = 6
HORIZON = 150
TIMES = ("day", "sunset", "night")
GRADIENTS = (
    "blue to pink", "orange to purple", "yellow to green", "turquoise to blue", "pink to orange",
    "red to black",
)  # fmt: skip
SETTINGS = ("underwater", "space", "room", "sky")

Color = tuple[int, int, int]
_SCALE = 2  # drawn larger and shrunk: PIL's polygons have hard edges
_SKIES: dict[str, tuple[Color, Color]] = {
    "day": ((78, 150, 232), (198, 228, 250)),
    "sunset": ((112, 66, 140), (255, 158, 84)),
    "night": ((8, 12, 38), (36, 46, 92)),
}
_LIGHT: dict[str, tuple[float, float, float]] = {
    "day": (1.0, 1.0, 1.0),
    "sunset": (0.84, 0.64, 0.58),
    "night": (0.27, 0.31, 0.46),
}


class _Canvas:
    """A picture being drawn, in units of the finished picture's pixels."""

    def __init__(self, top: Color, bottom: Color, time: str, until: float = SIZE) -> None:
        rows = np.clip(np.arange(SIZE * _SCALE) / (until * _SCALE), 0, 1)[:, None]
        ramp = np.array(top) * (1 - rows) + np.array(bottom) * rows  # (rows, 3)
        pixels = np.repeat(ramp[:, None], SIZE * _SCALE, axis=1).round().astype(np.uint8)
        self.image = Image.fromarray(pixels)
        self._pen = ImageDraw.Draw(self.image)
        self.time = time

    def shade(self, color: Color) -> Color:
        """The colour in this picture's light."""
        red, green, blue = (
            round(value * light) for value, light in zip(color, _LIGHT[self.time], strict=True)
        )
        return red, green, blue

    def polygon(self, points: list[tuple[float, float]], color: Color) -> None:
        self._pen.polygon([(x * _SCALE, y * _SCALE) for x, y in points], fill=color)

    def box(self, left: float, top: float, right: float, bottom: float, color: Color) -> None:
        edges = (left * _SCALE, top * _SCALE, right * _SCALE - 1, bottom * _SCALE - 1)
        self._pen.rectangle(edges, fill=color)

    def disc(self, x: float, y: float, radius: float, color: Color) -> None:
        edges = ((x - radius) * _SCALE, (y - radius) * _SCALE, (x + radius) * _SCALE, (y + radius) * _SCALE)
        self._pen.ellipse(edges, fill=color)

    def hill(self, y: float, height: float, phase: float, color: Color, waves: float = 1.0) -> None:
        """Everything below a wavy line."""
        line = [(x, y - height * math.sin(phase + waves * x / 40)) for x in range(-4, SIZE + 8, 4)]
        self.polygon([*line, (SIZE + 8, SIZE), (-4, SIZE)], color)

    def finish(self) -> np.ndarray:
        return np.asarray(self.image.resize((SIZE, SIZE), Image.Resampling.BOX))


def _cloud(canvas: _Canvas, x: float, y: float, size: float, color: Color) -> None:
    for dx, dy, radius in ((-1.1, 0.15, 0.5), (-0.4, -0.2, 0.7), (0.4, -0.05, 0.62), (1.1, 0.2, 0.45)):
        canvas.disc(x + dx * size, y + dy * size, radius * size, color)


def _stars(canvas: _Canvas, rng: np.random.Generator, count: int, lowest: float) -> None:
    for x, y, radius in rng.uniform((4, 4, 0.8), (SIZE - 4, lowest, 1.6), (count, 3)):
        canvas.disc(x, y, radius, (245, 245, 225))


def _sky(time: str, rng: np.random.Generator) -> _Canvas:
    canvas = _Canvas(*_SKIES[time], time, until=HORIZON + 10)
    if time == "day":
        for x in rng.permutation([36, 128, 220])[:2]:
            _cloud(canvas, x + rng.uniform(-12, 12), rng.uniform(22, 42), 15, (246, 250, 254))
    elif time == "sunset":
        canvas.disc(rng.choice([44, 212]), 112, 24, (255, 214, 120))
    else:
        _stars(canvas, rng, 16, 110)
        canvas.disc(rng.choice([40, 216]), 34, 15, (240, 236, 205))
    return canvas


def _grass(canvas: _Canvas, rng: np.random.Generator) -> None:
    canvas.hill(HORIZON, 7, rng.uniform(0, 6), canvas.shade((118, 192, 84)))
    canvas.hill(HORIZON + 34, 6, rng.uniform(0, 6), canvas.shade((98, 174, 68)))


def _beach(canvas: _Canvas, rng: np.random.Generator) -> None:
    canvas.box(0, HORIZON - 16, SIZE, SIZE, canvas.shade((44, 142, 198)))
    canvas.hill(HORIZON + 16, 2.5, rng.uniform(0, 6), canvas.shade((236, 244, 246)))
    canvas.hill(HORIZON + 21, 2.5, rng.uniform(0, 6), canvas.shade((242, 220, 166)))


def _desert(canvas: _Canvas, rng: np.random.Generator) -> None:
    canvas.hill(HORIZON - 8, 14, rng.uniform(0, 6), canvas.shade((226, 158, 84)), waves=0.8)
    canvas.hill(HORIZON + 26, 9, rng.uniform(0, 6), canvas.shade((240, 178, 98)), waves=0.7)


def _road(canvas: _Canvas, rng: np.random.Generator) -> None:
    canvas.box(0, HORIZON, SIZE, SIZE, canvas.shade((116, 172, 86)))
    canvas.box(0, HORIZON + 16, SIZE, SIZE, canvas.shade((92, 94, 102)))
    canvas.box(0, HORIZON + 16, SIZE, HORIZON + 20, canvas.shade((214, 214, 214)))
    shift = rng.uniform(0, 64)
    for start in range(-64, SIZE, 64):
        canvas.box(start + shift, 224, start + shift + 38, 232, canvas.shade((244, 216, 96)))


def _snow(canvas: _Canvas, rng: np.random.Generator) -> None:
    canvas.hill(HORIZON, 9, rng.uniform(0, 6), canvas.shade((216, 228, 242)))
    canvas.hill(HORIZON + 24, 6, rng.uniform(0, 6), canvas.shade((240, 245, 252)))


def _forest(canvas: _Canvas, rng: np.random.Generator) -> None:
    for row, color in ((0, (38, 106, 70)), (18, (28, 88, 54))):
        for x in range(-10 + row, SIZE + 30, 38):
            peak = rng.uniform(52, 76) + row
            foot = (x - 24, HORIZON + 12), (x + 24, HORIZON + 12)
            canvas.polygon([(x, peak), *reversed(foot)], canvas.shade(color))
    canvas.box(0, HORIZON + 10, SIZE, SIZE, canvas.shade((74, 124, 58)))


def _mountains(canvas: _Canvas, rng: np.random.Generator) -> None:
    for x, width, peak in ((40, 92, 74), (218, 98, 62), (132, 78, 92)):
        top, left = peak + rng.uniform(-6, 6), x + rng.uniform(-8, 8)
        slope = (HORIZON + 14 - top) / width
        canvas.polygon([(left, top), (left + width, HORIZON + 14), (left - width, HORIZON + 14)],
                       canvas.shade((124, 128, 152)))  # fmt: skip
        cap = 20.0
        canvas.polygon([(left, top), (left + cap / slope, top + cap), (left, top + 0.7 * cap),
                        (left - cap / slope, top + cap)], canvas.shade((244, 248, 252)))  # fmt: skip
    canvas.hill(HORIZON + 4, 4, rng.uniform(0, 6), canvas.shade((110, 158, 92)))


def _city(canvas: _Canvas, rng: np.random.Generator) -> None:
    lit = (250, 214, 110) if canvas.time == "night" else canvas.shade((206, 222, 234))
    x = -6.0
    for color in [(98, 110, 136), (128, 134, 152), (84, 94, 120), (112, 120, 142)] * 3:
        width, top = rng.uniform(26, 36), rng.uniform(44, 104)
        canvas.box(x, top, x + width, HORIZON + 20, canvas.shade(color))
        for y in np.arange(top + 8, HORIZON, 18):
            for dx in (0.2, 0.6):
                canvas.box(x + dx * width, y, x + (dx + 0.2) * width, y + 8, lit)
        x += width + 2
    canvas.box(0, HORIZON + 12, SIZE, SIZE, canvas.shade((150, 152, 158)))
    canvas.box(0, HORIZON + 12, SIZE, HORIZON + 16, canvas.shade((196, 198, 202)))


_GROUNDS: dict[str, Callable[[_Canvas, np.random.Generator], None]] = {
    "grass": _grass,
    "beach": _beach,
    "desert": _desert,
    "road": _road,
    "snow": _snow,
    "forest": _forest,
    "mountains": _mountains,
    "city": _city,
}
GROUNDS: tuple[str, ...] = tuple(_GROUNDS)
BACKGROUNDS: tuple[str, ...] = (
    *COLORS,
    *GRADIENTS,
    *SETTINGS,
    *(f"{ground} {time}" for ground in GROUNDS for time in TIMES),
)


def _underwater(rng: np.random.Generator) -> np.ndarray:
    canvas = _Canvas((86, 204, 226), (8, 74, 142), "day")
    canvas.hill(232, 5, rng.uniform(0, 6), (92, 132, 128))
    for x, y, radius in rng.uniform((10, 14, 3), (SIZE - 10, 200, 7), (8, 3)):
        canvas.disc(x, y, radius, (170, 228, 240))
        canvas.disc(x, y, radius - 1.5, (84, 186, 216))
    return canvas.finish()


def _space(rng: np.random.Generator) -> np.ndarray:
    canvas = _Canvas((8, 6, 26), (38, 20, 66), "day")
    _stars(canvas, rng, 30, SIZE - 4)
    return canvas.finish()


def _room(rng: np.random.Generator) -> np.ndarray:
    canvas = _Canvas((232, 214, 190), (226, 206, 180), "day")
    left = float(rng.choice([20, 172]))
    canvas.box(left, 22, left + 64, 90, (252, 252, 250))
    for column in (0, 1):
        for row in (0, 1):
            x, y = left + 5 + 29 * column, 27 + 31 * row
            canvas.box(x, y, x + 25, y + 27, (164, 210, 242))
    canvas.box(0, HORIZON + 22, SIZE, SIZE, (170, 116, 70))
    canvas.box(0, HORIZON + 18, SIZE, HORIZON + 24, (248, 244, 236))
    for y in (198, 226):
        canvas.box(0, y, SIZE, y + 2, (146, 96, 56))
    return canvas.finish()


def _open_sky(rng: np.random.Generator) -> np.ndarray:
    canvas = _Canvas((74, 150, 236), (178, 220, 250), "day")
    for x, y in ((44, 48), (206, 76), (60, 206), (208, 222)):
        _cloud(canvas, x + rng.uniform(-14, 14), y + rng.uniform(-8, 8), 19, (246, 250, 254))
    return canvas.finish()


_SETTINGS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "underwater": _underwater,
    "space": _space,
    "room": _room,
    "sky": _open_sky,
}


def floor_of(name: str) -> int | None:
    """The row below which things stand on the ground, or None where there is none."""
    if name == "room":
        return HORIZON + 24
    return HORIZON if name.split()[0] in _GROUNDS else None


def variants_of(name: str) -> int:
    """How many pictures there are of a background."""
    return 1 if name in COLORS or name in GRADIENTS else VARIANTS


@cache
def background(name: str, variant: int = 0) -> np.ndarray:
    """(256, 256, 3) uint8, kept and read-only: copy before drawing on it.

    Args:
        name: one of BACKGROUNDS.
        variant: below `variants_of(name)`; moves clouds, stars and hills a little.
    """
    rng = np.random.default_rng((sum(name.encode()), variant))
    if name in COLORS:
        pixels = np.full((SIZE, SIZE, 3), COLORS[name], np.uint8)
    elif name in GRADIENTS:
        top, bottom = (COLORS[color] for color in name.split(" to "))
        pixels = _Canvas(top, bottom, "day").finish()
    elif name in _SETTINGS:
        pixels = _SETTINGS[name](rng)
    else:
        ground, time = name.split()
        canvas = _sky(time, rng)
        _GROUNDS[ground](canvas, rng)
        pixels = canvas.finish()
    pixels.setflags(write=False)
    return pixels
