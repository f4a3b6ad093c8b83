"""What a browser needs to show a run: a template, a style, scripts, and the run as JSON with a few files.

The denoising tab shows it inside gradio; `page` writes the same thing as one HTML file that opens without a
server.  Knows nothing of either: files are handed to a `Put`, which says how the page finds them.

A part is what the page has besides pictures and curves (words, equations ...).  To add one, write its
function in `parts/`, a line in PARTS, and its script in `assets/`, a line in SCRIPTS.
"""

from .assets import SCRIPTS, script, style, template
from .linear import linear_map
from .pack import (
    DEFAULT_LANES,
    PIXELS,
    Look,
    Put,
    facts,
    fitted,
    frames,
    lanes_pack,
    latent_size,
    pack,
    run_pack,
    seed_of,
    x0_frames,
)
from .page import page
from .parts import PARTS, Context, noising_parts, parts_pack

__all__ = [
    "DEFAULT_LANES",
    "PARTS",
    "PIXELS",
    "SCRIPTS",
    "Context",
    "Look",
    "Put",
    "facts",
    "fitted",
    "frames",
    "lanes_pack",
    "latent_size",
    "linear_map",
    "noising_parts",
    "pack",
    "page",
    "parts_pack",
    "run_pack",
    "script",
    "seed_of",
    "style",
    "template",
    "x0_frames",
]
