"""Views: pure functions from a `Trace` to a picture or to columns of numbers.

They know no network and no gradio; what turns latents into pictures is passed in.  To add one that is drawn
for a step, write `(trace, step_index, decode) -> Image` and add it to VIEWS.
"""

from collections.abc import Callable
from functools import partial

from PIL import Image

from ..trace import Trace
from .attention import attention_grid
from .decided import when_decided
from .latents import channel_maps
from .predictions import LANES, Decode, anatomy, check_step, frame

View = Callable[[Trace, int, Decode], Image.Image]


def _lane(name: str, trace: Trace, step_index: int, decode: Decode) -> Image.Image:
    return frame(trace, name, step_index, decode)


def _channels(trace: Trace, step_index: int, decode: Decode) -> Image.Image:
    return channel_maps(check_step(trace, step_index).prediction.x0)


VIEWS: dict[str, View] = {
    **{name: partial(_lane, name) for name in LANES},
    "anatomy": anatomy,
    "channels": _channels,
    "attention": attention_grid,
    "decided": when_decided,
}
