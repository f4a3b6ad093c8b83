"""Pictures to start from: as a run takes them, as a page paints on them, and what was painted."""

import base64
from pathlib import Path
from typing import Any

from PIL import Image

from ..errors import ImageError
from ..generation.start import resized
from ..images import open_image
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
        url = PREFIX + base64.b64encode(files.png_bytes(mask.convert("L").resize(size))).decode("ascii")
    return {"picture": files.data_url(small), "mask": url, "width": size[0], "height": size[1]}


def painted(value: object, width: int, height: int) -> Image.Image | None:
    """What was painted on a plate, at the size of a run; None if nothing was.

    Args:
        value: the plate as the browser sent it back, unchecked.

    Raises:
        ImageError: there is something, and it is no picture.
    """
    url = value.get("mask") if isinstance(value, dict) else None
    if url is None:
        return None
    data = _decoded(url)
    path = files.folder(files.fresh_key()) / "mask.png"
    try:
        write_file(path, [data])
        mask = open_image(path).convert("L")
    finally:
        path.unlink(missing_ok=True)
        path.parent.rmdir()
    if mask.getextrema()[1] == 0:
        return None
    return mask if mask.size == (width, height) else mask.resize((width, height), Image.Resampling.BILINEAR)


def _decoded(url: object) -> bytes:
    try:
        if isinstance(url, str) and url.startswith(PREFIX):
            return base64.b64decode(url.removeprefix(PREFIX), validate=True)
    except ValueError:
        pass
    raise ImageError("The mask is no PNG; paint it again.")
