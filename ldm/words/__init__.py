"""Which words of a prompt a model never saw, and the nearest that it knows.

A model with a small vocabulary cannot tell that it does not know a word: it draws something anyway.  What it
knows is in the metadata of its checkpoint (`ModelConfig.words`); of a model that names none, such as Stable
Diffusion, nothing is said.  Knows nothing about networks or gradio.
"""

import difflib
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import regex

from ..models.config import ModelConfig
from .table import SILENT, read

NAMED = 3  # unknown words that a sentence names; the others are counted
NEAREST = 3  # words offered for each
CLOSE, CLOSER = 0.8, 0.85  # how alike two spellings must be, of 1; the latter if neither is a word it knows
SPELLED = range(4, 25)  # lengths of words that are looked up by spelling
SHOWN = 30  # letters of a word in a sentence
KINDS_OF_QUALITIES = (
    "color", "size", "count", "position", "relation", "background", "time", "plain background",
)  # fmt: skip
"""The kinds of a vocabulary that describe a thing; every other kind holds things."""

# a number with its decimals, a word with its apostrophes, or a picture such as an emoji
_WORD = regex.compile(
    r"\p{N}+(?:[.,]\p{N}+)+|[\p{L}\p{M}\p{N}]+(?:['’][\p{L}\p{M}\p{N}]+)*|\p{So}[\p{So}\p{Sk}\p{M}\u200d]*"
)
_BETWEEN = regex.compile(r"[\s_'’-]+")  # what may stand between the words of one name
_ENDINGS = (("ies", "y"), ("ves", "f"), ("ves", "fe"), ("men", "man"), ("es", ""), ("s", ""))


@dataclass(frozen=True)
class Unknown:
    """A word that the model never saw.

    Attributes:
        word: as it was typed first.
        nearest: at most three that the model knows, the nearest first; looked up for the first three unknown
            words of a prompt only.
    """

    word: str
    nearest: tuple[str, ...]


@dataclass(frozen=True)
class Span:
    """A word of a prompt, or a name of several words.

    Attributes:
        start, end: where it stands; `prompt[start:end]`.
        known: whether the model saw it.
    """

    start: int
    end: int
    known: bool


@dataclass(frozen=True)
class Piece:
    """Part of a sentence.

    Attributes:
        replaces: of a word that is offered: the unknown word that it could stand for.
    """

    text: str
    replaces: str | None = None


def unknown_words(prompt: str, config: ModelConfig) -> list[Unknown]:
    """The words of a prompt that the model never saw, in their order, each once.

    Case, punctuation, hyphens, plurals and possessives do not matter.  Empty where the config names no words.
    """
    found: dict[str, str] = {}
    for span in spans(prompt, config):
        if not span.known:
            word = prompt[span.start : span.end]
            found.setdefault(_normal(word), word)
    return [
        Unknown(word, _nearest(normal, config) if i < NAMED else ())
        for i, (normal, word) in enumerate(found.items())
    ]


def spans(prompt: str, config: ModelConfig) -> Iterator[Span]:
    """Every word of a prompt; of names of several words the longest.  None if the config names no words."""
    if not config.words:
        return
    known, longest = _known(config.words)
    words = [(match.start(), match.end(), _normal(match.group())) for match in _WORD.finditer(prompt)]
    i = 0
    while i < len(words):
        reach = 1
        while reach < longest and i + reach < len(words) and _joined(prompt, words, i + reach):
            reach += 1
        parts = [word for _, _, word in words[i : i + reach]]
        count = next((n for n in range(reach, 0, -1) if _is_known(parts[:n], known)), 0)
        count, seen = max(count, 1), count > 0
        yield Span(words[i][0], words[i + count - 1][1], seen)
        i += count


def pieces(unknown: Sequence[Unknown], config: ModelConfig, where: str = "") -> list[Piece]:
    """The one sentence about unknown words, in parts; the words that are offered are parts of their own.

    Args:
        where: where they stand, unless it is the prompt, such as "In the negative prompt".
    """
    if not unknown:
        return []
    named, rest = unknown[:NAMED], len(unknown) - NAMED
    listed = _list([f'"{_short(word.word)}"' for word in named] + [f"{rest} more"] * (rest > 0))
    verb = "is" if len(unknown) == 1 else "are"
    said = f"{listed} {verb} not among the words this model learned"
    made = [Piece(f"{where}, {said}" if where else said)]
    helped = [word for word in named if word.nearest]
    if not helped:
        return [*made, Piece(_where_to_look(config))]
    made.append(Piece("; the nearest it knows: "))
    for i, word in enumerate(helped):
        for j, near in enumerate(word.nearest):
            made += [Piece(", ")] if j else []
            made.append(Piece(near, word.word))
        end = "; " if i < len(helped) - 1 else "."
        made.append(Piece(end if len(unknown) == 1 else f' for "{_short(word.word)}"{end}'))
    return made


