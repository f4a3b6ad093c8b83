"""The VQ autoencoder: pictures to entries of a codebook and back, with CompVis's parameter names."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .autoencoder import Decoder, Encoder
from .autoencoder_config import VQConfig
from .posterior import Certain

ROWS = 4096  # latents that are compared with the codebook together: large pictures fit in memory


@dataclass(frozen=True, eq=False)
class Quantised:
    """Latents, each position of them moved to the nearest code.

    Attributes:
        latents: (B, C, H, W) codes, to the bit; gradients pass to what was quantised as if nothing were done.
        indices: (B, H, W) int64, which code each position took.
        loss: what pulls codes to latents and latents to codes, a number.
    """

    latents: Tensor
    indices: Tensor
    loss: Tensor


class VectorQuantizer(nn.Module):
    """A codebook, and the way of every position to its nearest entry.

    Args:
        n_embed: codes.
        embed_dim: channels of a code.
        beta: see `forward`.
        legacy: see `forward`.

    Source: van den Oord et al. 2017 (arXiv:1711.00937), section 3; taming-transformers' `VectorQuantizer2`.
    """

    def __init__(self, n_embed: int, embed_dim: int, beta: float = 0.25, legacy: bool = True) -> None:
        super().__init__()
        self.beta, self.legacy = beta, legacy
        self.embedding = nn.Embedding(n_embed, embed_dim)
        nn.init.uniform_(self.embedding.weight, -1.0 / n_embed, 1.0 / n_embed)

    def nearest(self, z: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, H, W) index of the nearest code, by squared distance; the first of equals."""
        rows = z.permute(0, 2, 3, 1).flatten(0, 2)  # (B * H * W, C)
        codes = self.embedding.weight.to(z.dtype)  # (n_embed, C)
        lengths = codes.square().sum(1)
        # the latent's own length is the same for every code
        found = [(lengths - 2 * part @ codes.T).argmin(1) for part in rows.split(ROWS)]
        return torch.cat(found).view(z.shape[0], *z.shape[2:])

    def codes(self, indices: Tensor) -> Tensor:
        """(B, H, W) -> (B, C, H, W) the codes of these indices."""
        return self.embedding(indices).permute(0, 3, 1, 2)

    def forward(self, z: Tensor) -> Quantised:
        """(B, C, H, W) moved to the nearest codes.

        The loss is `mean((codes - stop(z))**2) + beta * mean((stop(codes) - z)**2)`, the codebook's and the
        commitment's term of equation 3.  With `legacy`, `beta` weighs the codebook's term instead: it stood
        there first in taming-transformers, and the models of the latent diffusion paper were trained so.
        """
        indices = self.nearest(z.detach())
        codes = self.codes(indices).to(z.dtype)
        codebook, commitment = (codes - z.detach()).square().mean(), (codes.detach() - z).square().mean()
        weighed = (self.beta * codebook + commitment) if self.legacy else (codebook + self.beta * commitment)
        return Quantised(codes.detach() + (z - z.detach()), indices, weighed)


class VQModel(nn.Module):
    """Encoder and decoder around a codebook.

    Latents here are not scaled; `FirstStage` does that.
    Source: Rombach et al. 2022 (arXiv:2112.10752), section 3.1, "VQ-reg.".
    """

    def __init__(self, config: VQConfig) -> None:
        super().__init__()
        self.config = config
        sizes = config.autoencoder
        self.encoder = Encoder(sizes)
        self.decoder = Decoder(sizes)
        self.quantize = VectorQuantizer(config.n_embed, sizes.embed_dim, config.beta, config.legacy)
        self.quant_conv = nn.Conv2d(sizes.z_channels, sizes.embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(sizes.embed_dim, sizes.z_channels, 1)

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are stored and computed in."""
        return self.quant_conv.weight.dtype

    def prequantised(self, images: Tensor) -> Tensor:
        """(B, 3, f*H, f*W) in [-1, 1] -> (B, embed_dim, H, W) before the nearest code is taken."""
        z = self.quant_conv(self.encoder(images.to(self.dtype, memory_format=torch.channels_last)))
        return z if z.dtype == torch.float64 else z.float()

    def encode(self, images: Tensor) -> Quantised:
        """(B, 3, f*H, f*W) in [-1, 1] -> codes of (B, embed_dim, H, W)."""
        return self.quantize(self.prequantised(images))

    def posterior(self, images: Tensor) -> Certain:
        """(B, 3, f*H, f*W) in [-1, 1] -> what U-Nets are trained on: what comes before the nearest code."""
        return Certain(self.prequantised(images))

    def decode(self, z: Tensor, *, quantise: bool = True) -> Tensor:
        """(B, embed_dim, H, W) -> (B, 3, f*H, f*W), about [-1, 1], not clipped.

        Args:
            quantise: take the nearest codes first, which changes nothing about latents that are codes;
                CompVis's `force_not_quantize` is the opposite.
        """
        if quantise:
            z = self.quantize(z).latents
        z = z.to(self.dtype, memory_format=torch.channels_last)
        images = self.decoder(self.post_quant_conv(z))
        return images if images.dtype == torch.float64 else images.float()
