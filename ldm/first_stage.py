"""A first stage alone: a VQ autoencoder without a U-Net, enough for round trips.

Beside `LatentDiffusion` it is the only place where latents are scaled.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .models.vq import FirstStageConfig, Quantised, VQModel


@dataclass(frozen=True, eq=False)
class FirstStage:
    """A loaded VQ autoencoder and its config; the names are those of `LatentDiffusion`."""

    config: FirstStageConfig
    first_stage_model: VQModel

    @property
    def name(self) -> str:
        """For people."""
        return self.config.name

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.first_stage_model.quant_conv.weight.device

    @property
    def latent_scaling_factor(self) -> float:
        """Makes latents unit variance."""
        return self.config.latent_scaling_factor

    @property
    def downsampling_factor(self) -> int:
        """Pixels per latent along each side, f."""
        return self.config.vq.autoencoder.downsampling_factor

    @property
    def n_embed(self) -> int:
        """Codes in the codebook."""
        return self.config.vq.n_embed

    def autoencoder_encode(self, images: Tensor) -> Tensor:
        """(B, 3, f*H, f*W) in [-1, 1] -> (B, C, H, W) before the nearest code is taken, of unit variance."""
        return self.first_stage_model.prequantised(images.to(self.device)) * self.latent_scaling_factor

    def quantise(self, z: Tensor) -> Quantised:
        """(B, C, H, W) latents of unit variance -> the nearest codes, on the same scale."""
        found = self.first_stage_model.quantize(z.to(self.device) / self.latent_scaling_factor)
        return Quantised(found.latents * self.latent_scaling_factor, found.indices, found.loss)

    def codes(self, indices: Tensor) -> Tensor:
        """(B, H, W) -> (B, C, H, W) the codes of these indices, on the scale of latents."""
        codes = self.first_stage_model.quantize.codes(indices.to(self.device)).float()
        return codes * self.latent_scaling_factor

    def autoencoder_decode(self, z: Tensor) -> Tensor:
        """(B, C, H, W) latents of unit variance -> (B, 3, f*H, f*W), about [-1, 1], not clipped.

        The nearest codes are taken first, as the latent diffusion paper's models do.
        """
        return self.first_stage_model.decode(z.to(self.device) / self.latent_scaling_factor)
