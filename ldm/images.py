"""Pictures as tensors and back.  The only place that knows about 0..255.

Files of strangers come in through `open_image`: it bounds the size before a pixel is decoded, applies the
camera's rotation, and lays transparency on white.
"""

import math
import struct
import threading
import warnings
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from .errors import ImageError, check_choice

MAX_PIXELS = 25_000_000  # of a file that is opened
MAX_BYTES = 64 * 2**20
_LIMIT = f"at most {MAX_PIXELS // 10**6} million are read"
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")
NUMBERED = ("P", "L", "1")  # modes whose pixels can be class numbers
_ROWS = 256  # of deep grey that are turned to 8 bits together
_DECODING = threading.Semaphore(1)  # a large picture takes hundreds of MB while it is decoded
# What Pillow's readers were seen to raise for damaged files.
DAMAGE = (OSError, SyntaxError, ValueError, TypeError, LookupError, ArithmeticError, EOFError, RuntimeError)


def to_tensor(images: Sequence[Image.Image]) -> Tensor:
    """(B, 3, height, width) float32 in [-1, 1]."""
    pixels = np.stack([np.asarray(image.convert("RGB")) for image in images])  # (B, h, w, 3)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_images(x: Tensor) -> list[Image.Image]:
    """The inverse of `to_tensor`; values outside [-1, 1] are clipped, then rounded, not truncated.

    NaN becomes black, so that a broken model shows itself and does not crash the page.
    """
    pixels = x.detach().to(torch.float32, copy=True)  # and from here on in place: a third of the time
    pixels = pixels.nan_to_num_(-1.0).add_(1).mul_(127.5).round_().clamp_(0, 255).byte()
    return [Image.fromarray(p) for p in pixels.permute(0, 2, 3, 1).cpu().contiguous().numpy()]


def open_image(path: str | Path, *, as_is: Sequence[str] = ()) -> Image.Image:
    """A picture file as RGB, upright, whatever its mode.

    16-bit grey is scaled to 8 bits, transparency is laid on white, EXIF rotation is applied, and of an
    animation the first frame is taken.

    Args:
        as_is: Pillow's modes of pictures that are left as they are, for those that hold class numbers
            (`NUMBERED`).

    Raises:
        ImageError: missing, not a picture, damaged, or more than MAX_PIXELS or MAX_BYTES.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ImageError(f"{path.name} is larger than {MAX_BYTES // 2**20} MB, too large for a picture.")
        with _DECODING, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow: MAX_PIXELS is checked below, odd tags do not matter
            with Image.open(path, formats=FORMATS) as image:
                width, height = image.size
                if width * height > MAX_PIXELS:
                    raise ImageError(f"{path.name} has {width} x {height} pixels; {_LIMIT}.")
                image.load()
                return image.copy() if image.mode in as_is else to_rgb(image)
    except FileNotFoundError as error:
        raise ImageError(f"There is no picture {path.name}.") from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"{path.name} has too many pixels; {_LIMIT}.") from error
    except UnidentifiedImageError as error:
        raise ImageError(f"{path.name} is not a picture; use one of: {', '.join(FORMATS)}.") from error
    except (*DAMAGE, struct.error, zlib.error) as error:
        raise ImageError(f"{path.name} is damaged and cannot be read as a picture.") from error


def to_rgb(image: Image.Image) -> Image.Image:
    """RGB and upright: EXIF rotation applied, transparency laid on white, 16 bits scaled to 8."""
    try:
        image = ImageOps.exif_transpose(image)
    except (*DAMAGE, struct.error):  # unreadable EXIF says nothing about the pixels
        image = image.copy()
    if image.mode.startswith(("I", "F")):
        return _from_deep_grey(image)
    if image.mode in ("RGBA", "LA", "PA", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    return image.convert("RGB")


def _from_deep_grey(image: Image.Image) -> Image.Image:
    """One channel of 16 or 32 bits, or floats in [0, 1], [0, 255] or [0, 65535], as RGB."""
    values = np.asarray(image)
    # a few rows at a time: whole pictures of float64 take gigabytes
    pieces = [slice(start, start + _ROWS) for start in range(0, len(values), _ROWS)]
    largest = max((np.nan_to_num(values[piece]).max(initial=0) for piece in pieces), default=0)
    top = 255.0
    if image.mode.startswith("I;16") or largest > 255:
        top = 65535.0
    elif image.mode == "F" and largest <= 1:
        top = 1.0
    grey = np.empty(values.shape, np.uint8)
    for piece in pieces:
        part = np.nan_to_num(values[piece].astype(np.float64))
        grey[piece] = (part / top * 255).round().clip(0, 255)
    return Image.fromarray(grey).convert("RGB")


def fit_multiple(image: Image.Image, multiple: int, policy: str = "pad") -> Image.Image:
    """The picture with sides that are multiples of `multiple`.

    Args:
        image: an RGB picture.
        policy: "pad" repeats the edge pixels to the right and below, "crop" cuts the centre; a side shorter
            than `multiple` is padded either way.

    Raises:
        SettingsError: unknown policy.
    """
    check_choice("policy", policy, ("pad", "crop"))
    width, height = image.size
    w, h = (
        multiple * (side // multiple if policy == "crop" and side >= multiple else math.ceil(side / multiple))
        for side in (width, height)
    )
    if (w, h) == (width, height):
        return image
    left, top = max(0, (width - w) // 2), max(0, (height - h) // 2)
    pixels = np.asarray(image)[top : top + h, left : left + w]  # (h, w, 3) or less
    pixels = np.pad(pixels, ((0, h - pixels.shape[0]), (0, w - pixels.shape[1]), (0, 0)), mode="edge")
    return Image.fromarray(pixels)
