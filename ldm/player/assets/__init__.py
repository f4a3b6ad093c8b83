"""The files of the player, as text."""

from pathlib import Path

FOLDER = Path(__file__).parent
SCRIPTS = (
    "core.js",
    "lanes.js",
    "time.js",
    "strip.js",
    "compare.js",
    "panels.js",
    "curves.js",
    "start.js",
)
"""In this order; one closure for all of them, so that what a file declares the next ones see."""
STYLES = ("player.css", "panels.css")


def template() -> str:
    """The markup.  Holds no `${}`: whatever a visitor typed is written by the scripts with `textContent`."""
    return _read("player.html")


def style() -> str:
    """The style sheet."""
    return "\n".join(_read(name) for name in STYLES)


def script() -> str:
    """The body of a function with `element`, `props`, `watch` and `trigger` in scope."""
    return "\n".join(_read(name) for name in SCRIPTS)


def _read(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")
