"""Steps as they are kept: their tensors on the CPU, whatever device made them, and attention made small."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ..latent_diffusion import LatentDiffusion
from ..settings import Settings
from ..trace import AttentionMaps, Step

MAX_MAP = 48 * 64 * 64  # numbers in the map of one picture; larger ones are halved in both directions


@dataclass(frozen=True)
class Recorded:
    """What is kept of cross-attention.

    Attributes:
        heads: of how many heads the map of each size is the mean, the largest size first.
        tokens, negative_tokens: positions of the prompt and of the negative prompt without padding.
    """

    heads: tuple[int, ...]
    tokens: int
    negative_tokens: int


def recorded_of(model: LatentDiffusion, settings: Settings) -> Recorded:
    """What a run of these settings keeps."""
    heads: Counter[int] = Counter()
    for level, count in model.model.diffusion_model.cross_attentions().values():
        heads[level] += count
    text = model.conditioner
    lengths = [text.used(prompt) for prompt in (settings.prompt, settings.negative_prompt)]
    return Recorded(tuple(heads[level] for level in sorted(heads)), *lengths)


def on_cpu(steps: Iterator[Step], device: torch.device, recorded: Recorded) -> Iterator[Step]:
    """Steps with their tensors on the CPU, attention as `compact`.

    On a GPU the copies go to pinned memory without waiting, and a step is handed out when the next one has
    been launched, so that recording does not keep the device idle.
    """
    if device.type != "cuda":
        for step in steps:
            yield _moved(step, recorded)
        return
    waiting: tuple[Step, torch.cuda.Event] | None = None
    for step in steps:
        copy = _moved(step, recorded)
        event = torch.cuda.Event()
        event.record()
        if waiting is not None:
            waiting[1].synchronize()
            yield waiting[0]
        waiting = (copy, event)
    if waiting is not None:
        waiting[1].synchronize()
        yield waiting[0]


def _moved(step: Step, recorded: Recorded) -> Step:
    p = step.prediction
    prediction = replace(
        p,
        x0=_cpu(p.x0),
        x0_cond=_cpu(p.x0_cond),
        x0_uncond=None if p.x0_uncond is None else _cpu(p.x0_uncond),
        x0_third=None if p.x0_third is None else _cpu(p.x0_third),
        x0_free=None if p.x0_free is None else _cpu(p.x0_free),
        attention=_moved_maps(p.attention, recorded, recorded.tokens),
        attention_uncond=_moved_maps(p.attention_uncond, recorded, recorded.negative_tokens),
    )
    return replace(
        step,
        x=_cpu(step.x),
        prediction=prediction,
        x_next=_cpu(step.x_next),
        x_asked=None if step.x_asked is None else _cpu(step.x_asked),
    )


def _moved_maps(attention: AttentionMaps | None, recorded: Recorded, tokens: int) -> AttentionMaps | None:
    if attention is None:
        return None
    return AttentionMaps(tuple(_cpu(compact(m, tokens)) for m in attention.maps), recorded.heads)


def compact(attention: Tensor, tokens: int) -> Tensor:
    """(B, T, H, W) attention -> (B, K, H, W) float16: the tokens, and one last position for all the padding.

    Half precision is plenty for a share of attention.  At every position it still sums to 1.

    Args:
        tokens: how many positions come before the padding.
    """
    if tokens < attention.shape[1]:
        padding = attention[:, tokens:].sum(1, keepdim=True)
        attention = torch.cat([attention[:, :tokens], padding], 1)
    while attention[0].numel() > MAX_MAP:
        attention = avg_pool2d(attention, 2, ceil_mode=True)
    return attention.half()


def _cpu(tensor: Tensor) -> Tensor:
    if tensor.device.type != "cuda":
        return tensor.cpu()
    return torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True).copy_(tensor, non_blocking=True)
