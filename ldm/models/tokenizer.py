"""CLIP's byte-pair tokenizer: prompt -> ids -> the string behind each id.

The ids are those CompVis fed to its text encoder: transformers' slow `CLIPTokenizer` with `ftfy`, which
unescapes HTML, straightens quotes and takes ligatures apart before it splits (`clean_text`); transformers'
fast tokenizer, the only one of version 5, does none of that and differs for such prompts.

Knows nothing about networks.  A vocabulary of our own has CLIP's layout: 256 bytes, the same at the end of a
word, the merges, two marks; so any text can be written in it.
"""

import gzip
import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import regex

from ..errors import CheckpointError
from .clean_text import clean

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
CLIP_VOCABULARY = Path(__file__).with_name("bpe_simple_vocab_16e6.txt.gz")
CLIP_MERGES = 48894
WORDS = regex.compile(
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
    regex.IGNORECASE,
)
CACHED_WORDS = 20_000


class Tokenizer:
    """Byte-pair encoding in CLIP's format.

    Attributes:
        vocab: piece -> id; a piece is written in `byte_letters`, with `</w>` at the end of a word.
        merges: pairs of pieces, the earliest learned first.
        length: ids per prompt, T.
        bos, eos, pad: ids of the marks before, after and behind a prompt.
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
        self._marks = regex.compile("|".join(regex.escape(self._pieces[i]) for i in (bos, eos)))
        self._cache: dict[str, list[int]] = {}

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

    def ids(self, prompt: str) -> list[int]:
        """(length,) ids: start, the prompt as far as it fits, end, padding."""
        words = self._words(prompt)[: self.length - 2]
        marked = [self.bos, *words, self.eos]
        return marked + [self.pad] * (self.length - len(marked))

    def unpadded(self, prompt: str) -> list[int]:
        """Start, the whole prompt, end; longer than `length` where the prompt is."""
        return [self.bos, *self._words(prompt), self.eos]

    def strings(self, prompt: str) -> list[str]:
        """(length,) what each id of `ids` reads as, for people; a byte that is no whole letter is U+FFFD."""
        return [self.string(index) for index in self.ids(prompt)]

    def string(self, index: int) -> str:
        """What an id reads as, without the mark at the end of a word."""
        piece = self._pieces.get(index, "")
        if index in (self.bos, self.eos):
            return piece
        values = [_letter_bytes().get(letter) for letter in piece.removesuffix("</w>")]
        return bytes(v for v in values if v is not None).decode("utf-8", errors="replace")

    def _words(self, prompt: str) -> list[int]:
        """Ids of a prompt of any length; marks are found before anything is cleaned, as in transformers."""
        found, start = [], 0
        for mark in self._marks.finditer(prompt):
            found += self._encode(prompt[start : mark.start()])
            found.append(self.vocab[mark.group()])
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
        pieces = _word_pieces(word)
        while len(pieces) > 1:
            pairs = pairwise(pieces)
            best = min(pairs, key=lambda pair: self._ranks.get(pair, len(self._ranks)))
            if best not in self._ranks:
                break
            pieces = _joined(pieces, best)
        return [self.vocab.get(piece, self.eos) for piece in pieces]


def train_bpe(captions: Iterable[str], vocab_size: int) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """A vocabulary learned from captions, in CLIP's layout and with its marks as the last two entries.

    The commonest pair is joined first, the alphabetically first of equals, so captions decide every id.

    Args:
        vocab_size: at most this many entries, 514 or more; fewer once every word is one piece.

    Returns:
        Piece -> id, and the merges in the order learned.

    Source: Sennrich et al. 2016 (arXiv:1508.07909), algorithm 1.
    """
    counts = Counter(word for caption in captions for word in WORDS.findall(clean(caption).lower()))
    words = [(_word_pieces(word), count) for word, count in counts.items()]
    pairs: Counter[tuple[str, str]] = Counter()
    where: defaultdict[tuple[str, str], set[int]] = defaultdict(set)
    for index, (pieces, count) in enumerate(words):
        for pair in pairwise(pieces):
            pairs[pair] += count
            where[pair].add(index)
    merges: list[tuple[str, str]] = []
    while len(merges) < vocab_size - 2 * 256 - 2 and pairs:
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for index in where.pop(best):
            pieces, count = words[index]
            for pair in pairwise(pieces):
                pairs[pair] -= count
            words[index] = (_joined(pieces, best), count)
            for pair in pairwise(words[index][0]):
                pairs[pair] += count
                where[pair].add(index)
        pairs = +pairs
    return _vocabulary(merges), merges


@lru_cache(maxsize=1)
def byte_letters() -> dict[int, str]:
    """A printable letter for each byte, in CLIP's order: printable Latin-1 stands for itself."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}


@lru_cache(maxsize=1)
def _letter_bytes() -> dict[str, int]:
    return {letter: byte for byte, letter in byte_letters().items()}


def _word_pieces(word: str) -> list[str]:
    """A word as single letters of `byte_letters`, the last one marked as the end of the word."""
    letters = [byte_letters()[byte] for byte in word.encode("utf-8")]
    return [*letters[:-1], letters[-1] + "</w>"]


def _joined(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    """The pieces with every occurrence of the pair joined, from the left."""
    joined: list[str] = []
    index = 0
    while index < len(pieces):
        width = 2 if tuple(pieces[index : index + 2]) == pair else 1
        joined.append("".join(pieces[index : index + width]))
        index += width
    return joined


def _vocabulary(merges: list[tuple[str, str]]) -> dict[str, int]:
    """CLIP's layout: bytes, bytes that end a word, merges, two marks; a piece learned twice has one id."""
    letters = list(byte_letters().values())
    pieces = [*letters, *(letter + "</w>" for letter in letters), *map("".join, merges), BOS, EOS]
    return {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}


@lru_cache(maxsize=1)
def _clip_tables() -> tuple[dict[str, int], list[tuple[str, str]]]:
    lines = gzip.decompress(CLIP_VOCABULARY.read_bytes()).decode("utf-8").split("\n")
    pairs = [line.split(" ") for line in lines[1 : CLIP_MERGES + 1]]
    merges = [(first, second) for first, second in pairs]
    return _vocabulary(merges), merges


def _pair(merge: str | list[str]) -> tuple[str, str]:
    """A merge as transformers writes it: "a b" or ["a", "b"]."""
    first, second = merge.split(" ") if isinstance(merge, str) else merge
    return str(first), str(second)


_ROLES = {"bos": BOS, "eos": EOS, "pad": EOS}


def _content(token: str | dict[str, Any]) -> str:
    """The text of an entry of `special_tokens_map.json`."""
    return token if isinstance(token, str) else str(token.get("content"))
