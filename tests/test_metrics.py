"""Metrics against a slow reference written from the paper, and against scikit-image's numbers."""

import itertools
import math

import numpy as np
import pytest
import torch

from ldm.metrics import latent_statistics, mae, mse, perplexity, psnr, ssim


@pytest.fixture(scope="module")
def pair():
    """Two pictures (3, 23, 31) given by formulas, so that another program can make them too."""
    i, j, c = torch.meshgrid(*(torch.arange(n, dtype=torch.float64) for n in (23, 31, 3)), indexing="ij")
    a = torch.sin(0.3 * i + 0.1 * j * (c + 1))
    b = 0.9 * a + 0.1 * torch.cos(0.7 * j - 0.2 * i * c)
    return a.permute(2, 0, 1), b.permute(2, 0, 1)


def slow_ssim(a, b, data_range):
    """Equation 13 of Wang et al. 2004, one window at a time."""
    a, b = a.numpy(), b.numpy()
    weights = np.exp(-(np.arange(-5, 6) ** 2) / 4.5)
    window = np.outer(weights, weights) / weights.sum() ** 2
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    values = []
    for c, i, j in itertools.product(range(3), range(a.shape[1] - 10), range(a.shape[2] - 10)):
        p, q = a[c, i : i + 11, j : j + 11], b[c, i : i + 11, j : j + 11]
        mp, mq = (window * p).sum(), (window * q).sum()
        vp, vq = (window * (p - mp) ** 2).sum(), (window * (q - mq) ** 2).sum()
        cov = (window * (p - mp) * (q - mq)).sum()
        values.append((2 * mp * mq + c1) * (2 * cov + c2) / ((mp**2 + mq**2 + c1) * (vp + vq + c2)))
    return np.mean(values)


def test_ssim_is_that_of_the_paper(pair):
    assert ssim(*pair) == pytest.approx(slow_ssim(*pair, 2.0), abs=1e-12)


def test_numbers_are_those_of_scikit_image(pair):
    # scikit-image 0.26.0 on the pair above, as arrays (23, 31, 3):
    # structural_similarity(a, b, data_range=2, gaussian_weights=True, use_sample_covariance=False, sigma=1.5,
    #                       channel_axis=2)
    # peak_signal_noise_ratio(a, b, data_range=2), mean_squared_error(a, b)
    a, b = pair
    assert ssim(a, b) == pytest.approx(0.9289205960387905, abs=1e-12)
    assert psnr(a, b) == pytest.approx(26.126487450023824, abs=1e-12)
    assert mse(a, b) == pytest.approx(0.009759133215851966, abs=1e-15)
    assert ssim(a[:1], -a[:1]) == pytest.approx(0.9203141460961184, abs=1e-12)


def test_equal_pictures_are_perfect(pair):
    a, _ = pair
    assert (mse(a, a), mae(a, a), psnr(a, a), ssim(a, a)) == (0.0, 0.0, math.inf, 1.0)


def test_psnr_of_a_known_error():
    a = torch.zeros(1, 3, 4, 4)
    assert psnr(a, a + 0.2) == pytest.approx(20.0, abs=1e-6)  # 10 log10(4 / 0.04)
    assert psnr(a, a + 0.1, data_range=1.0) == pytest.approx(20.0, abs=1e-6)
    assert mae(a, a - 0.2) == pytest.approx(0.2)


def test_scaling_pictures_and_data_range_alike_changes_nothing(pair):
    a, b = pair
    assert ssim(127.5 * a, 127.5 * b, data_range=255.0) == pytest.approx(ssim(a, b), abs=1e-12)


def test_a_batch_is_the_mean_of_its_pictures(pair):
    a, b = pair
    both = ssim(torch.stack([a, b]), torch.stack([b, b]))
    assert both == pytest.approx((ssim(a, b) + 1) / 2, abs=1e-12)


@pytest.mark.parametrize("size", [(1, 1), (2, 30), (10, 11), (11, 11), (30, 4)])
def test_small_pictures_have_a_similarity_too(size):
    torch.manual_seed(0)
    a = torch.rand(1, 3, *size) * 2 - 1
    assert ssim(a, a) == pytest.approx(1.0)
    assert -1 <= ssim(a, -a) < 1


def test_two_shapes_are_a_bug():
    with pytest.raises(ValueError, match=r"one shape, got \(3, 4, 4\) and \(3, 4, 5\)"):
        ssim(torch.zeros(3, 4, 4), torch.zeros(3, 4, 5))


def test_arguments_stay_as_they_are(pair):
    a, b = pair
    before = a.clone(), b.clone()
    ssim(a, b), psnr(a, b)
    assert torch.equal(a, before[0])
    assert torch.equal(b, before[1])


def test_latent_statistics_are_per_channel_over_batch_and_positions():
    latents = torch.zeros(2, 3, 2, 2)
    latents[0, 1] = 4.0
    latents[1, 2, 0, 0] = -8.0
    assert latent_statistics(latents) == {
        "channel": [0.0, 1.0, 2.0],
        "mean": [0.0, 2.0, -1.0],
        "std": pytest.approx([0.0, 2.0, math.sqrt(7.0)]),
        "min": [0.0, 0.0, -8.0],
        "max": [0.0, 4.0, 0.0],
    }


def test_perplexity_counts_choices_that_are_made_equally_often():
    assert perplexity(torch.full((4, 5), 7)) == pytest.approx(1.0)
    assert perplexity(torch.arange(12).view(3, 4)) == pytest.approx(12.0)
    shares = [0.5, 0.25, 0.25]
    expected = math.exp(-sum(p * math.log(p) for p in shares))
    assert perplexity(torch.tensor([3, 3, 0, 9])) == pytest.approx(expected)
