"""The words of a prompt: which positions of what the text encoder reads belong to each.

An encoder reads pieces of words, and what a piece reads as does not say where a word ends; the prompt does.
"""

import html
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from ..trace import Trace

START, END, PADDING = "start", "end", "padding"
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*|(?:[^\w\s]|_)+")  # letters and digits, or signs
_MARK = re.compile(r"[<\[]\S+[>\]]")
_QUOTES = str.maketrans("‘’“”", "''\"\"")
_UNREAD = "\ufffd"  # a piece that is no whole letter


@dataclass(frozen=True)
class Word:
    """One word, or one of the marks around the prompt.

    Attributes:
        text: as the encoder reads it, in small letters; "start", "end" and "padding" are the marks.
        positions: its positions among `Trace.recorded_tokens`, ascending.
        mark: whether it is one of the marks.
    """

    text: str
    positions: tuple[int, ...]
    mark: bool = False


def words(trace: Trace, *, negative: bool = False) -> list[Word]:
    """The positions of a prompt in order, grouped into words; each position is in exactly one.

    A word is letters and digits without a gap ("don't" is one), or signs without a gap.  Words next to each
    other of which the encoder reads no whole letter are taken together.  A prompt that is cut off ends where
    the encoder stops reading.

    Args:
        negative: of the negative prompt; empty where guidance was off.
    """
    tokens = trace.negative_tokens if negative else trace.tokens
    recorded = trace.recorded_negative_tokens if negative else trace.recorded_tokens
    prompt = trace.settings.negative_prompt if negative else trace.settings.prompt
    if not tokens:
        return []
    end = _end(tokens, prompt)
    found = [Word(START, (0,), True), *_Reader(prompt, cut=end == len(tokens) - 1).read(tokens[1:end])]
    if end < len(tokens):
        found.append(Word(END, (end,), True))
    found.append(Word(PADDING, tuple(range(end + 1, len(tokens))), True))
    kept = [Word(w.text, tuple(p for p in w.positions if p < len(recorded)), w.mark) for w in found]
    return [word for word in kept if word.positions]


def _end(tokens: Sequence[str], prompt: str) -> int:
    """Position of the end mark.

    What is repeated at the end is padding.  It is the end mark itself, repeated, unless another mark, which
    the prompt does not spell out, is before it.
    """
    first = len(tokens) - 1
    while first > 1 and tokens[first - 1] == tokens[-1]:
        first -= 1
    before = tokens[first - 1]
    other = first > 1 and _MARK.fullmatch(before) is not None and before not in prompt.lower()
    return first - 1 if other else max(1, first)


class _Reader:
    """Follows pieces along a prompt without its spaces, and sets a border where a word of it ends."""

    def __init__(self, prompt: str, cut: bool) -> None:
        text = unicodedata.normalize("NFC", html.unescape(prompt)).translate(_QUOTES).lower()
        self.text = text
        self.places = [i for i, c in enumerate(text) if not c.isspace() and unicodedata.category(c) != "Cc"]
        self.flat = "".join(text[i] for i in self.places)
        ends = {match.end() - 1 for match in _WORD.finditer(text)}
        self.ends = {n + 1 for n, i in enumerate(self.places) if i in ends}
        self.cut = cut
        self.at, self.start = 0, 0  # in `flat`: read so far, and where the word being read starts
        self.lost = False  # whether a piece was read that is not in the prompt as it is
        self.pieces: list[int] = []
        self.found: list[Word] = []

    def read(self, pieces: Sequence[str]) -> list[Word]:
        for position, piece in enumerate(pieces, 1):
            letters = "".join(piece.lower().split())
            at = -1 if not letters or _UNREAD in letters else self.flat.find(letters, self.at)
            if at == self.at or (at > self.at and self.lost):
                if at > self.at and at in self.ends:
                    self._close(at)
                self.pieces.append(position)
                self.at, self.lost = at + len(letters), False
                if self.at in self.ends:
                    self._close(self.at)
            else:
                self.lost = True
                self.pieces.append(position)
        if self.pieces:
            self._close(self._last() if self.lost else self.at)
        return self.found

    def _last(self) -> int:
        """Where a word ends whose last pieces could not be followed."""
        later = [end for end in sorted(self.ends) if end > self.at]
        return later[0] if self.cut and later else len(self.flat)

    def _close(self, end: int) -> None:
        inside = self.places[self.start : end]
        text = self.text[inside[0] : inside[-1] + 1] if inside else _UNREAD
        self.found.append(Word(" ".join(text.split()), tuple(self.pieces)))
        self.pieces, self.start = [], end
