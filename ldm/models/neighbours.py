"""CLIP embeddings as the prompt: pictures that are like what is wanted, or the wish itself.

A prompt is text, names of remembered embeddings as "@name", or both: "a castle @sunsets".  The text needs
CLIP's text encoder and its projection, which no file of these models holds; it can lie beside it.

Source: Blattmann et al. 2022 (arXiv:2204.11824); CompVis's `scripts/knn2img.py`.
"""

import math
import re
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor, nn

from ..errors import SettingsError
from .condition import Condition, Sizes
from .condition_config import NeighboursConfig

NAME = re.compile(r"(?<!\S)@(\S+)")
NO_CLIP = (
    "This model reads text as one CLIP embedding, whose text encoder is not in its file: instead of {text!r} "
    "name remembered embeddings, as @name, or put transformers' folder of CLIP ViT-L/14 beside the file, "
    "named text_encoder."
)


class Clip(Protocol):
    """What makes embeddings of text: CLIP ViT-L/14's text encoder with its projection."""

    def embed(self, prompts: Sequence[str]) -> Tensor:
        """B prompts -> (B, D)."""

    def unread(self, prompt: str) -> str:
        """What of a prompt is cut off; "" if nothing is."""


class NeighboursEmbedder(nn.Module):
    """Embeddings of unit length, as many as are named; the empty prompt is zeros.

    It has no weights.  A context is as long as the longest prompt of its batch: embeddings of a shorter one
    are repeated, which changes nothing where all are repeated alike, so that the length is their least common
    multiple.  Zeros in their place would be listened to.

    Attributes:
        length: embeddings in a prompt at most.
        clip: makes embeddings of text; None without.
    """

    guides = True
    leftovers: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: NeighboursConfig, tokenizer: Any = None) -> None:  # noqa: ANN401 - there is none
        super().__init__()
        self.config = config
        self.tokenizer = None
        self.length = config.most
        self.clip: Clip | None = None
        self._remembered: dict[str, Tensor] = {}

    def use_clip(self, clip: Clip | None) -> None:
        """Read text with this encoder; it does not become part of the model."""
        object.__setattr__(self, "clip", clip)  # a module would be registered, and saved

    @property
    def remembered(self) -> tuple[str, ...]:
        """Names that "@name" can be."""
        return tuple(self._remembered)

    def remember(self, name: str, embeddings: Tensor) -> None:
        """Give embeddings a name for prompts.

        Args:
            name: without spaces.
            embeddings: (k, D) or (D,), of any length but 0; k from 1 to `length`.

        Raises:
            SettingsError: another shape, a number that is not finite, or a name with a space.
        """
        rows = (embeddings[None] if embeddings.dim() == 1 else embeddings).detach().to("cpu", torch.float32)
        if not name or re.search(r"\s", name):
            raise SettingsError(f"A name of embeddings must be one word, got {name!r}.")
        if rows.dim() != 2 or rows.shape[1] != self.config.dim or not 1 <= len(rows) <= self.length:
            raise SettingsError(
                f"{name} must hold 1 to {self.length} embeddings of {self.config.dim} numbers, got "
                f"{' x '.join(map(str, embeddings.shape))}."
            )
        norms = rows.norm(dim=1, keepdim=True)
        if not norms.isfinite().all() or not (norms > 0).all():
            raise SettingsError(f"{name} holds an embedding of zeros, or with numbers that are not finite.")
        self._remembered[name] = rows / norms

    def forget(self, name: str) -> None:
        """Forget a name; one that was never remembered changes nothing."""
        self._remembered.pop(name, None)

    def tokens(self, prompt: str) -> list[str]:
        """What stands at each position: the text, and the names with their numbers.  Raises as `check`."""
        text, names = self._parts(prompt)
        rows = [f"@{name}[{i + 1}]" for name in names for i in range(len(self._remembered[name]))]
        return [*([text] if text else []), *rows] or ["nothing"]

    def used(self, prompt: str) -> int:
        """All of them, there is no padding."""
        return len(self.tokens(prompt))

    def unread(self, prompt: str) -> str:
        """What of the text is cut off; too many embeddings are an error."""
        text = " ".join(NAME.sub(" ", prompt).split())
        return self.clip.unread(text) if text and self.clip is not None else ""

    def check(self, prompt: str) -> None:
        """Raise SettingsError for an unknown name, too many embeddings, or text without an encoder."""
        text, _ = self._parts(prompt)
        if text and self.clip is None:
            raise SettingsError(NO_CLIP.format(text=text))
        if (count := self.used(prompt)) > self.length:
            raise SettingsError(f"This model reads up to {self.length} embeddings, the prompt has {count}.")

    def embeddings(self, prompt: str) -> Tensor:
        """(k, D) what one prompt stands for; k is 0 for the empty one.  Raises as `check`."""
        self.check(prompt)
        text, names = self._parts(prompt)
        rows = [self._remembered[name] for name in names]
        if text and self.clip is not None:
            made = self.clip.embed([text]).detach().to("cpu", torch.float32)
            rows.insert(0, made / made.norm(dim=1, keepdim=True))
        return torch.cat([torch.zeros(0, self.config.dim), *rows])

    def condition(self, prompts: Sequence[str], sizes: Sizes | None = None) -> Condition:
        """B prompts -> context (B, k, D).  Raises as `check`."""
        found = [self.embeddings(prompt) for prompt in prompts]
        length = math.lcm(*(len(rows) or 1 for rows in found))
        context = torch.zeros(len(found), length, self.config.dim)
        for row, rows in zip(context, found, strict=True):
            if len(rows):
                row.copy_(rows.repeat(length // len(rows), 1))
        return Condition(context)

    def _parts(self, prompt: str) -> tuple[str, list[str]]:
        """The text and the names in a prompt."""
        names = NAME.findall(prompt)
        for name in names:
            if name not in self._remembered:  # what there is instead may be somebody else's
                raise SettingsError(f"There are no embeddings {name!r}: add their file first.")
        return " ".join(NAME.sub(" ", prompt).split()), names
