"""The random numbers of an NVIDIA GPU, made on the CPU.

torch.randn on CUDA gives each thread one Philox counter, and a tensor's number i to thread i as long as there
are threads enough; longer tensors go on in an order that depends on the GPU, which is not imitated here.
"""

from math import pi, prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_LOW = 2**32 - 1
_TURN = float(np.float32(2 * pi / 2**32))  # cuRAND's constant is a float32


def philox(counter: NDArray[np.uint64], seed: int) -> NDArray[np.uint64]:
    """Philox-4x32-10: 128 random bits for every counter.

    Args:
        counter: (4, n) words below 2**32.
        seed: the 64-bit key.

    Returns:
        (4, n) words below 2**32.

    Source: Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 3.3 and table 1.
    """
    a, b, c, d = counter
    low, high = seed & _LOW, seed >> 32
    for _ in range(10):
        left, right = a * np.uint64(0xD2511F53), c * np.uint64(0xCD9E8D57)
        a, b, c, d = (right >> 32) ^ b ^ low, right & _LOW, (left >> 32) ^ d ^ high, left & _LOW
        low, high = (low + 0x9E3779B9) & _LOW, (high + 0xBB67AE85) & _LOW
    return np.stack([a, b, c, d])


def cuda_randn(shape: tuple[int, ...], seed: int, draw: int) -> Tensor:
    """What the draw-th torch.randn(shape) of a CUDA generator with this seed gives; float32 on the CPU.

    Args:
        draw: how many tensors that generator has made before.

    Source: Box & Muller 1958, the sine half, on the first two words, as in cuRAND's `curand_normal4`.
    """
    counter = np.zeros((4, prod(shape)), dtype=np.uint64)
    counter[0], counter[2] = draw, np.arange(prod(shape))
    words = philox(counter, seed)
    u = words[0] / 2**32 + 2.0**-33
    v = words[1] * _TURN + _TURN / 2
    normal = np.sqrt(-2 * np.log(u)) * np.sin(v)
    return torch.from_numpy(normal.astype(np.float32)).reshape(shape)
