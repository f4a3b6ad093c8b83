"""CLIP's byte-pair tokenizer: prompt -> ids -> the string behind each id.

The ids are those CompVis fed to its text encoder: transformers' slow `CLIPTokenizer` with `ftfy`, which
unescapes HTML, straightens quotes and takes ligatures apart before it splits (`clean_text`); transformers'
fast tokenizer, the only one of version 5, does none of that and differs for such prompts.

A word can be taught afterwards (textual inversion): it is read as ids beyond the vocabulary.

Knows nothing about networks.  A vocabulary of our own has CLIP's layout: 256 bytes, the same at the end of a
word, the merges, two marks; so any text can be written in it.
"""

import gzip
import json
from collections.abc import Iterable, Mapping
from copy import copy
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import regex

from ..errors import CheckpointError
from .byte_pairs import BOS, EOS, WORDS, joined, piece_bytes, train_bpe, vocabulary, word_pieces
from .clean_text import clean

__all__ = ["BOS", "EOS", "Tokenizer", "train_bpe"]

CLIP_VOCABULARY = Path(__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
CLIP_MERGES = 48894
CACHED_WORDS = 20_000


class Tokenizer:
    """Byte-pair encoding in CLIP's format.

    Attributes:
        vocab: piece -> id; a piece is written in `byte_letters`, with `</w>` at the end of a word.
        merges: pairs of pieces, the earliest learned first.
        length: ids per prompt, T.
        bos, eos, pad: ids of the marks before, after and behind a prompt.
        taught: word -> the ids it is read as, beyond the vocabulary; not part of `to_dict`.
    """

    def __init__(
        self,
        vocab: dict[str, int],
        merges: Iterable[tuple[str, str]],
        length: int,
        bos: int,
        eos: int,
        pad: int,
    ) -> None:
        self.vocab = vocab
        self.merges = list(merges)
        self.length, self.bos, self.eos, self.pad = length, bos, eos, pad
        self._ranks = {pair: rank for rank, pair in enumerate(self.merges)}
        self._pieces = {index: piece for piece, index in vocab.items()}
        self._cache: dict[str, list[int]] = {}
        self._teach({})

    @classmethod
    def clip(cls, length: int = 77, pad: int | None = None) -> Self:
        """CLIP's own vocabulary; `pad` is the end mark as in Stable Diffusion 1, 0 in open_clip."""
        vocab, merges = _clip_tables()
        return cls(vocab, merges, length, vocab[BOS], vocab[EOS], vocab[EOS] if pad is None else pad)

    @classmethod
    def from_folder(cls, folder: Path, length: int = 77) -> Self:
        """A tokenizer folder of transformers: `vocab.json`, `merges.txt`, perhaps `special_tokens_map.json`.

        Raises:
            CheckpointError: one of the two is missing or cannot be read.
        """
        try:
            vocab = json.loads((folder / "vocab.json").read_text("utf-8"))
            lines = (folder / "merges.txt").read_text("utf-8").split("\n")
            marks = folder / "special_tokens_map.json"
            named = json.loads(marks.read_text("utf-8")) if marks.exists() else {}
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{folder} is no readable tokenizer folder: {error}") from error
        merges = [line for line in lines if line and not line.startswith("#version")]
        names = {role: _content(named.get(f"{role}_token", default)) for role, default in _ROLES.items()}
        ids = {role: vocab.get(name) for role, name in names.items()}
        return cls.from_dict({"vocab": vocab, "merges": merges, "length": length, **ids})

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            CheckpointError: something is missing or of the wrong kind.
        """
        try:
            vocab = {str(piece): int(index) for piece, index in values["vocab"].items()}
            merges = [_pair(merge) for merge in values["merges"]]
            numbers = {name: int(values[name]) for name in ("length", "bos", "eos", "pad")}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(
                f"The tokenizer cannot be read: {type(error).__name__}: {error}."
            ) from error
        for name in ("bos", "eos"):
            if numbers[name] not in vocab.values():
                raise CheckpointError(f"The tokenizer has no piece with the id of {name}, {numbers[name]}.")
        return cls(vocab, merges, **numbers)

    @property
    def is_clip(self) -> bool:
        """Whether the vocabulary is CLIP's own, which no checkpoint needs to carry."""
        return self.vocab is _clip_tables()[0]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        merges = [" ".join(pair) for pair in self.merges]
        marks = {"bos": self.bos, "eos": self.eos, "pad": self.pad}
        return {"vocab": self.vocab, "merges": merges, "length": self.length, **marks}

    def padded_with(self, pad: int) -> Self:
        """The same tokenizer with another mark behind prompts."""
        other = copy(self)
        other.pad = pad
        return other

    def teaching(self, words: Mapping[str, Iterable[int]]) -> Self:
        """The same tokenizer, which reads each of `words` as those ids, and no others taught before.

        A word is found in any case, where no letter, digit or "_" goes on before or behind it, so that "cat"
        is not found in "cats"; a sign at its end ("<cat>") needs no such gap.  The longest goes first.
        """
        other = copy(self)
        other._teach({word: tuple(ids) for word, ids in words.items()})
        return other

    def _teach(self, words: dict[str, tuple[int, ...]]) -> None:
        self.taught = words
        marks = [regex.escape(self._pieces[i]) for i in (self.bos, self.eos)]
        self._longest_first = sorted(words, key=len, reverse=True)
        found = [f"(?P<word{i}>(?i:{_whole(word)}))" for i, word in enumerate(self._longest_first)]
        self._marks = regex.compile("|".join([*marks, *found]))
        self._names = {
            index: word if place == 0 else f"{word}[{place + 1}]"
            for word, ids in words.items()
            for place, index in enumerate(ids)
        }

    def ids(self, prompt: str) -> list[int]:
        """(length,) ids: start, the prompt as far as it fits, end, padding."""
        words = self._words(prompt)[: self.length - 2]
        marked = [self.bos, *words, self.eos]
        return marked + [self.pad] * (self.length - len(marked))

    def unpadded(self, prompt: str) -> list[int]:
        """Start, the whole prompt, end; longer than `length` where the prompt is."""
        return [self.bos, *self._words(prompt), self.eos]

    def used(self, prompt: str) -> int:
        """How many of the ids of `ids` stand before the padding."""
        return min(len(self._words(prompt)) + 2, self.length)

    def unread(self, prompt: str) -> str:
        """What of the prompt `ids` leaves out, as it is read: cleaned, in lower case, words apart."""
        text = b""
        for index in self._words(prompt)[self.length - 2 :]:
            piece = self._pieces.get(index, "")
            if index in self._names or index in (self.bos, self.eos):
                text += self._names.get(index, piece).encode("utf-8") + b" "
            else:
                text += piece_bytes(piece) + (b" " if piece.endswith("</w>") else b"")
        return text.decode("utf-8", errors="replace").strip()

    def strings(self, prompt: str) -> list[str]:
        """(length,) what each id of `ids` reads as, for people; a byte that is no whole letter is U+FFFD."""
        return [self.string(index) for index in self.ids(prompt)]

    def string(self, index: int) -> str:
        """What an id reads as, without the mark at the end of a word; a taught word's second is "word[2]"."""
        if index in self._names:
            return self._names[index]
        piece = self._pieces.get(index, "")
        return piece if index in (self.bos, self.eos) else piece_bytes(piece).decode("utf-8", "replace")

    def _words(self, prompt: str) -> list[int]:
        """Ids of a prompt of any length; marks and taught words are found before anything is cleaned."""
        found, start = [], 0
        for mark in self._marks.finditer(prompt):
            found += self._encode(prompt[start : mark.start()])
            if mark.lastgroup is None:
                found.append(self.vocab[mark.group()])
            else:
                found += self.taught[self._longest_first[int(mark.lastgroup.removeprefix("word"))]]
            start = mark.end()
        return found + self._encode(prompt[start:])

    def _encode(self, text: str) -> list[int]:
        found: list[int] = []
        for word in WORDS.findall(clean(text).lower()):
            if word not in self._cache:
                if len(self._cache) >= CACHED_WORDS:
                    self._cache.clear()
                self._cache[word] = self._merge(word)
            found += self._cache[word]
        return found

    def _merge(self, word: str) -> list[int]:
        """Ids of one word: the pair learned earliest is joined everywhere, until none is known."""
        if word in (BOS, EOS) and word in self.vocab:
            return [self.vocab[word]]
        pieces = word_pieces(word)
        while len(pieces) > 1:
            pairs = pairwise(pieces)
            best = min(pairs, key=lambda pair: self._ranks.get(pair, len(self._ranks)))
            if best not in self._ranks:
                break
            pieces = joined(pieces, best)
        return [self.vocab.get(piece, self.eos) for piece in pieces]


def _whole(word: str) -> str:
    """A pattern that finds a word where it is not part of a longer one."""
    before = r"(?<![\p{L}\p{N}_])" if regex.match(r"[\p{L}\p{N}_]", word) else ""
    behind = r"(?![\p{L}\p{N}_])" if regex.search(r"[\p{L}\p{N}_]$", word) else ""
    return before + regex.escape(word) + behind


@lru_cache(maxsize=1)
def _clip_tables() -> tuple[dict[str, int], list[tuple[str, str]]]:
    lines = gzip.decompress(CLIP_VOCABULARY.read_bytes()).decode("utf-8").split("\n")
    pairs = [line.split(" ") for line in lines[1 : CLIP_MERGES + 1]]
    merges = [(first, second) for first, second in pairs]
    return vocabulary(merges), merges


def _pair(merge: str | list[str]) -> tuple[str, str]:
    """A merge as transformers writes it: "a b" or ["a", "b"]."""
    first, second = merge.split(" ") if isinstance(merge, str) else merge
    return str(first), str(second)


_ROLES = {"bos": BOS, "eos": EOS, "pad": EOS}


def _content(token: str | dict[str, Any]) -> str:
    """The text of an entry of `special_tokens_map.json`."""
    return token if isinstance(token, str) else str(token.get("content"))
