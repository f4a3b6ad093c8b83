"""How much of the latents is coarse and how much is fine: power over spatial frequency."""

from typing import TypedDict

import torch
from torch import Tensor

from ..trace import Trace
from .predictions import check_picture


class Spectra(TypedDict):
    """Power per ring of every step.

    Attributes:
        frequency: (rings,) cycles per latent, from 0, which is the mean, to at most 0.5.
        x0: (steps, rings) of the predicted clean latents.
        x_t: (steps, rings) of the noisy latents at unit variance; those of pure noise are about 1 everywhere.
    """

    frequency: list[float]
    x0: list[list[float]]
    x_t: list[list[float]]


def power(latents: Tensor) -> Tensor:
    """(..., C, H, W) -> (..., H, W) float64 `|FFT|^2 / (H * W)`, mean over channels; [0, 0] is the mean's.

    Its mean is the mean square of the latents (Parseval's theorem), so white noise of variance 1 has 1
    everywhere on average, at any size.
    """
    return torch.fft.fft2(latents.double().nan_to_num(0, 0, 0), norm="ortho").abs().square().mean(-3)


def rings(height: int, width: int) -> Tensor:
    """(H, W) int64: which ring each coefficient of an FFT is in, by its distance from frequency 0.

    Ring r is around `r / min(H, W)` cycles per latent, so that no ring of a long picture is empty.
    """
    distance = torch.hypot(
        torch.fft.fftfreq(height, dtype=torch.float64)[:, None], torch.fft.fftfreq(width, dtype=torch.float64)
    )
    return (distance * min(height, width)).round().long()


def frequencies(height: int, width: int) -> list[float]:
    """Cycles per latent of every ring up to Nyquist's frequency, 0.5."""
    side = min(height, width)
    return [r / side for r in range(side // 2 + 1)]


def spectrum(latents: Tensor) -> list[float]:
    """Mean `power` of (C, H, W) latents in each ring of `frequencies`; the corners beyond are left out."""
    return _radial(latents[None])[0]


def spectra(trace: Trace, picture: int = 0) -> Spectra:
    """`spectrum` of every step of one picture: the coarse rings of x0 settle first.

    Raises:
        SettingsError: the batch has no such picture.
    """
    check_picture(trace, picture)
    if not trace.steps:
        return {"frequency": [], "x0": [], "x_t": []}
    x0 = torch.stack([s.prediction.x0[picture] for s in trace.steps])  # (steps, C, H, W)
    x_t = torch.stack([s.x[picture].double() / (1 + s.sigma**2) ** 0.5 for s in trace.steps])
    height, width = x0.shape[-2:]
    return {"frequency": frequencies(height, width), "x0": _radial(x0), "x_t": _radial(x_t)}


def _radial(latents: Tensor) -> list[list[float]]:
    """(steps, C, H, W) -> (steps, rings)."""
    height, width = latents.shape[-2:]
    ring = rings(height, width).flatten()
    sums = torch.zeros(len(latents), int(ring.max()) + 1, dtype=torch.float64)
    sums.index_add_(1, ring, power(latents).flatten(1).cpu())
    means = sums / torch.bincount(ring).clamp(min=1)
    return means[:, : len(frequencies(height, width))].tolist()
