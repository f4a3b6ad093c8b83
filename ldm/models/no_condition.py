"""No prompt at all: unconditional models, and those that are told by a picture alone."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .condition import Condition, Sizes
from .condition_config import NoConditionConfig


class NoCondition(nn.Module):
    """Ignores every prompt.  Holds CompVis's `SpatialRescaler` where the model has one.

    Attributes:
        channel_mapper: from the channels of a palette to those that the U-Net reads; None without it.
    """

    length = 0
    guides = False
    leftovers: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: NoConditionConfig, tokenizer: Any = None) -> None:  # noqa: ANN401 - there is none
        super().__init__()
        self.config = config
        self.tokenizer = None
        self.channel_mapper: nn.Conv2d | None = None
        if config.rescaler_channels:
            self.channel_mapper = nn.Conv2d(config.rescaler_channels, config.rescaler_out, 1, bias=False)

    def tokens(self, prompt: str) -> list[str]:
        """None are read."""
        return []

    def used(self, prompt: str) -> int:
        """None are read."""
        return 0

    def unread(self, prompt: str) -> str:
        """Nothing is cut off: a prompt is ignored, not misread."""
        return ""

    def check(self, prompt: str) -> None:
        """Any prompt will do."""

    def condition(self, prompts: Sequence[str], sizes: Sizes | None = None) -> Condition:
        """B prompts -> an empty context (B, 0, 0)."""
        return Condition(torch.zeros(len(prompts), 0, 0))

    def rescale(self, onehot: Tensor) -> Tensor:
        """A picture of classes, as the U-Net reads it beside its latents.

        Args:
            onehot: (B, classes, f*H, f*W), one channel for each class; 1 where a pixel is of it.

        Returns:
            (B, c, H, W): halved as often as the config says, between pixels, then each class weighed.

        Source: CompVis's `SpatialRescaler`.
        """
        if self.channel_mapper is None:
            raise TypeError("this model has no SpatialRescaler: rescaler_channels is 0")
        for _ in range(self.config.rescaler_stages):
            onehot = F.interpolate(onehot, scale_factor=0.5, mode="bilinear")
        return self.channel_mapper(onehot)
