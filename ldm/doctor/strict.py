"""A model's networks beside what a file has for them, weight by weight, grouped by part."""

from collections.abc import Mapping

from torch import Tensor

from ..checkpoints.plan import plan
from ..checkpoints.report import Checkpoint, differences, is_leftover
from .records import PartReport
from .scan import part_of


def compare(checkpoint: Checkpoint) -> tuple[tuple[PartReport, ...], int, str]:
    """The parts of a model, how many tensors need no place in it, and why it is refused ("" if it is not).

    The networks are built on the meta device: no memory, and no weight is read.

    Raises:
        CheckpointError: its sizes are none that a network can have.
    """
    wanted = _wanted(checkpoint)
    found = {name: tuple(tensor.shape) for name, tensor in checkpoint.tensors.items()}
    extra = [name for name in found if name not in wanted]
    homeless = [name for name in extra if not is_leftover(name, checkpoint.leftovers)]
    names = dict.fromkeys([part_of(name) for name in (*wanted, *homeless)])
    parts = []
    for part in names:
        needed = [name for name in wanted if part_of(name) == part]
        present = [name for name in needed if name in found]
        misshapen = [name for name in present if found[name] != wanted[name]]
        parts.append(
            PartReport(
                part=part,
                needed=len(needed),
                found=len(present) - len(misshapen),
                parameters=_count(checkpoint.tensors, present),
                missing=tuple(name for name in needed if name not in found),
                unexpected=tuple(name for name in homeless if part_of(name) == part),
                misshapen=tuple(f"{name} {list(found[name])} for {list(wanted[name])}" for name in misshapen),
            )
        )
    problems = differences(wanted, found, checkpoint.leftovers)
    problem = f"{checkpoint.path.name} {', and '.join(problems)}." if problems else ""
    return tuple(parts), len(extra) - len(homeless), problem


def _wanted(checkpoint: Checkpoint) -> dict[str, tuple[int, ...]]:
    preview = "preview.weight" in checkpoint.tensors
    model = plan(checkpoint.config, checkpoint.tokenizer, checkpoint.path.name, preview=preview)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}


def _count(tensors: Mapping[str, Tensor], names: list[str]) -> int:
    return sum(tensors[name].numel() for name in names)
