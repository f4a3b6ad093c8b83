"""TAESD: an autoencoder of 2.4 million weights that speaks the latents of a large one.

Pictures are in [0, 1] inside and latents of unit variance already, so its scaling factor is 1.  Layers are
numbered as in the original's two files, `encoder.` and `decoder.` before them; diffusers' `AutoencoderTiny`
counts its decoder from the layer after the clamp.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import CheckpointError
from .pixel_config import TinyAutoencoderConfig
from .posterior import Certain

MAGNITUDE = 3.0  # latents are squashed to this on their way into the decoder


class TinyBlock(nn.Module):
    """Three convolutions with ReLU between, and the way around them."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same, none below 0."""
        return F.relu(self.conv(x) + x)


class Squash(nn.Module):
    """Keeps latents within 3 of 0, softly: `3 * tanh(x / 3)`."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same."""
        return torch.tanh(x / MAGNITUDE) * MAGNITUDE


def tiny_encoder(config: TinyAutoencoderConfig) -> nn.Sequential:
    """(B, 3, f*H, f*W) in [0, 1] -> (B, C, H, W) of unit variance."""
    layers: list[nn.Module] = []
    for level, count in enumerate(config.encoder_blocks):
        if level == 0:
            layers.append(nn.Conv2d(config.in_channels, config.width, 3, padding=1))
        else:
            layers.append(nn.Conv2d(config.width, config.width, 3, stride=2, padding=1, bias=False))
        layers += [TinyBlock(config.width) for _ in range(count)]
    return nn.Sequential(*layers, nn.Conv2d(config.width, config.latent_channels, 3, padding=1))


def tiny_decoder(config: TinyAutoencoderConfig) -> nn.Sequential:
    """(B, C, H, W) of unit variance -> (B, 3, f*H, f*W), about [0, 1]."""
    layers: list[nn.Module] = [
        Squash(),
        nn.Conv2d(config.latent_channels, config.width, 3, padding=1),
        nn.ReLU(),
    ]
    for level, count in enumerate(config.decoder_blocks):
        if level > 0:
            layers += [
                nn.Upsample(scale_factor=2),
                nn.Conv2d(config.width, config.width, 3, padding=1, bias=False),
            ]
        layers += [TinyBlock(config.width) for _ in range(count)]
    return nn.Sequential(*layers, nn.Conv2d(config.width, config.in_channels, 3, padding=1))


class TinyAutoencoder(nn.Module):
    """One or both halves of TAESD.  Called, it decodes: that is what previews want.

    Source: Ollin Boer Bohan's TAESD (github.com/madebyollin/taesd).
    """

    def __init__(self, config: TinyAutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = tiny_encoder(config) if config.has_encoder else None
        self.decoder = tiny_decoder(config) if config.has_decoder else None

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are stored and computed in."""
        return next(self.parameters()).dtype

    def encode(self, images: Tensor) -> Tensor:
        """(B, 3, f*H, f*W) in [-1, 1] -> (B, C, H, W) of unit variance.

        Raises:
            CheckpointError: it is the decoder alone.
        """
        if self.encoder is None:
            raise CheckpointError(
                "This TAESD is its decoder alone; put the encoder's file beside it to encode."
            )
        z = self.encoder((images.to(self.dtype) + 1) / 2)
        return z if z.dtype == torch.float64 else z.float()

    def posterior(self, images: Tensor) -> Certain:
        """The same, as what an encoder says."""
        return Certain(self.encode(images))

    def decode(self, z: Tensor) -> Tensor:
        """(B, C, H, W) of unit variance -> (B, 3, f*H, f*W), about [-1, 1], not clipped.

        Raises:
            CheckpointError: it is the encoder alone.
        """
        if self.decoder is None:
            raise CheckpointError(
                "This TAESD is its encoder alone; put the decoder's file beside it to decode."
            )
        images = self.decoder(z.to(self.dtype)) * 2 - 1
        return images if images.dtype == torch.float64 else images.float()

    def forward(self, z: Tensor) -> Tensor:
        """As `decode`."""
        return self.decode(z)
