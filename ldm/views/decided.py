"""When each part of the picture was decided: from which step on its colour stays what it will be."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from ..errors import SettingsError
from ..trace import Trace
from .colour import cell_means, check_cell, delta_e, lab
from .latents import heat
from .layout import enlarge
from .predictions import Decode, check_step, lane

THRESHOLD = 10.0  # Delta E: a colour one would call by another name, not one that is just told apart
CELL = 8  # pixels, a latent's side in most models


@dataclass(frozen=True, eq=False)
class Decided:
    """Which step decided what.

    Attributes:
        steps: (h, w) int64, for each cell the first step from which on its colour stays, in [0, count - 1].
        count: steps of the run.
        size: (width, height) of the pictures.
        cell: side of a cell in pixels; those at the right and lower edge may be cut off.
        threshold: Delta E within which a colour has stayed.
    """

    steps: Tensor
    count: int
    size: tuple[int, int]
    cell: int
    threshold: float

    @property
    def histogram(self) -> list[int]:
        """How many cells each of the `count` steps decided."""
        return torch.bincount(self.steps.flatten(), minlength=self.count).tolist()


def decided(frames: Sequence[Image.Image], threshold: float = THRESHOLD, cell: int = CELL) -> Decided:
    """The first step from which on the colour of each cell stays within `threshold` of its last colour.

    Compared is with the last picture, not with the step before: a colour that drifts a little at every step
    is undecided for as long as it is far from where it ends, and one that goes away and comes back is decided
    when it has come back.  A part that never changes is decided at step 0.

    Args:
        frames: the predicted clean picture of every step, decoded, of one size.
        threshold: in Delta E of 1976 between mean CIELAB colours of a cell; about 2.3 is just seen.
        cell: side of a cell in pixels.

    Raises:
        SettingsError: no frames, frames of several sizes, a threshold below 0, or no such cell.
    """
    if not math.isfinite(threshold) or threshold < 0:
        raise SettingsError(f"threshold must be a Delta E of at least 0, got {threshold}.")
    undecided = away_from_last(frames, cell) > threshold  # (steps, h, w)
    after = torch.arange(1, len(frames) + 1)[:, None, None]
    return Decided((undecided * after).amax(0), len(frames), frames[0].size, cell, threshold)


def away_from_last(frames: Sequence[Image.Image], cell: int = CELL) -> Tensor:
    """(steps, h, w) Delta E of each cell's mean CIELAB colour from the one it has in the last picture.

    Raises:
        SettingsError: no frames, frames of several sizes, or no such cell.
    """
    check_cell(cell)
    if not frames:
        raise SettingsError("The run has no steps to draw.")
    for frame in frames:
        if frame.size != frames[0].size:
            found = " and ".join("{} x {}".format(*f.size) for f in (frames[0], frame))
            raise SettingsError(f"All frames must have one size, got {found}.")
    colours = torch.stack([cell_means(lab(frame), cell) for frame in frames])  # (steps, 3, h, w)
    return delta_e(colours, colours[-1])


def decided_map(decided: Decided, size: tuple[int, int] | None = None) -> Image.Image:
    """Steps as heat: black was decided at step 0, brightest at the last one.

    Args:
        size: (width, height) of the result; None is the pictures'.
    """
    width, height = decided.size
    share = decided.steps.double() / max(1, decided.count - 1)
    blocks = share.repeat_interleave(decided.cell, 0).repeat_interleave(decided.cell, 1)
    return enlarge(heat(blocks[:height, :width]), size or decided.size)


def when_decided(trace: Trace, step_index: int, decode: Decode, picture: int = 0) -> Image.Image:
    """`decided_map` of a run, the same at every step."""
    check_step(trace, step_index)
    return decided_map(decided(lane(trace, "x0", decode, picture)))
