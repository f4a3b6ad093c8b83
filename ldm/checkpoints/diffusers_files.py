"""The files of a diffusers folder: its JSON, and the weights of each part, whatever they are called.

A part may hold one .safetensors file or several with an index, in full or half precision (`.fp16.`), or the
.bin files of `torch.save`, which are read without running anything in them.
"""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import CheckpointError
from .careful import said
from .files import read_shapes, read_state_dict

WEIGHTS = (".safetensors", ".bin")  # in the order of preference
NOT_WEIGHTS = ("training_args", "optimizer", "scheduler", "random_states", "openvino", "flax", "onnx", "rng")
VARIANTS = (
    "",
    "fp32",
    "ema",
    "fp16",
    "bf16",
    "non_ema",
)  # between name and suffix, in the order of preference
SHARD = re.compile(r"-\d{5}-of-\d{5}")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON file of the folder.

    Raises:
        CheckpointError: it is missing, or no JSON object.
    """
    shown = f"{path.parent.name}/{path.name}"
    try:
        values = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"The folder has no {shown}.") from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{shown} cannot be read: {said(error)}.") from error
    if not isinstance(values, dict):
        raise CheckpointError(f"{shown} holds {type(values).__name__}, not an object.")
    return values


def weight_files(part: Path) -> list[Path]:
    """The files that together are the weights of a part, safetensors and full precision first.

    Raises:
        CheckpointError: there are none, or an index names one that is not there.
    """
    if not part.is_dir():
        raise CheckpointError(f"The folder has no {part.name}/.")
    best = preferred(path.name for path in part.iterdir() if path.is_file())
    if not best:
        raise CheckpointError(f"{part.name}/ holds no weights: neither .safetensors nor .bin files.")
    indices = [name for name in best if name.endswith(".json")]
    chosen = _shards(part / indices[0]) if indices else [part / name for name in best]
    missing = [path.name for path in chosen if not path.is_file()]
    if missing:
        raise CheckpointError(
            f"{part.name}/ is incomplete: its index names {len(missing)} files that are not there "
            f"({missing[0]})."
        )
    return chosen


def preferred(names: Iterable[str], *, half: bool = False) -> list[str]:
    """Of the files of one part those to read: one, or the shards of one model and their index.

    Args:
        names: bare, without a folder.
        half: prefer half precision to full.

    Returns:
        Sorted; empty if none holds weights.
    """
    variants = ("fp16", "bf16", *(name for name in VARIANTS if name not in ("fp16", "bf16")))
    groups: dict[tuple[str, str], list[str]] = {}
    for name in sorted(names):
        words = SHARD.sub("", name).removesuffix(".json").split(".")
        kind = next((suffix for suffix in WEIGHTS if suffix[1:] in words), None)
        is_weights = name.endswith((*WEIGHTS, ".json")) and not name.startswith(NOT_WEIGHTS)
        if kind is None or not is_weights:
            continue
        # "model.fp16.safetensors" and "model.safetensors.index.fp16.json" are of one model
        variant = next((word for word in words if word in VARIANTS[1:]), "")
        is_sharded = SHARD.search(name) is not None or name.endswith(".json")
        groups.setdefault((f"{kind}{' in shards' * is_sharded}", variant), []).append(name)
    order = variants if half else VARIANTS
    ranks = {key: (key[0].split(" ")[0] != WEIGHTS[0], order.index(key[1]), key[0]) for key in groups}
    return groups[min(ranks, key=lambda key: ranks[key])] if groups else []


def read_weights(part: Path) -> dict[str, Tensor]:
    """The weights of a part, windows into its files where that can be.

    Raises:
        CheckpointError: there are none, or they cannot be read.
    """
    tensors: dict[str, Tensor] = {}
    for path in weight_files(part):
        tensors.update(read_state_dict(path)[0])
    return tensors


def read_part_shapes(part: Path) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the weights of a part; as `read_weights`."""
    shapes: dict[str, tuple[int, ...]] = {}
    for path in weight_files(part):
        shapes.update(read_shapes(path)[0])
    return shapes


def _shards(index: Path) -> list[Path]:
    """The files that an index names, each once.

    Raises:
        CheckpointError: it names none, or one in another folder.
    """
    names = read_json(index).get("weight_map")
    if not isinstance(names, dict) or not names or not all(isinstance(n, str) for n in names.values()):
        raise CheckpointError(f"{index.parent.name}/{index.name} names no files of weights.")
    for name in names.values():
        if Path(name).name != name:
            raise CheckpointError(f"{index.parent.name}/{index.name} names a file elsewhere: {name:.60}.")
    return [index.with_name(name) for name in sorted(set(names.values()))]