def _where_to_look(config: ModelConfig) -> str:
    """The end of a sentence that has no word to offer."""
    things = [words for kind, words in config.vocabulary.items() if kind not in KINDS_OF_QUALITIES]
    count = sum(map(len, things))
    return f". It can draw {count} objects; its list of words names them." if count else "."


def sentence(unknown: Sequence[Unknown], config: ModelConfig, where: str = "") -> str:
    """`pieces` as text; empty where nothing is unknown."""
    return "".join(piece.text for piece in pieces(unknown, config, where))


def notice(
    prompt: str, negative_prompt: str, config: ModelConfig, unread: Callable[[str], str] | None = None
) -> str:
    """What to tell who asks for a picture: sentences about words that say nothing to this model, or nothing.

    Args:
        unread: what of a prompt is cut off, as `Conditioner.unread`.
    """
    said = [
        sentence(unknown_words(prompt, config), config),
        sentence(unknown_words(negative_prompt, config), config, "In the negative prompt"),
    ]
    if unread is not None:
        said += [cut(unread(prompt)), cut(unread(negative_prompt), "negative prompt")]
    return " ".join(text for text in said if text)


def cut(unread: str, what: str = "prompt") -> str:
    """The sentence about the end of a prompt that is too long; empty where nothing is cut off."""
    start = " ".join(unread.split())
    return f'The model does not read the end of the {what}, from "{_short(start)}" on.' if start else ""


def _normal(word: str) -> str:
    """A word as it is looked up: lower case, without the mark of a possessive."""
    return unicodedata.normalize("NFKC", word).lower().replace("’", "'").removesuffix("'s")


@lru_cache(maxsize=8)
def _known(words: tuple[str, ...]) -> tuple[frozenset[tuple[str, ...]], int]:
    """All that is known, each as its words, and how many words the longest has."""
    known = frozenset(tuple(_normal(part) for part in _WORD.findall(word)) for word in words)
    return known, max(map(len, known))


def _joined(prompt: str, words: Sequence[tuple[int, int, str]], i: int) -> bool:
    """Whether word `i` can belong to one name with the word before it."""
    return _BETWEEN.fullmatch(prompt[words[i - 1][1] : words[i][0]]) is not None


def _is_known(parts: Sequence[str], known: frozenset[tuple[str, ...]]) -> bool:
    if len(parts) == 1 and parts[0] in SILENT:
        return True
    *head, last = parts
    return any((*head, form) in known for form in (last, *_singulars(last)))


def _singulars(word: str) -> list[str]:
    """What a plural may be the plural of."""
    if len(word) < 4 or word.endswith("ss"):
        return []
    return [word.removesuffix(end) + instead for end, instead in _ENDINGS if word.endswith(end)]


def _nearest(word: str, config: ModelConfig) -> tuple[str, ...]:
    """At most three that the model knows: by form, by meaning, as part of a name, or else by spelling."""
    known, _ = _known(config.words)
    forms = (word, *_singulars(word))
    near = sorted(one for (one, *more) in known if not more and word in _singulars(one))
    near += _by_meaning(forms, config)
    names = sorted(" ".join(parts) for parts in known if len(parts) > 1 and any(f in parts for f in forms))
    near += [config.synonyms.get(name, name) for name in names]
    if not near and len(word) in SPELLED and word.isalpha():
        near = _by_spelling(word, config)
    meanings: dict[str, str] = {}
    singulars = {many: one for one, many in config.plurals.items()}
    for one in near:
        name = singulars.get(one, one)
        meanings.setdefault(config.synonyms.get(name, name), one)
    return tuple(meanings.values())[:NEAREST]


def _by_meaning(forms: Sequence[str], config: ModelConfig) -> list[str]:
    """From the table, as far as the model knows it; of a plural the plurals."""
    word = forms[0]
    key = ("one" if word == "1" else "six") if word.isdecimal() else word
    key = next((form for form in (key, *forms) if form in _table()), "")
    known = [near for near in _table().get(key, ()) if all(span.known for span in spans(near, config))]
    return known if key == word or word.isdecimal() else [config.plurals.get(near, near) for near in known]


def _by_spelling(word: str, config: ModelConfig) -> list[str]:
    """Known words that look alike; failing that, what is near to a word of the table that looks alike."""
    candidates = [" ".join(parts) for parts in _known(config.words)[0]]
    near = difflib.get_close_matches(word, sorted(candidates), NEAREST, CLOSE)
    if near:
        return near
    others = difflib.get_close_matches(word, _table(), 1, CLOSER)
    return _by_meaning(others, config) if others else []


@lru_cache(maxsize=1)
def _table() -> dict[str, tuple[str, ...]]:
    return read()


def _short(word: str) -> str:
    return word if len(word) <= SHOWN else word[: SHOWN - 1] + "…"


def _list(words: Sequence[str]) -> str:
    """Words with commas between them, and an "and" before the last."""
    *head, last = words
    return f"{', '.join(head)} and {last}" if head else last
