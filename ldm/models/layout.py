"""Boxes as a prompt, and the tokens that layout2img reads: "dog 0.1 0.2 0.5 0.6; 17 0 0 1 1".

A box is a class, by name or number, and its left, top, right and bottom in [0, 1] of the picture; ";" or a
line's end parts boxes.  "crop 0 0 0.5 0.5" says which part of a larger picture is drawn; the boxes are of the
larger one then.

The tokens are those of taming-transformers' `ObjectsBoundingBoxConditionalBuilder` with `encode_crop`: 30
times (class, top left corner, bottom right corner), the last number of the vocabulary where there is no box,
then the two corners of the crop.  A corner is one number, its cell on a grid as wide as the square root of
the vocabulary, 90 x 90 of 8192.

No file of the model tells which number is which class.  Inferred from that code's OpenImages data set: the
place of the class among the chosen ones sorted by their identifiers, plus 1, 2, 4 and 8 times their count
where it is a group, occluded, drawn or seen from inside; so numbers beyond the classes can be given, too.
The order of boxes was shuffled in training.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import SettingsError
from .class_names import class_number

CROP = "crop"
FORM = "a class and four numbers: left, top, right, bottom"


@dataclass(frozen=True)
class Box:
    """Where something is, in [0, 1] of the picture.

    Attributes:
        label: class number; None of a crop.
        name: as it was written, for people.
    """

    label: int | None
    left: float
    top: float
    right: float
    bottom: float
    name: str = ""


def read_boxes(prompt: str, classes: int, names: Sequence[str] = ()) -> list[Box]:
    """The boxes of a prompt in their order; the crop, if there is one, is the one without a label.

    Args:
        classes: numbers that can be a class, 0 to classes - 1.
        names: of the first classes, if known.

    Raises:
        SettingsError: a box that is none, or no such class.
    """
    parts = [part.strip() for part in re.split(r"[;\n]", prompt) if part.strip()]
    boxes = [_read(part, index + 1, classes, names) for index, part in enumerate(parts)]
    if sum(box.label is None for box in boxes) > 1:
        raise SettingsError("A layout has one crop at most, this one has more.")
    return boxes


def layout_tokens(boxes: Sequence[Box], vocab_size: int, length: int) -> list[int]:
    """(length,) tokens; boxes beyond the most that fit are left out."""
    most, none = most_boxes(length), vocab_size - 1
    tokens: list[int] = []
    for box in objects_of(boxes)[:most]:
        tokens += [box.label or 0, *_corners(box, vocab_size)]
    tokens += [none] * (3 * most - len(tokens))
    crop = next((box for box in boxes if box.label is None), Box(None, 0.0, 0.0, 1.0, 1.0))
    return tokens + _corners(crop, vocab_size)


def layout_strings(boxes: Sequence[Box], length: int) -> list[str]:
    """(length,) what each token of `layout_tokens` says, for people; "-" where there is no box."""
    most = most_boxes(length)
    strings: list[str] = []
    for box in objects_of(boxes)[:most]:
        strings += [box.name, f"{box.left:g} {box.top:g}", f"{box.right:g} {box.bottom:g}"]
    strings += ["-"] * (3 * most - len(strings))
    crop = next((box for box in boxes if box.label is None), Box(None, 0.0, 0.0, 1.0, 1.0))
    return [*strings, f"{CROP} {crop.left:g} {crop.top:g}", f"{CROP} {crop.right:g} {crop.bottom:g}"]


def objects_of(boxes: Sequence[Box]) -> list[Box]:
    """The boxes without the crop."""
    return [box for box in boxes if box.label is not None]


def most_boxes(length: int) -> int:
    """How many boxes fit into so many tokens."""
    return (length - 2) // 3


def _read(part: str, number: int, classes: int, names: Sequence[str]) -> Box:
    words = part.replace(",", " ").split()
    try:
        left, top, right, bottom = (float(word) for word in words[-4:])
    except ValueError:
        raise SettingsError(f"Box {number}, {part!r}, must be {FORM}.") from None
    name = " ".join(words[:-4])
    if not name:
        raise SettingsError(f"Box {number}, {part!r}, must be {FORM}.")
    if not all(0 <= value <= 1 for value in (left, top, right, bottom)):
        raise SettingsError(f"Box {number}, {part!r}, must lie between 0 and 1.")
    if left >= right or top >= bottom:
        raise SettingsError(f"Box {number}, {part!r}, must have its left before its right, its top above.")
    if name == CROP and CROP not in names:
        return Box(None, left, top, right, bottom, CROP)
    label = class_number(name, classes, names, f"class of box {number}")
    return Box(label, left, top, right, bottom, names[label] if label < len(names) else str(label))


def _corners(box: Box, vocab_size: int) -> list[int]:
    """The cells of the top left and the bottom right corner."""
    sections = math.isqrt(vocab_size)

    def cell(x: float, y: float) -> int:
        return round(y * (sections - 1)) * sections + round(x * (sections - 1))

    return [cell(box.left, box.top), cell(box.right, box.bottom)]
