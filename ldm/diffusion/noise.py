"""Random numbers that depend on nothing but (seed, picture, draw): not on batch, device, order or history.

Noise is drawn on the CPU in float32 and moved where it is needed, so a seed means one picture everywhere, and
a run can be taken up again at any step.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

_MASK = 2**64 - 1


@dataclass(frozen=True)
class NoiseStream:
    """The noise of one run.  Call it with the number of a draw.

    Attributes:
        seed: picture i is drawn from seed + i, so a batch is reproducible one by one.
        batch_size: B, number of pictures.
        shape: of one picture's latents, (C, H, W).
    """

    seed: int
    batch_size: int
    shape: tuple[int, ...]

    def __call__(self, draw: int) -> Tensor:
        """(B, C, H, W) unit noise, float32 on the CPU; draw 0 is the start, draw k belongs to step k - 1."""
        pictures = []
        for picture in range(self.batch_size):
            generator = torch.Generator().manual_seed(draw_seed(self.seed + picture, draw))
            pictures.append(torch.randn(self.shape, generator=generator))
        return torch.stack(pictures)


def draw_seed(seed: int, draw: int) -> int:
    """Seed of one draw of one picture: `seed` itself for draw 0, a hash of both from then on.

    A hash, because seed + draw would give step k of one picture the noise of step k - 1 of the next.

    Source: SplitMix64, Steele et al. 2014, "Fast splittable pseudorandom number generators".
    """
    if draw == 0:
        return seed
    return _mix(_mix(seed) + draw)


def _mix(word: int) -> int:
    """SplitMix64's step: one-to-one on 64 bits; every bit in changes half of the bits out."""
    word = (word + 0x9E3779B97F4A7C15) & _MASK
    word = ((word ^ (word >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    word = ((word ^ (word >> 27)) * 0x94D049BB133111EB) & _MASK
    return word ^ (word >> 31)
