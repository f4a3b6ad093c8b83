"""What the page has of a run besides lanes and curves, each a function of the trace; see `ldm.player`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from PIL import Image
from torch import Tensor

from ...trace import Trace
from ...views.predictions import Decode
from ..pack import Look, Put


@dataclass(frozen=True, eq=False)
class Context:
    """What a part may use besides the trace.

    Attributes:
        look: which picture, and how latents are decoded.
        decode: latents to pictures.
        put: where files go.
        x0: the predicted pictures, one for each step, as the lane shows them.
        linear: (C, 3, f, f) weight and (3,) bias of the linear map from latents to pixels in [-1, 1].
    """

    look: Look
    decode: Decode
    put: Put
    x0: tuple[Image.Image, ...]
    linear: tuple[Tensor, Tensor]


Part = Callable[[Trace, Context], dict[str, Any] | None]


def parts_pack(trace: Trace, context: Context) -> dict[str, Any]:
    """Every part that this run has: name -> JSON."""
    made = {name: part(trace, context) for name, part in PARTS.items()}
    return {name: value for name, value in made.items() if value is not None}


PARTS: dict[str, Part] = {}
