"""Byte pairs: words as bytes in printable letters, a vocabulary learned by joining the commonest pairs."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from functools import lru_cache
from itertools import pairwise

import regex

from .clean_text import clean

BOS, EOS = "<|startoftext|>", "<|endoftext|>"
WORDS = regex.compile(
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+",
    regex.IGNORECASE,
)


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
    words = [(word_pieces(word), count) for word, count in counts.items()]
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
            words[index] = (joined(pieces, best), count)
            for pair in pairwise(words[index][0]):
                pairs[pair] += count
                where[pair].add(index)
        pairs = +pairs
    return vocabulary(merges), merges


@lru_cache(maxsize=1)
def byte_letters() -> dict[int, str]:
    """A printable letter for each byte, in CLIP's order: printable Latin-1 stands for itself."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}


@lru_cache(maxsize=1)
def _letter_bytes() -> dict[str, int]:
    return {letter: byte for byte, letter in byte_letters().items()}


def piece_bytes(piece: str) -> bytes:
    """The bytes that a piece stands for."""
    values = [_letter_bytes().get(letter) for letter in piece.removesuffix("</w>")]
    return bytes(v for v in values if v is not None)


def word_pieces(word: str) -> list[str]:
    """A word as single letters of `byte_letters`, the last one marked as the end of the word."""
    letters = [byte_letters()[byte] for byte in word.encode("utf-8")]
    return [*letters[:-1], letters[-1] + "</w>"]


def joined(pieces: list[str], pair: tuple[str, str]) -> list[str]:
    """The pieces with every occurrence of the pair joined, from the left."""
    joined: list[str] = []
    index = 0
    while index < len(pieces):
        width = 2 if tuple(pieces[index : index + 2]) == pair else 1
        joined.append("".join(pieces[index : index + width]))
        index += width
    return joined


def vocabulary(merges: list[tuple[str, str]]) -> dict[str, int]:
    """CLIP's layout: bytes, bytes that end a word, merges, two marks; a piece learned twice has one id."""
    letters = list(byte_letters().values())
    pieces = [*letters, *(letter + "</w>" for letter in letters), *map("".join, merges), BOS, EOS]
    return {piece: index for index, piece in enumerate(dict.fromkeys(pieces))}
