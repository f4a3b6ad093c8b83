"""BERT's uncased WordPiece tokenizer, over a vocabulary that the user supplies.

The algorithm is the `tokenizers` library's, put together as transformers does it for `bert-base-uncased`; the
library comes with transformers, and is imported where a vocabulary is really read.

Source: Devlin et al. 2018 (arXiv:1810.04805); CompVis's `BERTTokenizer`.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from ..errors import CheckpointError

UNKNOWN, CLS, SEP, PAD, MASK = "[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]"
FILE = "vocab.txt"
PLACES = (f"tokenizer/{FILE}", FILE)


class WordPieceTokenizer:
    """Prompts to ids, as `Tokenizer` has it for CLIP.

    Args:
        pieces: of the vocabulary, in the order of their ids.

    Attributes:
        length: ids per prompt, T.

    Raises:
        CheckpointError: one of the marks is missing.
    """

    is_clip = False

    def __init__(self, pieces: Sequence[str], length: int = 77) -> None:
        self.pieces = list(pieces)
        vocab = {piece: index for index, piece in enumerate(self.pieces)}
        missing = [mark for mark in (PAD, UNKNOWN, CLS, SEP, MASK) if mark not in vocab]
        if missing:
            raise CheckpointError(f"A WordPiece vocabulary needs the piece {missing[0]!r}, this has none.")
        self.length = length
        self.bos, self.eos, self.pad = vocab[CLS], vocab[SEP], vocab[PAD]
        self._backend = _backend(vocab)

    @classmethod
    def from_file(cls, path: Path, length: int = 77) -> Self:
        """A `vocab.txt`: one piece on each line, the first has id 0.

        Raises:
            CheckpointError: it cannot be read, or is no such vocabulary.
        """
        try:
            lines = path.read_text("utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise CheckpointError(f"{path.name} is no readable WordPiece vocabulary: {error}.") from error
        return cls(lines[:-1] if lines[-1] == "" else lines, length)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            CheckpointError: something is missing or of the wrong kind.
        """
        try:
            return cls([str(piece) for piece in values["pieces"]], int(values["length"]))
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"The WordPiece vocabulary cannot be read: {type(error).__name__}: {error}."
            ) from error

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types; `pieces` tells it from CLIP's."""
        return {"pieces": self.pieces, "length": self.length}

    def unpadded(self, prompt: str) -> list[int]:
        """Start, the whole prompt, end; longer than `length` where the prompt is."""
        words: list[int] = self._backend.encode(prompt, add_special_tokens=False).ids  # type: ignore[attr-defined]
        return [self.bos, *words, self.eos]

    def ids(self, prompt: str) -> list[int]:
        """(length,) ids: start, the prompt as far as it fits, end, padding."""
        marked = [*self.unpadded(prompt)[:-1][: self.length - 1], self.eos]
        return marked + [self.pad] * (self.length - len(marked))

    def used(self, prompt: str) -> int:
        """How many of the ids of `ids` stand before the padding."""
        return min(len(self.unpadded(prompt)), self.length)

    def strings(self, prompt: str) -> list[str]:
        """(length,) what each id of `ids` reads as; the rest of a word begins with "##"."""
        return [self.string(index) for index in self.ids(prompt)]

    def string(self, index: int) -> str:
        """What an id reads as."""
        return self.pieces[index]

    def unread(self, prompt: str) -> str:
        """What of the prompt `ids` leaves out, as it is read: in lower case, without accents."""
        cut = [self.pieces[index] for index in self.unpadded(prompt)[self.length - 1 : -1]]
        return " ".join(cut).replace(" ##", "").removeprefix("##")


def find_vocabulary(folder: Path) -> Path | None:
    """The `vocab.txt` beside a checkpoint, in its folder's `tokenizer/` or in the folder itself."""
    return next((folder / place for place in PLACES if (folder / place).is_file()), None)


def _backend(vocab: dict[str, int]) -> object:
    from tokenizers import Tokenizer, normalizers, pre_tokenizers
    from tokenizers.models import WordPiece

    backend = Tokenizer(WordPiece(vocab, unk_token=UNKNOWN))
    backend.normalizer = normalizers.BertNormalizer(
        clean_text=True, handle_chinese_chars=True, strip_accents=None, lowercase=True
    )
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.add_special_tokens([PAD, UNKNOWN, CLS, SEP, MASK])
    return backend
