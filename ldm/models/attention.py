"""Attention: of feature-map positions to each other and to the words of the prompt.

The output always comes from PyTorch's fused kernel.  Maps, where they are asked for, are computed beside it
from the same queries and keys, so that recording changes no bit of the picture.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import group_norm


class CrossAttention(nn.Module):
    """Attention from feature-map positions to context tokens, or to themselves without context."""

    def __init__(self, query_dim: int, context_dim: int | None, heads: int, head_dim: int) -> None:
        super().__init__()
        inner = heads * head_dim
        self.heads = heads
        self.to_q = nn.Linear(query_dim, inner, bias=False)
        self.to_k = nn.Linear(context_dim or query_dim, inner, bias=False)
        self.to_v = nn.Linear(context_dim or query_dim, inner, bias=False)
        self.to_out = nn.Sequential(nn.Linear(inner, query_dim), nn.Identity())

    def forward(self, x: Tensor, context: Tensor | None = None, maps: list[Tensor] | None = None) -> Tensor:
        """Attend.

        Args:
            x: (B, N, D) one row per feature-map position.
            context: (B, T, D_context); None is self-attention.
            maps: a list that this layer's (B, N, T) attention, averaged over heads, is appended to.
        """
        context = x if context is None else context
        q, k, v = (self._split(y) for y in (self.to_q(x), self.to_k(context), self.to_v(context)))
        out = F.scaled_dot_product_attention(q, k, v)  # (B, h, N, d)
        if maps is not None:
            scores = q.float() @ k.float().transpose(-1, -2) * q.shape[-1] ** -0.5  # (B, h, N, T)
            maps.append(scores.softmax(-1).mean(1))
        return self.to_out(out.transpose(1, 2).flatten(2))  # (B, N, D)

    def _split(self, y: Tensor) -> Tensor:
        """(B, L, h * d) -> (B, h, L, d)."""
        return y.unflatten(-1, (self.heads, -1)).transpose(1, 2)


class GEGLU(nn.Module):
    """A linear layer gated by GELU of another.  Source: Shazeer 2020 (arXiv:2002.05202)."""

    def __init__(self, dim_in: int, dim_out: int) -> None:
        super().__init__()
        self.proj = nn.Linear(dim_in, 2 * dim_out)

    def forward(self, x: Tensor) -> Tensor:
        """(..., dim_in) -> (..., dim_out)."""
        value, gate = self.proj(x).chunk(2, dim=-1)
        return value * F.gelu(gate)


class FeedForward(nn.Module):
    """GEGLU to four times the width and back."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.net = nn.Sequential(GEGLU(dim, 4 * dim), nn.Identity(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        return self.net(x)


class BasicTransformerBlock(nn.Module):
    """Self-attention, cross-attention, feed-forward, each after a norm and added."""

    def __init__(self, dim: int, heads: int, head_dim: int, context_dim: int | None) -> None:
        super().__init__()
        self.attn1 = CrossAttention(dim, None, heads, head_dim)
        self.ff = FeedForward(dim)
        self.attn2 = CrossAttention(dim, context_dim, heads, head_dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.norm3 = nn.LayerNorm(dim)

    def forward(self, x: Tensor, context: Tensor | None, maps: list[Tensor] | None = None) -> Tensor:
        """(B, N, D) -> (B, N, D); `maps` as in `CrossAttention`, of the cross-attention only."""
        x = x + self.attn1(self.norm1(x))
        x = x + self.attn2(self.norm2(x), context, maps)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """Transformer blocks over the positions of a feature map.

    Args:
        linear: proj_in and proj_out are linear layers (Stable Diffusion 2 and XL), else 1 x 1 convolutions.
    """

    def __init__(
        self,
        channels: int,
        heads: int,
        head_dim: int,
        depth: int,
        context_dim: int | None,
        linear: bool = False,
        groups: int = 32,
    ) -> None:
        super().__init__()
        inner = heads * head_dim
        self.norm = group_norm(channels, groups, eps=1e-6)
        self.proj_in = nn.Linear(channels, inner) if linear else nn.Conv2d(channels, inner, 1)
        self.transformer_blocks = nn.ModuleList(
            BasicTransformerBlock(inner, heads, head_dim, context_dim) for _ in range(depth)
        )
        self.proj_out = nn.Linear(inner, channels) if linear else nn.Conv2d(inner, channels, 1)
        self.linear = linear

    def forward(
        self, x: Tensor, context: Tensor | None, maps: list[tuple[int, int, Tensor]] | None = None
    ) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W).

        Args:
            maps: a list that (H, W, attention (B, N, T)) of every block is appended to.
        """
        height, width = x.shape[2:]
        h = self.norm(x)
        h = h if self.linear else self.proj_in(h)
        rows = h.permute(0, 2, 3, 1).flatten(1, 2)  # (B, N, C): a view where memory is channels_last
        rows = self.proj_in(rows) if self.linear else rows
        found: list[Tensor] | None = None if maps is None else []
        for block in self.transformer_blocks:
            rows = block(rows, context, found)
        if maps is not None and found is not None:
            maps.extend((int(height), int(width), m) for m in found)  # int: a tracer gives tensors
        rows = self.proj_out(rows) if self.linear else rows
        h = rows.unflatten(1, (height, width)).permute(0, 3, 1, 2)  # (B, C, H, W)
        return x + (h if self.linear else self.proj_out(h))


class AttentionBlock(nn.Module):
    """Self-attention over positions, without context, as in guided-diffusion and the unconditional models.

    Args:
        new_order: q, k, v are split before the heads; False splits the heads first.
    """

    def __init__(self, channels: int, heads: int, new_order: bool = False, groups: int = 32) -> None:
        super().__init__()
        self.heads = heads
        self.new_order = new_order
        self.norm = group_norm(channels, groups)
        self.qkv = nn.Conv1d(channels, 3 * channels, 1)
        self.proj_out = nn.Conv1d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        rows = x.flatten(2)  # (B, C, N)
        qkv = self.qkv(self.norm(rows))  # (B, 3C, N)
        if self.new_order:
            parts = qkv.unflatten(1, (3, self.heads, -1)).unbind(1)  # 3 of (B, h, d, N)
        else:
            parts = qkv.unflatten(1, (self.heads, 3, -1)).unbind(2)
        q, k, v = (p.transpose(-1, -2) for p in parts)  # (B, h, N, d)
        out = F.scaled_dot_product_attention(q, k, v).transpose(-1, -2).flatten(1, 2)  # (B, C, N)
        return x + self.proj_out(out).unflatten(2, x.shape[2:])
