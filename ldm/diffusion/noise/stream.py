"""What a sampler asks for noise, and our own answer: every picture of a batch has numbers of its own."""

from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from torch import Tensor

from .brownian import Brownian
from .keys import draw_seed


class Noise(Protocol):
    """Unit noise of one run, float32 on the CPU.  Asking twice or in another order gives the same bits."""

    def __call__(self, draw: int) -> Tensor:
        """(B, C, H, W) unit noise; draw 0 is the start, draw k + 1 belongs to step k."""
        ...

    def between(self, sigma: float, sigma_next: float) -> Tensor:
        """(B, C, H, W) increment of one Brownian motion between two noise levels, scaled to unit variance.

        Its time is log2(sigma).  Increments that do not overlap are independent; the correlation of others is
        the length that they share over the square root of the product of theirs.

        Raises:
            SettingsError: unless sigma > sigma_next > 0.
        """
        ...


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

    def between(self, sigma: float, sigma_next: float) -> Tensor:
        """(B, C, H, W) as in `Noise`; picture i follows the path of seed + i, whatever the steps."""
        return self._brownian(sigma, sigma_next)

    @cached_property
    def _brownian(self) -> Brownian:
        return Brownian(self.seed, self.batch_size, self.shape)
