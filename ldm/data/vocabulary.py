"""The words: everything that can be drawn, its emoji, names, plurals and articles, and its natural colour.

Knows nothing about pixels or sentences.  The rows themselves are in `objects`.
"""

from dataclasses import dataclass

from ldm.data.objects import TABLE

COLORS: dict[str, tuple[int, int, int]] = {
    "red": (218, 36, 36),
    "orange": (243, 132, 24),
    "yellow": (250, 212, 38),
    "green": (48, 158, 56),
    "blue": (36, 92, 222),
    "purple": (128, 54, 184),
    "pink": (246, 130, 184),
    "brown": (122, 76, 40),
    "black": (24, 24, 28),
    "white": (248, 248, 248),
    "gray": (138, 142, 146),
    "turquoise": (38, 190, 192),
}

COLOR_WORDS: dict[str, tuple[str, ...]] = {
    **{name: (name,) for name in COLORS},
    "purple": ("purple", "purple", "violet"),
    "gray": ("gray", "grey"),
    "turquoise": ("turquoise", "turquoise", "teal", "cyan"),
}

_PLURALS = {
    "fish": "fish", "tropical fish": "tropical fish", "sheep": "sheep", "deer": "deer", "mouse": "mice",
    "wolf": "wolves", "maple leaf": "maple leaves", "cactus": "cacti", "die": "dice",
    "game die": "game dice", "snowman": "snowmen", "tomato": "tomatoes", "potato": "potatoes",
    "aircraft": "aircraft",
}  # fmt: skip


@dataclass(frozen=True)
class Thing:
    """One object that can be drawn.

    Attributes:
        glyph: the emoji, or "" for a drawn shape.
        names: the canonical name first, then its synonyms.
        color: the natural colour a person would name, or None.
        tintable: False where another colour would destroy what makes it recognisable.
        countable: False for names that take no article ("grapes").
    """

    kind: str
    glyph: str
    names: tuple[str, ...]
    color: str | None
    tintable: bool
    countable: bool

    @property
    def name(self) -> str:
        """The canonical name."""
        return self.names[0]


def plural(name: str) -> str:
    """The plural of a noun phrase: "cup of tea" gives "cups of tea"."""
    if name in _PLURALS:
        return _PLURALS[name]
    head, of, rest = name.partition(" of ")
    if of:
        return plural(head) + of + rest
    if name.endswith(("s", "x", "ch", "sh")):
        return name + "es"
    if name.endswith("y") and name[-2] not in "aeiou":
        return name[:-1] + "ies"
    return name + "s"


def article(phrase: str) -> str:
    """`phrase` with the right one of "a" and "an" before it."""
    vowel = phrase.startswith(("a", "e", "i", "o", "u", "hour")) and not phrase.startswith(
        ("uni", "ufo", "one")
    )
    return f"{'an' if vowel else 'a'} {phrase}"


def _read(kind: str, row: str) -> Thing:
    name, code, synonyms, color = (cell.strip() for cell in row.split("|"))
    others = tuple(other.strip() for other in synonyms.split(",") if other.strip())
    return Thing(
        kind=kind,
        glyph=chr(int(code, 16)) if code != "0" else "",
        names=(name.removeprefix("~"), *others),
        color=color if color in COLORS else None,
        tintable=color != "-",
        countable=not name.startswith("~"),
    )


_ROWS = [_read(kind, row) for kind, rows in TABLE.items() for row in rows.strip().splitlines()]
THINGS: dict[str, Thing] = {thing.name: thing for thing in _ROWS}
OBJECTS: tuple[str, ...] = tuple(THINGS)
SHAPES: tuple[str, ...] = tuple(name for name, thing in THINGS.items() if thing.kind == "shape")
COMMON_OBJECTS: tuple[str, ...] = (
    "dog", "cat", "horse", "cow", "pig", "rabbit", "elephant", "lion", "bird", "fish", "penguin", "duck",
    "frog", "turtle", "butterfly", "octopus", "tree", "pine tree", "cactus", "tulip", "sunflower",
    "mushroom", "apple", "banana", "orange", "strawberry", "pizza", "hamburger", "donut", "ice cream",
    "car", "bus", "airplane", "rocket", "sailboat", "house", "castle", "robot", "heart", "star", "circle",
    "square", "triangle",
)  # fmt: skip
DEFAULT_OBJECTS: tuple[str, ...] = (
    *COMMON_OBJECTS,
    "sheep", "giraffe", "monkey", "panda", "fox", "snake", "owl", "whale", "crab", "bee", "ladybug",
    "dinosaur", "palm tree", "rose", "pear", "watermelon", "grapes", "cherries", "pineapple", "carrot",
    "cake", "train", "bicycle", "tent", "sun", "moon", "cloud", "snowman", "umbrella", "balloon", "gift",
    "guitar", "crown", "ghost", "pumpkin", "teddy bear", "soccer ball",
)  # fmt: skip


def examples() -> dict[str, list[str]]:
    """The vocabulary by kind, and the colours, as plain lists for a checkpoint's metadata."""
    by_kind: dict[str, list[str]] = {}
    for thing in THINGS.values():
        by_kind.setdefault(thing.kind, []).append(thing.name)
    return by_kind | {"color": list(COLORS)}
