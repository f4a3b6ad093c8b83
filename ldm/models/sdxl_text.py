"""Both text towers of Stable Diffusion XL, and the vector of sizes beside their context.

Source: Podell et al. 2023 (arXiv:2307.01952), sections 2.1 and 2.2; Stability AI's `GeneralConditioner`,
whose first two embedders these are.  The others have no weights: a timestep embedding of each number.
"""

from collections.abc import Sequence
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from .blocks import timestep_embedding
from .condition import Condition, Sizes, single
from .condition_config import SDXLTextConfig
from .openclip import OpenCLIPTextEmbedder
from .text import CLIPTextEmbedder
from .tokenizer import Tokenizer

USUAL = Sizes(original=(1024, 1024))


class SDXLTextEmbedder(nn.Module):
    """CLIP ViT-L/14 and OpenCLIP ViT-bigG/14 side by side; the refiner has the second alone.

    The first pads prompts with the end mark and the second with 0.

    Args:
        tokenizer: CLIP's, with any padding.

    Attributes:
        embedders: the towers, under the numbers that files have.

    Raises:
        CheckpointError: `sizes` is neither 6 nor 5, or the pooled tower has no projection.
    """

    guides = True
    leftovers: ClassVar[tuple[str, ...]] = (
        *(f"embedders.0.{name}" for name in CLIPTextEmbedder.leftovers),
        *(f"embedders.?.{name}" for name in OpenCLIPTextEmbedder.leftovers),
    )

    def __init__(self, config: SDXLTextConfig, tokenizer: Tokenizer) -> None:
        super().__init__()
        if config.sizes not in (5, 6):
            raise CheckpointError(f"sizes must be 6, or 5 with an aesthetic score, got {config.sizes}.")
        if not config.openclip.has_projection:
            raise CheckpointError("The OpenCLIP tower of Stable Diffusion XL needs its text_projection.")
        self.config = config
        towers: list[nn.Module] = []
        if config.clip is not None:
            towers.append(CLIPTextEmbedder(config.clip, tokenizer.padded_with(config.clip.pad_token_id)))
        towers.append(OpenCLIPTextEmbedder(config.openclip, tokenizer))
        self.embedders = nn.ModuleList(towers)

    @property
    def clip(self) -> CLIPTextEmbedder | None:
        """The first tower; None in the refiner."""
        first = self.embedders[0]
        return first if isinstance(first, CLIPTextEmbedder) else None

    @property
    def openclip(self) -> OpenCLIPTextEmbedder:
        """The tower that has a pooled vector."""
        return cast(OpenCLIPTextEmbedder, self.embedders[-1])

    @property
    def tokenizer(self) -> Tokenizer:
        """The first tower's."""
        return (self.clip or self.openclip).tokenizer

    @property
    def length(self) -> int:
        """Positions of the context, T."""
        return self.tokenizer.length

    def tokens(self, prompt: str) -> list[str]:
        """The prompt as the first tower reads it: T strings; the second differs in the padding alone."""
        return self.tokenizer.strings(prompt)

    def used(self, prompt: str) -> int:
        """Positions before the padding, at most T."""
        return self.tokenizer.used(prompt)

    def unread(self, prompt: str) -> str:
        """What of the prompt is cut off behind position T."""
        return self.tokenizer.unread(prompt)

    def check(self, prompt: str) -> None:
        """Any text can be read."""

    def learn(self, word: str, vectors_clip_l: Tensor | None, vectors_clip_g: Tensor) -> None:
        """As `TextReader.learn`, for both towers.

        Args:
            vectors_clip_l: (n, 768); None for the refiner, which has no such tower.
            vectors_clip_g: (n, 1280).

        Raises:
            CheckpointError: a vector of another size, or not as many for one tower as for the other.
        """
        large = self.openclip.taught.checked(word, vectors_clip_g)
        if self.clip is not None:
            if vectors_clip_l is None:
                raise CheckpointError(f"The taught word {word!r} has no vectors for CLIP ViT-L/14.")
            small = self.clip.taught.checked(word, vectors_clip_l)
            if len(small) != len(large):
                raise CheckpointError(
                    f"The taught word {word!r} has {len(small)} vectors for one text encoder and "
                    f"{len(large)} for the other; it needs as many."
                )
            self.clip.learn(word, small)
        self.openclip.learn(word, large)

    def forget(self, word: str) -> None:
        """Read a word as any other again."""
        if self.clip is not None:
            self.clip.forget(word)
        self.openclip.forget(word)

    def encode(self, prompts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """B prompts -> (B, T, D) context and (B, E) pooled vector; zeros for "" where the config says so."""
        context, pooled = self.openclip.encode(self.openclip.ids(prompts))
        if self.clip is not None:
            context = torch.cat([self.clip(prompts).to(context), context], dim=-1)
        if self.config.zero_empty:
            said = torch.tensor([bool(prompt) for prompt in prompts], device=context.device)
            context, pooled = context * said[:, None, None], pooled * said[:, None]
        return context, pooled

    def forward(self, prompts: Sequence[str]) -> Tensor:
        """B prompts -> (B, T, D) context."""
        return self.encode(prompts)[0]

    def condition(self, prompts: Sequence[str], sizes: Sizes | None = None) -> Condition:
        """B prompts -> context (B, T, D) and vector (B, E + 256 n), in float32.

        Args:
            sizes: None is a whole picture of 1024 x 1024.
        """
        context, pooled = self.encode(list(prompts))
        numbers = size_numbers(sizes or USUAL, aesthetic=self.config.sizes == 5)
        rows = torch.tensor([numbers] * len(prompts), dtype=torch.float32, device=context.device)
        vector = torch.cat(
            [single(pooled), embed_sizes(rows, self.config.size_dim).to(single(pooled))], dim=1
        )
        return Condition(single(context), vector)


def size_numbers(sizes: Sizes, aesthetic: bool = False) -> list[float]:
    """Original size, crop and target size, height and top first; with `aesthetic` the score for the last."""
    last = (sizes.aesthetic,) if aesthetic else sizes.target
    return [float(number) for number in (*sizes.original, *sizes.crop, *last)]


def embed_sizes(numbers: Tensor, dim: int) -> Tensor:
    """(B, n) numbers -> (B, n * dim) float32: a timestep embedding of each, one after the other."""
    return timestep_embedding(numbers.flatten(), dim).view(len(numbers), -1)
