"""What a run is held to, and what its network reads besides its latents."""

from dataclasses import dataclass

from torch import Tensor

from ..diffusion.denoiser import Keep


@dataclass(frozen=True, eq=False)
class Reads:
    """What a run is held to, and what its network reads besides its latents: fields of `Denoiser`.

    Attributes:
        concat, concat_uncond, keep: as `Denoiser`.
        level: the class number that tells how noisy the picture in `concat` is; None of most networks.
    """

    concat: Tensor | None = None
    concat_uncond: Tensor | None = None
    keep: Keep | None = None
    level: int | None = None
