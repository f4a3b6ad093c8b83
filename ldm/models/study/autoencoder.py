"""The study's first stages: its VQVAE and its VAE, two networks alike around a codebook or a distribution."""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..autoencoder import DiagonalGaussian
from ..blocks import group_norm
from ..posterior import Certain
from ..study_config import StudyAutoencoderConfig
from ..vq import Quantised, VectorQuantizer
from .blocks import DownBlock, MidBlock, UpBlock

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue in a grey picture, as Pillow and torchvision have it
COMMITMENT = 0.2  # the study's weight of the loss that pulls latents to codes


class Unclamped(DiagonalGaussian):
    """The VAE's distribution, whose log-variance is as the encoder gives it.

    Args:
        moments: (B, 2C, H, W), the mean's channels and then the log-variance's.
    """

    def __init__(self, moments: Tensor) -> None:
        self.mean, self.logvar = moments.chunk(2, dim=1)
        self.std = torch.exp(0.5 * self.logvar)
        self.var = torch.exp(self.logvar)


class StudyAutoencoder(nn.Module):
    """Encoder and decoder, and the 1 x 1 convolutions before and after the latents.

    Pictures have three channels; where the network has one (MNIST) they are made grey before it and given
    back with three equal channels.  Latents are not scaled, by nobody.

    Args:
        moments: channels that the encoder gives for each channel of the latents.

    Source: explainingai-code/StableDiffusion-PyTorch, models/vqvae.py and models/vae.py.
    """

    def __init__(self, config: StudyAutoencoderConfig, moments: int) -> None:
        super().__init__()
        self.config = config
        every: dict[str, Any] = {"heads": config.num_heads, "groups": config.norm_channels}
        widths, middle, z = config.down_channels, config.mid_channels, config.z_channels
        blocks = list(zip(widths[:-1], widths[1:], config.down_sample, config.attn_down, strict=True))
        mids, layers = list(pairwise(middle)), config.num_mid_layers
        self.encoder_conv_in = nn.Conv2d(config.im_channels, widths[0], 3, padding=1)
        self.encoder_layers = nn.ModuleList(
            DownBlock(a, b, config.num_down_layers, halve=halve, self_attention=attention, **every)
            for a, b, halve, attention in blocks
        )
        self.encoder_mids = nn.ModuleList(MidBlock(a, b, layers + 1, layers, **every) for a, b in mids)
        self.encoder_norm_out = group_norm(widths[-1], config.norm_channels)
        self.encoder_conv_out = nn.Conv2d(widths[-1], moments * z, 3, padding=1)
        self.pre_quant_conv = nn.Conv2d(moments * z, moments * z, 1)
        self.post_quant_conv = nn.Conv2d(z, z, 1)
        self.decoder_conv_in = nn.Conv2d(z, middle[-1], 3, padding=1)
        self.decoder_mids = nn.ModuleList(
            MidBlock(b, a, layers + 1, layers, **every) for a, b in reversed(mids)
        )
        self.decoder_layers = nn.ModuleList(
            UpBlock(b, a, config.num_up_layers, skip=0, double=double, self_attention=attention, **every)
            for a, b, double, attention in reversed(blocks)
        )
        self.decoder_norm_out = group_norm(widths[0], config.norm_channels)
        self.decoder_conv_out = nn.Conv2d(widths[0], config.im_channels, 3, padding=1)

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are stored and computed in."""
        return self.post_quant_conv.weight.dtype

    def moments(self, images: Tensor) -> Tensor:
        """(B, 3, f*H, f*W) in [-1, 1] -> (B, C or 2C, H, W) what comes before codes or distribution."""
        images = images.to(self.dtype, memory_format=torch.channels_last)
        if self.config.im_channels == 1 and images.shape[1] == 3:
            images = (images * images.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
        h = self.encoder_conv_in(images)
        for block in (*self.encoder_layers, *self.encoder_mids):
            h = block(h)
        moments = self.pre_quant_conv(self.encoder_conv_out(F.silu(self.encoder_norm_out(h))))
        return moments if moments.dtype == torch.float64 else moments.float()

    def decode(self, z: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 3, f*H, f*W), about [-1, 1], not clipped."""
        z = z.to(self.dtype, memory_format=torch.channels_last)
        h = self.decoder_conv_in(self.post_quant_conv(z))
        for block in (*self.decoder_mids, *self.decoder_layers):
            h = block(h)
        images = self.decoder_conv_out(F.silu(self.decoder_norm_out(h)))
        images = images.expand(-1, 3, -1, -1) if self.config.im_channels == 1 else images
        return images if images.dtype == torch.float64 else images.float()


class StudyVAE(StudyAutoencoder):
    """Pictures to a normal distribution of latents and back."""

    def __init__(self, config: StudyAutoencoderConfig) -> None:
        super().__init__(config, moments=2)

    def encode(self, images: Tensor) -> Unclamped:
        """(B, 3, f*H, f*W) in [-1, 1] -> a distribution of (B, C, H, W)."""
        return Unclamped(self.moments(images))

    posterior = encode


class StudyVQVAE(StudyAutoencoder):
    """Pictures to entries of a codebook and back.

    The study trains its U-Net on the codes themselves, not on what comes before them as CompVis does, so that
    is what `posterior` gives; and it decodes what the U-Net made as it is, without taking codes again.

    Attributes:
        quantize: the codebook; its weights are `embedding.weight`.
    """

    def __init__(self, config: StudyAutoencoderConfig) -> None:
        super().__init__(config, moments=1)
        book = VectorQuantizer(config.codebook_size, config.z_channels, beta=COMMITMENT, legacy=False)
        self.embedding = book.embedding
        self.__dict__["quantize"] = book  # not a part by this name: files name its table alone

    quantize: VectorQuantizer

    def prequantised(self, images: Tensor) -> Tensor:
        """(B, 3, f*H, f*W) in [-1, 1] -> (B, C, H, W) before the nearest code is taken."""
        return self.moments(images)

    def encode(self, images: Tensor) -> Quantised:
        """(B, 3, f*H, f*W) in [-1, 1] -> codes of (B, C, H, W)."""
        return self.quantize(self.prequantised(images))

    def posterior(self, images: Tensor) -> Certain:
        """(B, 3, f*H, f*W) in [-1, 1] -> what the study's U-Net is trained on."""
        return Certain(self.encode(images).latents)

    def decode(self, z: Tensor, *, quantise: bool = False) -> Tensor:
        """(B, C, H, W) -> (B, 3, f*H, f*W), about [-1, 1], not clipped.

        Args:
            quantise: take the nearest codes first, which the study does not.
        """
        return super().decode(self.quantize(z).latents if quantise else z)


def study_autoencoder(config: StudyAutoencoderConfig) -> StudyAutoencoder:
    """The first stage that `config.kind` names."""
    return StudyVAE(config) if config.kind == "study_vae" else StudyVQVAE(config)
