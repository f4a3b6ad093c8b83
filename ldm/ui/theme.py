"""How the page looks: a theme for gradio's own components, and one stylesheet for ours.

Warm greys, one accent (the safelight of a darkroom), system fonts only, so that no page asks another host.
Contrast was measured with axe in light and dark.
"""

from pathlib import Path

import gradio as gr
from gradio.themes import Color

ASSETS = Path(__file__).parent / "assets"
STYLESHEET = ASSETS / "page.css"
FAVICON = ASSETS / "favicon.png"

SAFELIGHT = Color(
    name="safelight",
    c50="#fff5f1", c100="#ffe6dd", c200="#ffcab9", c300="#ffa98e", c400="#ff8a66", c500="#f26a41",
    c600="#d44c22", c700="#ab3813", c800="#8a2e12", c900="#6c2611", c950="#3c1207",
)  # fmt: skip
PAPER = Color(
    name="paper",
    c50="#faf8f6", c100="#f4f1ed", c200="#e8e3dd", c300="#d4cdc5", c400="#a89f96", c500="#7f766d",
    c600="#5d554e", c700="#453f39", c800="#2b2623", c900="#1c1917", c950="#131110",
)  # fmt: skip
SANS = ["ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "sans-serif"]
MONO = ["ui-monospace", "SF Mono", "Cascadia Mono", "Menlo", "Consolas", "Liberation Mono", "monospace"]

# gradio's own names; "_dark" is the same in dark mode
VARIABLES: dict[str, str] = {
    "body_background_fill": "*neutral_50",
    "body_background_fill_dark": "*neutral_950",
    "body_text_color": "*neutral_900",
    "body_text_color_dark": "*neutral_100",
    "body_text_color_subdued": "*neutral_600",
    "body_text_color_subdued_dark": "#b9b0a7",
    "color_accent": "*primary_700",
    "link_text_color": "*primary_700",
    "link_text_color_dark": "*primary_300",
    "background_fill_primary_dark": "*neutral_900",
    "background_fill_secondary_dark": "#171412",
    "border_color_primary": "*neutral_200",
    "border_color_primary_dark": "#332d29",
    "block_background_fill": "transparent",
    "block_background_fill_dark": "transparent",
    "block_border_width": "0px",
    "block_border_width_dark": "0px",
    "block_shadow": "none",
    "block_shadow_dark": "none",
    "block_padding": "0px",
    "block_label_background_fill": "transparent",
    "block_label_background_fill_dark": "transparent",
    "block_label_border_width": "0px",
    "block_label_border_width_dark": "0px",
    "block_label_text_color": "*neutral_700",
    "block_label_text_color_dark": "*neutral_200",
    "block_title_text_color": "*neutral_800",
    "block_title_text_color_dark": "*neutral_200",
    "block_title_text_weight": "550",
    "block_info_text_color": "*neutral_600",
    "block_info_text_color_dark": "#b9b0a7",
    "form_gap_width": "18px",
    "layout_gap": "20px",
    "panel_background_fill": "transparent",
    "panel_background_fill_dark": "transparent",
    "input_background_fill": "#ffffff",
    "input_background_fill_dark": "#1c1917",
    "input_border_color": "*neutral_300",
    "input_border_color_dark": "#3b3530",
    "input_border_color_focus": "*primary_600",
    "input_border_color_focus_dark": "*primary_400",
    "input_placeholder_color": "*neutral_600",
    "input_placeholder_color_dark": "*neutral_400",
    "slider_color": "*primary_700",
    "slider_color_dark": "*primary_400",
    "checkbox_background_color_selected": "*primary_700",
    "checkbox_background_color_selected_dark": "*primary_500",
    "checkbox_border_color": "*neutral_500",
    "checkbox_border_color_dark": "*neutral_500",
    "checkbox_label_background_fill": "transparent",
    "checkbox_label_background_fill_dark": "transparent",
    "checkbox_label_background_fill_hover": "transparent",
    "checkbox_label_background_fill_hover_dark": "transparent",
    "checkbox_label_background_fill_selected": "transparent",
    "checkbox_label_background_fill_selected_dark": "transparent",
    "checkbox_label_border_width": "0px",
    "checkbox_label_border_width_dark": "0px",
    "checkbox_label_padding": "0px",
    "button_primary_background_fill": "*primary_700",
    "button_primary_background_fill_hover": "*primary_800",
    "button_primary_background_fill_dark": "*primary_400",
    "button_primary_background_fill_hover_dark": "*primary_300",
    "button_primary_text_color": "#ffffff",
    "button_primary_text_color_dark": "#1a0a05",
    "button_secondary_background_fill": "*neutral_200",
    "button_secondary_background_fill_hover": "*neutral_300",
    "button_secondary_background_fill_dark": "#2b2623",
    "button_secondary_background_fill_hover_dark": "#3a342f",
    "button_secondary_text_color": "*neutral_900",
    "button_secondary_text_color_dark": "*neutral_100",
    "button_cancel_background_fill": "transparent",
    "button_cancel_background_fill_dark": "transparent",
    "button_cancel_text_color": "*primary_700",
    "button_cancel_text_color_dark": "*primary_300",
    "button_large_text_weight": "600",
    "button_transform_hover": "none",
    "button_transform_active": "none",
}


def asset(name: str) -> str:
    """The text of a file in `assets/`."""
    return (ASSETS / name).read_text(encoding="utf-8")


def theme() -> gr.themes.Base:
    """The theme, light and dark."""
    base = gr.themes.Default(
        primary_hue=SAFELIGHT, secondary_hue=SAFELIGHT, neutral_hue=PAPER, font=SANS, font_mono=MONO
    )
    return base.set(**VARIABLES)
