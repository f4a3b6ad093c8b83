from itertools import pairwise
from math import inf, log2, nan, nextafter, sqrt

import pytest
import torch
from torch.testing import assert_close

from ldm.diffusion.noise import NoiseStream
from ldm.diffusion.noise.brownian import DEPTH, increment, time_of
from ldm.diffusion.schedule import BETAS, NoiseSchedule
from ldm.errors import SettingsError

SHAPE = (4, 5, 6)
MANY = (4, 128, 128)  # 65,536 positions, each a Brownian motion of its own
FIVE_DEVIATIONS = 5 / 256
LEVELS = [14.6146, 9.3, 5.5, 4.0, 1.7, 1.0, 0.61, 0.3, 0.0292]


def length(sigma, sigma_next):
    return time_of(sigma) - time_of(sigma_next) or log2(sigma) - log2(sigma_next)


def walk(stream, levels):
    """W at each level, from 0 at the first."""
    path = [torch.zeros(stream.batch_size, *stream.shape)]
    for pair in pairwise(levels):
        path.append(path[-1] + stream.between(*pair) * sqrt(length(*pair)))
    return path


def correlation(a, b):
    return float((a * b).mean() / (a.std() * b.std()))


@pytest.mark.parametrize("seed", [0, 7, 2**32 - 1])
def test_increments_apart_are_unit_normal_and_independent(seed):
    stream = NoiseStream(seed, 1, MANY)
    rows = torch.stack([stream.between(*pair).flatten() for pair in pairwise(LEVELS)])
    assert rows.dtype == torch.float32
    assert rows.mean(1).abs().max() < FIVE_DEVIATIONS
    assert (rows.var(1) - 1).abs().max() < sqrt(2) * FIVE_DEVIATIONS
    assert (rows.pow(4).mean(1) - 3).abs().max() < sqrt(96) * FIVE_DEVIATIONS
    assert (torch.corrcoef(rows) - torch.eye(len(rows))).abs().max() < FIVE_DEVIATIONS


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((8.0, 1.0), (8.0, 2.0)),  # one in the other
        ((14.6, 0.9), (3.3, 0.03)),  # the end of one is the start of the other
        ((1.5, 1.1), (1.3, 1.01)),  # all in one octave
        ((0.3, 0.29), (0.2955, 0.28)),  # and in neighbouring leaves
    ],
)
def test_increments_that_overlap_are_alike_as_far_as_they_do(first, second):
    stream = NoiseStream(3, 1, MANY)
    shared = length(min(first[0], second[0]), max(first[1], second[1]))
    expected = shared / sqrt(length(*first) * length(*second))
    assert abs(correlation(stream.between(*first), stream.between(*second)) - expected) < FIVE_DEVIATIONS


def test_the_weights_have_the_covariance_of_brownian_motion():
    generator = torch.Generator().manual_seed(0)
    levels = sorted((2 ** (torch.rand(40, generator=generator) * 12 - 6)).tolist(), reverse=True)
    pairs = [(a, b) for a in levels for b in levels if a > b]
    for (a, b), (c, d) in zip(pairs, reversed(pairs), strict=True):
        first, second = increment(a, b), increment(c, d)
        assert sum(weight**2 for weight in first.values()) == pytest.approx(1, abs=1e-14)
        made = sum(weight * second.get(key, 0) for key, weight in first.items())
        shared = max(0, length(min(a, c), max(b, d)) if min(a, c) > max(b, d) else 0)
        # two levels of 40 lie closer than a leaf by chance; theirs is only nearly so
        if min(length(*pair) for pair in pairwise(sorted({a, b, c, d}, reverse=True))) > 2.0**-DEPTH:
            assert made == pytest.approx(shared / sqrt(length(a, b) * length(c, d)), abs=1e-12)


def test_increments_add_up():
    stream = NoiseStream(1, 2, SHAPE)
    for a, b, c in zip(LEVELS, LEVELS[1:], LEVELS[2:], strict=False):
        parts = stream.between(a, b) * sqrt(length(a, b)) + stream.between(b, c) * sqrt(length(b, c))
        assert_close(stream.between(a, c) * sqrt(length(a, c)), parts, atol=2e-6, rtol=1e-5)


