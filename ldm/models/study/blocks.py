"""Blocks of the study's U-Net and autoencoders: residual layers, each with attention or not, and resampling.

A block keeps its layers in lists by kind, as the study does: `resnet_conv_first[i]`, `attentions[i]` ...
Source: explainingai-code/StableDiffusion-PyTorch, models/blocks.py.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..attention import Asked
from ..blocks import group_norm


def time_embedding(t: Tensor, dim: int) -> Tensor:
    """Sinusoids of the timestep, sines first.

    Args:
        t: (B,) timesteps, whole or fractional.
        dim: an even number.

    Returns:
        (B, dim) in float32, in float64 if t is: `[sin(t / f_i), cos(t / f_i)]` with
        `f_i = 10000 ** (i / half)`.

    Source: Vaswani et al. 2017, section 3.5; order and exponents as the study's `get_time_embedding`.
    """
    half, dtype = dim // 2, torch.float64 if t.dtype == torch.float64 else torch.float32
    periods = 10000.0 ** (torch.arange(half, dtype=dtype, device=t.device) / half)
    angles = t.to(dtype)[:, None] / periods  # (B, half)
    return torch.cat([angles.sin(), angles.cos()], dim=-1)


class MultiheadAttention(nn.Module):
    """PyTorch's attention of that name, weight for weight, whose queries and keys can be asked for.

    Source: Vaswani et al. 2017 (arXiv:1706.03762), section 3.2.2.
    """

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * channels, channels))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * channels))
        self.out_proj = nn.Linear(channels, channels)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        asked: list[Asked] | None = None,
        heard: Tensor | None = None,
    ) -> Tensor:
        """(B, N, C) -> (B, N, C); context (B, T, C), `asked` and `heard` as `attention.CrossAttention`."""
        if context is None:
            parts = F.linear(x, self.in_proj_weight, self.in_proj_bias).chunk(3, dim=-1)
        else:
            weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
            sources = (x, context, context)
            parts = tuple(F.linear(*each) for each in zip(sources, weights, biases, strict=True))
        q, k, v = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)  # (B, h, N, d)
        mask = None if heard is None else heard[:, None, None, :]  # (B, 1, 1, T)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        if asked is not None:
            asked.append(Asked(q, k, heard))
        return self.out_proj(out.transpose(1, 2).flatten(2))


class Layers(nn.Module):
    """Residual layers in a row, and attention after some of them; what every block of the study is made of.

    Args:
        channels: of the first layer's input.
        layers: residual layers.
        attends: how many of them may have attention.
        heads, groups: of every attention and of every norm.
        emb_channels: size of the time embedding; None is without one.
        self_attention: whether there is attention of positions to each other.
        context_dim: channels of the context; None is without cross-attention.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        layers: int,
        attends: int,
        *,
        heads: int,
        groups: int,
        emb_channels: int | None = None,
        self_attention: bool = True,
        context_dim: int | None = None,
    ) -> None:
        super().__init__()
        widths = [channels] + [out_channels] * (layers - 1)

        def convolution(width: int) -> nn.Module:
            return nn.Sequential(
                group_norm(width, groups), nn.SiLU(), nn.Conv2d(width, out_channels, 3, padding=1)
            )

        def times(make: Callable[[], nn.Module], count: int = attends) -> nn.ModuleList:
            return nn.ModuleList(make() for _ in range(count))

        self.resnet_conv_first = nn.ModuleList(convolution(width) for width in widths)
        if emb_channels is not None:
            self.t_emb_layers = times(
                lambda: nn.Sequential(nn.SiLU(), nn.Linear(emb_channels, out_channels)), layers
            )
        self.resnet_conv_second = times(lambda: convolution(out_channels), layers)
        self.has_attention, self.has_context = self_attention, context_dim is not None
        if self_attention:
            self.attention_norms = times(lambda: group_norm(out_channels, groups))
            self.attentions = times(lambda: MultiheadAttention(out_channels, heads))
        if context_dim is not None:
            self.cross_attention_norms = times(lambda: group_norm(out_channels, groups))
            self.cross_attentions = times(lambda: MultiheadAttention(out_channels, heads))
            self.context_proj = times(lambda: nn.Linear(context_dim, out_channels))
        self.residual_input_conv = nn.ModuleList(nn.Conv2d(width, out_channels, 1) for width in widths)

    def resnet(self, x: Tensor, emb: Tensor | None, index: int) -> Tensor:
        """(B, C, H, W) through one residual layer; emb (B, E)."""
        h = self.resnet_conv_first[index](x)
        if emb is not None:
            h = h + self.t_emb_layers[index](emb)[:, :, None, None]
        return self.resnet_conv_second[index](h) + self.residual_input_conv[index](x)

    def attention(
        self,
        x: Tensor,
        index: int,
        context: Tensor | None = None,
        asked: list[Asked] | None = None,
        heard: Tensor | None = None,
    ) -> Tensor:
        """(B, C, H, W) through the attention after one layer, to positions and then to the context."""
        height, width = x.shape[2:]
        if self.has_attention:
            x = x + _pictures(self.attentions[index](_rows(self.attention_norms[index](x))), height, width)
        if self.has_context and context is not None:
            found: list[Asked] | None = None if asked is None else []
            rows = _rows(self.cross_attention_norms[index](x))
            out = self.cross_attentions[index](rows, self.context_proj[index](context), found, heard)
            if asked is not None and found is not None:  # int: a tracer gives tensors
                asked.extend(replace(a, height=int(height), width=int(width)) for a in found)
            x = x + _pictures(out, height, width)
        return x

    def run(
        self,
        x: Tensor,
        emb: Tensor | None = None,
        context: Tensor | None = None,
        asked: list[Asked] | None = None,
        heard: Tensor | None = None,
    ) -> Tensor:
        """(B, C, H, W) -> (B, C_out, H, W): every residual layer, each with its attention after it."""
        for index in range(len(self.resnet_conv_first)):
            x = self.attention(self.resnet(x, emb, index), index, context, asked, heard)
        return x


