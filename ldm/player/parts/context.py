"""What a part may use besides the trace."""

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
        n_steps: training timesteps of the model.
    """

    look: Look
    decode: Decode
    put: Put
    x0: tuple[Image.Image, ...]
    linear: tuple[Tensor, Tensor]
    n_steps: int = 1000


Part = Callable[[Trace, Context], dict[str, Any] | None]
