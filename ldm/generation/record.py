"""Steps as they are kept: their tensors on the CPU, whatever device made them."""

from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor

from ..trace import AttentionMaps, Step


def on_cpu(steps: Iterator[Step], device: torch.device) -> Iterator[Step]:
    """Steps with their tensors on the CPU.

    On a GPU the copies go to pinned memory without waiting, and a step is handed out when the next one has
    been launched, so that recording does not keep the device idle.
    """
    if device.type != "cuda":
        for step in steps:
            yield _moved(step)
        return
    waiting: tuple[Step, torch.cuda.Event] | None = None
    for step in steps:
        copy = _moved(step)
        event = torch.cuda.Event()
        event.record()
        if waiting is not None:
            waiting[1].synchronize()
            yield waiting[0]
        waiting = (copy, event)
    if waiting is not None:
        waiting[1].synchronize()
        yield waiting[0]


def _moved(step: Step) -> Step:
    p = step.prediction
    prediction = replace(
        p,
        x0=_cpu(p.x0),
        x0_cond=_cpu(p.x0_cond),
        x0_uncond=None if p.x0_uncond is None else _cpu(p.x0_uncond),
        x0_third=None if p.x0_third is None else _cpu(p.x0_third),
        attention=_moved_maps(p.attention),
        attention_uncond=_moved_maps(p.attention_uncond),
    )
    return replace(
        step,
        x=_cpu(step.x),
        prediction=prediction,
        x_next=_cpu(step.x_next),
        x_asked=None if step.x_asked is None else _cpu(step.x_asked),
    )


def _moved_maps(attention: AttentionMaps | None) -> AttentionMaps | None:
    """Half precision is plenty for a share of attention, and half the memory."""
    return None if attention is None else AttentionMaps(tuple(_cpu(m.half()) for m in attention.maps))


def _cpu(tensor: Tensor) -> Tensor:
    if tensor.device.type != "cuda":
        return tensor.cpu()
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)
