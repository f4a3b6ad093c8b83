"""What each step saw and said, as rows of pictures side by side: the lanes.

A lane is drawn in one of three ways, and says which: decoded by the autoencoder, latent channels as colours,
or an amount per latent as heat.  To add one, add its function to `_DECODED` or `_HEAT` and a line to LANES.
"""

from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torch import Tensor

from ..errors import SettingsError, check_choice, check_index
from ..images import to_images
from ..trace import Step, Trace
from .latents import colours, heat
from .layout import blank, enlarge, grid

Decode = Callable[[Tensor], Tensor]  # (B, C, H, W) latents -> (B, 3, h, w) pictures in [-1, 1]

CHUNK = 8  # latents decoded at once
NO_GUIDANCE = "Guidance was off: nothing was predicted without the prompt."
NOISING = "Noise is added here, and nothing predicted."


def lane(
    trace: Trace, name: str, decode: Decode, picture: int = 0, size: tuple[int, int] | None = None
) -> list[Image.Image]:
    """One picture per step.

    Args:
        name: a key of LANES.
        decode: latents to pictures; called with at most CHUNK of them.
        picture: which one of the batch.
        size: (width, height); None is what was asked for.  What is not decoded loses nothing at the size of
            the latents.

    Raises:
        SettingsError: no lane or no picture of that name or number.
    """
    return _draw(trace, name, range(len(trace.steps)), decode, picture, size)


def frame(trace: Trace, name: str, step_index: int, decode: Decode, picture: int = 0) -> Image.Image:
    """The picture that `lane` has at one step, without drawing the others."""
    check_step(trace, step_index)
    return _draw(trace, name, [step_index], decode, picture)[0]


def anatomy(trace: Trace, step_index: int, decode: Decode, picture: int = 0) -> Image.Image:
    """What guidance is made of: the prediction without the prompt, with it, and guided, side by side."""
    names = ("x0_uncond", "x0_cond", "x0")
    images = [frame(trace, name, step_index, decode, picture) for name in names]
    return grid(images, 3, ["without the prompt", "with the prompt", "guided"])


def check_step(trace: Trace, step_index: int) -> Step:
    """The step of that number.

    Raises:
        SettingsError: the run has no such step.
    """
    if not trace.steps:
        raise SettingsError("The run has no steps to draw.")
    check_index("step", step_index, len(trace.steps))
    return trace.steps[step_index]


def check_picture(trace: Trace, picture: int) -> None:
    """Refuse a number that the batch does not have.

    Raises:
        SettingsError: the batch has no such picture.
    """
    check_index("picture", picture, trace.settings.batch_size)


def guidance(trace: Trace, k: int) -> Tensor | None:
    """(B, H, W) how much the prompt moves the prediction, mean over channels of |x0_cond - x0_uncond|."""
    p = trace.steps[k].prediction
    return None if p.x0_uncond is None else (p.x0_cond - p.x0_uncond).abs().mean(1)


def change(trace: Trace, k: int) -> Tensor:
    """(B, H, W) how much the prediction moved, mean over channels of |x0 - previous x0|; 0 on the first."""
    x0 = trace.steps[k].prediction.x0
    return (x0 - trace.steps[max(0, k - 1)].prediction.x0).abs().mean(1)


def _draw(
    trace: Trace,
    name: str,
    indices: Sequence[int],
    decode: Decode,
    picture: int,
    size: tuple[int, int] | None = None,
) -> list[Image.Image]:
    check_choice("lane", name, LANES)
    check_picture(trace, picture)
    size = size or (trace.settings.width, trace.settings.height)
    if name in _HEAT:
        return _heat_frames(trace, name, indices, picture, size)
    if name == "eps":
        return [enlarge(colours(trace.steps[k].eps[picture]), size) for k in indices]
    latents = [_DECODED[name](trace.steps[k]) for k in indices]
    rows = [x[picture] for x in latents if x is not None]
    drawn = iter(_decoded(rows, decode, size))
    found = zip(indices, latents, strict=True)
    return [blank(size, why_none(trace.steps[k])) if x is None else next(drawn) for k, x in found]


@torch.no_grad()
def _decoded(latents: list[Tensor], decode: Decode, size: tuple[int, int]) -> list[Image.Image]:
    images: list[Image.Image] = []
    for start in range(0, len(latents), CHUNK):
        images += to_images(decode(torch.stack(latents[start : start + CHUNK])))
    return [i if i.size == size else i.resize(size, Image.Resampling.BICUBIC) for i in images]


def _heat_frames(
    trace: Trace, name: str, indices: Sequence[int], picture: int, size: tuple[int, int]
) -> list[Image.Image]:
    """One scale for the whole run, so that steps can be compared: its largest value is brightest."""
    maps = [_HEAT[name](trace, k) for k in range(len(trace.steps))]
    largest = max((float(m[picture].nan_to_num(0, 0, 0).max()) for m in maps if m is not None), default=0.0)
    return [
        blank(size, why_none(trace.steps[k]))
        if (found := maps[k]) is None
        else enlarge(heat(found[picture] / max(largest, 1e-12)), size)
        for k in indices
    ]


def why_none(step: Step) -> str:
    """Why nothing was predicted without the prompt."""
    return NOISING if step.x_asked is not None and step.x_asked is step.x_next else NO_GUIDANCE


def _noisy(step: Step) -> Tensor:
    return step.x / (1 + step.sigma**2) ** 0.5  # to unit variance, as the network sees it


_DECODED: dict[str, Callable[[Step], Tensor | None]] = {
    "x_t": _noisy,
    "x0": lambda step: step.prediction.x0,
    "x0_cond": lambda step: step.prediction.x0_cond,
    "x0_uncond": lambda step: step.prediction.x0_uncond,
}

_HEAT: dict[str, Callable[[Trace, int], Tensor | None]] = {"guidance": guidance, "change": change}

LANES: dict[str, tuple[str, str]] = {  # name -> what it is, how it is drawn
    "x_t": ("Noisy latents x_t", "divided by sqrt(1 + sigma^2), then decoded"),
    "x0": ("Predicted clean picture x0", "decoded"),
    "eps": ("Predicted noise", "not decoded: latent channels 0, 1, 2 as red, green, blue, from -3 to 3"),
    "x0_cond": ("Predicted with the prompt", "decoded"),
    "x0_uncond": ("Predicted without the prompt", "decoded"),
    "guidance": (
        "How much the prompt changes x0",
        "not decoded: mean |x0_cond - x0_uncond| per latent, as heat",
    ),
    "change": (
        "How much x0 changed in this step",
        "not decoded: mean |x0 - previous x0| per latent, as heat",
    ),
}