class MidBlock(Layers):
    """A residual layer, then pairs of attention and residual layer."""

    def forward(
        self,
        x: Tensor,
        emb: Tensor | None = None,
        context: Tensor | None = None,
        asked: list[Asked] | None = None,
        heard: Tensor | None = None,
    ) -> Tensor:
        """(B, C, H, W) -> (B, C_out, H, W); arguments as `StudyUNet.forward`."""
        x = self.resnet(x, emb, 0)
        for index in range(len(self.resnet_conv_first) - 1):
            x = self.attention(x, index, context, asked, heard)
            x = self.resnet(x, emb, index + 1)
        return x


class DownBlock(Layers):
    """Layers with their attention, then half the size by a 4 x 4 convolution of stride 2.

    Args:
        halve: False keeps the size.
        others: as `Layers`.
    """

    def __init__(
        self, channels: int, out_channels: int, layers: int, *, halve: bool, **others: object
    ) -> None:
        super().__init__(channels, out_channels, layers, layers, **others)  # type: ignore[arg-type]
        self.down_sample_conv = nn.Conv2d(out_channels, out_channels, 4, 2, 1) if halve else nn.Identity()

    def forward(
        self,
        x: Tensor,
        emb: Tensor | None = None,
        context: Tensor | None = None,
        asked: list[Asked] | None = None,
        heard: Tensor | None = None,
    ) -> Tensor:
        """(B, C, H, W) -> (B, C_out, H / 2, W / 2); arguments as `StudyUNet.forward`."""
        return self.down_sample_conv(self.run(x, emb, context, asked, heard))


class UpBlock(Layers):
    """Twice the size by a 4 x 4 transposed convolution, what comes from the way down, then layers.

    Args:
        channels: of the first layer's input, those from the way down included.
        skip: how many of them come from the way down.
        double: False keeps the size.
        others: as `Layers`.
    """

    def __init__(
        self, channels: int, out_channels: int, layers: int, *, skip: int, double: bool, **others: object
    ) -> None:
        super().__init__(channels, out_channels, layers, layers, **others)  # type: ignore[arg-type]
        own = channels - skip
        self.up_sample_conv = nn.ConvTranspose2d(own, own, 4, 2, 1) if double else nn.Identity()

    def forward(
        self,
        x: Tensor,
        skip: Tensor | None = None,
        emb: Tensor | None = None,
        context: Tensor | None = None,
        asked: list[Asked] | None = None,
        heard: Tensor | None = None,
    ) -> Tensor:
        """(B, C, H, W) -> (B, C_out, 2H, 2W); skip (B, C_skip, 2H, 2W), the rest as `StudyUNet.forward`."""
        x = self.up_sample_conv(x)
        x = x if skip is None else torch.cat([x, skip], dim=1)
        return self.run(x, emb, context, asked, heard)


def _rows(x: Tensor) -> Tensor:
    """(B, C, H, W) -> (B, N, C): a view where memory is channels_last."""
    return x.permute(0, 2, 3, 1).flatten(1, 2)


def _pictures(rows: Tensor, height: int, width: int) -> Tensor:
    """(B, N, C) -> (B, C, H, W)."""
    return rows.unflatten(1, (height, width)).permute(0, 3, 1, 2)
