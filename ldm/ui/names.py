"""Names of classes that a visitor knows and a model does not: a file dropped in, for that page alone."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio as gr

from ..errors import LdmError
from .boxes import drop_box
from .events import PRIVATE, shows_errors

MOST_BYTES = 2**20
LONGEST = 60  # letters of a name
ABOUT = "One name a line, the first of class 0; or a number before each: `17 dog`."
_NUMBERED = re.compile(r"\s*[\"']?(\d+)[\"']?\s*(?:[:=,;\t]|\s)\s*(\S.*)")


def read_names(path: str | Path, classes: int) -> dict[int, str]:
    """Names by class number, of a text file or of JSON.

    A line is a name, the first one of class 0, or, where all lines are so, a number and a name. JSON is a
    list of names, or a record of names by number.

    Raises:
        LdmError: no text, too large, or a name of a class that is not there.
    """
    path = Path(path)
    if path.stat().st_size > MOST_BYTES:
        raise LdmError(f"{path.name} is larger than {MOST_BYTES // 2**20} MB, too large for a list of names.")
    try:
        text = path.read_text("utf-8-sig")
    except UnicodeDecodeError:
        raise LdmError(f"{path.name} is no text; a list of names has one on each line.") from None
    found = _of_json(text)
    if found is None:
        found = _of_lines([line.strip() for line in text.splitlines()])
    if not found:
        raise LdmError(f"{path.name} has no names in it; a list has one on each line.")
    beyond = max(found)
    if beyond >= classes:
        raise LdmError(f"{path.name} names class {beyond}; this model has classes 0 to {classes - 1}.")
    return {number: name[:LONGEST] for number, name in sorted(found.items())}


def named(number: int, names: dict[int, str]) -> str:
    """A class for people: "dog (17)", or its number."""
    return f"{names[number]} ({number})" if number in names else str(number)


def names_drop(classes: int, shown: Any, renamed: Callable[..., Any]) -> None:  # noqa: ANN401 - one of gradio's
    """Lay out the place for the file here, closed at first, and wire it.

    Args:
        shown: what shows the names; `renamed(names, *its value)` gives its update.
    """
    with gr.Accordion("Names of the classes", open=False, elem_id="class-names"):
        file = drop_box("A list of names", "names-file", (".txt", ".csv", ".tsv", ".json", ".names"))
        gr.Markdown(ABOUT, elem_classes="ld-note")

    def read(path: str | None, *held: Any) -> Any:  # noqa: ANN401
        return renamed({} if path is None else read_names(path, classes), *held)

    inputs = [file, shown] if isinstance(shown, gr.HTML) else [file]
    gr.on([file.upload, file.clear], shows_errors(read), inputs, shown, **PRIVATE)


def _of_json(text: str) -> dict[int, str] | None:
    """None where the text is not JSON of either form."""
    if not text.lstrip().startswith(("[", "{")):
        return None
    try:
        given = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if isinstance(given, dict) and all(str(key).isdecimal() for key in given):
        return {int(key): _clean(name) for key, name in given.items() if _clean(name)}
    if isinstance(given, list):
        return {number: _clean(name) for number, name in enumerate(given) if _clean(name)}
    return None


def _of_lines(lines: list[str]) -> dict[int, str]:
    lines = [line for line in lines if not line.startswith("#")]
    matches = [_NUMBERED.fullmatch(line) for line in lines if line]
    if matches and all(matches):
        return {int(match[1]): _clean(match[2]) for match in matches if match is not None}
    while lines and not lines[-1]:
        lines.pop()
    return {number: _clean(line) for number, line in enumerate(lines) if _clean(line)}


def _clean(name: object) -> str:
    return " ".join(str(name).split()).strip("\"',") if isinstance(name, str | int | float) else ""
