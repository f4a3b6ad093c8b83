"""Putting words that the model knows into a prompt: the quick way to a prompt it understands.

What stands in a prompt is found by the vocabulary, the other wordings and the plurals in the model's config;
all else in it stays as it is.
"""

import re
from dataclasses import dataclass
from typing import Any

from ..data.vocabulary import article
from ..models.config import ModelConfig
from ..words import KINDS_OF_QUALITIES, spans

THING = "thing"  # things of any kind stand for one another
LEADING = ("count", "size", "color")  # what stands before a thing, in this order
_APART = re.compile(r"[\s_-]+")
_ARTICLE = re.compile(r"\b(an?)\s+$", re.IGNORECASE)
_OPENING = re.compile(r"\s*an?\s+", re.IGNORECASE)
_END = " \t\n.,;"


@dataclass(frozen=True)
class Found:
    """A known wording in a prompt, at `prompt[start:end]`.

    Attributes:
        role: the kind of word, or THING; both kinds of background are one.
        many: whether it is a plural.
    """

    start: int
    end: int
    role: str
    many: bool = False


def put(prompt: str, word: str, config: ModelConfig, kind: str | None = None) -> str:
    """The prompt with what plays the part of `word` exchanged for it; added where nothing does.

    With "dog" clicked, "a red apple" becomes "a red dog"; with "two" then, "two red dogs".

    Args:
        kind: of the word, where it is of several; the first that has it if not given.
    """
    if word not in config.vocabulary.get(kind or "", ()):
        kind = next((kind for kind, words in config.vocabulary.items() if word in words), THING)
    role, found = _role(kind or THING), _found(prompt, config)
    things = [one for one in found if one.role == THING]
    if role == THING:
        return _put_thing(prompt, word, found, config)
    if role in LEADING and things:
        return _put_leading(prompt, word, role, found, config)
    same = next((one for one in found if one.role == role), None)
    if same is not None:
        return _spliced(prompt, same.start, same.end, word)
    if role in LEADING:
        return _opened(prompt, word, role, found)
    if role == "relation" and len(things) > 1:
        start, end = things[0].end, things[1].start
        joint = re.search(r"\band\b", prompt[start:end])
        if joint is not None:
            return _spliced(prompt, start + joint.start(), start + joint.end(), word)
    return _inserted(prompt, _place(role, found, len(prompt.rstrip(_END))), word)


def replace(prompt: str, word: str, by: str, config: ModelConfig) -> str:
    """The prompt with a word that the model does not know exchanged for one that it does, everywhere."""
    for span in reversed(list(spans(prompt, config))):
        if not span.known and prompt[span.start : span.end].lower() == word.lower():
            following = prompt[span.end :].split()
            text = article(following[0].lower()).split()[0] if by == "a" and following else by
            start = span.start if _takes_article(by, config) else _before_article(prompt, span.start)
            prompt = _spliced(prompt, start, span.end, text)
    return prompt


def chips(config: ModelConfig) -> dict[str, Any]:
    """What can be clicked, as JSON for the page: example prompts, words by kind, and how many they are."""
    things = sum(len(words) for kind, words in config.vocabulary.items() if _role(kind) == THING)
    colors = len(config.vocabulary.get("color", ()))
    counted = [f"{count} {what}" for count, what in ((things, "objects"), (colors, "colors")) if count]
    return {
        "examples": list(config.examples),
        "vocabulary": config.vocabulary,
        "summary": ", ".join(counted),
    }


def _role(kind: str) -> str:
    if kind not in KINDS_OF_QUALITIES:
        return THING
    return "background" if kind == "plain background" else kind


def _found(prompt: str, config: ModelConfig) -> list[Found]:
    """Every known wording; of those that start at one place the longest."""
    roles: dict[str, list[str]] = {}
    for kind, words in config.vocabulary.items():
        for word in words:
            roles.setdefault(word, []).append(_role(kind))
    roles |= {other: roles[word] for other, word in config.synonyms.items() if word in roles}
    many = {plural: roles[one] for one, plural in config.plurals.items() if one in roles}
    meant = {_APART.sub(" ", word): named for word, named in (many | roles).items()}
    if not meant:
        return []
    plurals = {_APART.sub(" ", word) for word in many.keys() - roles.keys()}
    longest_first = sorted(meant, key=len, reverse=True)
    wordings = "|".join(r"[\s_-]+".join(map(re.escape, word.split())) for word in longest_first)
    found: list[Found] = []
    # from the last to the first, because what follows tells what an "orange" is
    for match in reversed(list(re.finditer(rf"(?<!\w)(?<!\d\.)(?:{wordings})(?!\w)", prompt, re.IGNORECASE))):
        text = _APART.sub(" ", match.group().lower())
        role = meant[text][0]
        if {THING, "color"} <= set(meant[text]):
            leads = found and found[-1].role == THING and not prompt[match.end() : found[-1].start].strip()
            role = "color" if leads else THING
        found.append(Found(match.start(), match.end(), role, text in plurals))
    return found[::-1]


