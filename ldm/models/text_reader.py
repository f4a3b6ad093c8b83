"""What all text encoders have in common: from a prompt to ids and to the words that a person sees."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from .condition import Condition, Sizes, single
from .taught import TaughtWords
from .tokenizer import Tokenizer


class TextReader(nn.Module):
    """A `Conditioner` that reads prompts with CLIP's tokenizer; a subclass turns ids into context.

    Args:
        width: of a token's embedding.

    Attributes:
        tokenizer: knows the words that were taught, too.
        leftovers: patterns of names, below this module's, that files carry and nothing needs.
    """

    guides = True
    leftovers: ClassVar[tuple[str, ...]] = ()

    def __init__(self, tokenizer: Tokenizer, vocab_size: int, width: int) -> None:
        super().__init__()
        self.tokenizer = tokenizer
        self.taught = TaughtWords(vocab_size, width)

    @property
    def length(self) -> int:
        """Positions of the context, T."""
        return self.tokenizer.length

    def tokens(self, prompt: str) -> list[str]:
        """The prompt as the encoder reads it: T strings, padding included."""
        return self.tokenizer.strings(prompt)

    def used(self, prompt: str) -> int:
        """Positions before the padding, at most T."""
        return self.tokenizer.used(prompt)

    def unread(self, prompt: str) -> str:
        """What of the prompt is cut off behind position T."""
        return self.tokenizer.unread(prompt)

    def check(self, prompt: str) -> None:
        """Any text can be read."""

    def ids(self, prompts: Sequence[str]) -> Tensor:
        """(B, T) token numbers on the encoder's device."""
        device = next(self.parameters()).device
        return torch.tensor([self.tokenizer.ids(prompt) for prompt in prompts], device=device)

    def learn(self, word: str, vectors: Tensor) -> None:
        """Read a word as n positions with these vectors in place of embeddings; anew if it was taught before.

        It is found in a prompt as `Tokenizer.teaching` says.  A prompt without it keeps its bits.

        Args:
            vectors: (n, D) or (D,), kept in float32.

        Raises:
            CheckpointError: as `TaughtWords.add`.
        """
        self.taught.add(word, vectors)
        self.tokenizer = self.tokenizer.teaching(self.taught.ids)

    def forget(self, word: str) -> None:
        """Read a word as any other again."""
        self.taught.remove(word)
        self.tokenizer = self.tokenizer.teaching(self.taught.ids)

    def forward(self, prompts: Sequence[str]) -> Tensor:
        """B prompts -> (B, T, D) context; what is longer than T tokens is cut off."""
        raise NotImplementedError

    def condition(self, prompts: Sequence[str], sizes: Sizes | None = None) -> Condition:
        """B prompts -> their context in float32; sizes change nothing."""
        return Condition(single(self(list(prompts))))


def causal_mask(length: int, like: Tensor, heard: Tensor | None = None) -> Tensor:
    """What is added to scores so that no position looks behind itself.

    Args:
        heard: (B, T) bool, False where nobody looks at a position; None looks at all.

    Returns:
        (1, 1, T, T) or (B, 1, T, T), 0 or the least number of `like`'s type.
    """
    least = torch.finfo(like.dtype).min
    mask = torch.full((length, length), least, dtype=like.dtype, device=like.device).triu(1)[None, None]
    return mask if heard is None else mask.masked_fill(~heard[:, None, None, :], least)
