"""Putting a word of the model's vocabulary into a prompt: the quick way to a prompt it understands."""

import re
from collections.abc import Mapping, Sequence

QUALITIES = ("color", "background", "size", "style", "place")  # kinds that describe a thing and are none


def put(prompt: str, word: str, vocabulary: Mapping[str, Sequence[str]]) -> str:
    """The prompt with its first word of that kind exchanged for `word`; added where there is none.

    Things of any kind stand for one another: with "dog" clicked, "a red apple" becomes "a red dog".
    """
    kind = next((kind for kind, words in vocabulary.items() if word in words), None)
    same = _alike(kind, vocabulary)
    found = _first(prompt, same)
    if found is not None:
        return _articles(prompt[: found.start()] + word + prompt[found.end() :])
    if not prompt.strip():
        return _articles(f"a {word}")
    if kind == "color":
        things = _alike(None, vocabulary)
        thing = _first(prompt, things)
        if thing is not None:
            return _articles(f"{prompt[: thing.start()]}{word} {prompt[thing.start() :]}")
    return _articles(f"{prompt.rstrip()} {word}")


def _alike(kind: str | None, vocabulary: Mapping[str, Sequence[str]]) -> list[str]:
    if kind in QUALITIES:
        return list(vocabulary[kind])
    return [word for other, words in vocabulary.items() if other not in QUALITIES for word in words]


def _first(prompt: str, words: Sequence[str]) -> re.Match[str] | None:
    """The first of `words` in the prompt; of two that start at one place, the longer."""
    if not words:
        return None
    longest_first = sorted(words, key=len, reverse=True)
    return re.search(rf"\b(?:{'|'.join(map(re.escape, longest_first))})\b", prompt, re.IGNORECASE)


def _articles(prompt: str) -> str:
    prompt = re.sub(r"\b([Aa])n?(?= [aeioAEIO])", r"\1n", prompt)
    return re.sub(r"\b([Aa])n(?= [^aeiouAEIOU\s])", r"\1", prompt)
