"""Which random numbers a seed stands for, in this program and in others, whose seeds can then be used here.

docs/noise.md says what of another program's noise can be matched, and where.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from ...errors import SettingsError, check_choice
from .brownian import Brownian
from .philox import cuda_randn
from .stream import Noise, NoiseStream
from .variation import Slerp, VariedNoise, slerp, slerp_columns

MAX_SEED = 2**32 - 1


@dataclass(frozen=True)
class OneGenerator:
    """Draws of one CPU generator for the whole batch, which goes on from draw to draw.

    Attributes:
        seed: of the generator.
        size: of a draw, (B, C, H, W).
    """

    seed: int
    size: tuple[int, ...]

    def __call__(self, draw: int) -> Tensor:
        """(B, C, H, W) unit noise, the same whatever was asked before."""
        generator, states = torch.Generator(), self._states
        generator.set_state(states[min(draw, len(states) - 1)])
        while len(states) <= draw:
            torch.randn(self.size, generator=generator)
            states.append(generator.get_state())
        return torch.randn(self.size, generator=generator)

    @cached_property
    def _states(self) -> list[Tensor]:
        """The generator before each draw, as far as was asked; 5 KB each."""
        return [torch.Generator().manual_seed(self.seed).get_state()]


@dataclass(frozen=True)
class ForeignNoise:
    """Another program's draws.  The Brownian motion is ours.

    Attributes:
        draws: number -> (B, C, H, W).
        brownian: for samplers that ask between noise levels.
    """

    draws: Callable[[int], Tensor]
    brownian: Brownian

    def __call__(self, draw: int) -> Tensor:
        """(B, C, H, W) as in `Noise`."""
        return self.draws(draw)

    def between(self, sigma: float, sigma_next: float) -> Tensor:
        """(B, C, H, W) as in `Noise`."""
        return self.brownian(sigma, sigma_next)


def diffusers_noise(seed: int, batch_size: int, shape: tuple[int, ...]) -> ForeignNoise:
    """A pipeline's with `generator=torch.Generator("cpu").manual_seed(seed)`.

    Source: diffusers 0.42, `randn_tensor`, called by `prepare_latents` and then by the scheduler's steps.
    """
    draws = OneGenerator(seed, (batch_size, *shape))
    return ForeignNoise(draws, Brownian(seed, batch_size, shape))


def a1111_gpu_noise(seed: int, batch_size: int, shape: tuple[int, ...]) -> ForeignNoise:
    """AUTOMATIC1111's with the random number source "GPU" or "NV": one CUDA generator per picture.

    Source: its modules/rng.py and modules/rng_philox.py.
    """

    def draws(draw: int) -> Tensor:
        return torch.stack([cuda_randn(shape, seed + i, draw) for i in range(batch_size)])

    return ForeignNoise(draws, Brownian(seed, batch_size, shape))


def comfyui_noise(seed: int, batch_size: int, shape: tuple[int, ...]) -> ForeignNoise:
    """ComfyUI's on an NVIDIA GPU: the start from one CPU generator, the steps from one on the GPU.

    Source: its `prepare_noise` (comfy/sample.py) and `default_noise_sampler` (comfy/k_diffusion/sampling.py).
    """
    size = (batch_size, *shape)

    def draws(draw: int) -> Tensor:
        return OneGenerator(seed, size)(0) if draw == 0 else cuda_randn(size, seed, draw - 1)

    return ForeignNoise(draws, Brownian(seed, batch_size, shape))


@dataclass(frozen=True)
class Convention:
    """How a program makes noise.

    Attributes:
        noise: (seed, batch_size, shape) -> Noise.
        mix: turns a picture's noise towards a variation's.
    """

    noise: Callable[[int, int, tuple[int, ...]], Noise]
    mix: Slerp = slerp


NOISES: dict[str, Convention] = {
    "per_picture": Convention(NoiseStream),
    "diffusers": Convention(diffusers_noise),
    "a1111_gpu": Convention(a1111_gpu_noise, slerp_columns),
    "comfyui": Convention(comfyui_noise),
}


def noise_of(
    convention: str,
    seed: int,
    batch_size: int,
    shape: tuple[int, ...],
    *,
    variation_seed: int | None = None,
    variation_strength: float = 0.0,
) -> Noise:
    """The noise of a run.

    With a variation strength all pictures have the one seed, picture i starts part of the way towards the
    noise of variation_seed + i, and each is what a batch of one gives with that variation seed.

    Args:
        convention: a key of NOISES.
        seed: 0 to 2**32 - 1.
        shape: of one picture's latents, (C, H, W).
        variation_seed: likewise; read only with a strength.
        variation_strength: 0 is the seed's own noise, 1 starts with the variation's.

    Raises:
        SettingsError: unknown convention, a seed or strength out of range, or a strength without its seed.
    """
    check_choice("noise", convention, NOISES)
    chosen = NOISES[convention]
    _check_seed("seed", seed)
    if not 0 <= variation_strength <= 1:
        raise SettingsError(f"variation_strength must be between 0 and 1, got {variation_strength}.")
    if variation_strength == 0:
        return chosen.noise(seed, batch_size, shape)
    if variation_seed is None:
        raise SettingsError(f"variation_strength {variation_strength} needs a variation_seed.")
    _check_seed("variation_seed", variation_seed)
    others = tuple(chosen.noise(variation_seed + i, 1, shape) for i in range(batch_size))
    return VariedNoise(chosen.noise(seed, 1, shape), others, variation_strength, chosen.mix)


def _check_seed(name: str, seed: int) -> None:
    if not 0 <= seed <= MAX_SEED:
        raise SettingsError(f"{name} must be between 0 and {MAX_SEED}, got {seed}.")
