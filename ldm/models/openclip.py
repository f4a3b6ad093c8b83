"""OpenCLIP's text tower, under open_clip's own parameter names, as Stable Diffusion 2 and XL have them.

Source: Cherti et al. 2022 (arXiv:2212.07143); which layer is read, Stability AI's `FrozenOpenCLIPEmbedder`.
"""

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import CheckpointError
from .condition_config import OpenCLIPConfig
from .text import depth_of
from .text_reader import TextReader, causal_mask
from .tokenizer import Tokenizer


def quick_gelu(x: Tensor) -> Tensor:
    """OpenAI's cheaper GELU, `x * sigmoid(1.702 x)`."""
    return x * torch.sigmoid(1.702 * x)


ACTS: dict[str, Callable[[Tensor], Tensor]] = {"gelu": F.gelu, "quick_gelu": quick_gelu}


class Attention(nn.Module):
    """Attention with one matrix for queries, keys and values, as `nn.MultiheadAttention` keeps it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        nn.init.normal_(self.in_proj_weight, std=width**-0.5)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D); `mask` (1, 1, T, T) is added to scores."""
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias)  # (B, T, 3 D)
        q, k, v = qkv.unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (B, h, T, d) each
        out = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.out_proj(out.transpose(1, 2).flatten(2))


class MLP(nn.Module):
    """Four times the width and back."""

    def __init__(self, width: int, act: str) -> None:
        super().__init__()
        self.c_fc = nn.Linear(width, 4 * width)
        self.c_proj = nn.Linear(4 * width, width)
        self.act = ACTS[act]

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        return self.c_proj(self.act(self.c_fc(x)))


class ResidualAttentionBlock(nn.Module):
    """Attention and feed-forward, each after a norm and added."""

    def __init__(self, width: int, heads: int, act: str) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = MLP(width, act)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        x = x + self.attn(self.ln_1(x), mask)
        return x + self.mlp(self.ln_2(x))


class TextTower(nn.Module):
    """The half of OpenCLIP that reads; the other half, which sees, is in no file of Stable Diffusion."""

    def __init__(self, config: OpenCLIPConfig) -> None:
        super().__init__()
        width = config.width
        self.positional_embedding = nn.Parameter(torch.empty(config.context_length, width))
        self.text_projection: nn.Parameter | None = None
        if config.has_projection:
            self.text_projection = nn.Parameter(torch.empty(width, config.embed_dim))
            nn.init.normal_(self.text_projection, std=width**-0.5)
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList(
            ResidualAttentionBlock(width, config.heads, config.act) for _ in range(config.layers)
        )
        self.token_embedding = nn.Embedding(config.vocab_size, width)
        self.ln_final = nn.LayerNorm(width)
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.positional_embedding, std=0.01)

    @property
    def blocks(self) -> list[nn.Module]:
        """The layers in their order."""
        return list(self.transformer.resblocks)  # type: ignore[arg-type]  # a ModuleList


class OpenCLIPTextEmbedder(TextReader):
    """The hidden state after the last layer but one, and the pooled vector of the last one's.

    Args:
        tokenizer: CLIP's; its padding becomes the config's.

    Raises:
        CheckpointError: the config's `hidden_layer` is none of its layers, or its `act` is unknown.
    """

    leftovers: ClassVar[tuple[str, ...]] = ("model.logit_scale", "model.attn_mask")

    def __init__(self, config: OpenCLIPConfig, tokenizer: Tokenizer) -> None:
        super().__init__(tokenizer.padded_with(config.pad_token_id), config.vocab_size, config.width)
        if config.act not in ACTS:
            raise CheckpointError(f"act must be one of {', '.join(ACTS)}, got {config.act!r}.")
        self.config = config
        self.depth = depth_of(config.hidden_layer, config.layers)
        self.model = TextTower(config)

    def encode_ids(self, ids: Tensor) -> Tensor:
        """(B, T) token numbers -> (B, T, D) context."""
        return self._context(self._hidden(ids, self.depth))

    def encode(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T) token numbers -> (B, T, D) context and (B, E) pooled vector, that of the end mark.

        Raises:
            CheckpointError: this model has no projection, and so no pooled vector.
        """
        if self.model.text_projection is None:
            raise CheckpointError("This OpenCLIP text encoder has no text_projection, so no pooled vector.")
        hidden = self._hidden(ids, self.depth)
        mask = causal_mask(ids.shape[1], hidden)
        last = hidden
        for block in self.model.blocks[self.depth :]:
            last = block(last, mask)
        # the end mark is the highest number of the vocabulary; taught words lie beyond it
        ends = ids.masked_fill(ids >= self.config.vocab_size, 0).argmax(1)
        pooled = self.model.ln_final(last[torch.arange(len(ids), device=ids.device), ends])
        return self._context(hidden), pooled @ self.model.text_projection

    def _hidden(self, ids: Tensor, depth: int) -> Tensor:
        x = self.taught.embed(ids, self.model.token_embedding)
        x = x + self.model.positional_embedding[: ids.shape[1]]
        mask = causal_mask(ids.shape[1], x)
        for block in self.model.blocks[:depth]:
            x = block(x, mask)
        return x

    def _context(self, hidden: Tensor) -> Tensor:
        return self.model.ln_final(hidden) if self.config.final_norm else hidden

    def forward(self, prompts: Sequence[str]) -> Tensor:
        """B prompts -> (B, T, D) context; what is longer than T tokens is cut off."""
        return self.encode_ids(self.ids(prompts))
