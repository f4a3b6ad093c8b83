"""Files the page shows and hands out.  They lie in gradio's own folder, which sweeps itself."""

import base64
import hashlib
import io
import re
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

from gradio.data_classes import FileData
from gradio.utils import get_upload_folder
from PIL import Image

from .. import png
from ..errors import LdmError
from ..settings import Settings
from ..trace import Trace
from ..writing import write_file


def folder(key: str) -> Path:
    """A folder of its own for whatever belongs to `key`; its name does not give the key away."""
    path = Path(get_upload_folder()) / hashlib.sha256(f"darkroom {key}".encode()).hexdigest()[:32]
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LdmError(f"No file could be written: {error.strerror or error}.") from error
    return path


def is_ours(path: Path) -> bool:
    """Whether a file was uploaded, or made for the page."""
    return Path(get_upload_folder()) in path.parents


def fresh_key() -> str:
    """A key nobody else has."""
    return secrets.token_urlsafe(16)


def stem(trace: Trace) -> str:
    """A file name from the prompt: "a red apple" with seed 7 gives "a-red-apple-seed7"."""
    words = re.sub(r"[^a-z0-9]+", "-", trace.settings.prompt.lower()).strip("-")[:48].strip("-")
    return f"{words or 'picture'}-seed{trace.settings.seed}"


def pictures(run_id: str, trace: Trace) -> list[Path]:
    """The pictures of a run as PNGs that carry their settings, written once."""
    paths = []
    words = stem(trace).rsplit("-seed", 1)[0]
    for i, image in enumerate(trace.images):
        alone = trace.settings.of_picture(i)
        path = folder(run_id) / f"{words}-seed{seed_of(trace.settings, i).replace(' + ', '-')}.png"
        if not path.exists():
            png.save(image, path, alone, trace.model_name)
        paths.append(path)
    return paths


def seed_of(settings: Settings, i: int) -> str:
    """The seed of picture i for people: "7", or "7 + 12" where it is turned to the noise of seed 12."""
    alone = settings.of_picture(i)
    return f"{alone.seed} + {alone.variation_seed}" if alone.variation_strength > 0 else str(alone.seed)


def handed_out(trace: Trace) -> Trace:
    """The run as it may leave the house: the id of the run it was taken up from is a key to that one."""
    if trace.parent is None:
        return trace
    run_id, at = trace.parent
    return replace(trace, parent=(hashlib.sha256(run_id.encode()).hexdigest()[:16], at))


def save_png(image: Image.Image, path: Path) -> None:
    """Write a picture, whole or not at all.

    Raises:
        LdmError: the disk is full, or may not be written to.
    """
    write_file(path, [png_bytes(image)])


def png_bytes(image: Image.Image) -> bytes:
    """A picture as a PNG without settings."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def served(path: Path) -> dict[str, Any]:
    """`path` as the page gets it: gradio adds the URL."""
    return FileData(path=str(path), orig_name=path.name).model_dump()


def data_url(image: Image.Image, quality: int = 85) -> str:
    """A JPEG inside a URL: the quickest way to show a preview that is gone in a tenth of a second."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
