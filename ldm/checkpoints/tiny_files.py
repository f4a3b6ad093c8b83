"""TAESD's names and sizes in the files that hold it: the original's pair, or both halves in one."""

import re
from pathlib import Path

from ..errors import CheckpointError
from ..models.pixel_config import TinyAutoencoderConfig
from .files import SUFFIXES
from .report import Shapes

HALVES = {"encoder": "decoder", "decoder": "encoder"}


def tiny_names(shapes: Shapes) -> dict[str, str] | None:
    """Name in a file -> name here; None if the file is no TAESD.

    The original's files have bare numbers: the encoder's begin at 0; the decoder's at 1, after the clamp.
    """
    if "0.weight" in shapes and "1.conv.0.weight" in shapes and "3.conv.4.weight" in shapes:
        return {name: f"encoder.{name}" for name in shapes}
    if "1.weight" in shapes and "3.conv.0.weight" in shapes and "0.weight" not in shapes:
        return {name: f"decoder.{name}" for name in shapes}
    names = {name: _of_both(name) for name in shapes}
    known = set(names.values())
    if any(
        f"{half}.{first}" in known
        for half, first in (("encoder", "1.conv.0.weight"), ("decoder", "3.conv.0.weight"))
    ):
        return names
    return None


def _of_both(name: str) -> str:
    """The name of a weight in a file that says which half it is of."""
    found = re.match(r"(encoder|decoder)\.layers\.(\d+)\.", name)
    if found:  # diffusers counts the decoder from the layer after the clamp
        number = int(found[2]) + (found[1] == "decoder")
        return f"{found[1]}.{number}.{name[found.end() :]}"
    return re.sub(r"^taesd_(encoder|decoder)\.", r"\1.", name)


def tiny_config(shapes: Shapes) -> TinyAutoencoderConfig:
    """Sizes from shapes under our names.

    Raises:
        CheckpointError: it is one of TAESD's later kinds, or none at all.
    """
    usual = TinyAutoencoderConfig()
    encoder, decoder = _blocks(shapes, "encoder"), _blocks(shapes, "decoder")
    if encoder is not None:
        last = max(_numbers(shapes, "encoder"))
        width, pixels = _size(shapes, "encoder.0.weight")
        channels = _size(shapes, f"encoder.{last}.weight")[0]
    elif decoder is not None:
        last = max(_numbers(shapes, "decoder"))
        width, channels = _size(shapes, "decoder.1.weight")
        pixels = _size(shapes, f"decoder.{last}.weight")[0]
    else:
        raise CheckpointError("It has neither TAESD's encoder nor its decoder.")
    return TinyAutoencoderConfig(
        latent_channels=channels,
        width=width,
        encoder_blocks=encoder or usual.encoder_blocks,
        decoder_blocks=decoder or usual.decoder_blocks,
        in_channels=pixels,
        has_encoder=encoder is not None,
        has_decoder=decoder is not None,
    )


def find_partner(path: Path, names: dict[str, str]) -> Path | None:
    """The file with the other half, beside a file with one; None if there is none or none is needed."""
    halves = {name.split(".")[0] for name in names.values()} & set(HALVES)
    if len(halves) != 1:
        return None
    half = halves.pop()
    if half not in path.stem:
        return None
    stem = path.stem.replace(half, HALVES[half])
    choices = (path.with_name(stem + suffix) for suffix in (path.suffix, *SUFFIXES))
    return next((choice for choice in choices if choice.is_file()), None)


def _numbers(shapes: Shapes, half: str) -> list[int]:
    found = (re.match(rf"{half}\.(\d+)\.", name) for name in shapes)
    return sorted({int(match[1]) for match in found if match})


def _blocks(shapes: Shapes, half: str) -> tuple[int, ...] | None:
    """Blocks between one convolution and the next; None without that half."""
    counts: list[int] = []
    for number in _numbers(shapes, half):
        if f"{half}.{number}.conv.0.weight" in shapes and counts:
            counts[-1] += 1
        else:
            counts.append(0)
    return tuple(counts[:-1]) if len(counts) > 1 else None  # nothing follows the last one


def _size(shapes: Shapes, name: str) -> tuple[int, int]:
    shape = shapes.get(name, ())
    if len(shape) != 4:
        raise CheckpointError(f"{name} has the shape {list(shape)}, not of a convolution.")
    return shape[0], shape[1]
