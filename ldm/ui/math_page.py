"""docs/math.md as a page, so that an equation can be looked up where it is seen."""

from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from markdown_it import MarkdownIt

from ..player.parts.equations import anchor

SOURCE = Path(__file__).parents[2] / "docs" / "math.md"
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width"><title>Mathematics - Latent Darkroom</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ max-width: 78ch; margin: 40px auto; padding: 0 20px; font: 16px/1.6 system-ui, sans-serif;
  background: light-dark(#faf8f6, #131110); color: light-dark(#1c1917, #f4f1ed); }}
pre, code {{ font: 14px/1.5 ui-monospace, monospace; }}
pre, table {{ display: block; overflow-x: auto; }}
pre {{ padding: 12px 16px; border-radius: 8px; background: light-dark(#f0ebe5, #0b0908); }}
th, td {{ padding: 4px 14px 4px 0; text-align: left; vertical-align: top; }}
:target {{ outline: 2px solid #d4411a; outline-offset: 6px; border-radius: 4px; }}
</style>
{body}</html>"""


@lru_cache(maxsize=1)
def math_page() -> str | None:
    """HTML with an anchor at every heading; None where the program was installed without its documents."""
    if not SOURCE.exists():
        return None
    markdown = MarkdownIt("commonmark", {"html": False}).enable("table")
    tokens = markdown.parse(SOURCE.read_text(encoding="utf-8"))
    for opening, inline in pairwise(tokens):
        if opening.type == "heading_open":
            opening.attrSet("id", anchor(inline.content))
    return PAGE.format(body=markdown.renderer.render(tokens, markdown.options, {}))