def _put_thing(prompt: str, word: str, found: list[Found], config: ModelConfig) -> str:
    things = [one for one in found if one.role == THING]
    relation = next((one for one in found if one.role == "relation"), None)
    if relation is not None and all(thing.start < relation.start for thing in things):
        return _inserted(prompt, relation.end, _with_article(word, config))
    leading = [one for one in found if one.role in LEADING]
    if things:
        at, end, many = things[0].start, things[0].end, things[0].many
    elif leading:
        at, end, many = leading[-1].end, leading[-1].end, leading[-1].role == "count"
    else:
        text = prompt.rstrip(_END)
        if found or not text:
            return _inserted(prompt, found[0].start if found else 0, _with_article(word, config))
        return f"{text} {word}"
    made = config.plurals.get(word, word) if many else word
    gap = "" if things else " "
    if _takes_article(made, config) or many:
        return _spliced(prompt, at, end, gap + made)
    start = _phrase(prompt, found, at)
    return prompt[: _before_article(prompt, start)] + prompt[start:at] + gap + made + prompt[end:]


def _put_leading(prompt: str, word: str, role: str, found: list[Found], config: ModelConfig) -> str:
    """A count, a size or a colour of the first thing."""
    thing = next(one for one in found if one.role == THING)
    start = _phrase(prompt, found, thing.start)
    mine = [one for one in found if start <= one.start < thing.start]
    same = next((one for one in mine if one.role == role), None)
    if same is not None:
        return _spliced(prompt, same.start, same.end, word)
    if role != "count":
        later = LEADING[LEADING.index(role) :]
        at = next((one.start for one in mine if one.role in later), thing.start)
        return _spliced(prompt, at, at, f"{word} ")
    name = prompt[thing.start : thing.end]
    plural = config.plurals.get(name.lower(), name)
    before = prompt[: _before_article(prompt, start)]
    return f"{before}{word} {prompt[start : thing.start]}{plural}{prompt[thing.end :]}"


def _opened(prompt: str, word: str, role: str, found: list[Found]) -> str:
    """A count, a size or a colour where no thing is known."""
    opening = _OPENING.match(prompt)
    if opening is not None:
        at = opening.end()
        return f"{word} {prompt[at:]}" if role == "count" else _spliced(prompt, at, at, f"{word} ")
    text = prompt.strip()
    alone = not text or (found and not prompt[: found[0].start].strip())
    return f"{article(word) if alone and role != 'count' else word} {text}".rstrip()


def _place(role: str, found: list[Found], end: int) -> int:
    """Where captions have a word of this role."""
    things = [one.end for one in found if one.role == THING]
    if role == "relation" and things:
        return things[0]
    if role == "position" and things:
        return things[-1]
    after = {"position": ("background", "time"), "background": ("time",)}.get(role, ())
    return next((one.start for one in found if one.role in after), end)


def _phrase(prompt: str, found: list[Found], at: int) -> int:
    """Where the counts, sizes and colours directly before `at` begin."""
    for one in reversed([one for one in found if one.end <= at]):
        if one.role not in LEADING or prompt[one.end : at].strip():
            break
        at = one.start
    return at


def _takes_article(name: str, config: ModelConfig) -> bool:
    """Not plurals, and not things that are never counted, such as "grapes"."""
    things = (words for kind, words in config.vocabulary.items() if _role(kind) == THING)
    counted = name in config.plurals or not any(name in words for words in things)
    return not config.plurals or (counted and name not in config.plurals.values())


def _with_article(name: str, config: ModelConfig) -> str:
    return article(name) if _takes_article(name, config) else name


def _before_article(prompt: str, at: int) -> int:
    """Where the article directly before `at` begins; `at` if there is none."""
    found = _ARTICLE.search(prompt[:at])
    return at if found is None else found.start()


def _spliced(prompt: str, start: int, end: int, text: str) -> str:
    """`text` in the place of `prompt[start:end]`, with the right article before it."""
    before = prompt[:start]
    found = _ARTICLE.search(before)
    if found is not None:
        right = article(text.lower()).split()[0]
        given = found.group(1)
        right = right.capitalize() if given[0].isupper() else right
        before = before[: found.start(1)] + right + before[found.end(1) :]
    return before + text + prompt[end:]


def _inserted(prompt: str, at: int, text: str) -> str:
    """`text` at a place between words."""
    before, after = prompt[:at].rstrip(_END), prompt[at:].lstrip()
    if not after.strip(_END):
        after = ""
    gap = " " if after and after[0] not in _END else ""
    return f"{before} {text}{gap}{after}".lstrip()
