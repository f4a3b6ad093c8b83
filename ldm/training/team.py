"""Several processes on one machine that share each batch and average their gradients.

One process with two threads stops at the end of every operator until both are there, so a busy neighbour
costs it most of its speed; two processes with a thread each meet once a step.
"""

import contextlib
import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..errors import LdmError

PATIENCE = timedelta(minutes=10)  # a chunk of pictures may have to be rendered meanwhile
MEETING = "team"


@dataclass(frozen=True)
class Team:
    """Who this process is among those that train together.

    Attributes:
        rank: from 0; the first one writes the state and speaks.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process speaks for all."""
        return self.rank == 0

    def check(self, batch: int) -> None:
        """Raise LdmError if a batch cannot be shared evenly."""
        if batch % self.size:
            raise LdmError(f"processes must divide the batch of {batch}, got {self.size}.")

    def share(self, batch: Tensor) -> Tensor:
        """(B, ...) -> (B / size, ...), this process's part."""
        return batch[self.rank :: self.size]

    def average(self, loss: Tensor, parameters: Sequence[nn.Parameter]) -> Tensor:
        """Replace every gradient by the mean over the processes; gives the mean of the losses, ()."""
        if self.size == 1:
            return loss
        grads = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([loss.reshape(1).float(), *(g.reshape(-1).float() for g in grads)])
        dist.all_reduce(flat)
        flat /= self.size
        for grad, mean in zip(grads, flat[1:].split([g.numel() for g in grads]), strict=True):
            grad.copy_(mean.view_as(grad))
        return flat[0]


ALONE = Team()


@contextlib.contextmanager
def gathered(size: int, folder: Path, work: Callable[..., Any], *arguments: Any) -> Iterator[Team]:  # noqa: ANN401
    """Start the others of a team, be its first, and see them off.

    Args:
        folder: where they find each other.
        work: what the others do, `work(team, *arguments)`; must be importable.
    """
    if size == 1:
        yield ALONE
        return
    folder.mkdir(parents=True, exist_ok=True)
    meeting = folder / MEETING
    meeting.unlink(missing_ok=True)
    context = multiprocessing.get_context("spawn")
    others = [
        context.Process(target=_follow, args=(rank, size, meeting, work, arguments), daemon=True)
        for rank in range(1, size)
    ]
    for other in others:
        other.start()
    _meet(0, size, meeting)
    try:
        yield Team(0, size)
    finally:
        dist.destroy_process_group()
        for other in others:
            other.join(timeout=30)
            other.terminate()
        meeting.unlink(missing_ok=True)


def _meet(rank: int, size: int, meeting: Path) -> None:
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    dist.init_process_group(
        "gloo", init_method=meeting.absolute().as_uri(), rank=rank, world_size=size, timeout=PATIENCE
    )


def _follow(
    rank: int, size: int, meeting: Path, work: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    _meet(rank, size, meeting)
    with contextlib.suppress(RuntimeError, KeyboardInterrupt):  # the first is gone, and with it the training
        work(Team(rank, size), *arguments)
