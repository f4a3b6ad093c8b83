"""A `Trace` as a file, and back, bit for bit.

One .safetensors file: the latents, predictions, attention maps and pictures as tensors, everything else as
JSON in its metadata.  What is there twice is stored once: x_next where it is the next step's x, x0_cond where
it is x0.  Nothing is ever unpickled.
"""

import json
import reprlib
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .errors import SettingsError, TraceError
from .settings import LIMITS, Settings
from .trace import AttentionMaps, Prediction, Step, Trace
from .writing import write_tensors

KEY = "ldm_run"  # of the metadata
VERSION = 1
MAX_BYTES = 4 * 2**30
MAX_HEADER = 32 * 2**20
MAX_CHANNELS = 64
FACTORS = (4, 64)  # pixels a latent covers, in either direction
LATENTS = ("x", "x0", "x0_cond", "x0_uncond", "x_next")


def save(trace: Trace, path: str | Path) -> None:
    """Write a run; what was at `path` before stays until all is written.

    Raises:
        TraceError: the run is too large, or the file cannot be written.
    """
    record = {
        "version": VERSION,
        "settings": trace.settings.to_dict(),
        "model_name": trace.model_name,
        "prediction_type": trace.prediction_type,
        "tokens": trace.tokens,
        "negative_tokens": trace.negative_tokens,
        "seconds": float(trace.seconds),
        "finished": trace.finished,
        "parent": trace.parent,
        "steps": [
            {"index": s.index, "sigma": s.sigma, "sigma_next": s.sigma_next, "timestep": s.timestep}
            for s in trace.steps
        ],
    }
    tensors = _tensors(trace)
    size = sum(t.nbytes for t in tensors.values())
    if size > MAX_BYTES - MAX_HEADER:
        raise TraceError(f"The run takes {size / 2**30:.1f} GB; a run file holds {MAX_BYTES // 2**30} GB.")
    write_tensors(path, tensors, {KEY: json.dumps(record)}, TraceError)


def load(path: str | Path) -> Trace:
    """Read a run written by `save`.

    Raises:
        TraceError: missing, damaged, too large, from a newer version, or no run file.
    """
    path = Path(path)
    try:
        text, tensors = _read(path)
        return _trace(json.loads(text), tensors)
    except FileNotFoundError as error:
        raise TraceError(f"There is no run file {path.name}.") from error
    except TraceError as error:
        raise TraceError(f"{path.name} cannot be read as a run: {error}.") from error
    except (OSError, SafetensorError) as error:
        raise TraceError(f"{path.name} is damaged or no run file.") from error
    except (ValueError, RecursionError) as error:
        raise TraceError(f"{path.name} cannot be read as a run: its record is not valid JSON.") from error


def equal(a: Trace, b: Trace) -> bool:
    """Whether two runs are the same, bit for bit: settings, numbers, tensors and pictures."""
    ours, theirs = _tensors(a), _tensors(b)
    return (
        _numbers(a) == _numbers(b)
        and ours.keys() == theirs.keys()
        and all(_same_bits(tensor, theirs[name]) for name, tensor in ours.items())
    )


def _numbers(trace: Trace) -> tuple[Any, ...]:
    steps = [(s.index, s.sigma, s.sigma_next, s.timestep) for s in trace.steps]
    texts = (trace.model_name, trace.prediction_type, trace.tokens, trace.negative_tokens)
    return trace.settings, texts, steps, trace.seconds, trace.finished, trace.parent


