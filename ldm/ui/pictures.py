"""Pictures to start from or to look at: as a run takes them, as a page paints on them, what was painted."""

import base64
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from ..errors import ImageError
from ..generation.start import resized
from ..images import NUMBERED, open_image
from ..settings import Settings
from ..writing import write_file
from . import files

PLATE_SIDE = 512  # of what is painted on, at most; a browser holds it twice
PREFIX = "data:image/png;base64,"


def opened(path: str | Path, width: Any, height: Any) -> Image.Image:  # noqa: ANN401 - as a page sent them
    """A picture file as a run of that size takes it.

    Raises:
        ImageError: as `open_image`.
        SettingsError: there are no runs of that size.
    """
    size = Settings("?", width=width, height=height)
    return resized(size, open_image(path))


def plate(image: Image.Image, mask: Image.Image | None = None) -> dict[str, Any]:
    """What the page paints on.

    Args:
        image: at the size of a run.
        mask: what is painted already, white.
    """
    shrink = min(1.0, PLATE_SIDE / max(image.size))
    size = (max(1, round(image.width * shrink)), max(1, round(image.height * shrink)))
    small = image if size == image.size else image.resize(size, Image.Resampling.BOX)
    url = None
    if mask is not None:
        url = _url(mask.convert("L").resize(size))
    return {"picture": files.data_url(small), "mask": url, "width": size[0], "height": size[1]}


def painted(value: object, width: int, height: int) -> Image.Image | None:
    """What was painted on a plate, at the size of a run; None if nothing was.

    Args:
        value: the plate as the browser sent it back, unchecked.

    Raises:
        ImageError: there is something, and it is no picture.
    """
    mask = _drawn(value, "mask")
    if mask is None or mask.getextrema()[1] == 0:
        return None
    return mask if mask.size == (width, height) else mask.resize((width, height), Image.Resampling.BILINEAR)


def small(path: str | Path, width: Any, height: Any, factor: int) -> Image.Image:  # noqa: ANN401 - as a page sent them
    """A picture file as small as the latents of a run of that size; raises as `opened`."""
    size = Settings("?", width=width, height=height)
    sides = (max(1, size.width // factor), max(1, size.height // factor))
    return ImageOps.fit(open_image(path), sides, Image.Resampling.LANCZOS)


def numbers(path: str | Path) -> Image.Image:
    """A picture file of class numbers, one for each pixel, as "L".

    Raises:
        ImageError: as `open_image`, or it is one of colours.
    """
    image = open_image(path, as_is=NUMBERED)
    if image.mode not in NUMBERED:
        raise ImageError(
            f"{Path(path).name} holds colours; class numbers are a picture with a palette (P) or in grey (L)."
        )
    return Image.fromarray(np.asarray(image).astype(np.uint8))


def fitted_numbers(image: Image.Image, width: Any, height: Any) -> Image.Image:  # noqa: ANN401
    """Class numbers cut to the size of a run; none of them is mixed with another.

    Raises:
        SettingsError: there are no runs of that size.
    """
    size = Settings("?", width=width, height=height)
    sides = (size.width, size.height)
    return image if image.size == sides else ImageOps.fit(image, sides, Image.Resampling.NEAREST)


def blank(width: Any, height: Any) -> Image.Image:  # noqa: ANN401
    """Class 0 everywhere; raises as `fitted_numbers`."""
    size = Settings("?", width=width, height=height)
    return Image.new("L", (size.width, size.height))


def numbers_plate(image: Image.Image, classes: int) -> dict[str, Any]:
    """What the page paints class numbers on: a PNG whose grey levels are the numbers.

    Args:
        classes: how many there are.
    """
    shrink = min(1.0, PLATE_SIDE / max(image.size))
    size = (max(1, round(image.width * shrink)), max(1, round(image.height * shrink)))
    least = image if size == image.size else image.resize(size, Image.Resampling.NEAREST)
    return {"numbers": _url(least), "width": size[0], "height": size[1], "classes": classes}


def painted_numbers(value: object, width: int, height: int) -> Image.Image | None:
    """The class numbers that were painted, as "L" at the size of a run; None if nobody painted.

    Args:
        value: the plate as the browser sent it back, unchecked.

    Raises:
        ImageError: there is something, and it is no picture.
    """
    made = _drawn(value, "numbers") if isinstance(value, dict) and value.get("own") is True else None
    if made is None or made.size == (width, height):
        return made
    return fitted_numbers(made, width, height)


def _drawn(value: object, name: str) -> Image.Image | None:
    """A PNG in a plate, as "L"."""
    url = value.get(name) if isinstance(value, dict) else None
    if url is None:
        return None
    data = _decoded(url)
    path = files.folder(files.fresh_key()) / f"{name}.png"
    try:
        write_file(path, [data])
        return open_image(path, as_is=("L",)).convert("L")
    finally:
        path.unlink(missing_ok=True)
        path.parent.rmdir()


def _url(image: Image.Image) -> str:
    return PREFIX + base64.b64encode(files.png_bytes(image)).decode("ascii")


def _decoded(url: object) -> bytes:
    try:
        if isinstance(url, str) and url.startswith(PREFIX):
            return base64.b64decode(url.removeprefix(PREFIX), validate=True)
    except ValueError:
        pass
    raise ImageError("The mask is no PNG; paint it again.")
