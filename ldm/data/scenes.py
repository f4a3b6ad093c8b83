"""Captioned 256 x 256 pictures, drawn from a seed: what the default model learns from.

`render` is a pure function of its arguments, so a training can be resumed or spread over processes at any
index.  `scene` draws one given set of labels.  Words live in `vocabulary` and `captions`, pixels in `glyphs`,
`backgrounds` and `compose`, places in `layout`; this file decides what is shown.  A new level is an entry of
`LEVELS`.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ldm.data.backgrounds import (
    BACKGROUNDS,
    GRADIENTS,
    GROUNDS,
    SETTINGS,
    TIMES,
    variants_of,
)
from ldm.data.captions import (
    COUNT_WORDS,
    POSITION_WORDS,
    RELATIONS,
    SIZE_WORDS,
    UNSAID_WHITE,
    Labels,
    caption,
)
from ldm.data.compose import Placement, clashes, compose, object_masks
from ldm.data.layout import layout
from ldm.data.vocabulary import COLORS, COMMON_OBJECTS, DEFAULT_OBJECTS, OBJECTS, SHAPES, THINGS, examples
from ldm.errors import LdmError

__all__ = [
    "COMMON_OBJECTS",
    "DEFAULT_OBJECTS",
    "LEVELS",
    "OBJECTS",
    "SHAPES",
    "Labels",
    "Level",
    "Scene",
    "evaluation_prompts",
    "examples",
    "is_held_out",
    "render",
    "scene",
    "written",
]


@dataclass(frozen=True, eq=False)
class Scene:
    """One picture and what is known about it.

    Attributes:
        pixels: (256, 256, 3) uint8.
        mask: (256, 256) uint8, 255 where an object is.
        placements: what was put where, in the order in which it was drawn.
    """

    caption: str
    pixels: np.ndarray
    mask: np.ndarray
    labels: Labels
    placements: tuple[Placement, ...] = ()

    @property
    def object_masks(self) -> np.ndarray:
        """(n, 256, 256) bool: where each of the `placements` shows; together they are `mask`."""
        return object_masks(self.placements)


@dataclass(frozen=True)
class Level:
    """How much varies, as shares of all pictures.

    Attributes:
        worded: singles with a size word, a position, or both.
        counted: some of a kind, `counts` from least to most.
        paired: two different objects in a relation.
    """

    worded: float = 0.0
    counted: float = 0.0
    paired: float = 0.0
    counts: tuple[int, int] = (2, 5)


LEVELS: dict[str, Level] = {
    "easy": Level(),
    "free": Level(worded=0.5),
    "many": Level(worded=0.25, counted=0.25, paired=0.25),
    "to three": Level(counted=1.0, counts=(2, 3)),
    "to five": Level(counted=1.0, counts=(4, 5)),
    "pairs": Level(paired=1.0),
}

_TINTED = 0.22
_NAMED = 0.2  # of those with a natural colour and no tint: "a red apple"


def is_held_out(object_name: str, color: str | None, background_name: str) -> bool:
    """Whether a single combination belongs to the tenth that training does not see.

    An object's natural colour counts as no colour: a "red apple" and an "apple" are one picture.
    """
    if color is not None and color == THINGS[object_name].color:
        color = None
    digest = hashlib.blake2b(f"{object_name}|{color}|{background_name}".encode(), digest_size=4).digest()
    return int.from_bytes(digest, "big") % 10 == 0


def _pick(rng: np.random.Generator, choices: Sequence[str]) -> str:
    return choices[int(rng.integers(len(choices)))]


def _some_background(rng: np.random.Generator) -> str:
    share = rng.random()
    if share < 0.50:  # white more often, for the pictures whose caption leaves it unsaid
        return "white" if rng.random() < 0.08 / UNSAID_WHITE / 0.50 else _pick(rng, list(COLORS))
    if share < 0.57:
        return _pick(rng, GRADIENTS)
    if share < 0.70:
        return _pick(rng, SETTINGS)
    return f"{_pick(rng, GROUNDS)} {_pick(rng, TIMES)}"


def _some_color(name: str, rng: np.random.Generator) -> str | None:
    thing = THINGS[name]
    if thing.kind == "shape":
        return _pick(rng, list(COLORS))
    if thing.tintable and rng.random() < _TINTED:
        return _pick(rng, [color for color in COLORS if color != thing.color])
    return thing.color if rng.random() < _NAMED else None


def _some_labels(level: Level, objects: Sequence[str], rng: np.random.Generator) -> Labels:
    share = rng.random()
    behind = _some_background(rng)
    name = _pick(rng, objects)
    color = _some_color(name, rng)
    if share < level.paired and len(objects) > 1:
        other = _pick(rng, [candidate for candidate in objects if candidate != name])
        relation = _pick(rng, list(RELATIONS))
        return Labels((name, other), (color, _some_color(other, rng)), behind, relation=relation)
    if share < level.paired + level.counted and THINGS[name].countable:
        least, most = level.counts
        return Labels((name,), (color,), behind, count=int(rng.integers(least, most + 1)))
    size = position = None
    if share > 1 - level.worded:
        kind = rng.random()
        size = _pick(rng, list(SIZE_WORDS)) if kind < 0.6 else None
        if kind > 0.45 and size != "big":
            position = _pick(rng, list(POSITION_WORDS))
        if size is None and position is None:
            size = "big"
    return Labels((name,), (color,), behind, size=size, position=position)


def _allowed(labels: Labels, held_out: bool | None) -> bool:
    if held_out is not None:
        painted = zip(labels.objects, labels.colors, strict=True)
        if any(is_held_out(name, color, labels.background) for name, color in painted) != held_out:
            return False
    return not any(
        clashes(name, color, labels.background)
        for name, color in zip(labels.objects, labels.colors, strict=True)
    )


def _checked(labels: Labels) -> None:
    for name, choices, what in (
        *((name, OBJECTS, "object") for name in labels.objects),
        *((color, tuple(COLORS), "colour") for color in labels.colors if color is not None),
        (labels.background, BACKGROUNDS, "background"),
        (labels.relation, (None, *RELATIONS), "relation"),
        (labels.size, (None, *SIZE_WORDS), "size"),
        (labels.position, (None, *POSITION_WORDS), "position"),
        (labels.count, (1, *COUNT_WORDS), "count"),
    ):
        if name not in choices:
            raise LdmError(
                f"No {what} {name!r} in the rendered pictures; there are {', '.join(map(str, choices))}."
            )


def scene(labels: Labels, rng: np.random.Generator, text: str | None = None) -> Scene:
    """Draw one given set of labels.

    Args:
        rng: decides the wording and the small variation of place, size and background.
        text: the caption; by default a sentence of the grammar.

    Raises:
        LdmError: a label that cannot be drawn, or no emoji font.
    """
    _checked(labels)
    words = caption(labels, rng) if text is None else text
    variant = int(rng.integers(variants_of(labels.background)))
    placements = tuple(layout(labels, rng))
    pixels, mask = compose(placements, labels.background, variant)
    return Scene(words, pixels, mask, labels, placements)


def _labels_for(
    level: Level, objects: Sequence[str], held_out: bool | None, rng: np.random.Generator
) -> Labels:
    for _ in range(2000):
        labels = _some_labels(level, objects, rng)
        if _allowed(labels, held_out):
            return labels
    raise LdmError(
        f"No {'held-out ' if held_out else ''}scene can be made of the objects {', '.join(objects)}."
    )


def _level(name: str) -> Level:
    if name not in LEVELS:
        raise LdmError(f"No level {name!r}; there are {', '.join(LEVELS)}.")
    return LEVELS[name]


def render(
    seed: int,
    index: int,
    level: str = "easy",
    objects: Sequence[str] = COMMON_OBJECTS,
    held_out: bool | None = False,
) -> Scene:
    """Picture `index` of an endless sequence.

    Args:
        level: a key of LEVELS.
        objects: canonical names, each as likely as the others.
        held_out: False leaves out the held-out combinations, True draws only pictures with one, None any.

    Raises:
        LdmError: an unknown level or object, or no emoji font.
    """
    return scene(*_asked(seed, index, level, objects, held_out))


def written(
    seed: int,
    index: int,
    level: str = "easy",
    objects: Sequence[str] = COMMON_OBJECTS,
    held_out: bool | None = False,
) -> str:
    """The caption of `render` with the same arguments, without drawing."""
    return caption(*_asked(seed, index, level, objects, held_out))


def _asked(
    seed: int, index: int, level: str, objects: Sequence[str], held_out: bool | None
) -> tuple[Labels, np.random.Generator]:
    rng = np.random.default_rng((seed, index))
    unknown = [name for name in objects if name not in THINGS]
    if unknown or not objects:
        named = ", ".join(map(repr, unknown)) or "given"
        raise LdmError(f"No object {named} in the vocabulary of rendered pictures.")
    return _labels_for(_level(level), objects, held_out, rng), rng


def evaluation_prompts(
    n: int,
    objects: Sequence[str] = COMMON_OBJECTS,
    held_out: bool | None = True,
    seed: int = 0,
    level: str = "easy",
) -> list[tuple[str, Labels]]:
    """`n` captions with their labels, always the same for the same arguments.

    Objects come round in turn, so each is asked for equally often; of a pair that is the first one.

    Args:
        level: a key of LEVELS; "easy" asks for plain singles.
    """
    asked = _level(level)
    firsts = [name for name in objects if THINGS[name].countable or not asked.counted]
    prompts = []
    for index in range(n):
        rng = np.random.default_rng((seed, index, 1))
        first = firsts[index % len(firsts)]
        labels = None
        while labels is None or labels.objects[0] != first:
            second = [_pick(rng, [name for name in objects if name != first])] if asked.paired else []
            labels = _labels_for(asked, [first, *second], held_out, rng)
        prompts.append((caption(labels, rng), labels))
    return prompts
