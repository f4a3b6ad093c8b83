"""Our own components: a template, a style and a script each, from `assets/`, under gradio's HTML component.

The templates hold no `${}` and no `{{}}`: whatever a visitor typed reaches the page as JSON and is written by
the script with `textContent`, so nothing of it is ever read as markup or as code.
"""

import gradio as gr

from ..player.assets import dom
from .theme import ASSETS, asset


def part(name: str, value: object = None, elem_id: str | None = None) -> gr.HTML:
    """The component of that name.

    Args:
        value: JSON; a `FileData` in it is served to the page.
        elem_id: "ld-name" if not given; another one where the page has the part twice.
    """
    style = ASSETS / f"{name}.css"
    return gr.HTML(
        value,
        html_template=asset(f"{name}.html"),
        css_template=asset(f"{name}.css") if style.exists() else "",
        js_on_load=dom() + asset(f"{name}.js"),
        apply_default_css=False,
        elem_id=elem_id or f"ld-{name}",
    )
