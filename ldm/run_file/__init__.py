"""A `Trace` as a file, and back, bit for bit.

One .safetensors file: the latents, predictions, attention maps and pictures as tensors, everything else as
JSON in its metadata.  What is there twice is stored once: x_next where it is the next step's x, x0_cond where
it is x0.  Nothing is ever unpickled.
"""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from ..errors import TraceError
from ..trace import AttentionMaps, Step, Trace
from ..writing import write_tensors
from .reading import trace_of

KEY = "ldm_run"  # of the metadata
MAX_BYTES = 4 * 2**30
MAX_HEADER = 32 * 2**20


def save(trace: Trace, path: str | Path) -> None:
    """Write a run; what was at `path` before stays until all is written.

    Raises:
        TraceError: the run is too large, or the file cannot be written.
    """
    record = {
        "version": _version(trace),
        "settings": trace.settings.to_dict(),
        "model_name": trace.model_name,
        "prediction_type": trace.prediction_type,
        "tokens": trace.tokens,
        "negative_tokens": trace.negative_tokens,
        "seconds": float(trace.seconds),
        "finished": trace.finished,
        "parent": trace.parent,
        "sigmas": trace.sigmas,
        "steps": [_step_numbers(step) for step in trace.steps],
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
        return trace_of(json.loads(text), tensors)
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
    steps = [_step_numbers(step) for step in trace.steps]
    texts = (trace.model_name, trace.prediction_type, trace.tokens, trace.negative_tokens)
    return trace.settings, texts, steps, trace.seconds, trace.finished, trace.parent, trace.sigmas


def _step_numbers(step: Step) -> dict[str, Any]:
    """What a step is besides tensors, as the record has it."""
    return {
        "index": step.index,
        "sigma": step.sigma,
        "sigma_next": step.sigma_next,
        "timestep": step.timestep,
        "sigma_asked": step.sigma_asked,
        "keeps_uncond": step.prediction.keeps_uncond,
        **{f"{name}_heads": maps.heads for name, maps in _attention(step).items() if maps and maps.heads},
    }


def _attention(step: Step) -> dict[str, AttentionMaps | None]:
    p = step.prediction
    return {"attention": p.attention, "attention_uncond": p.attention_uncond}


def _version(trace: Trace) -> int:
    """The first version whose readers miss nothing of this run."""
    if trace.only_shown or any(s.prediction.x0_free is not None for s in trace.steps):
        return 4
    if trace.settings.muted_tokens or any(m and m.heads for s in trace.steps for m in _attention(s).values()):
        return 3
    if trace.init_image is not None or trace.sigmas is not None:
        return 2
    for s in trace.steps:
        added = (s.sigma_asked, s.x_asked, s.prediction.x0_third)
        if s.prediction.keeps_uncond or s.sigma_next > s.sigma or any(a is not None for a in added):
            return 2
    return 1


def _tensors(trace: Trace) -> dict[str, Tensor]:
    """Every tensor under its name in the file; the last step's x_next is always there."""
    found: dict[str, Tensor] = {}
    for k, step in enumerate(trace.steps):
        p = step.prediction
        found[f"steps.{k}.x"] = step.x
        found[f"steps.{k}.x0"] = p.x0
        if not _same_bits(p.x0, p.x0_cond):
            found[f"steps.{k}.x0_cond"] = p.x0_cond
        rest = {
            "x0_uncond": p.x0_uncond,
            "x0_third": p.x0_third,
            "x0_free": p.x0_free,
            "x_asked": step.x_asked,
        }
        found |= {f"steps.{k}.{name}": tensor for name, tensor in rest.items() if tensor is not None}
        if k == len(trace.steps) - 1 or not _same_bits(step.x_next, trace.steps[k + 1].x):
            found[f"steps.{k}.x_next"] = step.x_next
        for name, maps in _attention(step).items():
            for i, tensor in enumerate(maps.maps if maps else ()):
                found[f"steps.{k}.{name}.{i}"] = tensor
    pictures = {f"images.{i}": image for i, image in enumerate(trace.images)}
    if trace.init_image is not None:
        pictures["init_image"] = trace.init_image
    for name, image in pictures.items():
        numbered = name == "init_image" and image.mode == "L"  # class numbers, not colours
        found[name] = torch.from_numpy(np.array(image if numbered else image.convert("RGB")))  # (h, w, 3)
    if trace.mask is not None:
        found["mask"] = torch.from_numpy(np.array(trace.mask.convert("L")))  # (h, w)
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
