"""LoRAs: which act, and how much."""

import gradio as gr

from ...latent_diffusion import LatentDiffusion
from ...lora import Adapter
from .widgets import Layout

LISTED = 12  # named under the box; of more the rest is counted


def loras_there(model: LatentDiffusion) -> list[str]:
    """Names of the LoRA files there are."""
    adapter = getattr(model, "adapter", None)
    return adapter.names if isinstance(adapter, Adapter) else []


def group(layout: Layout, model: LatentDiffusion) -> None:
    """The box, and what can be written into it."""
    there = loras_there(model)
    with gr.Accordion("LoRA", open=False, elem_id="lora", visible="loras" not in layout.gone):
        layout.text(
            "loras", "LoRAs", "Names with commas between them; each may have a weight.", "name:0.8, other"
        )
        layout.note("loras", listed(there))


def listed(names: list[str]) -> str:
    """The line under the box."""
    shown = [f"`{name.replace('`', '')}`" for name in names[:LISTED]]
    rest = len(names) - LISTED
    more = f" and {rest} more" if rest > 0 else ""
    return f"In the folder: {', '.join(shown)}{more}." if names else ""
