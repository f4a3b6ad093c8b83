"""The first stage of a model that diffuses pixels: none."""

import torch
from torch import Tensor, nn

from .pixel_config import IdentityConfig
from .posterior import Certain

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in a grey picture, as Pillow and torchvision have it


class IdentityFirstStage(nn.Module):
    """Latents are the picture itself, in the network's own range, and grey if it reads one channel.

    Has no weights.

    Source: CompVis's class of that name.
    """

    def __init__(self, config: IdentityConfig) -> None:
        super().__init__()
        self.config = config

    @property
    def dtype(self) -> torch.dtype:
        """What is computed in."""
        return torch.float32

    def encode(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) in [-1, 1] -> (B, C, H, W) in [low, 1]."""
        if self.config.in_channels == 1 and images.shape[1] == 3:
            images = (images * images.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
        if self.config.low == -1:
            return images
        return self.config.low + (images + 1) * (1 - self.config.low) / 2

    def posterior(self, images: Tensor) -> Certain:
        """The same, as what an encoder says."""
        return Certain(self.encode(images))

    def decode(self, z: Tensor) -> Tensor:
        """(B, C, H, W) in [low, 1] -> (B, 3, H, W) in [-1, 1], not clipped."""
        images = z if self.config.low == -1 else (z - self.config.low) * 2 / (1 - self.config.low) - 1
        return images.expand(-1, 3, -1, -1) if self.config.in_channels == 1 else images
