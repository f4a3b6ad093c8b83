"""CompVis's `BERTEmbedder`: an x-transformers encoder, trained with the U-Net, over words or over boxes.

The words are WordPiece's, whose vocabulary is in no file of these models; without it everything but reading a
prompt works.

Source: Rombach et al. 2022 (arXiv:2112.10752), appendix E.2.1; names and order x-transformers'.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import SettingsError
from .condition import Condition, Sizes, single
from .condition_config import BERTConfig
from .layout import Box, layout_strings, layout_tokens, most_boxes, objects_of, read_boxes
from .wordpiece import PLACES, WordPieceTokenizer

NO_VOCABULARY = (
    "This model reads words by BERT's WordPiece vocabulary, which its file does not hold: put vocab.txt of "
    f"bert-base-uncased beside the file, or into a folder there as {PLACES[0]}, and load the model again."
)


class Attention(nn.Module):
    """Attention of all positions to all; heads of their own width, whatever the width of the tokens."""

    def __init__(self, dim: int, heads: int, head_dim: int) -> None:
        super().__init__()
        inner = heads * head_dim
        self.heads = heads
        self.to_q = nn.Linear(dim, inner, bias=False)
        self.to_k = nn.Linear(dim, inner, bias=False)
        self.to_v = nn.Linear(dim, inner, bias=False)
        self.to_out = nn.Linear(inner, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        q, k, v = (to(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for to in self._inputs())
        return self.to_out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))

    def _inputs(self) -> tuple[nn.Linear, nn.Linear, nn.Linear]:
        return self.to_q, self.to_k, self.to_v


class FeedForward(nn.Module):
    """Four times the width and back."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        first = nn.Sequential(nn.Linear(dim, 4 * dim), nn.GELU())
        self.net = nn.Sequential(first, nn.Identity(), nn.Linear(4 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T, D)."""
        return self.net(x)


class TransformerWrapper(nn.Module):
    """Tokens, their positions, and layers that are each a norm and an attention or a feed-forward, added."""

    def __init__(self, config: BERTConfig) -> None:
        super().__init__()
        dim = config.dim
        self.token_emb = nn.Embedding(config.vocab_size, dim)
        self.pos_emb = nn.Module()
        self.pos_emb.emb = nn.Embedding(config.length, dim)
        self.attn_layers = nn.Module()
        self.attn_layers.layers = nn.ModuleList(
            nn.ModuleList([nn.LayerNorm(dim), inner])
            for _ in range(config.depth)
            for inner in (Attention(dim, config.heads, config.head_dim), FeedForward(dim))
        )
        self.norm = nn.LayerNorm(dim)
        nn.init.normal_(self.token_emb.weight, std=0.02)
        nn.init.normal_(self.pos_emb.emb.weight, std=0.02)

    def forward(self, ids: Tensor) -> Tensor:
        """(B, T) token numbers, no more than `length` -> (B, T, D)."""
        positions: Any = self.pos_emb.emb
        layers: Any = self.attn_layers.layers
        x = self.token_emb(ids) + positions.weight[: ids.shape[1]]
        for norm, inner in layers:
            x = x + inner(norm(x))
        return self.norm(x)


class BERTEmbedder(nn.Module):
    """Words, or boxes, to context.

    Args:
        tokenizer: the words'; None without a vocabulary, and for boxes.

    Attributes:
        names: of the classes of boxes, from number 0 on; empty where they are not known.
        leftovers: patterns of names, below this module's, that files carry and nothing needs: the layer that
            guessed a masked word.
    """

    leftovers: ClassVar[tuple[str, ...]] = ("transformer.to_logits.*",)

    def __init__(self, config: BERTConfig, tokenizer: WordPieceTokenizer | None = None) -> None:
        super().__init__()
        self.config = config
        self.length = config.length
        self.guides = not config.layout  # a picture without boxes was never trained on
        self.tokenizer = tokenizer
        self.names: tuple[str, ...] = ()
        self.transformer = TransformerWrapper(config)

    def remember_names(self, names: Sequence[str]) -> None:
        """Names of the classes of boxes, from number 0 on."""
        self.names = tuple(names)

    def tokens(self, prompt: str) -> list[str]:
        """The prompt as the encoder reads it: T strings, padding included.

        Raises:
            SettingsError: as `check`.
        """
        if self.config.layout:
            return layout_strings(self._boxes(prompt), self.length)
        return self._words().strings(prompt)

    def used(self, prompt: str) -> int:
        """Positions before the padding, at most T; of boxes, those before the first that is none."""
        if self.config.layout:
            return 3 * min(len(objects_of(self._boxes(prompt))), most_boxes(self.length))
        return self._words().used(prompt)

    def unread(self, prompt: str) -> str:
        """What of the prompt is cut off: words behind position T, or boxes that are too many."""
        if not self.config.layout:
            return self._words().unread(prompt)
        rest = objects_of(self._boxes(prompt))[most_boxes(self.length) :]
        return "; ".join(f"{b.name} {b.left:g} {b.top:g} {b.right:g} {b.bottom:g}" for b in rest)

    def check(self, prompt: str) -> None:
        """Raise SettingsError if the vocabulary is missing, or a box cannot be read."""
        if self.config.layout:
            self._boxes(prompt)
        else:
            self._words()

    def ids(self, prompts: Sequence[str]) -> Tensor:
        """(B, T) token numbers on the encoder's device; raises as `check`."""
        return torch.tensor([self._ids(p) for p in prompts], device=self.transformer.norm.weight.device)

    def encode_ids(self, ids: Tensor) -> Tensor:
        """(B, T) token numbers -> (B, T, D) context."""
        return self.transformer(ids)

    def forward(self, prompts: Sequence[str]) -> Tensor:
        """B prompts -> (B, T, D) context."""
        return self.encode_ids(self.ids(prompts))

    def condition(self, prompts: Sequence[str], sizes: Sizes | None = None) -> Condition:
        """B prompts -> their context in float32; sizes change nothing.  Raises as `check`."""
        return Condition(single(self(list(prompts))))

    def _ids(self, prompt: str) -> list[int]:
        if self.config.layout:
            return layout_tokens(self._boxes(prompt), self.config.vocab_size, self.length)
        return self._words().ids(prompt)

    def _words(self) -> WordPieceTokenizer:
        if self.tokenizer is None:
            raise SettingsError(NO_VOCABULARY)
        if len(self.tokenizer.pieces) != self.config.vocab_size:
            raise SettingsError(
                f"The vocab.txt beside this model must have {self.config.vocab_size} pieces, it has "
                f"{len(self.tokenizer.pieces)}."
            )
        return self.tokenizer

    def _boxes(self, prompt: str) -> list[Box]:
        return read_boxes(prompt, self.config.vocab_size - 1, self.names)
