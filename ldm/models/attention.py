"""Attention: of feature-map positions to each other and to the words of the prompt.

The output always comes from PyTorch's fused kernel.  Maps, where they are asked for, are computed beside it
from the same queries and keys, so that recording changes no bit of the picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import group_norm

MAX_TOGETHER = 2**19  # scores computed at once: small layers cost their operators, large ones their memory


@dataclass(frozen=True, eq=False)
class Asked:
    """What one cross-attention asked its context, which its maps follow from.

    Attributes:
        q: (B, h, N, d) queries, N = height * width.
        k: (B, h, T, d) keys.
        heard: (B, T) as `CrossAttention.forward`.
        height, width: of the feature map.
    """

    q: Tensor
    k: Tensor
    heard: Tensor | None = None
    height: int = 0
    width: int = 0

    def maps(self) -> Tensor:
        """(B, h, T, N) float32 attention; sums to 1 over T."""
        q, k = self.q.float(), self.k.float() * self.q.shape[-1] ** -0.5
        scores = k @ q.transpose(-1, -2)  # (B, h, T, N)
        if self.heard is not None:
            scores = scores.masked_fill(~self.heard[:, None, :, None], float("-inf"))
        return scores.softmax(-2)


def averaged(asked: Sequence[Asked]) -> Tensor:
    """(B, T, N) float32 attention of layers of one size, averaged over all their heads."""
    first = asked[0]
    alike = all(a.q.shape == first.q.shape for a in asked)
    if alike and len(asked) * first.q[..., 0].numel() * first.k.shape[2] <= MAX_TOGETHER:
        q, k = torch.cat([a.q for a in asked], 1), torch.cat([a.k for a in asked], 1)
        return replace(first, q=q, k=k).maps().mean(1)
    total = first.maps().sum(1)
    for a in asked[1:]:
        total = total + a.maps().sum(1)
    return total / sum(a.q.shape[1] for a in asked)


def maps_by_size(asked: Sequence[Asked]) -> tuple[Tensor, ...]:
    """The mean over heads of all layers of equal size, as (B, T, h, w), largest first."""
    sizes = sorted({(a.height, a.width) for a in asked}, reverse=True)
    same = ([a for a in asked if (a.height, a.width) == size] for size in sizes)
    return tuple(averaged(a).unflatten(2, size) for a, size in zip(same, sizes, strict=True))


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

    def forward(
        self,
        x: Tensor,
        context: Tensor | None = None,
        asked: list[Asked] | None = None,
        heard: Tensor | None = None,
    ) -> Tensor:
        """Attend.

        Args:
            x: (B, N, D) one row per feature-map position.
            context: (B, T, D_context); None is self-attention.
            asked: a list that what this layer asked is appended to.
            heard: (B, T) bool, False where nobody listens to a position: the others share what it would have
                got.  None hears all of them.
        """
        context = x if context is None else context
        q, k, v = (self._split(y) for y in (self.to_q(x), self.to_k(context), self.to_v(context)))
        mask = None if heard is None else heard[:, None, None, :]  # (B, 1, 1, T)
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)  # (B, h, N, d)
        if asked is not None:
            asked.append(Asked(q, k, heard))
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
    """Self-attention, cross-attention, feed-forward, each after a norm and added.

    Args:
        both: the first attention looks at the context too, instead of at the positions.
    """

    def __init__(
        self, dim: int, heads: int, head_dim: int, context_dim: int | None, both: bool = False
    ) -> None:
        super().__init__()
        self.both = both
        self.attn1 = CrossAttention(dim, context_dim if both else None, heads, head_dim)
        self.ff = FeedForward(dim)
        self.attn2 = CrossAttention(dim, context_dim, heads, head_dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.norm3 = nn.LayerNorm(dim)

    def forward(
        self,
        x: Tensor,
        context: Tensor | None,
        asked: list[Asked] | None = None,
        heard: Tensor | None = None,
    ) -> Tensor:
        """(B, N, D) -> (B, N, D); `asked` and `heard` as in `CrossAttention`, of the cross-attention only."""
        seen = context if self.both else None
        x = x + self.attn1(self.norm1(x), seen, None, None if seen is None else heard)
        x = x + self.attn2(self.norm2(x), context, asked, heard)
        return x + self.ff(self.norm3(x))


class SpatialTransformer(nn.Module):
    """Transformer blocks over the positions of a feature map.

    Args:
        linear: proj_in and proj_out are linear layers (Stable Diffusion 2 and XL), else 1 x 1 convolutions.
        both: as `BasicTransformerBlock`.
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
        both: bool = False,
    ) -> None:
        super().__init__()
        inner = heads * head_dim
        self.norm = group_norm(channels, groups, eps=1e-6)
        self.proj_in = nn.Linear(channels, inner) if linear else nn.Conv2d(channels, inner, 1)
        self.transformer_blocks = nn.ModuleList(
            BasicTransformerBlock(inner, heads, head_dim, context_dim, both) for _ in range(depth)
        )
        self.proj_out = nn.Linear(inner, channels) if linear else nn.Conv2d(inner, channels, 1)
        self.linear = linear

    def forward(
        self,
        x: Tensor,
        context: Tensor | None,
        asked: list[Asked] | None = None,
        heard: Tensor | None = None,
    ) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W); `asked` and `heard` as in `CrossAttention`."""
        height, width = x.shape[2:]
        h = self.norm(x)
        h = h if self.linear else self.proj_in(h)
        rows = h.permute(0, 2, 3, 1).flatten(1, 2)  # (B, N, C): a view where memory is channels_last
        rows = self.proj_in(rows) if self.linear else rows
        found: list[Asked] | None = None if asked is None else []
        for block in self.transformer_blocks:
            rows = block(rows, context, found, heard)
        if asked is not None and found is not None:  # int: a tracer gives tensors
            asked.extend(replace(a, height=int(height), width=int(width)) for a in found)
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
