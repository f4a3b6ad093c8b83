"""Which LoRAs are in a model's weights, and the weights they stand in for.

Kept beside the model and not in it: a model that is saved or copied is what it computes with.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from torch import Tensor

from ..latent_diffusion import LatentDiffusion
from .reading import LoRA


@dataclass(frozen=True, eq=False)
class Applied:
    """What is in a model.

    Attributes:
        loras: each with its weight in the U-Net and in the text encoders.
        originals: the tensors that were loaded, by name, of every weight that is changed now.
    """

    loras: tuple[tuple[LoRA, float, float], ...] = ()
    originals: Mapping[str, Tensor] = field(default_factory=dict)


_APPLIED: WeakKeyDictionary[LatentDiffusion, Applied] = WeakKeyDictionary()


def state(model: LatentDiffusion) -> Applied:
    """What is in a model now."""
    return _APPLIED.get(model, Applied())


def remember(model: LatentDiffusion, now: Applied) -> None:
    """What is in it from now on."""
    _APPLIED[model] = now


def originals(model: LatentDiffusion) -> dict[str, Tensor]:
    """A model's weights by name as they are without LoRAs, on the device where the model is now."""
    kept = state(model).originals
    return {
        name: kept[name].to(parameter.device, parameter.dtype) if name in kept else parameter.data
        for name, parameter in model.named_parameters()
    }


def forget(model: LatentDiffusion) -> None:
    """Let go of the weights that stand by: for a model that gives its memory back and never draws again."""
    _APPLIED.pop(model, None)
