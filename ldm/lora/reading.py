"""LoRA files and folders of every layout, as one record: kohya's, diffusers' old and new, peft's.

Nothing of a file is dropped silently: a tensor is part of a change, or listed as not understood, or the file
is refused with what it is.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from math import isfinite
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoints.files import read_shapes, read_state_dict
from ..errors import CheckpointError
from .delta import FORMS, Delta, shape_of
from .layouts import Part, foreign, parse, refused
from .metadata import LoraMetadata, read_lora_metadata
from .peft_config import PeftConfig, peft_configs

NAMES = ("adapter_model", "pytorch_lora_weights")  # what the file in a folder is called


@dataclass(frozen=True, eq=False)
class LoRA:
    """Changes of a model's weights, not yet of any one model.

    Attributes:
        name: for people: the file's name without its ending.
        deltas: one for each weight that it changes.
        unread: names in the file that say nothing known.
        metadata: what its trainer wrote into the file.
        only_shapes: whether just the header was read, so that it can be matched but not applied.
    """

    name: str
    deltas: tuple[Delta, ...]
    unread: tuple[str, ...] = ()
    metadata: LoraMetadata = field(default_factory=LoraMetadata)
    only_shapes: bool = False

    @property
    def forms(self) -> tuple[str, ...]:
        """The forms its changes are written in, keys of `FORMS`."""
        return tuple(form for form in FORMS if any(delta.form == form for delta in self.deltas))

    @property
    def ranks(self) -> tuple[int, ...]:
        """The ranks that occur, smallest first."""
        ranks = {FORMS[delta.form].rank(delta.tensors) for delta in self.deltas}
        return tuple(sorted(rank for rank in ranks if rank is not None))


def read_lora(path: str | Path, *, only_shapes: bool = False) -> LoRA:
    """A LoRA from a file, or from a folder of peft or diffusers.

    Args:
        path: .safetensors, a file of `torch.save`, or a folder with one and perhaps `adapter_config.json`.
        only_shapes: read no tensor; of .safetensors that is the header alone.

    Raises:
        CheckpointError: it cannot be read, is no LoRA, is of a kind that cannot be applied exactly, is made
            for another architecture, or is damaged.
    """
    path = Path(path)
    tensors: dict[str, Tensor] = {}
    written: dict[str, str] = {}
    told: dict[str, PeftConfig] = {}  # by the beginning of the names it holds for
    for prefix, file in _files(path):
        found, metadata = _read(file, only_shapes)
        written.update(metadata)
        tensors.update({prefix + key: tensor for key, tensor in found.items()})
        told.update(peft_configs(file, metadata, prefix))
    lora = assemble(path.name if path.is_dir() else path.stem, path.name, tensors, told)
    if not only_shapes:
        _check_finite(path.name, lora.deltas)
    return replace(lora, metadata=read_lora_metadata(written), only_shapes=only_shapes)


def assemble(
    name: str, file: str, tensors: Mapping[str, Tensor], told: Mapping[str, PeftConfig] | None = None
) -> LoRA:
    """A LoRA from its tensors.

    Args:
        name: what it is called.
        file: for messages.
        tensors: by their names in a file of any layout; on the meta device if only shapes are known.
        told: how strong configs of peft say it is, by the beginning of the names they hold for.

    Raises:
        CheckpointError: as `read_lora`.
    """
    _refuse(file, tensors)
    groups, unread = _grouped(file, tensors)
    deltas = tuple(
        delta
        for (_, form), parts in groups.items()
        for delta in _deltas(file, form, parts, tensors, told or {})
    )
    if not deltas:
        raise CheckpointError(f"{file} is no LoRA: none of its {len(tensors)} names is of one.")
    return LoRA(name, deltas, unread)


def file_of(path: Path) -> Path | None:
    """The file of a LoRA, the first of them where a folder has several; None where a folder has none."""
    try:
        return next(_files(path))[1]
    except CheckpointError:
        return None


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """(what the names in it begin with besides, the file) of each file of a LoRA."""
    if not path.is_dir():
        yield "", path
        return
    here = _named(path)
    if here is not None:
        yield "", here
        return
    inner = {part: _named(path / part) for part in ("unet", "text_encoder", "text_encoder_2")}
    found = [(f"{part}.", file) for part, file in inner.items() if file is not None]
    if not found:
        raise CheckpointError(
            f"{path.name} is a folder without a LoRA: it has no {' or '.join(NAMES)} of .safetensors or .bin."
        )
    yield from found


def _named(folder: Path) -> Path | None:
    files = (folder / f"{name}{suffix}" for name in NAMES for suffix in (".safetensors", ".bin"))
    return next((file for file in files if file.is_file()), None)


def _read(file: Path, only_shapes: bool) -> tuple[dict[str, Tensor], dict[str, str]]:
    if not only_shapes:
        return read_state_dict(file)
    shapes, metadata = read_shapes(file)
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}, metadata


def _refuse(name: str, tensors: Mapping[str, Tensor]) -> None:
    for key in tensors:
        words = refused(key)
        if words:
            raise CheckpointError(f"{name} is {words}; such a file cannot be applied ({key}).")
    whose = foreign(tensors)
    if whose:
        raise CheckpointError(f"{name} is an addition to {whose}, which is another architecture.")


def _grouped(
    name: str, tensors: Mapping[str, Tensor]
) -> tuple[dict[tuple[str, str], dict[str, Part]], tuple[str, ...]]:
    """Names of each change, by (layer, form) and role, alphas included; and the names of none.

    Raises:
        CheckpointError: a name belongs to a layer but says nothing known, so that the change is not whole.
    """
    parsed = {key: parse(key) for key in tensors}
    groups: dict[tuple[str, str], dict[str, Part]] = {}
    for key, part in parsed.items():
        if part is not None and part.form:
            group = groups.setdefault((part.layer, part.form), {})
            if part.role in group:
                raise CheckpointError(f"{name} holds {part.layer} twice, the second time as {key}.")
            group[part.role] = part
    layers = {layer for layer, _ in groups}
    unread = []
    for key, part in parsed.items():
        if part is not None and (part.form or part.layer in layers):
            continue
        owner = next((layer for layer in _parents(key) if layer in layers), None)
        if owner is not None:
            raise CheckpointError(
                f"{name} has {key}, which is not understood; {owner} would be half applied."
            )
        unread.append(key)
    return groups, tuple(unread)


def _parents(key: str) -> Iterator[str]:
    while "." in key:
        key = key.rpartition(".")[0]
        yield key


def _deltas(
    name: str,
    form: str,
    parts: Mapping[str, Part],
    tensors: Mapping[str, Tensor],
    told: Mapping[str, PeftConfig],
) -> Iterator[Delta]:
    """The changes of one layer in one form.

    Raises:
        CheckpointError: a tensor is missing, or they do not fit together.
    """
    part = next(iter(parts.values()))
    found = {role: tensors[one.key] for role, one in parts.items()}
    if form == "full":
        for role, parameter in (("diff", "weight"), ("diff_b", "bias")):
            if role in found:
                yield _delta(name, part, form, {"diff": found[role]}, 1.0, parameter)
        return
    missing = _missing(form, found)
    if missing:
        raise CheckpointError(
            f"{name} is damaged: {part.layer} has no {missing} to go with its {min(found)}."
        )
    try:
        rank = FORMS[form].rank(found)
    except IndexError:
        rank = 0
    scale = 1.0 if rank is None else _scale(name, part, rank, tensors, told)
    yield _delta(name, part, form, found, scale, "weight")


def _missing(form: str, found: Mapping[str, Tensor]) -> str:
    """A role that the form cannot do without; LoKr's matrices may be whole or factors."""
    for role in FORMS[form].needs:
        factors = (f"{role}_a", f"{role}_b")
        if role not in found and not (form == "LoKr" and all(factor in found for factor in factors)):
            return role
    return ""


