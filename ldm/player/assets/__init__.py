"""The files of the player, as text."""

from pathlib import Path

FOLDER = Path(__file__).parent
DOM = "dom.js"
SCRIPTS = (
    DOM,
    "core.js",
    "lanes.js",
    "time.js",
    "strip.js",
    "compare.js",
    "panels.js",
    "charts.js",
    "curves.js",
    "guidance.js",
    "attention.js",
    "heads.js",
    "words.js",
    "when.js",
    "schedule.js",
    "equations.js",
    "lesson.js",
    "start.js",
)
"""In this order; one closure for all of them, so that what a file declares the next ones see."""
STYLES = (
    "player.css",
    "panels.css",
    "guidance.css",
    "words.css",
    "when.css",
    "schedule.css",
    "equations.css",
    "lesson.css",
)


def template() -> str:
    """The markup.  Holds no `${}`: whatever a visitor typed is written by the scripts with `textContent`."""
    return _read("player.html")


def style() -> str:
    """The style sheet."""
    return "\n".join(_read(name) for name in STYLES)


def script() -> str:
    """The body of a function with `element`, `props`, `watch` and `trigger` in scope."""
    return "\n".join(_read(name) for name in SCRIPTS)


def dom() -> str:
    """What the scripts of other components begin with too: `$`, `make` and `svg`."""
    return _read(DOM)


def page_template() -> str:
    """A page of its own, for `string.Template`."""
    return _read("page.html")


def page_style() -> str:
    """What that page has besides the player's style: the colours, and what is around the player."""
    return _read("page.css")


def page_script() -> str:
    """The host of the player in that page: `element`, `props`, `watch` and `trigger`."""
    return _read("page.js")


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")
