"""What an encoder says about a picture where it says one thing only: no distribution, hence no doubt."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, eq=False)
class Certain:
    """The latents of a picture from an encoder that gives no distribution; in place of `DiagonalGaussian`.

    Attributes:
        mean: (B, C, H, W) the latents.
        std: None, for there is no spread.
    """

    mean: Tensor
    std: None = None

    def mode(self) -> Tensor:
        """(B, C, H, W) the latents."""
        return self.mean

    def sample(self, noise: Tensor | None = None) -> Tensor:
        """(B, C, H, W) the latents too, whatever the noise."""
        return self.mean
