"""Attention is not cause: does a word's attention lie where muting the word moves the picture?

`attention.word_map` says where the network looked for a word; the picture drawn again without it says what
the word did.  These numbers compare the two.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..errors import SettingsError


def agreement(attention: Tensor, moved: Tensor) -> float:
    """Rank correlation of a word's attention and how far the picture moved without the word, in [-1, 1].

    1: the more attention, the more it moved; 0: no such order, or one of the maps is even; -1: the reverse.
    Ranks, so neither scale matters.

    Args:
        attention: (H, W) share of attention, as `word_map` gives it.
        moved: (h, w) how far each place moved, 0 is not at all, as the `delta_e` of `compare.moved`.  The
            finer of the two maps is averaged over the cells of the coarser one.

    Raises:
        SettingsError: a map is not two-dimensional, or has values that are no numbers.

    Source: Spearman's rho, equal values sharing their mean rank.
    """
    a, b = (_ranks(values.flatten()) for values in _fitted(attention, moved))
    a, b = a - a.mean(), b - b.mean()
    scale = float(a.norm() * b.norm())
    return float(a @ b) / scale if scale > 0 else 0.0


def caught(attention: Tensor, moved: Tensor, share: float = 0.1) -> float:
    """How much of all that moved lies under the most attended part of the picture, in [0, 1].

    An even map of attention catches `share` of it.

    Args:
        attention, moved: as in `agreement`.
        share: of the picture, above 0 and at most 1; of equally attended places each counts in part.

    Raises:
        SettingsError: as in `agreement`, or the share is out of range.
    """
    if not 0 < share <= 1:
        raise SettingsError(f"share must be above 0 and at most 1, got {share}.")
    seen, change = (values.flatten() for values in _fitted(attention, moved))
    total = float(change.sum())
    if total <= 0:
        return 0.0
    wanted = share * len(seen)
    edge = seen.sort(descending=True).values[min(len(seen), max(1, _whole(wanted))) - 1]
    above, level = seen > edge, seen == edge
    part = (wanted - float(above.sum())) / float(level.sum())
    return (float(change[above].sum()) + part * float(change[level].sum())) / total


def _whole(count: float) -> int:
    """The smallest whole number of places that hold `count`, but for rounding."""
    return -int(-(count - 1e-9) // 1)


def _fitted(attention: Tensor, moved: Tensor) -> tuple[Tensor, Tensor]:
    """Both in float64, and of one size: the smaller height and the smaller width."""
    for name, values in (("attention", attention), ("moved", moved)):
        if values.ndim != 2 or not values.numel():
            raise SettingsError(f"{name} must be a map (H, W), got the shape {tuple(values.shape)}.")
        if not bool(values.isfinite().all()):
            raise SettingsError(f"{name} has values that are no numbers.")
    size = min(attention.shape[0], moved.shape[0]), min(attention.shape[1], moved.shape[1])
    first, second = (F.adaptive_avg_pool2d(v.double()[None, None], size)[0, 0] for v in (attention, moved))
    return first, second


def _ranks(values: Tensor) -> Tensor:
    """(n,) -> (n,) ranks from 0; equal values share the mean of theirs."""
    _, which, counts = torch.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum(0).double()
    return (last - (counts + 1) / 2)[which]
