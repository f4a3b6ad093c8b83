"""What tells a network what to draw, whatever it came from: words, a class, boxes, neighbours, or nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .condition_config import ConditionConfig


def single(x: Tensor) -> Tensor:
    """Half precision as float32, in which networks are told things; what is more precise stays."""
    return x if x.dtype == torch.float64 else x.float()


@dataclass(frozen=True, eq=False)
class Condition:
    """One row for each prompt.

    Attributes:
        context: (B, T, D) what cross-attention looks at; (B, 0, 0) where the network has none.
        vector: what goes beside the time embedding: (B, V) numbers (Stable Diffusion XL), or (B,) int64 class
            numbers, -1 for none; None where the network reads neither.
    """

    context: Tensor
    vector: Tensor | None = None


@dataclass(frozen=True)
class Sizes:
    """What Stable Diffusion XL is told about the size of the picture, in pixels, height and top first.

    Attributes:
        original: size of the picture that it pretends to be cut from.
        crop: where the cut begins.
        target: size of the picture.
        aesthetic: a score, about 1 to 10, that the refiner reads in place of `target`.

    Source: Podell et al. 2023 (arXiv:2307.01952), section 2.2.
    """

    original: tuple[int, int]
    crop: tuple[int, int] = (0, 0)
    target: tuple[int, int] = (1024, 1024)
    aesthetic: float = 6.0


class Conditioner(Protocol):
    """A module that reads prompts; it stands under CompVis's name, `cond_stage_model`.

    Attributes:
        config: its sizes.
        length: positions of the context, T; 0 without one.
        guides: whether the empty prompt is something to guide away from.
    """

    config: ConditionConfig
    length: int
    guides: bool

    def tokens(self, prompt: str) -> list[str]:
        """The prompt as it is read: T strings, padding included."""

    def used(self, prompt: str) -> int:
        """How many positions stand before the padding, at most T."""

    def unread(self, prompt: str) -> str:
        """What of the prompt is cut off behind the last position; empty if nothing."""

    def check(self, prompt: str) -> None:
        """Raise SettingsError if the prompt cannot be read: no such class, a box outside the picture ..."""

    def condition(self, prompts: Sequence[str], sizes: Sizes | None = None) -> Condition:
        """B prompts -> what the network is given.

        Raises:
            SettingsError: as `check`.
        """
