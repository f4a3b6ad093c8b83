"""Pictures like the one of a seed: its starting noise turned a little way towards another's."""

from collections.abc import Callable
from dataclasses import dataclass
from math import acos, sin

import torch
from torch import Tensor

from .stream import Noise

Slerp = Callable[[Tensor, Tensor, float], Tensor]


def slerp(start: Tensor, end: Tensor, strength: float) -> Tensor:
    """(C, H, W) on the great circle from `start` to `end`; normal noise stays so, of the same variance.

        (sin((1 - strength) * angle) * start + sin(strength * angle) * end) / sin(angle)

    Args:
        strength: 0 is `start`, 1 is `end`.

    Source: Shoemake 1985, "Animating rotation with quaternion curves", section 3.3.
    """
    a, b = start.double().flatten(), end.double().flatten()
    cosine = float(a @ b) / float(a.norm() * b.norm())
    if cosine > 1 - 1e-9:  # one seed twice: no way to turn
        return start
    angle = acos(cosine)
    return sin((1 - strength) * angle) / sin(angle) * start + sin(strength * angle) / sin(angle) * end


def slerp_columns(start: Tensor, end: Tensor, strength: float) -> Tensor:
    """(C, H, W) as AUTOMATIC1111 mixes: `slerp` of every channel's every column by itself.

    Source: `slerp` in AUTOMATIC1111's modules/rng.py.
    """
    a, b = (noise / noise.norm(dim=1, keepdim=True) for noise in (start, end))
    angle = (a * b).sum(dim=1, keepdim=True).clamp(-1, 1).acos()  # (C, 1, W)
    whole = angle.sin()
    # divided before it is multiplied, for the same bits
    turned = ((1 - strength) * angle).sin() / whole * start + (strength * angle).sin() / whole * end
    return torch.where(whole > 0, turned, start)


@dataclass(frozen=True)
class VariedNoise:
    """Noise of a batch of variations: each picture starts elsewhere, all take the steps of one seed.

    Attributes:
        base: of one picture, the seed's.
        others: of one picture each, the variations'.
        strength: of each variation, 0 to 1.
        mix: `slerp`, or a program's own.
    """

    base: Noise
    others: tuple[Noise, ...]
    strength: float
    mix: Slerp = slerp

    def __call__(self, draw: int) -> Tensor:
        """(B, C, H, W) as in `Noise`."""
        base = self.base(draw)
        if draw > 0:
            return torch.cat([base] * len(self.others))
        return torch.stack([self.mix(base[0], other(0)[0], self.strength) for other in self.others])

    def between(self, sigma: float, sigma_next: float) -> Tensor:
        """(B, C, H, W) as in `Noise`: the seed's path for every picture."""
        return torch.cat([self.base.between(sigma, sigma_next)] * len(self.others))
