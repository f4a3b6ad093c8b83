"""Sentences for labelled scenes: a small grammar with synonyms.

Knows nothing about pixels.  Every sentence names all that the labels hold, except that a plain white
background may go unsaid: so a prompt without a background means a white studio.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ldm.data.backgrounds import GRADIENTS
from ldm.data.vocabulary import COLOR_WORDS, COLORS, THINGS, article, plural


@dataclass(frozen=True)
class Labels:
    """What a scene shows, in canonical names.

    Attributes:
        objects: one name, or two for a pair.
        colors: one for each object; None means the object's own colours.
        background: one of BACKGROUNDS.
        count: how many of each object: 1 for singles and pairs.
        relation: of the first object to the second, a key of RELATIONS, or None.
        size: a key of SIZE_WORDS, or None for the usual size.
        position: a key of POSITION_WORDS, or None for the middle.
    """

    objects: tuple[str, ...]
    colors: tuple[str | None, ...]
    background: str
    count: int = 1
    relation: str | None = None
    size: str | None = None
    position: str | None = None


UNSAID_WHITE = 0.68
SIZE_WORDS: dict[str, tuple[str, ...]] = {
    "small": ("small", "small", "tiny", "little"),
    "big": ("big", "big", "large", "huge", "giant"),
}
POSITION_WORDS: dict[str, tuple[str, ...]] = {
    "left": ("on the left", "on the left side", "to the left"),
    "right": ("on the right", "on the right side", "to the right"),
    "top": ("at the top",),
    "bottom": ("at the bottom",),
    "top left": ("in the top left corner", "in the upper left corner", "at the top left"),
    "top right": ("in the top right corner", "in the upper right corner", "at the top right"),
    "bottom left": ("in the bottom left corner", "in the lower left corner", "at the bottom left"),
    "bottom right": ("in the bottom right corner", "in the lower right corner", "at the bottom right"),
    "center": ("in the middle", "in the center", "in the centre"),
}
RELATIONS: dict[str, tuple[str, ...]] = {
    "left of": ("to the left of", "left of", "on the left of", "next to", "beside", "and"),
    "right of": ("to the right of", "right of", "on the right of"),
    "above": ("above", "over", "on top of"),
    "below": ("below", "under", "underneath", "beneath"),
}
COUNT_WORDS: dict[int, tuple[str, ...]] = {
    2: ("two", "two", "2", "a pair of"),
    3: ("three", "three", "3"),
    4: ("four", "four", "4"),
    5: ("five", "five", "5"),
}
PLACES: dict[str, tuple[str, ...]] = {
    "underwater": ("underwater", "underwater", "under the sea", "in the ocean", "in the sea", "under water"),
    "space": ("in space", "in space", "in outer space", "among the stars", "in the galaxy"),
    "room": ("in a room", "in a room", "at home", "indoors", "in a living room", "inside a house"),
    "sky": ("in the sky", "in the sky", "in the air", "among the clouds", "in a blue sky with clouds"),
    "grass": ("on the grass", "on grass", "in a meadow", "in a field", "on a lawn", "on green grass"),
    "beach": ("on the beach", "on a beach", "at the beach", "by the sea", "on the sand by the sea"),
    "desert": ("in the desert", "in a desert", "in the desert", "on sand dunes"),
    "road": ("on a road", "on the road", "on the street", "on a street", "on a highway"),
    "snow": ("in the snow", "in the snow", "on snow", "on the snow", "in winter"),
    "forest": ("in a forest", "in the forest", "in the woods", "in front of pine trees"),
    "mountains": ("in the mountains", "in front of mountains", "near the mountains", "by a mountain"),
    "city": ("in the city", "in a city", "in front of skyscrapers", "in town"),
}
TIME_WORDS: dict[str, tuple[str, ...]] = {
    "day": ("", "", "", "by day", "under a blue sky", "on a sunny day"),
    "sunset": ("at sunset", "at sunset", "at dusk", "in the evening", "under an orange sky"),
    "night": ("at night", "at night", "under the stars", "by night", "in the moonlight"),
}
PLAIN_WORDS = ("on a {} background",) * 4 + (
    "on {color}", "on {color}", "against {color}", "against a {} background", "with a {} background",
    "in front of a {} wall", ", {color} background",
)  # fmt: skip
GRADIENT_WORDS = (
    "on {a_top} to {bottom} gradient", "on {a_top} and {bottom} gradient",
    "with a gradient from {top} to {bottom}",
)  # fmt: skip
OPENINGS = ("",) * 22 + (
    "a picture of ", "a picture of ", "an image of ", "a photo of ", "a drawing of ", "an illustration of ",
    "an emoji of ", "there is ",
)  # fmt: skip


def _pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _name(rng: np.random.Generator, name: str) -> str:
    """The canonical name six times in ten, else any."""
    return name if rng.random() < 0.6 else _pick(rng, THINGS[name].names)


def _noun(name: str, color: str | None, size: str | None, rng: np.random.Generator) -> str:
    """One object with its adjectives and article."""
    thing = THINGS[name]
    word = _name(rng, name)
    given, rest = ("", word)
    for lead in ("a ", "an "):
        if word.startswith(lead):  # "a bunch of grapes": adjectives go after its own article
            given, rest = lead, word.removeprefix(lead)
    words = [_pick(rng, SIZE_WORDS[size])] if size else []
    words += [_pick(rng, COLOR_WORDS[color])] if color else []
    phrase = " ".join([*words, rest])
    if not given and not thing.countable:
        return phrase
    return article(phrase)


def _nouns(labels: Labels, rng: np.random.Generator) -> str:
    """What is in the picture, without where."""
    name, color = labels.objects[0], labels.colors[0]
    if labels.count > 1:
        words = [_pick(rng, COUNT_WORDS[labels.count])]
        words += [_pick(rng, COLOR_WORDS[color])] if color else []
        return " ".join([*words, plural(_name(rng, name))])
    first = _noun(name, color, labels.size, rng)
    if labels.relation is None:
        return first
    second = _noun(labels.objects[1], labels.colors[1], None, rng)
    return f"{first} {_pick(rng, RELATIONS[labels.relation])} {second}"


def background_words(background: str, rng: np.random.Generator) -> str:
    """Words for a background, to follow a noun: "on a blue background", "on the beach at night"."""
    if background in COLORS:
        word = _pick(rng, COLOR_WORDS[background])
        return _pick(rng, PLAIN_WORDS).replace("a {}", article(word)).format(color=word)
    if background in GRADIENTS:
        top, bottom = background.split(" to ")
        return _pick(rng, GRADIENT_WORDS).format(a_top=article(top), top=top, bottom=bottom)
    place, _, time = background.partition(" ")
    return f"{_pick(rng, PLACES[place])} {_pick(rng, TIME_WORDS[time]) if time else ''}".strip()


def caption(labels: Labels, rng: np.random.Generator) -> str:
    """A sentence for labels; another `rng` gives another wording."""
    nouns = _nouns(labels, rng)
    opening = _pick(rng, OPENINGS)
    if opening == "there is " and not nouns.startswith(("a ", "an ")):
        opening = ""
    place = f" {_pick(rng, POSITION_WORDS[labels.position])}" if labels.position else ""
    if labels.background == "white" and rng.random() < UNSAID_WHITE:
        return _finished(opening + nouns + place, rng)
    where = background_words(labels.background, rng)
    style = rng.random()
    if where.startswith(","):
        return _finished(opening + nouns + place + where, rng)
    if style < 0.06:
        return _finished(f"{where}, {nouns}{place}", rng)
    if style < 0.16 and place:
        return _finished(f"{nouns} {where},{place}", rng)
    return _finished(f"{opening}{nouns}{place} {where}", rng)


def _finished(sentence: str, rng: np.random.Generator) -> str:
    """Now and then as people type: without the leading article, with a capital, or with a full stop."""
    style = rng.random()
    if style < 0.07:
        return sentence.removeprefix("a ").removeprefix("an ")
    if style < 0.11:
        return sentence[0].upper() + sentence[1:]
    return sentence + "." if style < 0.13 else sentence
