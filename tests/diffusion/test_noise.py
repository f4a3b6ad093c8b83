import pytest
import torch

from ldm.diffusion.noise import NoiseStream, draw_seed
from ldm.diffusion.noise.keys import _mix, node_seed

SHAPE = (4, 5, 6)


def test_the_start_is_torch_s_own_noise_of_the_seed():
    start = NoiseStream(7, 2, SHAPE)(0)
    assert start.dtype == torch.float32
    for picture in range(2):
        generator = torch.Generator().manual_seed(7 + picture)
        assert torch.equal(start[picture], torch.randn(SHAPE, generator=generator))


@pytest.mark.parametrize("draw", [0, 1, 20])
def test_picture_i_of_a_batch_is_seed_plus_i(draw):
    batch = NoiseStream(7, 3, SHAPE)(draw)
    for picture in range(3):
        assert torch.equal(batch[picture], NoiseStream(7 + picture, 1, SHAPE)(draw)[0])


def test_a_draw_depends_neither_on_the_draws_before_nor_on_the_global_seed():
    stream = NoiseStream(7, 2, SHAPE)
    expected = NoiseStream(7, 2, SHAPE)(3)
    torch.manual_seed(99)
    stream(0), stream(1)
    assert torch.equal(stream(3), expected)
    assert torch.equal(stream(3), expected)


def test_drawing_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    NoiseStream(7, 2, SHAPE)(1)
    assert torch.equal(torch.rand(4), expected)


def test_no_two_draws_of_neighbouring_pictures_share_a_seed():
    # torch's generator on the CPU reads the low 32 bits of a seed
    seeds = {draw_seed(seed, draw) % 2**32 for seed in range(16) for draw in range(101)}
    assert len(seeds) == 16 * 101


def test_no_draw_shares_a_seed_with_the_brownian_motion():
    draws = {draw_seed(seed, draw) % 2**32 for seed in range(8) for draw in range(101)}
    nodes = {
        node_seed(seed, octave, node) % 2**32
        for seed in range(8)
        for octave in range(-6, 5)
        for node in range(0, 512, 16)
    }
    assert len(nodes) == 8 * 11 * 32
    assert not draws & nodes


def test_noise_of_different_draws_is_unit_and_unrelated():
    draws = torch.stack([NoiseStream(0, 4, (4, 32, 32))(draw) for draw in range(6)])
    rows = draws.flatten(2).flatten(0, 1)  # (24, 4096)
    assert rows.mean().abs() < 0.02
    assert (rows.std() - 1).abs() < 0.02
    correlation = torch.corrcoef(rows) - torch.eye(len(rows))
    assert correlation.abs().max() < 5 / 64  # five standard deviations of 4096 pairs


def test_the_hash_is_splitmix64():
    assert _mix(0) == 0xE220A8397B1DCDAF  # the reference implementation's first outputs
    assert _mix(1234567) == 6457827717110365317


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_every_allowed_seed_draws(seed):
    stream = NoiseStream(seed, 2, SHAPE)
    assert stream(0).shape == stream(1).shape == (2, *SHAPE)
