from math import sqrt
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from ldm.diffusion.noise import NOISES, NoiseStream, noise_of, slerp
from ldm.diffusion.noise.philox import cuda_randn, philox
from ldm.diffusion.noise.variation import slerp_columns
from ldm.errors import SettingsError

SHAPE = (4, 6, 8)  # 192 numbers, a multiple of 16 as in pictures: torch draws 16 together
MANY = (4, 64, 64)


def generator(seed):
    return torch.Generator().manual_seed(seed)


# All conventions


@pytest.mark.parametrize("variation", [{}, {"variation_seed": 9, "variation_strength": 0.3}])
@pytest.mark.parametrize("name", NOISES)
def test_order_and_repetition_change_no_bit(name, variation):
    def noise():
        return noise_of(name, 3, 2, SHAPE, **variation)

    used, asked = noise(), [3, 1, 0, 5, 5, 2, 4, 0]
    torch.manual_seed(1)
    before = torch.get_rng_state()
    for draw in asked:
        given = used(draw)
        assert torch.equal(given, noise()(draw))
        given.mul_(0)  # what was handed out is the caller's
    for pair in [(2.0, 1.5), (9.0, 0.1), (2.0, 1.5)]:
        assert torch.equal(used.between(*pair), noise().between(*pair))
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", NOISES)
def test_noise_is_unit_and_unrelated_between_draws_and_pictures(name):
    noise = noise_of(name, 3, 2, MANY)
    rows = torch.cat([*(noise(draw) for draw in range(4)), noise.between(2.0, 1.0)]).flatten(1)
    assert rows.dtype == torch.float32
    assert rows.shape == (10, 4 * 64 * 64)
    assert rows.mean(1).abs().max() < 5 / 128
    assert (rows.std(1) - 1).abs().max() < 5 / 128
    assert (torch.corrcoef(rows) - torch.eye(10)).abs().max() < 5 / 128


@pytest.mark.parametrize("name", NOISES)
def test_every_convention_has_our_brownian_motion(name):
    ours = NoiseStream(3, 2, SHAPE).between(2.0, 1.0)
    assert torch.equal(noise_of(name, 3, 2, SHAPE).between(2.0, 1.0), ours)


@pytest.mark.parametrize("name", NOISES)
@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_every_allowed_seed_draws(name, seed):
    noise = noise_of(name, seed, 2, SHAPE, variation_seed=2**32 - 1, variation_strength=0.5)
    assert noise(0).shape == noise(1).shape == noise.between(2.0, 1.0).shape == (2, *SHAPE)


def test_per_picture_is_our_stream():
    assert noise_of("per_picture", 3, 2, SHAPE) == NoiseStream(3, 2, SHAPE)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ("difusers", 0),
            "Unknown noise 'difusers'. Did you mean 'diffusers'? "
            "Choose one of: per_picture, diffusers, a1111_gpu, comfyui.",
        ),
        (("diffusers", -1), "seed must be between 0 and 4294967295, got -1."),
        (("per_picture", 2**32), "seed must be between 0 and 4294967295, got 4294967296."),
        (("per_picture", 0, 2**32, 0.1), "variation_seed must be between 0 and 4294967295, got 4294967296."),
        (("per_picture", 0, 1, 1.5), "variation_strength must be between 0 and 1, got 1.5."),
        (("per_picture", 0, 1, -0.5), "variation_strength must be between 0 and 1, got -0.5."),
        (("per_picture", 0, None, 0.5), "variation_strength 0.5 needs a variation_seed."),
    ],
)
def test_what_cannot_be_drawn_is_said(arguments, message):
    name, seed, *rest = arguments
    options = dict(zip(("variation_seed", "variation_strength"), rest, strict=False))
    with pytest.raises(SettingsError) as error:
        noise_of(name, seed, 1, SHAPE, **options)
    assert str(error.value) == message


# Variations