@pytest.mark.parametrize("steps", [1, 2, 5, 10, 20, 100])
def test_every_number_of_steps_follows_one_path(steps):
    fine = [80 * (0.002 / 80) ** (k / 100) for k in range(101)]
    coarse = fine[:: 100 // steps]
    expected = walk(NoiseStream(5, 2, SHAPE), fine)[:: 100 // steps]
    for made, level in zip(walk(NoiseStream(5, 2, SHAPE), coarse), expected, strict=True):
        assert_close(made, level, atol=2e-5, rtol=1e-5)


def test_picture_i_of_a_batch_is_seed_plus_i():
    batch = NoiseStream(7, 3, SHAPE)
    for pair in pairwise(LEVELS):
        together = batch.between(*pair)
        for picture in range(3):
            assert torch.equal(together[picture], NoiseStream(7 + picture, 1, SHAPE).between(*pair)[0])


def test_what_was_asked_before_changes_no_bit():
    used, pairs = NoiseStream(7, 2, SHAPE), list(pairwise(LEVELS))
    for pair in [*reversed(pairs), *pairs, *[(a, b) for a in LEVELS for b in LEVELS if a > b], *pairs]:
        torch.manual_seed(len(pairs))
        assert torch.equal(used.between(*pair), NoiseStream(7, 2, SHAPE).between(*pair))


def test_drawing_leaves_the_global_generator_and_what_was_given_alone():
    stream = NoiseStream(7, 1, SHAPE)
    before = torch.get_rng_state()
    given = stream.between(3.0, 2.0)
    kept = given.clone()
    given.mul_(0)
    assert torch.equal(stream.between(3.0, 2.0), kept)
    assert torch.equal(torch.get_rng_state(), before)


def test_what_is_kept_is_bounded_and_serves_the_next_step():
    stream = NoiseStream(7, 2, SHAPE)
    levels = [80 * (1e-4 / 80) ** (k / 50) for k in range(51)]
    drawn = []
    for pair in pairwise(levels):
        stream.between(*pair)
        drawn.append(stream._brownian._normal.cache_info().misses)
        assert stream._brownian._normal.cache_info().currsize <= 48
    assert max(b - a for a, b in pairwise(drawn)) <= 2 * (DEPTH + 2)  # one new point for each picture


def test_what_is_kept_of_large_pictures_is_bounded_in_bytes():
    info = NoiseStream(7, 16, (4, 512, 512))._brownian._normal.cache_info()
    assert info.maxsize == 64  # of 4 MiB each


def test_a_seed_keeps_its_path():
    expected = torch.tensor([0.80445701, -0.51308417, 0.58104205, -1.31536027])
    assert_close(NoiseStream(0, 1, (1, 1, 4)).between(2.5, 0.3).flatten(), expected)


def test_the_seed_decides_the_path():
    first, second = (NoiseStream(seed, 1, MANY).between(3.0, 2.0) for seed in (0, 1))
    assert abs(correlation(first, second)) < FIVE_DEVIATIONS


def test_the_path_is_not_the_noise_of_the_draws():
    stream = NoiseStream(0, 1, MANY)
    for draw in range(4):
        assert abs(correlation(stream(draw), stream.between(3.0, 2.0))) < FIVE_DEVIATIONS


@pytest.mark.parametrize("sigma", [1e-6, 0.0292, 1.0, 1.7, 80.0, 4096.0])
@pytest.mark.parametrize("apart", [1e-14, 1e-9, 1e-5, 1e-3])
def test_levels_within_one_leaf_give_unit_noise(sigma, apart):
    made = NoiseStream(2, 1, MANY).between(sigma * (1 + apart), sigma)
    assert (made.var() - 1).abs() < sqrt(2) * FIVE_DEVIATIONS


def test_points_of_one_leaf_are_close():
    stream, ends = NoiseStream(2, 1, MANY), (4.0, 1.7)
    whole = stream.between(*ends) * sqrt(length(*ends))
    nearly = stream.between(4.0, 1.7 * (1 + 1e-9)) * sqrt(length(4.0, 1.7 * (1 + 1e-9)))
    assert (whole - nearly).abs().max() < 1e-3


@pytest.mark.parametrize("pair", [(4096.0, 1e-6), (1e-6, 1e-7), (1e300, 1e-300), (80.0, 0.002), (2.0, 1.0)])
def test_all_noise_levels_are_within_range(pair):
    made = NoiseStream(2, 1, MANY).between(*pair)
    assert (made.var() - 1).abs() < sqrt(2) * FIVE_DEVIATIONS


@pytest.mark.parametrize("name", ["scaled_linear", "linear", "cosine"])
def test_no_two_timesteps_of_a_schedule_share_a_leaf(name):
    levels = NoiseSchedule.from_betas(BETAS[name]()).sigmas.tolist()
    assert len({time_of(sigma) for sigma in levels}) == len(levels) == 1000


@pytest.mark.parametrize(
    "pair",
    [
        *((1.0, 1.0), (1.0, 2.0), (1.0, 0.0), (0.0, 0.0), (1.0, -1.0), (inf, 1.0), (nan, 1.0), (1.0, nan)),
        (nextafter(80.0, 81.0), 80.0),  # one logarithm
    ],
)
def test_levels_that_do_not_fall_are_refused(pair):
    with pytest.raises(SettingsError) as error:
        NoiseStream(2, 1, SHAPE).between(*pair)
    assert str(error.value) == (
        f"Brownian noise needs two noise levels, falling and above 0; got {pair[0]} and {pair[1]}."
    )