def _scale(
    name: str, part: Part, rank: int, tensors: Mapping[str, Tensor], told: Mapping[str, PeftConfig]
) -> float:
    """Alpha over the rank, from the file, from a config of peft, or 1."""
    if rank < 1:
        raise CheckpointError(f"{name} is damaged: {part.layer} has rank {rank}.")
    alpha = next(
        (tensors[key] for key in (f"{part.layer}.alpha", f"{part.layer}_lora.alpha") if key in tensors), None
    )
    if alpha is not None:
        if alpha.numel() != 1:
            raise CheckpointError(f"{name} is damaged: {part.layer}.alpha is {alpha.numel()} numbers.")
        return 1.0 if alpha.is_meta else float(alpha) / rank
    for beginning, config in told.items():
        if part.layer.startswith(beginning):
            return config.scale(part.layer, rank)
    return 1.0


def _delta(
    name: str, part: Part, form: str, tensors: dict[str, Tensor], scale: float, parameter: str
) -> Delta:
    for role, tensor in tensors.items():
        if not tensor.is_floating_point():
            raise CheckpointError(f"{name} has whole numbers in {part.layer} {role}, a LoRA has fractions.")
    try:
        shape = shape_of(form, tensors)
    except ValueError as error:
        raise CheckpointError(
            f"{name} is damaged: the tensors of {part.layer} do not fit: {error}."
        ) from error
    return Delta(part.layer, part.part, part.module, parameter, form, tensors, scale, shape)


def _check_finite(name: str, deltas: tuple[Delta, ...]) -> None:
    for delta in deltas:
        whole = all(bool(tensor.isfinite().all()) for tensor in delta.tensors.values())
        if not whole or not isfinite(delta.scale):
            raise CheckpointError(f"{name} is damaged: {delta.name} holds numbers that are not finite.")
