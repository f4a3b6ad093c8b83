"""Another model in place of the one that is open."""

import gc
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from ..latent_diffusion import LatentDiffusion
from ..lora import forget


@dataclass(frozen=True)
class Opened:
    """What is open, and how it was asked for.

    Attributes:
        path: the file or the folder.
        ema: whose weights of a training file: None is the averaged ones where there are some.
        vae: a first stage that stands in for the file's own; None is its own.
        dtype: what it was asked to compute in, such as "float32"; None is what suits the device.
    """

    path: Path
    ema: bool | None = None
    vae: Path | None = None
    dtype: str | None = None

    @property
    def key(self) -> str:
        """The same for the same weights asked for in the same way; names of models can be alike."""
        vae = None if self.vae is None else self.vae.resolve()
        return f"{self.path.resolve()} {self.ema} {vae} {self.dtype}"


def retire(models: Iterable[LatentDiffusion | None]) -> None:
    """Give back the memory of models that nobody draws with any more.

    Pages that are still open hold on to them, for their names and small decoders; so the weights go, not the
    models.
    """
    for model in models:
        if model is None:
            continue
        model.graphs.clear()
        model.adapter = None  # holds the weights that LoRAs changed
        forget(model)  # the weights that its LoRAs stand in for
        for part in (model.model, model.first_stage_model, model.cond_stage_model):
            _empty(part)

    gc.collect()  # what refers to itself, such as a page's closures, would wait for a quieter moment


def _empty(module: nn.Module) -> None:
    nothing = torch.empty(0)
    for tensor in (*module.parameters(), *module.buffers()):
        tensor.data = nothing.to(tensor.dtype)
