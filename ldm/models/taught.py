"""Words that a text encoder is taught after its training, one or more vectors each.

Source: Gal et al. 2022, textual inversion (arXiv:2208.01618).
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ..errors import CheckpointError


class TaughtWords:
    """Vectors that stand where an embedding has no row: at ids from `first` on.

    They are no weights of the model: neither saved with it nor counted.

    Attributes:
        first: the first id beyond the embedding's rows.
        dim: numbers in a vector, D.
    """

    def __init__(self, first: int, dim: int) -> None:
        self.first, self.dim = first, dim
        self._vectors: dict[str, Tensor] = {}
        self._table = torch.zeros(0, dim, device="cpu")

    def add(self, word: str, vectors: Tensor) -> None:
        """Teach a word, or teach it anew.

        Args:
            vectors: (n, D), n of 1 or more, or (D,).

        Raises:
            CheckpointError: the word is blank, or the vectors are of another size or not all finite.
        """
        self._put(self._vectors | {word: self.checked(word, vectors)})

    def checked(self, word: str, vectors: Tensor) -> Tensor:
        """(n, D) float32 on the CPU; raises as `add`."""
        rows = vectors[None] if vectors.dim() == 1 else vectors
        if not word.strip():
            raise CheckpointError("A taught word needs a name that is not blank.")
        if rows.dim() != 2 or rows.shape[1] != self.dim or not len(rows):
            raise CheckpointError(
                f"The taught word {word!r} has vectors of shape {tuple(vectors.shape)}; this text encoder "
                f"takes (n, {self.dim})."
            )
        rows = rows.detach().to("cpu", torch.float32, copy=True)
        if not rows.isfinite().all():
            raise CheckpointError(f"The taught word {word!r} has vectors with numbers that are not finite.")
        return rows

    def remove(self, word: str) -> None:
        """Forget a word; one that was never taught changes nothing."""
        self._put({name: rows for name, rows in self._vectors.items() if name != word})

    def _put(self, vectors: dict[str, Tensor]) -> None:
        self._vectors = vectors
        self._table = torch.cat([torch.zeros(0, self.dim, device="cpu"), *vectors.values()])

    @property
    def ids(self) -> Mapping[str, range]:
        """Word -> the ids that stand for it."""
        found, start = {}, self.first
        for word, rows in self._vectors.items():
            found[word] = range(start, start + len(rows))
            start += len(rows)
        return found

    def embed(self, ids: Tensor, embedding: nn.Embedding) -> Tensor:
        """(B, T) ids -> (B, T, D): rows of the embedding, and taught vectors behind its last."""
        if not len(self._table) or int(ids.max()) < self.first:
            return embedding(ids)
        taught = ids >= self.first
        rows = embedding(ids.masked_fill(taught, 0))
        table = self._table.to(rows)
        return torch.where(taught[..., None], table[(ids - self.first).clamp(min=0)], rows)
