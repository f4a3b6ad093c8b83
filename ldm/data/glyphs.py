"""Cut-outs: one object in one colour as premultiplied pixels, from the emoji font or drawn.

Knows nothing about places, sizes or backgrounds.  A shape is an entry of `_OUTLINES`.
"""

import math
import os
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from ldm.data.vocabulary import COLORS, THINGS
from ldm.errors import LdmError

FONT_VARIABLE = "LDM_EMOJI_FONT"
_FONT_PATHS = (
    "/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf",
    "/usr/share/fonts/noto/NotoColorEmoji.ttf",
    "/usr/share/fonts/google-noto-emoji/NotoColorEmoji.ttf",
    "/usr/share/fonts/google-noto-color-emoji-fonts/NotoColorEmoji.ttf",
)
_STRIKE = 109  # the only size of the font's CBDT bitmaps
_SHAPE_SIZE = 136
# smaller cut-outs to shrink from, since an affine transform does not average what it skips
_MIP_SIZES = (56, 76, 104)
_GLOW = {"black": 0.42, "white": 1.0, "yellow": 0.8}  # how white the lightest parts become
_MOST_INK = 0.25


def emoji_font() -> Path:
    """Where the colour emoji font lies.

    Raises:
        LdmError: it is not installed.
    """
    named = os.environ.get(FONT_VARIABLE)
    for path in [named] if named else _FONT_PATHS:
        if Path(path).is_file():
            return Path(path)
    raise LdmError(
        f"No colour emoji font{f' at {named}' if named else ''}. Install Debian's fonts-noto-color-emoji, "
        f"or set {FONT_VARIABLE} to the path of NotoColorEmoji.ttf."
    )


@cache
def _font() -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(emoji_font()), _STRIKE)


def _polygon(corners: int, turn: float) -> list[tuple[float, float]]:
    angles = [math.radians(turn + 360 * i / corners) for i in range(corners)]
    return [(0.5 + 0.5 * math.cos(angle), 0.5 + 0.5 * math.sin(angle)) for angle in angles]


_OUTLINES: dict[str, list[tuple[float, float]]] = {
    "circle": _polygon(180, 0),
    "ring": _polygon(180, 0),
    "square": [(0.06, 0.06), (0.94, 0.06), (0.94, 0.94), (0.06, 0.94)],
    "triangle": [(0.5, 0.06), (1.0, 0.93), (0.0, 0.93)],
    "hexagon": _polygon(6, 0),
    "rhombus": [(0.5, 0.0), (0.85, 0.5), (0.5, 1.0), (0.15, 0.5)],
}


def _drawn(name: str) -> Image.Image:
    """A shape in white, drawn large and shrunk so that its edge is smooth."""
    size = 4 * _SHAPE_SIZE
    alpha = Image.new("L", (size, size))
    pen = ImageDraw.Draw(alpha)
    pen.polygon([(x * (size - 1), y * (size - 1)) for x, y in _OUTLINES[name]], fill=255)
    if name == "ring":
        pen.ellipse((0.28 * size, 0.28 * size, 0.72 * size, 0.72 * size), fill=0)
    alpha = alpha.resize((_SHAPE_SIZE, _SHAPE_SIZE), Image.Resampling.LANCZOS)
    picture = Image.new("RGBA", alpha.size, (255, 255, 255, 255))
    picture.putalpha(alpha)
    return picture


@cache
def _natural(name: str) -> Image.Image:
    """The object as RGBA, cropped to what is visible."""
    thing = THINGS[name]
    if not thing.glyph:
        picture = _drawn(name)
    else:
        picture = Image.new("RGBA", (176, 176), (0, 0, 0, 0))
        ImageDraw.Draw(picture).text((16, 16), thing.glyph, font=_font(), embedded_color=True)
    visible = picture.getchannel("A").point(lambda alpha: 255 if alpha > 8 else 0)
    box = visible.getbbox()
    if box is None:
        raise LdmError(f"The font {emoji_font()} has no picture for {name!r}.")
    return picture.crop(box)


def tint(rgba: np.ndarray, color: str) -> np.ndarray:
    """Repaint in one colour with the shading kept: median luminance becomes the colour itself.

    Small dark grey parts (eyes, wheels) stay as they are, so that the object still reads.

    Args:
        rgba: (H, W, 4) uint8, not modified.
        color: a key of COLORS.
    """
    paint = np.maximum(np.array(COLORS[color], np.float32), 46 if color == "black" else 0)
    natural, alpha = rgba[..., :3].astype(np.float32), rgba[..., 3:]
    visible = alpha[..., 0] > 127
    light = natural @ np.array([0.299, 0.587, 0.114], np.float32) / 255  # (H, W)
    middle = float(np.median(light[visible]))
    dark = np.clip(light / max(middle, 0.05), 0, 1)[..., None]
    glow = np.clip((light - middle) / max(1 - middle, 0.25), 0, 1)[..., None]
    shaded = paint * (0.3 + 0.7 * dark)
    shaded = shaded + (255 - shaded) * glow * _GLOW.get(color, 0.62)
    ink = np.clip((0.42 - light) / 0.1, 0, 1) * np.clip((60 - np.ptp(natural, axis=2)) / 20, 0, 1)  # (H, W)
    if ink[visible].mean() < _MOST_INK:
        shaded = shaded + (natural - shaded) * ink[..., None]
    return np.concatenate([shaded.round().astype(np.uint8), alpha], axis=2)


@cache
def _cutouts(name: str, color: str | None) -> tuple[Image.Image, ...]:
    thing = THINGS[name]
    picture = _natural(name)
    if color is not None and not thing.glyph:
        flat = Image.new("RGBA", picture.size, (*COLORS[color], 255))
        flat.putalpha(picture.getchannel("A"))
        picture = flat
    elif color is not None and color != thing.color:
        picture = Image.fromarray(tint(np.asarray(picture), color))
    full = picture.convert("RGBa")
    sizes = [size for size in _MIP_SIZES if size < max(full.size)]
    return (*(_resized(full, size) for size in sizes), full)


def _resized(picture: Image.Image, long_side: int) -> Image.Image:
    scale = long_side / max(picture.size)
    width, height = (max(1, round(side * scale)) for side in picture.size)
    return picture.resize((width, height), Image.Resampling.LANCZOS)


def cutout(name: str, color: str | None, long_side: float) -> Image.Image:
    """The object in premultiplied RGBA ("RGBa"), at the stored size that is best scaled to `long_side`.

    Args:
        color: a key of COLORS, or None for its own colours.  Its named natural colour leaves it as it is.
    """
    stored = _cutouts(name, color)
    return next((picture for picture in stored if max(picture.size) >= 0.9 * long_side), stored[-1])
