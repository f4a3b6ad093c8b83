"""The grammar as lists: what a training's captions can say, for the metadata of its checkpoint.

Enumerated from the tables of `vocabulary` and `captions`, not sampled, so a rare wording is in it too.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ldm.data.backgrounds import GRADIENTS
from ldm.data.captions import (
    COUNT_WORDS,
    GRADIENT_WORDS,
    OPENINGS,
    PLACES,
    PLAIN_WORDS,
    POSITION_WORDS,
    RELATIONS,
    SIZE_WORDS,
    TIME_WORDS,
)
from ldm.data.scenes import LEVELS, Level, examples
from ldm.data.vocabulary import COLOR_WORDS, COLORS, THINGS, article, plural


@dataclass(frozen=True)
class Lexicon:
    """The fields of `ModelConfig` of the same names.

    Attributes:
        vocabulary: kind of word -> one wording for each thing of that kind.
        synonyms: any other wording -> the one in `vocabulary`.
        plurals: name, or other name -> its plural, for those that are ever counted.
        words: every word that stands by itself, and names of several words; lower case, sorted.
    """

    vocabulary: dict[str, list[str]]
    synonyms: dict[str, str]
    plurals: dict[str, str]
    words: tuple[str, ...]


def lexicon(objects: Sequence[str], levels: Iterable[str]) -> Lexicon:
    """What captions over these objects can say.

    Args:
        objects: canonical names.
        levels: keys of LEVELS; sizes, counts, positions and relations are in it where a level has them.
    """
    kinds = _kinds([LEVELS[level] for level in levels])
    names = {name: [_bare(other) for other in THINGS[name].names] for name in objects}
    vocabulary = {
        kind: [name for name in known if name in names]
        for kind, known in examples().items()
        if kind != "color"
    }
    vocabulary = {kind: known for kind, known in vocabulary.items() if known}
    vocabulary |= {kind: [wordings[0] for wordings in groups] for kind, groups in kinds.items()}
    groups = [*names.values(), *(wordings for groups in kinds.values() for wordings in groups)]
    synonyms = {other: first for first, *others in groups for other in others if other != first}
    countable = [other for name in objects if THINGS[name].countable for other in names[name]]
    plurals = {name: plural(name) for name in countable} if "count" in kinds else {}
    called = [*(other for others in names.values() for other in others), *plurals.values()]
    return Lexicon(vocabulary, synonyms, plurals, tuple(sorted({*called, *_single_words(kinds)})))


def _kinds(levels: Sequence[Level]) -> dict[str, list[list[str]]]:
    """Kind -> groups of wordings of one meaning, the commonest first, for all that is no object."""
    kinds: dict[str, list[list[str]]] = {"color": [list(words) for words in COLOR_WORDS.values()]}
    tables: dict[str, tuple[Mapping[Any, Sequence[str]], str]] = {
        "size": (SIZE_WORDS, "worded"),
        "count": (COUNT_WORDS, "counted"),
        "position": (POSITION_WORDS, "worded"),
        "relation": (RELATIONS, "paired"),
    }
    for kind, (table, share) in tables.items():
        if any(getattr(level, share) for level in levels):
            # "and" joins much else: no other wording of a relation
            kinds[kind] = [[word for word in words if word != "and"] for words in table.values()]
    kinds["background"] = [list(words) for words in PLACES.values()]
    kinds["time"] = [[word for word in words if word] for words in TIME_WORDS.values()]
    kinds["plain background"] = [list(_plain(color)) for color in COLORS]
    kinds["plain background"] += [list(_gradient(name)) for name in GRADIENTS]
    return kinds


def _plain(color: str) -> Iterator[str]:
    for word in dict.fromkeys(COLOR_WORDS[color]):
        for pattern in dict.fromkeys(PLAIN_WORDS):
            yield pattern.replace("a {}", article(word)).format(color=word).removeprefix(", ")


def _gradient(name: str) -> Iterator[str]:
    top, bottom = name.split(" to ")
    for pattern in GRADIENT_WORDS:
        yield pattern.format(a_top=article(top), top=top, bottom=bottom)


def _single_words(kinds: dict[str, list[list[str]]]) -> set[str]:
    """The words of everything but objects."""
    said = [wording for groups in kinds.values() for wordings in groups for wording in wordings]
    joined = ["a", "an", "and"] if "relation" in kinds else ["a", "an"]
    return {word for text in (*said, *OPENINGS, *joined) for word in text.split()}


def _bare(name: str) -> str:
    """A name without the article that some carry: "a bunch of grapes"."""
    return name.removeprefix("an ").removeprefix("a ")
