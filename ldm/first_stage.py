"""A first stage alone: an autoencoder without a U-Net, enough for round trips.

Beside `LatentDiffusion` it is the only place where latents are scaled.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .models.first_stage_config import FirstStageConfig
from .models.vq import Quantised, VectorQuantizer


@dataclass(frozen=True, eq=False)
class FirstStage:
    """A loaded autoencoder of any kind, and its config; the names are those of `LatentDiffusion`."""

    config: FirstStageConfig
    first_stage_model: Any

    @property
    def name(self) -> str:
        """For people."""
        return self.config.name

    @property
    def device(self) -> torch.device:
        """Where the weights are; the CPU where there are none."""
        weight = next(self.first_stage_model.parameters(), None)
        return torch.device("cpu") if weight is None else weight.device

    @property
    def latent_scaling_factor(self) -> float:
        """Makes latents unit variance."""
        return self.config.latent_scaling_factor

    @property
    def downsampling_factor(self) -> int:
        """Pixels per latent along each side, f."""
        return self.config.autoencoder.downsampling_factor

    @property
    def latent_channels(self) -> int:
        """Channels of the latents, C."""
        return self.config.autoencoder.embed_dim

    @property
    def codebook(self) -> VectorQuantizer | None:
        """The codes that latents are moved to; None without."""
        return codebook(self.first_stage_model)

    @property
    def n_embed(self) -> int:
        """Codes in the codebook; 0 without one."""
        return 0 if self.codebook is None else len(self.codebook.embedding.weight)

    def autoencoder_encode(self, images: Tensor) -> Tensor:
        """(B, 3, f*H, f*W) in [-1, 1] -> (B, C, H, W) latents of unit variance.

        The mean of a distribution; what comes before the nearest code, where there is a codebook.
        """
        images, net = images.to(self.device), self.first_stage_model
        z: Tensor = net.posterior(images).mode() if self.codebook is None else net.prequantised(images)
        return z * self.latent_scaling_factor

    def quantise(self, z: Tensor) -> Quantised:
        """(B, C, H, W) latents of unit variance -> the nearest codes, on the same scale."""
        found: Quantised = self.first_stage_model.quantize(z.to(self.device) / self.latent_scaling_factor)
        return Quantised(found.latents * self.latent_scaling_factor, found.indices, found.loss)

    def codes(self, indices: Tensor) -> Tensor:
        """(B, H, W) -> (B, C, H, W) the codes of these indices, on the scale of latents."""
        codes: Tensor = self.first_stage_model.quantize.codes(indices.to(self.device)).float()
        return codes * self.latent_scaling_factor

    def autoencoder_decode(self, z: Tensor) -> Tensor:
        """(B, C, H, W) latents of unit variance -> (B, 3, f*H, f*W), about [-1, 1], not clipped.

        The latent diffusion paper's VQ models take the nearest codes first.
        """
        images: Tensor = self.first_stage_model.decode(z.to(self.device) / self.latent_scaling_factor)
        return images


def codebook(net: Any) -> VectorQuantizer | None:  # noqa: ANN401 - one of several networks
    """The codebook of a first stage of any kind; None without."""
    found: VectorQuantizer | None = getattr(net, "quantize", None)
    return found
