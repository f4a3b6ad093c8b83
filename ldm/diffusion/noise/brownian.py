"""One Brownian motion per picture, over all noise levels, of which any increment can be asked.

Its time is log2(sigma), to a 256th.  Nothing but the picture's seed and the two levels decides an increment,
so a sampler of stochastic differential equations follows one path whatever the number of steps.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from math import floor, inf, log2, prod, sqrt

import torch
from torch import Tensor

from ...errors import SettingsError
from .keys import node_seed

DEPTH = 8  # halvings of an octave; no two of Stable Diffusion's 1,000 timesteps share a 256th
_KEPT = 24  # normals per picture: the next step begins where this one ended, and needs 10 of the same
_MEMORY = 2**28  # bytes of them at most


@dataclass(frozen=True)
class Brownian:
    """The Brownian motions of a batch.

    Attributes:
        seed: picture i follows the path of seed + i.
        batch_size: B, number of pictures.
        shape: of one picture's latents, (C, H, W).
    """

    seed: int
    batch_size: int
    shape: tuple[int, ...]

    def __call__(self, sigma: float, sigma_next: float) -> Tensor:
        """(B, C, H, W) increment between two levels over its standard deviation, float32 on the CPU.

        Raises:
            SettingsError: unless sigma > sigma_next > 0.
        """
        weights = increment(sigma, sigma_next)
        pictures = torch.zeros(self.batch_size, *self.shape)
        for index, picture in enumerate(pictures):
            for (octave, node), weight in weights.items():
                picture.add_(self._normal(self.seed + index, octave, node), alpha=weight)
        return pictures

    @cached_property
    def _normal(self) -> Callable[[int, int, int], Tensor]:
        """`node_noise` of (seed, octave, node).  What is kept saves drawing it again, and changes nothing."""
        room = _MEMORY // (4 * prod(self.shape))
        return lru_cache(min(_KEPT * self.batch_size, room))(partial(node_noise, self.shape))


def node_noise(shape: tuple[int, ...], seed: int, octave: int, node: int) -> Tensor:
    """(C, H, W) the unit noise of one node of one octave."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(node_seed(seed, octave, node)))


def time_of(sigma: float) -> float:
    """log2(sigma) to the nearest 2**-DEPTH, where the tree ends."""
    return round(log2(sigma) * 2**DEPTH) / 2**DEPTH


def increment(sigma: float, sigma_next: float) -> dict[tuple[int, int], float]:
    """W(log2(sigma)) - W(log2(sigma_next)) over its standard deviation, as weights of independent normals.

        W(u) - W(v) = inside(u) - inside(v) + the whole octaves from floor(v) to floor(u)

    An octave's increment is its node 0.  Levels are taken at `time_of`, which saves a fifth of the normals:
    what time a level has changes nothing, as long as the order stays.  Two levels that fall together there
    keep their own times; both share a leaf of the tree, and the standard deviation is not sqrt(u - v).

    Returns:
        (octave, node) -> weight; their squares sum to 1.

    Raises:
        SettingsError: unless sigma > sigma_next > 0.
    """
    weights: dict[tuple[int, int], float] = defaultdict(float)
    if inf > sigma > sigma_next > 0:
        u, v = time_of(sigma), time_of(sigma_next)
        if u == v:
            u, v = log2(sigma), log2(sigma_next)
        # those of sigma first: they are the ones kept from the step before
        for node, weight in inside(u - floor(u)):
            weights[floor(u), node] += weight
        for octave in range(floor(v), floor(u)):
            weights[octave, 0] += 1
        for node, weight in inside(v - floor(v)):
            weights[floor(v), node] -= weight
    deviation = sqrt(sum(weight**2 for weight in weights.values()))
    if deviation == 0:
        raise SettingsError(
            f"Brownian noise needs two noise levels, falling and above 0; got {sigma} and {sigma_next}."
        )
    return {key: weight / deviation for key, weight in weights.items() if weight != 0}


def inside(position: float) -> Iterator[tuple[int, float]]:
    """W within one octave, 0 at its lower end, as (node, weight) of independent normals.

    The midpoint of an interval is normal about the mean of its ends, with variance size / 4; after DEPTH
    halvings the point itself is normal about the line between the ends, with variance size * p * (1 - p).

    Args:
        position: in the octave, 0 to 1.

    Source: Lévy's construction; virtual Brownian trees, Li et al. 2020 (arXiv:2001.01328), algorithm 3.
    """
    yield 0, position
    node, size = 1, 1.0
    for _ in range(DEPTH):
        if position == 0:
            return  # an end of the interval: no normal below moves it
        yield node, sqrt(size) / 2 * (1 - abs(2 * position - 1))
        right = position >= 0.5
        position, node, size = 2 * position - right, 2 * node + right, size / 2
    yield node, sqrt(size * position * (1 - position))
