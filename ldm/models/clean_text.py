"""Prompts as CLIP's tokenizer saw them: what `ftfy.fix_text` does that matters to it.

ftfy also mends text that was decoded with the wrong charset ("Ã©"); that is not repeated here.
"""

import html
import unicodedata
from functools import lru_cache
from html.entities import html5

import regex


def clean(text: str) -> str:
    """Text with HTML unescaped, quotes straight, ligatures and wide letters replaced, in Unicode's NFC.

    The same as `ftfy.fix_text(text, fix_encoding=False)` but for the kind of line ends.
    """
    lines = []
    unescape = True
    for line in text.split("\n"):
        unescape = unescape and "<" not in line  # ftfy: text with a real "<" is no escaped HTML
        before = None
        while line != before:
            before = line
            if unescape:
                line = regex.sub(r"&#?[0-9A-Za-z]{1,24};", _unescaped, line)
            line = regex.sub("\033\\[[0-9;]*[a-zA-Z]", "", line).translate(_letter_fixes())
            line = line.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            line = unicodedata.normalize("NFC", line)
        lines.append(line)
    return "\n".join(lines)


def _unescaped(match: regex.Match[str]) -> str:
    """The character behind one HTML entity; unknown ones stay."""
    entity = match.group()
    if entity[1:] in html5:
        return html5[entity[1:]]
    if entity.startswith("&#"):
        character = html.unescape(entity)
        return entity if ";" in character else character
    lower = html5.get(entity[1:].lower())  # &EACUTE;
    return lower.upper() if lower and entity.isupper() and html.unescape(entity) == entity else entity


@lru_cache(maxsize=1)
def _letter_fixes() -> dict[int, str]:
    """Ligatures, full-width letters, curly quotes and control characters, for `str.translate`."""
    wide = {code: unicodedata.normalize("NFKC", chr(code)) for code in range(0xFF01, 0xFFF0)}
    ligatures = {ord(letter): unicodedata.normalize("NFKC", letter) for letter in "ĲĳŉǱǲǳǄǅǆǇǈǉǊǋǌﬀﬁﬂﬃﬄﬆ"}
    quotes = dict.fromkeys((0x2BC, *range(0x2018, 0x201C)), "'") | dict.fromkeys(range(0x201C, 0x2020), '"')
    c1 = {code: bytes([code]).decode("cp1252", "ignore") or chr(code) for code in range(0x80, 0xA0)}
    controls = (*range(9), 0x0B, *range(0x0E, 0x20), 0x7F, *range(0x206A, 0x2070), 0xFEFF)
    gone = dict.fromkeys((*controls, *range(0xFFF9, 0xFFFD)), "")
    return {**wide, **ligatures, **c1, **gone, **quotes, 0x3000: " ", 0xFB05: "ſt"}