@pytest.mark.parametrize("name", NOISES)
def test_a_variation_of_a_batch_is_made_alone_from_its_own_seed(name):
    batch = noise_of(name, 3, 3, MANY, variation_seed=9, variation_strength=0.4)
    for i in range(3):
        alone = noise_of(name, 3, 1, MANY, variation_seed=9 + i, variation_strength=0.4)
        for draw in (0, 1, 4):
            assert torch.equal(batch(draw)[i], alone(draw)[0])
        assert torch.equal(batch.between(2.0, 1.0)[i], alone.between(2.0, 1.0)[0])


@pytest.mark.parametrize("name", NOISES)
def test_steps_of_a_variation_are_the_seed_s_own(name):
    base = noise_of(name, 3, 1, SHAPE)
    varied = noise_of(name, 3, 1, SHAPE, variation_seed=9, variation_strength=0.4)
    for draw in (1, 2, 7):
        assert torch.equal(varied(draw), base(draw))
    assert torch.equal(varied.between(2.0, 1.0), base.between(2.0, 1.0))


@pytest.mark.parametrize("name", NOISES)
def test_no_strength_is_the_seed_and_full_strength_the_variation(name):
    base, other = noise_of(name, 3, 2, SHAPE), noise_of(name, 9, 1, SHAPE)
    assert torch.equal(noise_of(name, 3, 2, SHAPE, variation_seed=9)(0), base(0))
    full = noise_of(name, 3, 2, SHAPE, variation_seed=9, variation_strength=1.0)
    assert torch.equal(full(0)[:1], other(0))


@pytest.mark.parametrize("name", NOISES)
@pytest.mark.parametrize("strength", [0.01, 0.3, 0.5, 0.9])
def test_a_variation_is_unit_noise_and_turned_by_its_share(name, strength):
    base, other = noise_of(name, 3, 1, MANY)(0), noise_of(name, 9, 1, MANY)(0)
    made = noise_of(name, 3, 1, MANY, variation_seed=9, variation_strength=strength)(0)
    assert abs(made.std() - 1) < 5 / 128
    assert abs((made * base).mean() - np.cos(strength * np.pi / 2)) < 5 / 128
    assert abs((made * other).mean() - np.sin(strength * np.pi / 2)) < 5 / 128


@pytest.mark.parametrize("mix", [slerp, slerp_columns])
def test_turning_towards_itself_changes_nothing(mix):
    noise = NoiseStream(3, 1, MANY)(0)[0]
    assert_close(mix(noise, noise, 0.3), noise)


def test_slerp_keeps_to_the_arc():
    start, end = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 2.0])
    made = slerp(start, end, 1 / 3)
    assert_close(made, torch.tensor([sqrt(3) / 2, 1.0]))
    assert made.dtype == torch.float32


def test_a1111_turns_every_column_by_itself():
    start, end = NoiseStream(3, 2, (2, 7, 3))(0)
    made = slerp_columns(start, end, 0.3)
    for channel in range(2):
        for column in range(3):
            expected = slerp(start[channel, :, column], end[channel, :, column], 0.3)
            assert_close(made[channel, :, column], expected)


# diffusers


def test_diffusers_draws_the_batch_from_one_generator_that_goes_on():
    torch_utils = pytest.importorskip("diffusers.utils.torch_utils")
    theirs, ours = generator(5), noise_of("diffusers", 5, 2, SHAPE)
    for draw in range(4):
        assert torch.equal(ours(draw), torch_utils.randn_tensor((2, *SHAPE), generator=theirs))


def test_a_pipeline_of_diffusers_starts_there():
    diffusers = pytest.importorskip("diffusers")
    pipeline = SimpleNamespace(vae_scale_factor=8, scheduler=SimpleNamespace(init_noise_sigma=1.0))
    prepare = diffusers.StableDiffusionPipeline.prepare_latents
    theirs = prepare(pipeline, 2, 4, 48, 64, torch.float32, torch.device("cpu"), generator(5))
    assert torch.equal(noise_of("diffusers", 5, 2, SHAPE)(0), theirs)


