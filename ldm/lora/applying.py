"""Putting LoRAs into a model's weights, and taking them out again.

A changed weight is a new tensor; the one it stands for is kept and put back, so that a model without its
LoRAs is the model that was loaded, bit for bit.  Whoever draws with a model holds the lock on it meanwhile.
"""

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from ..errors import CheckpointError, SettingsError
from ..latent_diffusion import LatentDiffusion
from .delta import Delta
from .matching import LoraReport, pair, report
from .names import Target
from .reading import LoRA
from .state import Applied, originals, remember, state

MOST = 4.0  # weights go from -4 to 4
Weighted = tuple[LoRA, float] | tuple[LoRA, float, float]
Change = tuple[Target, Delta, float]


@torch.no_grad()
def apply(model: LatentDiffusion, loras: Sequence[Weighted]) -> tuple[LoraReport, ...]:
    """Have exactly these LoRAs in a model's weights; whatever was applied before is gone.

    `W + sum(weight * alpha / rank * up @ down)`, in float32 and then in the type of the weights.  The same
    set gives the same bits, in whatever order it is named.

    Args:
        loras: (LoRA, weight), or (LoRA, weight in the U-Net, weight in the text encoders), from -4 to 4; a
            LoRA with weights of 0 is checked and not applied.

    Returns:
        What each of them does, strengths not measured.

    Raises:
        SettingsError: a weight is out of range.
        CheckpointError: a LoRA is not for this model, or only its header was read; nothing is changed then.
    """
    asked = tuple(_asked(entry) for entry in loras)
    matches = [pair(lora, model) for lora, _, _ in asked]
    # in one order, since sums of fractions depend on it
    order = sorted(range(len(asked)), key=lambda i: (asked[i][0].name, *asked[i][1:]))
    changes: dict[str, list[Change]] = defaultdict(list)
    for i in order:
        _, weight, text_weight = asked[i]
        for delta, target in matches[i].pairs:
            strength = weight if delta.part == "unet" else text_weight
            if strength:
                changes[target.parameter].append((target, delta, strength))
    weights = originals(model)
    changed = {name: _changed(weights[name], todo) for name, todo in changes.items()}
    parameters, before = dict(model.named_parameters()), state(model)
    remember(model, Applied(asked, {name: weights[name] for name in changed}))
    for name in {**before.originals, **changed}:
        parameters[name].data = changed.get(name, weights[name])
    model.graphs.clear()  # a traced graph holds the weights it was traced with
    return tuple(report(found) for found in matches)


def remove(model: LatentDiffusion) -> None:
    """Take every LoRA out: the weights are those that were loaded, bit for bit."""
    apply(model, [])


def applied(model: LatentDiffusion) -> tuple[tuple[LoRA, float, float], ...]:
    """What is in a model's weights now: (LoRA, weight, weight in the text encoders) each."""
    return state(model).loras


def _asked(entry: Weighted) -> tuple[LoRA, float, float]:
    lora, weight = entry[0], entry[1]
    text_weight = entry[2] if len(entry) == 3 else weight
    for value in (weight, text_weight):
        if not -MOST <= value <= MOST:
            raise SettingsError(f"The weight of {lora.name} must be between -4 and 4, got {value}.")
    if lora.only_shapes:
        raise CheckpointError(f"Of {lora.name} only the header was read; read the whole file to apply it.")
    return lora, float(weight), float(text_weight)


def _changed(weight: Tensor, changes: Sequence[Change]) -> Tensor:
    """A new tensor, laid out in memory as the weight is."""
    dtype = torch.promote_types(weight.dtype, torch.float32)
    total = weight.to(dtype, copy=True)  # of its own memory: aligned, and laid out as the weight is
    for target, delta, strength in changes:
        rows = total[target.rows(len(total))]
        change = delta.unscaled(total.device, dtype)
        change = change.T if target.turned else change
        rows.add_(change.reshape(rows.shape), alpha=strength * delta.scale)  # no second matrix of this size
    return total if dtype == weight.dtype else torch.empty_like(weight).copy_(total)
