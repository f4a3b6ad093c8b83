"""The autoencoder: pictures to latents and back, with CompVis's parameter names."""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import Upsample, group_norm
from .config import AutoencoderConfig


class DiagonalGaussian:
    """What the encoder says about a picture: a normal distribution per latent value.

    Args:
        moments: (B, 2C, H, W), the mean's channels and then the log-variance's.

    Attributes:
        mean, logvar, std, var: (B, C, H, W); the log-variance is clamped to [-30, 20].

    Source: Kingma & Welling 2013 (arXiv:1312.6114).
    """

    def __init__(self, moments: Tensor) -> None:
        self.mean, logvar = moments.chunk(2, dim=1)
        self.logvar = logvar.clamp(-30.0, 20.0)
        self.std = torch.exp(0.5 * self.logvar)
        self.var = torch.exp(self.logvar)

    def mode(self) -> Tensor:
        """(B, C, H, W) the most likely latents, the mean."""
        return self.mean

    def sample(self, noise: Tensor | None = None) -> Tensor:
        """(B, C, H, W) `mean + std * noise`; fresh unit noise if none is given."""
        if noise is None:
            noise = torch.randn(self.mean.shape, dtype=torch.float32)
        return self.mean + self.std * noise.to(self.mean)

    def kl(self, other: "DiagonalGaussian | None" = None) -> Tensor:
        """(B,) Kullback-Leibler divergence to `other`, to the unit normal without one, in nats.

        Source: Kingma & Welling 2013, appendix B.
        """
        if other is None:
            terms = self.mean.square() + self.var - 1.0 - self.logvar
        else:
            terms = (
                (self.mean - other.mean).square() / other.var
                + self.var / other.var
                - 1.0
                - self.logvar
                + other.logvar
            )
        return 0.5 * terms.sum(dim=(1, 2, 3))

    def nll(self, sample: Tensor, dims: tuple[int, ...] = (1, 2, 3)) -> Tensor:
        """(B,) negative log-likelihood of `sample` (B, C, H, W), in nats."""
        terms = math.log(2.0 * math.pi) + self.logvar + (sample - self.mean).square() / self.var
        return 0.5 * terms.sum(dim=dims)


def normal_kl(mean1: Tensor, logvar1: Tensor, mean2: Tensor, logvar2: Tensor) -> Tensor:
    """Kullback-Leibler divergence between normals, element by element, in nats."""
    return 0.5 * (
        -1.0
        + logvar2
        - logvar1
        + torch.exp(logvar1 - logvar2)
        + (mean1 - mean2).square() * torch.exp(-logvar2)
    )


class ResnetBlock(nn.Module):
    """Norm, SiLU, convolution, twice, and the way around them."""

    def __init__(self, channels: int, out_channels: int, groups: int) -> None:
        super().__init__()
        self.norm1 = group_norm(channels, groups, eps=1e-6)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.norm2 = group_norm(out_channels, groups, eps=1e-6)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        if channels != out_channels:
            self.nin_shortcut = nn.Conv2d(channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C_out, H, W)."""
        h = self.conv1(F.silu(self.norm1(x)))
        h = self.conv2(F.silu(self.norm2(h)))
        return h + (self.nin_shortcut(x) if hasattr(self, "nin_shortcut") else x)


class AttnBlock(nn.Module):
    """Attention with one head over all positions."""

    def __init__(self, channels: int, groups: int) -> None:
        super().__init__()
        self.norm = group_norm(channels, groups, eps=1e-6)
        self.q, self.k, self.v, self.proj_out = (nn.Conv2d(channels, channels, 1) for _ in range(4))

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        h = self.norm(x)
        q, k, v = (f(h).flatten(2).transpose(1, 2)[:, None] for f in (self.q, self.k, self.v))  # (B, 1, N, C)
        out = F.scaled_dot_product_attention(q, k, v)[:, 0]  # (B, N, C)
        return x + self.proj_out(out.transpose(1, 2).unflatten(2, x.shape[2:]))


class HalvingConv(nn.Module):
    """The encoder's halving: a row and a column of zeros to the right and below, then stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H / 2, W / 2)."""
        return self.conv(F.pad(x, (0, 1, 0, 1)))


class Level(nn.Module):
    """One resolution: blocks, each with attention or not, and the way to the next resolution."""

    def __init__(self, blocks: list[ResnetBlock], attn: list[AttnBlock]) -> None:
        super().__init__()
        self.block = nn.ModuleList(blocks)
        self.attn = nn.ModuleList(attn)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) through the blocks; the resampling is the caller's."""
        for i, block in enumerate(self.block):
            x = block(x)
            if len(self.attn):
                x = self.attn[i](x)
        return x


class Middle(nn.Module):
    """Block, attention (or nothing), block."""

    def __init__(self, channels: int, attention: bool, groups: int) -> None:
        super().__init__()
        self.block_1 = ResnetBlock(channels, channels, groups)
        self.attn_1 = AttnBlock(channels, groups) if attention else nn.Identity()
        self.block_2 = ResnetBlock(channels, channels, groups)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        return self.block_2(self.attn_1(self.block_1(x)))


