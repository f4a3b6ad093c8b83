"""Blocks that U-Net and autoencoder are made of: norms, resampling, the timestep embedding, ResBlocks.

Attribute names are CompVis's, index by index, so that single-file checkpoints load without a map.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def group_norm(channels: int, groups: int = 32, eps: float = 1e-5) -> nn.GroupNorm:
    """GroupNorm with the field's eps: 1e-5 in the U-Net's ResBlocks, 1e-6 in transformers and autoencoder."""
    return nn.GroupNorm(groups, channels, eps=eps)


def timestep_embedding(t: Tensor, dim: int, max_period: float = 10000.0) -> Tensor:
    """Sinusoids of the timestep, cosines first.

    Args:
        t: (B,) timesteps, whole or fractional.

    Returns:
        (B, dim) float32, `[cos(t * f_i), sin(t * f_i)]` with `f_i = max_period ** (-i / half)`; an odd
        dim ends in a zero.

    Source: Vaswani et al. 2017, section 3.5; order and exponents as CompVis's `timestep_embedding`.
    """
    half = dim // 2
    frequencies = torch.exp(
        -math.log(max_period) * torch.arange(half, dtype=torch.float32, device=t.device) / half
    )
    angles = t.float()[:, None] * frequencies[None]  # (B, half)
    embedding = torch.cat([angles.cos(), angles.sin()], dim=-1)
    return F.pad(embedding, (0, 1)) if dim % 2 else embedding


def sinusoidal_embedding(t: Tensor, dim: int) -> Tensor:
    """The older DDPM form: sines first, exponents i / (half - 1).  Shapes as `timestep_embedding`.

    Source: Ho et al. 2020's code; CompVis's `get_timestep_embedding`.
    """
    half = dim // 2
    step = -math.log(10000.0) / (half - 1)
    frequencies = torch.exp(torch.arange(half, dtype=torch.float32, device=t.device) * step)
    angles = t.float()[:, None] * frequencies[None]
    embedding = torch.cat([angles.sin(), angles.cos()], dim=1)
    return F.pad(embedding, (0, 1)) if dim % 2 else embedding


class Upsample(nn.Module):
    """Nearest neighbour times two, then a convolution if `with_conv`."""

    def __init__(self, channels: int, with_conv: bool = True, out_channels: int | None = None) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out_channels or channels, 3, padding=1) if with_conv else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, 2H, 2W)."""
        x = F.interpolate(x, scale_factor=2.0, mode="nearest")
        return x if self.conv is None else self.conv(x)


class Downsample(nn.Module):
    """The U-Net's halving: a convolution of stride 2 with padding 1, or the mean of 2 x 2."""

    def __init__(self, channels: int, with_conv: bool = True, out_channels: int | None = None) -> None:
        super().__init__()
        self.op: nn.Module
        if with_conv:
            self.op = nn.Conv2d(channels, out_channels or channels, 3, stride=2, padding=1)
        else:
            self.op = nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H / 2, W / 2)."""
        return self.op(x)


class ResBlock(nn.Module):
    """The U-Net's residual block, told the time (and class) by `emb`.

    Args:
        emb_channels: size of the embedding.
        scale_shift: the embedding scales and shifts the second norm instead of being added.
        resample: "up" or "down" to change the size inside the block; None keeps it.
    """

    def __init__(
        self,
        channels: int,
        emb_channels: int,
        out_channels: int,
        *,
        scale_shift: bool = False,
        resample: str | None = None,
        groups: int = 32,
    ) -> None:
        super().__init__()
        self.scale_shift = scale_shift
        self.in_layers = nn.Sequential(
            group_norm(channels, groups), nn.SiLU(), nn.Conv2d(channels, out_channels, 3, padding=1)
        )
        self.h_upd = self._resampler(resample, channels)
        self.x_upd = self._resampler(resample, channels)
        self.emb_layers = nn.Sequential(
            nn.SiLU(), nn.Linear(emb_channels, 2 * out_channels if scale_shift else out_channels)
        )
        self.out_layers = nn.Sequential(
            group_norm(out_channels, groups),
            nn.SiLU(),
            nn.Identity(),  # CompVis's dropout; it holds the place of its index
            nn.Conv2d(out_channels, out_channels, 3, padding=1),
        )
        same = channels == out_channels
        self.skip_connection = nn.Identity() if same else nn.Conv2d(channels, out_channels, 1)

    @staticmethod
    def _resampler(resample: str | None, channels: int) -> nn.Module:
        if resample is None:
            return nn.Identity()
        return Upsample(channels, False) if resample == "up" else Downsample(channels, False)

    def forward(self, x: Tensor, emb: Tensor) -> Tensor:
        """X (B, C, H, W), emb (B, E) -> (B, C_out, H, W), at another size if it resamples."""
        norm, act, conv = self.in_layers
        h = conv(self.h_upd(act(norm(x))))
        shift = self.emb_layers(emb)[:, :, None, None]  # (B, C_out or 2 C_out, 1, 1)
        out_norm, *rest = self.out_layers
        if self.scale_shift:
            scale, shift = shift.chunk(2, dim=1)
            h = out_norm(h) * (1 + scale) + shift
        else:
            h = out_norm(h + shift)
        for layer in rest:
            h = layer(h)
        return self.skip_connection(self.x_upd(x)) + h
