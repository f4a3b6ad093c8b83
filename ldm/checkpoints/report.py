"""Putting weights into a model, every one of them or none, and saying what a file is that does not fit.

A half-loaded model draws plausible noise; so a weight that is missing, left over or of another shape is an
error, but for the few leftovers a format names.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from ..models.config import ModelConfig
from ..writing import ALIGNMENT
from .mapped import Mapped

NAMED = 3  # keys that a message spells out
ROOM = 110  # characters for them, where there is more than one
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """What a format reads from a file.

    Attributes:
        path: the file.
        config: sizes of the networks.
        tokenizer: the vocabulary that goes with its text encoder; None without one.
        tensors: the weights under this project's names; windows into the file where that can be.
        leftovers: patterns of names that need no place in the model.
        assumed: fields of the config that nothing in the file tells, so that they are guesses.
    """

    path: Path
    config: ModelConfig
    tokenizer: Any
    tensors: dict[str, Tensor]
    leftovers: tuple[str, ...] = field(default=())
    assumed: tuple[str, ...] = field(default=())


class Format(Protocol):
    """A module that reads one kind of checkpoint; `FORMATS` lists them."""

    def matches(self, path: Path) -> bool:
        """Whether the file is of this kind, by its names and shapes."""

    def read(self, path: Path) -> Checkpoint:
        """The file, its tensors not yet copied anywhere."""


def load_strict(
    model: nn.Module,
    state: dict[str, Tensor],
    name: str,
    *,
    leftovers: Iterable[str] = (),
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    dtypes: Mapping[str, torch.dtype] | None = None,
) -> None:
    """Make `state` the weights of a model that was built on the meta device.

    Each tensor is converted as it is taken over; one that needs no conversion is copied only where it lies
    across `ALIGNMENT`: kernels sum in another order there, so that one model would draw two last bits.

    Args:
        state: emptied, so that no tensor is held twice.
        name: of the file, for messages.
        leftovers: patterns of names that may be left over.
        dtype: of all weights with fractions; None keeps the file's.
        dtypes: start of a name -> another one for the weights so called.

    Raises:
        CheckpointError: a weight is missing, left over, or of another shape; the model is unchanged then.
    """
    wanted = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    shapes = {key: tuple(tensor.shape) for key, tensor in state.items()}
    problems = differences(wanted, shapes, leftovers)
    if problems:
        raise CheckpointError(f"{name} {', and '.join(problems)}.")
    converted: dict[str, Tensor] = {}
    mapped = Mapped()
    for key in wanted:
        tensor = original = state.pop(key)
        own = next((other for start, other in (dtypes or {}).items() if key.startswith(start)), dtype)
        target = own if tensor.is_floating_point() else None
        tensor = tensor.to(device=device, dtype=target or tensor.dtype)
        converted[key] = tensor.clone() if tensor.data_ptr() % ALIGNMENT else tensor
        if converted[key].data_ptr() != original.data_ptr():
            mapped.let_go(original)
    state.clear()
    model.load_state_dict(converted, assign=True)
    _make_real(model, device)


def differences(wanted: Shapes, found: Shapes, leftovers: Iterable[str] = ()) -> list[str]:
    """What keeps `found` from being the weights of a model, as parts of a sentence; empty if nothing does."""
    patterns = tuple(leftovers)
    missing = [key for key in wanted if key not in found]
    extra = [key for key in found if key not in wanted and not is_leftover(key, patterns)]
    misshapen = [
        f"{key} {list(found[key])} for {list(wanted[key])}"
        for key in wanted
        if key in found and found[key] != wanted[key]
    ]
    problems = []
    if missing:
        problems.append(f"is missing {len(missing)} of {len(wanted)} weights ({_first(missing)})")
    if extra:
        problems.append(f"has {len(extra)} weights that its model has no place for ({_first(extra)})")
    if misshapen:
        problems.append(f"has {len(misshapen)} weights of another shape ({_first(misshapen)})")
    return problems


def is_leftover(key: str, patterns: Iterable[str]) -> bool:
    """Whether a name fits one of the patterns."""
    return any(fnmatchcase(key, pattern) for pattern in patterns)


def _first(keys: list[str]) -> str:
    """As many as a sentence has room for, at least one."""
    shown = keys[:1]
    for key in keys[1:NAMED]:
        if len(", ".join((*shown, key))) <= ROOM:
            shown.append(key)
    return ", ".join(shown) + (" ..." if len(keys) > len(shown) else "")


def _make_real(model: nn.Module, device: torch.device | str) -> None:
    """Fill the only buffers that no file carries: transformers' row of positions 0, 1, 2 ..."""
    for name, buffer in list(model.named_buffers()):
        if buffer.is_meta and name.endswith(".position_ids"):
            owner = model.get_submodule(name.rpartition(".")[0])
            owner.position_ids = torch.arange(buffer.shape[-1], device=device).expand(buffer.shape)
    ghosts = [name for name, tensor in (*model.named_parameters(), *model.named_buffers()) if tensor.is_meta]
    if ghosts:
        raise RuntimeError(f"{ghosts[0]} has no values after loading")


# (pattern of a name, what a file with such a name is), the telling ones first
FAMILIES: tuple[tuple[str, str], ...] = (
    ("layers.0.conv1.weight", "a small decoder for previews, an addition to a model"),
    ("lora_*", "a LoRA, a change to a model and not a model"),
    ("*.lora_*", "a LoRA, a change to a model and not a model"),
    ("string_to_param*", "a textual inversion, a word for a model and not a model"),
    ("emb_params", "a textual inversion, a word for a model and not a model"),
    ("control_model.*", "a ControlNet, an addition to a model"),
    ("controlnet_cond_embedding.*", "a ControlNet of diffusers, an addition to a model"),
    ("conditioner.embedders.1.*", "Stable Diffusion XL"),
    ("conditioner.embedders.0.*", "the refiner of Stable Diffusion XL"),
    ("*joint_blocks.*", "Stable Diffusion 3"),
    ("*double_blocks.*", "Flux"),
    ("cond_stage_model.model.*", "Stable Diffusion 2, whose text encoder is OpenCLIP's"),
    (
        "cond_stage_model.transformer.attn_layers.*",
        "a model of the latent diffusion paper with BERT's text encoder",
    ),
    ("cond_stage_model.embedding.*", "a class-conditional model of the latent diffusion paper"),
    ("first_stage_model.quantize.*", "a model of the latent diffusion paper with a VQ autoencoder"),
    (
        "model.diffusion_model.*",
        "a latent diffusion model without CLIP's text encoder or without an autoencoder",
    ),
    ("down_blocks.*.time_emb_proj.*", "a U-Net of diffusers, one part of a model"),
    ("encoder.down_blocks.*", "an autoencoder of diffusers, one part of a model"),
    ("encoder_conv_in.*", "an autoencoder of explainingai's StableDiffusion-PyTorch, one part of a model"),
    ("t_proj.*", "a U-Net of explainingai's StableDiffusion-PyTorch, one part of a model"),
    ("quantize.*", "a VQ autoencoder, one part of a model"),
    ("first_stage_model.*", "an autoencoder, one part of a model"),
    ("quant_conv.*", "an autoencoder, one part of a model"),
    ("text_model.encoder.*", "a text encoder, one part of a model"),
)


def looks_like(keys: Iterable[str]) -> str:
    """What a file with such names is, as a noun; "something unknown" if it is nothing known."""
    names = tuple(keys)
    for pattern, words in FAMILIES:
        if any(fnmatchcase(name, pattern) for name in names):
            return words
    return "something unknown"
