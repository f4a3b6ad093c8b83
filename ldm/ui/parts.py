"""Our own components: a template, a style and a script each, from `assets/`, under gradio's HTML component.

The templates hold no `${}` and no `{{}}`: whatever a visitor typed reaches the page as JSON and is written by
the script with `textContent`, so nothing of it is ever read as markup or as code.
"""

import gradio as gr

from ..player.assets import dom
from .theme import ASSETS, asset


def part(
    name: str, value: object = None, elem_id: str | None = None, *, also: tuple[str, ...] = ()
) -> gr.HTML:
    """The component of that name.

    Args:
        value: JSON; a `FileData` in it is served to the page.
        elem_id: "ld-name" if not given; another one where the page has the part twice.
        also: what several components share: scripts and styles of these names come before its own.
    """
    styles = [ASSETS / f"{each}.css" for each in (*also, name)]
    return gr.HTML(
        value,
        html_template=asset(f"{name}.html"),
        css_template="".join(asset(style.name) for style in styles if style.exists()),
        js_on_load=dom() + "".join(asset(f"{each}.js") for each in (*also, name)),
        apply_default_css=False,
        elem_id=elem_id or f"ld-{name}",
    )
