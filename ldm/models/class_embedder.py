"""A class as the prompt: a row of a table, or a bare number where the U-Net has the table."""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..errors import CheckpointError, SettingsError
from .class_names import NAMES, class_number, labelled
from .condition import Condition, Sizes, single
from .condition_config import ClassConfig

NOTHING = "no class"


class ClassEmbedder(nn.Module):
    """Reads "207", "golden retriever" or "golden retriever (207)"; the empty prompt is no class.

    Source: CompVis's `ClassEmbedder`.

    Attributes:
        classes: how many can be asked for, 0 to classes - 1; the one that means none is not among them.
        names: of these classes; empty where only numbers are known.

    Raises:
        CheckpointError: the config names a list that does not ship, or its `null` is no row.
    """

    leftovers: ClassVar[tuple[str, ...]] = ()

    def __init__(self, config: ClassConfig, tokenizer: Any = None) -> None:  # noqa: ANN401 - there is none
        super().__init__()
        if config.names not in NAMES:
            known = ", ".join(repr(name) for name in NAMES)
            raise CheckpointError(f"names must be one of {known}, got {config.names!r}.")
        if config.null is not None and not -1 <= config.null < config.n_classes:
            raise CheckpointError(
                f"null must be between -1 and {config.n_classes - 1}, one of the classes, got {config.null}."
            )
        self.config = config
        self.tokenizer = None
        self.length = 1 if config.embed_dim else 0
        self.guides = config.null is not None
        last = config.null is not None and config.null == config.n_classes - 1
        self.classes = config.n_classes - 1 if last else config.n_classes
        self.names = NAMES[config.names]()[: self.classes]
        self.embedding: nn.Embedding | None = None
        if config.embed_dim:
            self.embedding = nn.Embedding(config.n_classes, config.embed_dim)

    def remember_names(self, names: Sequence[str]) -> None:
        """Names of the classes, from number 0 on."""
        self.names = tuple(names)[: self.classes]

    def labels(self) -> list[str]:
        """Every class as a menu shows it and as a prompt can name it: "golden retriever (207)"."""
        return [labelled(number, self.names) for number in range(self.classes)]

    def number(self, prompt: str) -> int:
        """The class that a prompt asks for; the config's `null` for the empty one.

        Raises:
            SettingsError: there is no such class, or "no class" is nothing this model has seen.
        """
        if prompt.strip() in ("", NOTHING):
            if self.config.null is None:
                raise SettingsError(
                    f"This model always draws a class: the prompt must be a number from 0 to "
                    f"{self.classes - 1}{' or a name' if self.names else ''}, not empty."
                )
            return self.config.null
        text = prompt.strip()
        if text == str(self.config.null):
            return int(text)
        return class_number(text, self.classes, self.names)

    def tokens(self, prompt: str) -> list[str]:
        """What stands at the one position of the context, if there is one.  Raises as `check`."""
        if not self.length:
            return []
        number = self.number(prompt)
        return [NOTHING if number == self.config.null else labelled(number, self.names)]

    def used(self, prompt: str) -> int:
        """All of it, there is no padding."""
        return self.length

    def unread(self, prompt: str) -> str:
        """Nothing is cut off."""
        return ""

    def check(self, prompt: str) -> None:
        """Raise SettingsError if there is no such class."""
        self.number(prompt)

    def embed(self, numbers: Tensor) -> Tensor:
        """(B,) class numbers -> (B, 1, D); zeros for -1."""
        if self.embedding is None:
            raise TypeError("this model's U-Net has the table of classes: embed_dim is 0")
        rows = self.embedding(numbers.clamp(min=0))[:, None]
        return torch.where((numbers < 0)[:, None, None], torch.zeros_like(rows), rows)

    def condition(self, prompts: Sequence[str], sizes: Sizes | None = None) -> Condition:
        """B prompts -> context (B, 1, D), or none and the numbers (B,) as vector.  Raises as `check`."""
        numbers = torch.tensor([self.number(prompt) for prompt in prompts])
        if self.embedding is None:
            return Condition(torch.zeros(len(prompts), 0, 0), numbers)
        return Condition(single(self.embed(numbers.to(self.embedding.weight.device))))
