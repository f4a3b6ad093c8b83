"""A decoder small enough to draw every step of a run while it goes on.

The idea is TAESD's: convolutions and ReLU, no norm and no attention.  Two changes make it smaller still: a
linear map from latents to pixels goes around the network, which so has to learn only what that one blurs; and
no convolution runs at the pictures' own size, the last one gives whole patches of pixels.
"""

from dataclasses import asdict, dataclass, field
from typing import Any, Self, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import CheckpointError
from .config import build_record


@dataclass(frozen=True)
class PreviewConfig:
    """Sizes of the small decoder that draws previews, and whose latents it draws.

    Attributes:
        model: name of the model it belongs to, for people.
        latent_channels, downsampling_factor: C and f of that model.
        channels: per level, the coarsest first; the first has the latents' size, each next one twice that.
        blocks: residual blocks per level.
        training: how it was made; for people, free of structure.
    """

    model: str = "Stable Diffusion"
    latent_channels: int = 4
    downsampling_factor: int = 8
    channels: tuple[int, ...] = (64, 64, 64)
    blocks: tuple[int, ...] = (2, 2, 2)
    training: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.channels or len(self.blocks) != len(self.channels):
            raise CheckpointError(
                f"blocks {self.blocks} needs {len(self.channels)} numbers, one per entry of channels, "
                "of which there must be one or more."
            )
        if self.downsampling_factor % 2 ** (len(self.channels) - 1):
            raise CheckpointError(
                f"downsampling_factor {self.downsampling_factor} cannot be halved "
                f"{len(self.channels) - 1} times, as {len(self.channels)} entries of channels ask."
            )

    @property
    def patch(self) -> int:
        """Pixels along each side that the last convolution gives at once."""
        return self.downsampling_factor // 2 ** (len(self.channels) - 1)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            CheckpointError: a field this version does not know.
        """
        return build_record(cls, values)


class PreviewBlock(nn.Module):
    """Two convolutions, and the way around them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W), none below 0 -> the same."""
        return F.relu(x + self.conv2(F.relu(self.conv1(x))))


class SubpixelUpsample(nn.Module):
    """Twice the size: four pixels from each one's channels.

    Source: Shi et al. 2016 (arXiv:1609.05158).
    """

    def __init__(self, channels: int, out_channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4 * out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C_out, 2 H, 2 W), none below 0."""
        return F.relu(F.pixel_shuffle(self.conv(x), 2))


class PreviewDecoder(nn.Module):
    """Latents of unit variance to pictures, near the full decoder's in a small part of its time.

    Attributes:
        linear: the map that goes around the network, one patch of 3 * f * f values per latent.

    Source: after Ollin Boer Bohan's TAESD (github.com/madebyollin/taesd).
    """

    def __init__(self, config: PreviewConfig) -> None:
        super().__init__()
        self.config = config
        f, widths = config.downsampling_factor, config.channels
        self.linear = nn.Conv2d(config.latent_channels, 3 * f * f, 1)
        self.conv_in = nn.Conv2d(config.latent_channels, widths[0], 3, padding=1)
        layers: list[nn.Module] = []
        for level, (width, count) in enumerate(zip(widths, config.blocks, strict=True)):
            if level > 0:
                layers.append(SubpixelUpsample(widths[level - 1], width))
            layers += [PreviewBlock(width) for _ in range(count)]
        self.layers = nn.Sequential(*layers)
        self.patch = config.patch
        self.conv_out = nn.Conv2d(widths[-1], 3 * self.patch**2, 1)
        nn.init.zeros_(self.conv_out.weight)  # so that it starts as the linear map
        nn.init.zeros_(cast(Tensor, self.conv_out.bias))

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are stored and computed in."""
        return self.conv_in.weight.dtype

    @torch.no_grad()
    def start_from(self, weight: Tensor, bias: Tensor) -> None:
        """Take over a linear map from latents to patches: weight (C, 3, f, f) and mean colour (3,)."""
        self.linear.weight.copy_(weight.flatten(1).T[:, :, None, None])
        cast(Tensor, self.linear.bias).copy_(bias.repeat_interleave(self.config.downsampling_factor**2))

    def forward(self, z: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 3, f*H, f*W) float32, about [-1, 1], not clipped."""
        z = z.to(self.dtype, memory_format=torch.channels_last)
        smooth = F.pixel_shuffle(self.linear(z), self.config.downsampling_factor)
        detail = F.pixel_shuffle(self.conv_out(self.layers(F.relu(self.conv_in(z)))), self.patch)
        return (smooth + detail).float()
