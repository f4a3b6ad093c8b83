"""Settings carried inside a PNG, so that a picture can be made again.

One iTXt chunk, `ldm`, holds JSON.  As a courtesy a second one, `parameters`, says the same in the words of
AUTOMATIC1111's web UI, whose own PNGs are read too.
"""

import io
import json
import struct
import zlib
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin

from . import automatic1111
from .errors import ImageError, SettingsError
from .images import DAMAGE, MAX_PIXELS
from .settings import Settings
from .writing import write_file

KEY = "ldm"
STRANGERS_KEY = "parameters"
VERSION = 1  # of the JSON's layout
MAX_TEXT = 100_000  # characters of settings that are parsed
MAX_BYTES = 256 * 2**20  # of a file that is opened


def save(
    image: Image.Image,
    path: str | Path,
    settings: Settings,
    model_name: str,
    extra: dict[str, Any] | None = None,
) -> None:
    """Write the picture and the settings that made it; for one of a batch, those of `Settings.of_picture`.

    Args:
        extra: more to remember, of plain JSON types; `read` passes it by.

    Raises:
        LdmError: the file cannot be written; what was there before is kept.
    """
    data: dict[str, Any] = {"model": model_name, "settings": settings.to_dict(), "version": VERSION}
    if extra:
        data["extra"] = extra
    info = PngImagePlugin.PngInfo()
    info.add_itxt(KEY, json.dumps(data))
    info.add_itxt(STRANGERS_KEY, automatic1111.write(settings, model_name))
    buffer = io.BytesIO()
    image.save(buffer, "PNG", pnginfo=info)
    write_file(path, [buffer.getbuffer()])


def read(path: str | Path) -> tuple[Settings, str]:
    """The settings and the model's name in a PNG of ours, or of AUTOMATIC1111's web UI.

    Raises:
        ImageError: missing, damaged, too large, or not a PNG.
        SettingsError: it carries no settings, or such as cannot be used here.
    """
    path = Path(path)
    texts = _texts(path)
    if KEY not in texts and STRANGERS_KEY not in texts:
        raise SettingsError(
            f"{path.name} carries no settings; PNGs saved by this app or by AUTOMATIC1111's web UI do."
        )
    key = KEY if KEY in texts else STRANGERS_KEY
    if len(texts[key]) > MAX_TEXT:
        raise SettingsError(
            f"The settings in {path.name} have {len(texts[key])} characters; at most {MAX_TEXT} are read."
        )
    try:
        return (_ours if key == KEY else automatic1111.read)(texts[key])
    except SettingsError as error:
        raise SettingsError(f"The settings in {path.name} cannot be used: {error}") from error


def _texts(path: Path) -> dict[str, str]:
    """The text chunks.  Pixels are decoded only where the ones before them do not hold our keys."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ImageError(f"{path.name} is larger than {MAX_BYTES // 2**20} MB, too large for a picture.")
        with Image.open(path, formats=["PNG"]) as image:
            if not isinstance(image, PngImagePlugin.PngImageFile):
                raise ImageError(f"{path.name} is not a PNG; only PNGs carry settings.")
            found = {key: image.info[key] for key in (KEY, STRANGERS_KEY) if key in image.info}
            if not found and image.width * image.height <= MAX_PIXELS:
                found = {key: image.text[key] for key in (KEY, STRANGERS_KEY) if key in image.text}
    except FileNotFoundError as error:
        raise ImageError(f"There is no picture {path.name}.") from error
    except Image.UnidentifiedImageError as error:
        raise ImageError(f"{path.name} is not a PNG; only PNGs carry settings.") from error
    except (*DAMAGE, struct.error, zlib.error, Image.DecompressionBombError) as error:
        raise ImageError(f"{path.name} is damaged and cannot be read as a PNG.") from error
    return {key: value for key, value in found.items() if isinstance(value, str)}


def _ours(text: str) -> tuple[Settings, str]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SettingsError("they are not valid JSON.") from error
    if not isinstance(data, dict) or not isinstance(data.get("settings"), dict):
        raise SettingsError("they are not a record of settings.")
    model_name = data.get("model")
    return Settings.from_dict(data["settings"]), model_name if isinstance(model_name, str) else ""