def _tensors(trace: Trace) -> dict[str, Tensor]:
    """Every tensor under its name in the file; the last step's x_next is always there."""
    found: dict[str, Tensor] = {}
    for k, step in enumerate(trace.steps):
        p = step.prediction
        found[f"steps.{k}.x"] = step.x
        found[f"steps.{k}.x0"] = p.x0
        if not _same_bits(p.x0, p.x0_cond):
            found[f"steps.{k}.x0_cond"] = p.x0_cond
        if p.x0_uncond is not None:
            found[f"steps.{k}.x0_uncond"] = p.x0_uncond
        if k == len(trace.steps) - 1 or not _same_bits(step.x_next, trace.steps[k + 1].x):
            found[f"steps.{k}.x_next"] = step.x_next
        for name in ("attention", "attention_uncond"):
            maps: AttentionMaps | None = getattr(p, name)
            for i, tensor in enumerate(maps.maps if maps else ()):
                found[f"steps.{k}.{name}.{i}"] = tensor
    for i, image in enumerate(trace.images):
        found[f"images.{i}"] = torch.from_numpy(np.array(image.convert("RGB")))  # (h, w, 3)
    return found


def _bits(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous().flatten().view(torch.uint8)


def _same_bits(a: Tensor, b: Tensor) -> bool:
    """Also of NaN and of -0.0."""
    return a is b or (a.dtype == b.dtype and a.shape == b.shape and torch.equal(_bits(a), _bits(b)))


def _read(path: Path) -> tuple[str, dict[str, Tensor]]:
    """The record as JSON and all tensors, within bounds."""
    if path.stat().st_size > MAX_BYTES:
        raise TraceError(f"it is larger than {MAX_BYTES // 2**30} GB")
    with path.open("rb") as stream:
        start = stream.read(8)
    if len(start) < 8 or struct.unpack("<Q", start)[0] > MAX_HEADER:
        raise TraceError("it does not start as a .safetensors file of a run does")
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if KEY not in metadata:
            raise TraceError("it holds no run")
        # clones, because the others would be windows into a file that may change
        return metadata[KEY], {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118


def _take(record: object, key: str, *kinds: type) -> Any:  # noqa: ANN401
    """`record[key]`, which must be of one of `kinds`; True is no number."""
    value = record.get(key) if isinstance(record, dict) else None
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise TraceError(f"its {key} is {reprlib.repr(value)}")
    return value


def _float(record: object, key: str) -> float:
    value = _take(record, key, float, int)
    if not abs(value) < 1e300:  # also NaN and whole numbers that no float holds
        raise TraceError(f"its {key} is {reprlib.repr(value)}")
    return float(value)


def _words(record: object, key: str) -> tuple[str, ...]:
    values = _take(record, key, list)
    if not all(isinstance(value, str) for value in values):
        raise TraceError(f"its {key} are not all text")
    return tuple(values)


def _trace(record: object, tensors: dict[str, Tensor]) -> Trace:
    """The record and the tensors of a file, both of them untrusted."""
    if _take(record, "version", int) > VERSION:
        raise TraceError("it was written by a newer version of this app")
    try:
        settings = Settings.from_dict(_take(record, "settings", dict))
    except SettingsError as error:
        raise TraceError(f"its settings are refused ({str(error).rstrip('.')})") from error
    numbers = _take(record, "steps", list)
    if len(numbers) > LIMITS["steps"][1]:
        raise TraceError(f"it has {len(numbers)} steps, at most {LIMITS['steps'][1]} are read")
    left = dict(tensors)
    steps: list[Step] = []
    for k in reversed(range(len(numbers))):  # backwards: x_next may be the next step's x
        steps.insert(0, _step(k, numbers[k], left, steps[0].x if steps else None))
    images: list[Image.Image] = []
    while (pixels := left.pop(f"images.{len(images)}", None)) is not None:
        if pixels.dtype != torch.uint8 or pixels.dim() != 3 or pixels.shape[2] != 3 or pixels.numel() == 0:
            raise TraceError(f"its picture {len(images)} is no picture")
        images.append(Image.fromarray(pixels.numpy()))
    if left:
        raise TraceError(f"it holds {reprlib.repr(min(left))}, which no run has")
    _check_shapes(steps, settings.batch_size, len(images))
    _check_sizes(steps, images, settings)
    parent = _take(record, "parent", list, type(None))
    if parent is not None and [type(value) for value in parent] != [str, int]:
        raise TraceError(f"its parent is {reprlib.repr(parent)}")
    return Trace(
        settings=settings,
        model_name=_take(record, "model_name", str),
        prediction_type=_take(record, "prediction_type", str),
        tokens=_words(record, "tokens"),
        negative_tokens=_words(record, "negative_tokens"),
        steps=tuple(steps),
        images=tuple(images),
        seconds=_float(record, "seconds"),
        finished=_take(record, "finished", bool),
        parent=None if parent is None else (parent[0], parent[1]),
    )


def _step(k: int, numbers: object, left: dict[str, Tensor], next_x: Tensor | None) -> Step:
    """Step k; what it uses is taken out of `left`."""
    found = {name: left.pop(f"steps.{k}.{name}", None) for name in LATENTS}
    maps: dict[str, AttentionMaps | None] = {}
    for name in ("attention", "attention_uncond"):
        parts: list[Tensor] = []
        while (part := left.pop(f"steps.{k}.{name}.{len(parts)}", None)) is not None:
            parts.append(part)
        maps[name] = AttentionMaps(tuple(parts)) if parts else None
    x, x0 = found["x"], found["x0"]
    x_next = next_x if found["x_next"] is None else found["x_next"]
    if x is None or x0 is None or x_next is None:
        raise TraceError(f"its step {k} is incomplete")
    x0_cond = x0 if found["x0_cond"] is None else found["x0_cond"]
    sigma, sigma_next = _float(numbers, "sigma"), _float(numbers, "sigma_next")
    if not 0 <= sigma_next <= sigma or sigma == 0:
        raise TraceError(f"its step {k} goes from sigma {sigma!r} to {sigma_next!r}")
    return Step(
        index=_take(numbers, "index", int),
        sigma=sigma,
        sigma_next=sigma_next,
        timestep=_float(numbers, "timestep"),
        x=x,
        prediction=Prediction(x0, x0_cond, found["x0_uncond"], maps["attention"], maps["attention_uncond"]),
        x_next=x_next,
    )


def _check_shapes(steps: list[Step], batch_size: int, images: int) -> None:
    if steps and images not in (0, batch_size):
        raise TraceError(f"it has {images} pictures for a batch of {batch_size}")
    for k, step in enumerate(steps):
        p = step.prediction
        latents = [step.x, p.x0, p.x0_cond, step.x_next, *([] if p.x0_uncond is None else [p.x0_uncond])]
        maps = [m for a in (p.attention, p.attention_uncond) if a is not None for m in a.maps]
        if any(t.shape != steps[0].x.shape for t in latents):
            raise TraceError(f"its step {k} has latents of another shape than step 0")
        if any(t.dim() != 4 or len(t) != batch_size or t.numel() == 0 for t in [*latents, *maps]):
            raise TraceError(f"its step {k} does not fit a batch of {batch_size}")
        if not all(t.is_floating_point() for t in [*latents, *maps]):
            raise TraceError(f"its step {k} holds whole numbers for latents")


def _check_sizes(steps: list[Step], images: list[Image.Image], settings: Settings) -> None:
    """Latents and pictures must be of the size the settings name: whoever draws them goes by that."""
    width, height = settings.width, settings.height
    for i, image in enumerate(images):
        if image.size != (width, height):
            raise TraceError(
                f"its picture {i} has {image.width} x {image.height} pixels, not {width} x {height}"
            )
    if not steps:
        return
    channels, rows, columns = steps[0].x.shape[1:]
    if channels > MAX_CHANNELS:
        raise TraceError(f"its latents have {channels} channels, at most {MAX_CHANNELS} are read")
    factor = width // columns
    low, high = FACTORS
    if (columns * factor, rows * factor) != (width, height) or not low <= factor <= high:
        raise TraceError(f"its latents of {columns} x {rows} do not fit a picture of {width} x {height}")