def _level(config: AutoencoderConfig, channels: int, level: int, count: int) -> Level:
    width = config.ch * config.ch_mult[level]
    blocks = [ResnetBlock(channels if i == 0 else width, width, config.num_groups) for i in range(count)]
    attends = config.resolution // 2**level in config.attn_resolutions and config.attn_type != "none"
    return Level(blocks, [AttnBlock(width, config.num_groups) for _ in blocks] if attends else [])


class Encoder(nn.Module):
    """Pictures (B, 3, f*H, f*W) to moments (B, 2 z_channels, H, W), half as many without `double_z`.

    Levels are counted from 0, the pictures' own size.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.conv_in = nn.Conv2d(config.in_channels, config.ch, 3, padding=1)
        self.down = nn.ModuleList()
        channels = config.ch
        for level, mult in enumerate(config.ch_mult):
            stage = _level(config, channels, level, config.num_res_blocks)
            channels = config.ch * mult
            if level < len(config.ch_mult) - 1:
                stage.downsample = HalvingConv(channels)
            self.down.append(stage)
        self.mid = Middle(channels, config.attn_type != "none", config.num_groups)
        self.norm_out = group_norm(channels, config.num_groups, eps=1e-6)
        out = 2 * config.z_channels if config.double_z else config.z_channels
        self.conv_out = nn.Conv2d(channels, out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, f*H, f*W) in [-1, 1] -> (B, 2 z_channels, H, W)."""
        last = len(self.down) - 1
        return self.inner(self.outer(x, last), last)

    def outer(self, x: Tensor, level: int) -> Tensor:
        """(B, 3, h, w) -> (B, C_level, h / 2**level, w / 2**level), features before they are halved."""
        h = self.conv_in(x)
        for i in range(level + 1):
            h = self.down[i](h if i == 0 else self._halved(h, i - 1))
        return h

    def inner(self, h: Tensor, level: int) -> Tensor:
        """What follows `outer`: a level's features -> (B, 2 z_channels, H, W)."""
        for i in range(level + 1, len(self.down)):
            h = self.down[i](self._halved(h, i - 1))
        return self.conv_out(F.silu(self.norm_out(self.mid(h))))

    def _halved(self, h: Tensor, level: int) -> Tensor:
        return cast(nn.Module, self.down[level].downsample)(h)


class Decoder(nn.Module):
    """Inner latents (B, z_channels, H, W) to pictures (B, 3, f*H, f*W); levels as `Encoder` counts them."""

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        channels = config.ch * config.ch_mult[-1]
        self.conv_in = nn.Conv2d(config.z_channels, channels, 3, padding=1)
        self.mid = Middle(channels, config.attn_type != "none", config.num_groups)
        stages: list[Level] = []
        for level, mult in reversed(list(enumerate(config.ch_mult))):
            stage = _level(config, channels, level, config.num_res_blocks + 1)
            channels = config.ch * mult
            if level > 0:
                stage.upsample = Upsample(channels)
            stages.insert(0, stage)  # index = level, though the coarsest runs first
        self.up = nn.ModuleList(stages)
        self.norm_out = group_norm(channels, config.num_groups, eps=1e-6)
        self.conv_out = nn.Conv2d(channels, config.out_ch, 3, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """(B, z_channels, H, W) -> (B, 3, f*H, f*W), about [-1, 1]."""
        return self.outer(self.inner(z, 0), 0)

    def inner(self, z: Tensor, level: int) -> Tensor:
        """(B, z_channels, H, W) -> (B, C_level, h / 2**level, w / 2**level), before they are doubled."""
        last = len(self.up) - 1
        h = self.mid(self.conv_in(z))
        for i in range(last, level - 1, -1):
            h = self.up[i](h if i == last else self._doubled(h, i + 1))
        return h

    def outer(self, h: Tensor, level: int) -> Tensor:
        """What follows `inner`: a level's features -> (B, 3, h, w)."""
        for i in range(level - 1, -1, -1):
            h = self.up[i](self._doubled(h, i + 1))
        return self.conv_out(F.silu(self.norm_out(h)))

    def _doubled(self, h: Tensor, level: int) -> Tensor:
        return cast(nn.Module, self.up[level].upsample)(h)


class AutoencoderKL(nn.Module):
    """Encoder and decoder around a normal distribution of latents.

    Latents here are not scaled; `LatentDiffusion` does that and nobody else.
    Source: Rombach et al. 2022 (arXiv:2112.10752), section 3.1.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = Encoder(config)
        self.decoder = Decoder(config)
        self.quant_conv = nn.Conv2d(2 * config.z_channels, 2 * config.embed_dim, 1)
        self.post_quant_conv = nn.Conv2d(config.embed_dim, config.z_channels, 1)

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are stored and computed in."""
        return self.quant_conv.weight.dtype

    def encode(self, images: Tensor) -> DiagonalGaussian:
        """(B, 3, f*H, f*W) in [-1, 1] -> a distribution of (B, embed_dim, H, W)."""
        moments = self.quant_conv(self.encoder(images.to(self.dtype, memory_format=torch.channels_last)))
        return DiagonalGaussian(moments if moments.dtype == torch.float64 else moments.float())

    posterior = encode

    def decode(self, z: Tensor) -> Tensor:
        """(B, embed_dim, H, W) -> (B, 3, f*H, f*W), about [-1, 1], not clipped."""
        z = z.to(self.dtype, memory_format=torch.channels_last)
        images = self.decoder(self.post_quant_conv(z))
        return images if images.dtype == torch.float64 else images.float()