def test_a_scheduler_of_diffusers_takes_these_steps():
    diffusers = pytest.importorskip("diffusers")
    scheduler = diffusers.DDPMScheduler()
    scheduler.set_timesteps(4)
    ours, theirs, zero = noise_of("diffusers", 5, 2, SHAPE), generator(5), torch.zeros(2, *SHAPE)
    torch.randn((2, *SHAPE), generator=theirs)  # the start
    for k, t in enumerate(scheduler.timesteps[:-1]):
        moved = scheduler.step(zero, t, zero, generator=theirs).prev_sample  # a multiple of the noise
        assert_close(moved / moved.std(), ours(k + 1) / ours(k + 1).std())


def test_a_list_of_generators_in_diffusers_starts_as_ours_does():
    torch_utils = pytest.importorskip("diffusers.utils.torch_utils")
    theirs = torch_utils.randn_tensor((2, *SHAPE), generator=[generator(5), generator(6)])
    assert torch.equal(NoiseStream(5, 2, SHAPE)(0), theirs)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_rounds_the_same_numbers(dtype):
    theirs = torch.randn((2, *SHAPE), generator=generator(5), dtype=dtype)
    assert torch.equal(noise_of("diffusers", 5, 2, SHAPE)(0).to(dtype), theirs)


# AUTOMATIC1111


@pytest.mark.parametrize(
    ("counter", "seed", "words"),
    [
        ([0] * 4, 0, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, 2**64 - 1, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            0x299F31D0A4093822,
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_gives_the_known_answers(counter, seed, words):
    # kat_vectors of Random123
    made = philox(np.array(counter, dtype=np.uint64)[:, None].repeat(2, axis=1), seed)
    assert made.tolist() == [[word, word] for word in words]


def test_the_gpu_s_numbers_are_those_that_a1111_documents():
    # the docstring of modules/rng_philox.py, seed 0; the program itself is up to 3e-7 away from it
    expected = [
        [-0.92466259, -0.42534415, -2.6438457, 0.14518388],
        [-0.12086647, -0.57972564, -0.62285122, -0.32838709],
        [-1.07454231, -0.36314407, -1.67105067, 2.26550497],
    ]
    assert_close(cuda_randn((3, 4), 0, 0), torch.tensor(expected), atol=3e-7, rtol=0)


def test_the_next_draw_of_the_gpu_counts_on():
    # made by running modules/rng_philox.py: Generator(0), the second randn((3, 4))
    expected = torch.tensor([0.180825889, -0.552262723, 0.923813403, -0.734970331])
    assert_close(cuda_randn((3, 4), 0, 1)[0], expected, atol=0, rtol=2e-8)


def test_a1111_gives_each_picture_a_generator_of_the_gpu():
    noise = noise_of("a1111_gpu", 5, 3, SHAPE)
    for draw in range(3):
        for i in range(3):
            assert torch.equal(noise(draw)[i], cuda_randn(SHAPE, 5 + i, draw))


def test_a1111_s_cpu_source_starts_as_ours_does():
    ours = NoiseStream(5, 2, SHAPE)(0)
    for i in range(2):
        torch.manual_seed(5 + i)
        assert torch.equal(ours[i], torch.randn(SHAPE))


@pytest.mark.gpu
def test_a_gpu_gives_these_numbers():
    if not torch.cuda.is_available():
        pytest.skip("needs CUDA")
    theirs = torch.Generator("cuda").manual_seed(2**32 - 5)
    for draw in range(3):
        made = torch.randn(MANY, generator=theirs, device="cuda").cpu()
        # the GPU's sine is a fast one
        assert_close(cuda_randn(MANY, 2**32 - 5, draw), made, atol=2e-5, rtol=0)


# ComfyUI


def test_comfyui_starts_from_one_cpu_generator_and_steps_with_the_gpu_s():
    noise = noise_of("comfyui", 5, 2, SHAPE)
    torch.manual_seed(5)
    assert torch.equal(noise(0), torch.randn((2, *SHAPE)))
    for step in range(3):
        assert torch.equal(noise(step + 1), cuda_randn((2, *SHAPE), 5, step))


def test_the_start_of_a_long_seed_is_that_of_its_low_bits():
    torch.manual_seed(2**40 + 5)
    assert torch.equal(noise_of("comfyui", 5, 2, SHAPE)(0), torch.randn((2, *SHAPE)))
