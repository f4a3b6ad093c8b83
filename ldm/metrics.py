"""How far apart two pictures are, and what latents look like, in numbers.

Tensors in, floats out.  Knows nothing about files, networks or the rest of the package.
"""

import math

import torch
from torch import Tensor

WINDOW = 11  # SSIM's Gaussian window
WINDOW_SIGMA = 1.5


def mse(a: Tensor, b: Tensor) -> float:
    """Mean squared difference of two tensors of one shape."""
    return float((_double(a) - _double(b)).square().mean())


def mae(a: Tensor, b: Tensor) -> float:
    """Mean absolute difference of two tensors of one shape."""
    return float((_double(a) - _double(b)).abs().mean())


def psnr(a: Tensor, b: Tensor, data_range: float = 2.0) -> float:
    """Peak signal-to-noise ratio in dB, `10 * log10(data_range**2 / mse)`; infinite for equal pictures.

    Args:
        data_range: largest value minus smallest: 2 for pictures in [-1, 1].
    """
    error = mse(a, b)
    return math.inf if error == 0 else 10 * math.log10(data_range**2 / error)


def ssim(a: Tensor, b: Tensor, data_range: float = 2.0) -> float:
    """Structural similarity, 1 for equal pictures, averaged over windows, channels and pictures.

    Only windows that lie fully inside the picture count, as in the paper's own program and in scikit-image
    (`gaussian_weights=True, use_sample_covariance=False`).  A picture with a side under 11 pixels is compared
    with the largest odd window that fits.

    Args:
        a, b: (B, C, h, w) or (C, h, w).
        data_range: largest value minus smallest: 2 for pictures in [-1, 1].

    Source: Wang et al. 2004, "Image quality assessment: from error visibility to structural similarity",
        equation 13 with K1 = 0.01, K2 = 0.03.
    """
    if a.shape != b.shape:
        raise ValueError(f"ssim needs two pictures of one shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    a, b = (_double(x).reshape(-1, 1, *x.shape[-2:]) for x in (a, b))  # (B * C, 1, h, w)
    mean_a, mean_b = _blur(a), _blur(b)
    var_a = _blur(a * a) - mean_a**2
    var_b = _blur(b * b) - mean_b**2
    covariance = _blur(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    likeness = (2 * mean_a * mean_b + c1) * (2 * covariance + c2)
    return float((likeness / ((mean_a**2 + mean_b**2 + c1) * (var_a + var_b + c2))).mean())


def latent_statistics(latents: Tensor) -> dict[str, list[float]]:
    """Columns channel, mean, std, min and max, one row per channel of (B, C, H, W) latents."""
    rows = _double(latents).transpose(0, 1).flatten(1)  # (C, B * H * W)
    return {
        "channel": [float(c) for c in range(len(rows))],
        "mean": rows.mean(1).tolist(),
        "std": rows.std(1, correction=0).tolist(),
        "min": rows.amin(1).tolist(),
        "max": rows.amax(1).tolist(),
    }


def perplexity(indices: Tensor) -> float:
    """How many choices, all made equally often, tell as much as these: `exp(-sum(p * log(p)))`.

    Args:
        indices: int64 of any shape, at least one; p is the share of each value.

    Source: van den Oord et al. 2017 (arXiv:1711.00937), as its authors' program reports codebooks.
    """
    shares = indices.flatten().unique(return_counts=True)[1].double() / indices.numel()
    return float(torch.exp(-(shares * shares.log()).sum()))


def _double(x: Tensor) -> Tensor:
    return x.detach().double()


def _blur(x: Tensor) -> Tensor:
    """Gaussian means of (N, 1, h, w) over the windows that fit inside."""
    for dim in (2, 3):
        size = min(WINDOW, x.shape[dim] - 1 + x.shape[dim] % 2)  # odd
        left = x.shape[dim] - size + 1
        weights = [math.exp(-((k - size // 2) ** 2) / (2 * WINDOW_SIGMA**2)) for k in range(size)]
        total = x.new_zeros(x.narrow(dim, 0, left).shape)
        for k, weight in enumerate(weights):  # a quarter of a convolution's time in float64
            total.add_(x.narrow(dim, k, left), alpha=weight / sum(weights))
        x = total
    return x
