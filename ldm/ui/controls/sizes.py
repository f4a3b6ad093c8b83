"""What Stable Diffusion XL is told about the size of a picture, besides how large it is to be."""

import gradio as gr

from .widgets import Layout


def group(layout: Layout) -> None:
    """The size that the picture was cut from, where, and how beautiful it is to be."""
    there = "crop_left" not in layout.gone
    with gr.Accordion("Size conditioning", open=False, elem_id="sizes", visible=there):
        with gr.Row(elem_classes="ld-pair"):
            for side in ("width", "height"):
                info = "Of what it is cut from; empty is its own."
                layout.text(f"original_{side}", f"Original {side}", info, "its own")
        with gr.Row(elem_classes="ld-pair"):
            layout.number("crop_left", "Crop from the left", "Pixels; 0 keeps things in the middle.")
            layout.number("crop_top", "Crop from the top", "Pixels; 0 keeps heads on.")
        layout.slider("aesthetic_score", "Aesthetic score", "How beautiful it is to be.", step=0.1)
