"""Pictures beside each other: grids, film strips, animations, and one sheet for a page to scrub through."""

import io
import math
from collections.abc import Sequence
from functools import lru_cache

from PIL import Image, ImageDraw, ImageFont

PAPER = (24, 24, 27)
INK = (235, 235, 235)
GAP = 4
LABEL_HEIGHT = 18
ROOM = 64  # pixels of width below which no words can be read
HOLD_MS = 1500  # how long an animation rests on its last picture
# of a sheet, in pixels: what browsers draw from without refusing, and 128 MB when decoded
SHEET_SIDE = 16384
SHEET_AREA = 2**25


def grid(images: Sequence[Image.Image], columns: int, labels: Sequence[str] | None = None) -> Image.Image:
    """Pictures row by row, each in a cell of the largest one's size, with its label above."""
    if not images:
        raise ValueError("a grid needs at least one picture")
    width, height = max(i.width for i in images), max(i.height for i in images)
    top = LABEL_HEIGHT if labels else 0
    rows = math.ceil(len(images) / columns)
    columns = min(columns, len(images))
    sheet = Image.new("RGB", (columns * (width + GAP) - GAP, rows * (height + top + GAP) - GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    for i, image in enumerate(images):
        x, y = i % columns * (width + GAP), i // columns * (height + top + GAP)
        if labels:
            draw.text((x + 2, y + 2), _shortened(labels[i], width - 4), INK, _font())
        sheet.paste(image, (x, y + top))
    return sheet


def film_strip(images: Sequence[Image.Image], labels: Sequence[str] | None = None) -> Image.Image:
    """Pictures in one row."""
    return grid(images, max(1, len(images)), labels)


def gif(images: Sequence[Image.Image], ms: int = 120) -> bytes:
    """An endless animation, `ms` milliseconds a picture, resting on the last one."""
    frames = [image.convert("RGB").quantize(256) for image in images]
    buffer = io.BytesIO()
    frames[0].save(
        buffer,
        "GIF",
        save_all=True,
        append_images=frames[1:],
        duration=_durations(len(frames), ms),
        loop=0,
    )
    return buffer.getvalue()


def webp(images: Sequence[Image.Image], ms: int = 120, quality: int = 85) -> bytes:
    """The same as an animated WebP: all colours, and a fraction of the size."""
    buffer = io.BytesIO()
    images[0].save(
        buffer,
        "WEBP",
        save_all=True,
        append_images=list(images[1:]),
        duration=_durations(len(images), ms),
        loop=0,
        quality=quality,
        method=4,
    )
    return buffer.getvalue()


def _durations(count: int, ms: int) -> list[int]:
    """Milliseconds for each picture of an animation."""
    return [ms] * (count - 1) + [max(ms, HOLD_MS)]


def atlas(
    lanes: Sequence[Sequence[Image.Image]],
    quality: int = 85,
    *,
    lossless: bool = False,
    all_colours: bool = False,
) -> tuple[bytes, int, int]:
    """All pictures of lanes of equal length on one JPEG sheet, as large as browsers take it.

    Picture `step` of lane `lane` is cell `i = lane * steps + step`, in column `i % columns` and row
    `i // columns`; a cell is the sheet's size divided by columns and rows.

    Args:
        quality: of the JPEG.
        lossless: a PNG instead, for small pictures of few pixels.
        all_colours: a colour for each pixel of the JPEG, not for each four.

    Returns:
        The file, its columns and its rows.
    """
    frames = [image for lane in lanes for image in lane]
    if len({len(lane) for lane in lanes}) != 1 or not frames:
        raise ValueError("an atlas needs lanes of one length, with at least one picture each")
    width, height, columns = _cell(frames[0].size, len(frames), len(lanes[0]))
    rows = math.ceil(len(frames) / columns)
    sheet = Image.new("RGB", (columns * width, rows * height))
    for i, image in enumerate(frames):
        if image.size != (width, height):
            image = image.resize((width, height), Image.Resampling.BOX)
        sheet.paste(image, (i % columns * width, i // columns * height))
    buffer = io.BytesIO()
    if lossless:
        sheet.save(buffer, "PNG", compress_level=4)
    else:
        sheet.save(buffer, "JPEG", quality=quality, subsampling=0 if all_colours else 2)
    return buffer.getvalue(), columns, rows


def enlarge(image: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The picture at another size; each pixel becomes a block when it grows."""
    return image if image.size == size else image.resize(size, Image.Resampling.NEAREST)


def blank(size: tuple[int, int], text: str) -> Image.Image:
    """A dark picture that says why there is nothing to see, where there is room for words."""
    image = Image.new("RGB", size, PAPER)
    if size[0] < ROOM:
        return image
    draw = ImageDraw.Draw(image)
    y = 4
    for line in _wrapped(text, size[0] - 8):
        draw.text((4, y), line, INK, _font())
        y += 15
    return image


def _cell(size: tuple[int, int], count: int, steps: int) -> tuple[int, int, int]:
    """Width and height of a cell, smaller than `size` where `count` of them do not fit, and columns."""
    scale, (width, height) = 1.0, size
    while True:
        columns = max(1, min(steps, SHEET_SIDE // width))
        rows = math.ceil(count / columns)
        if rows * height <= SHEET_SIDE and rows * columns * width * height <= SHEET_AREA:
            return width, height, columns
        if max(width, height) <= 16:
            raise ValueError(f"{count} pictures do not fit on a sheet")
        scale *= 0.95
        # whole blocks of 16 pixels, over whose edges JPEG blurs no lightness, and colour by one pixel
        width, height = (max(16, int(side * scale) // 16 * 16) for side in size)


@lru_cache(maxsize=1)
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=12)


def _shortened(text: str, width: int) -> str:
    """As much of a text as fits on one line."""
    text = " ".join(text[:400].split())[:200]
    if _font().getlength(text) <= width:
        return text
    while text and _font().getlength(text + "...") > width:
        text = text[:-1]
    return text + "..." if text else ""


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if _font().getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
