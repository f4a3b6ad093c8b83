import json
import math
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open
from torch import nn

from ldm.checkpoints.first_stage import save_first_stage
from ldm.errors import CheckpointError, LdmError, SettingsError
from ldm.images import to_images, to_tensor
from ldm.metrics import perplexity, psnr, ssim
from ldm.models.autoencoder import DiagonalGaussian
from ldm.models.pixel_config import IdentityConfig
from ldm.roundtrip import Codes, roundtrip, roundtrip_with, save_latents

from .checkpoints.models import default_config, random_model
from .conftest import tiny_config, tiny_first_stage, tiny_model
from .traces import grey_ramp, with_a_small_disk

FACTOR, SCALE = 4, 0.5


class Exact(nn.Module):
    """An autoencoder that loses nothing: the pixels of a block are the channels of a latent."""

    def __init__(self, logvar=-30.0):
        super().__init__()
        self.logvar = logvar

    def encode(self, images):
        mean = nn.functional.pixel_unshuffle(images, FACTOR)
        return DiagonalGaussian(torch.cat([mean, torch.full_like(mean, self.logvar)], dim=1))

    def posterior(self, images):
        return self.encode(images)

    def decode(self, z):
        return nn.functional.pixel_shuffle(z, FACTOR)


class Coarse(Exact):
    """Keeps the mean colour of a block."""

    def encode(self, images):
        mean = nn.functional.avg_pool2d(images, FACTOR)
        return DiagonalGaussian(torch.cat([mean, torch.full_like(mean, self.logvar)], dim=1))

    def decode(self, z):
        return nn.functional.interpolate(z, scale_factor=FACTOR)


def model(autoencoder):
    """The part of a LatentDiffusion that a round trip uses."""
    return SimpleNamespace(
        name="formula",
        downsampling_factor=FACTOR,
        first_stage_model=autoencoder,
        latent_scaling_factor=SCALE,
        device=torch.device("cpu"),
        autoencoder_decode=lambda z: autoencoder.decode(z / SCALE),
    )


@pytest.fixture(scope="module")
def photo():
    """37 x 22 pixels of smooth noise."""
    small = np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((37, 22), Image.Resampling.BICUBIC)


def test_an_autoencoder_that_loses_nothing_gives_the_picture_back(photo):
    trip = roundtrip(model(Exact()), photo)
    assert trip.reconstruction.tobytes() == trip.original.tobytes() == photo.tobytes()
    assert (trip.psnr, trip.ssim, trip.mae) == (math.inf, pytest.approx(1), 0.0)


def test_latents_are_scaled_and_statistics_are_theirs(photo):
    trip = roundtrip(model(Coarse(logvar=2 * math.log(0.25))), photo)
    assert trip.latents.shape == trip.mean.shape == trip.std.shape == (1, 3, 6, 10)
    assert torch.equal(trip.latents, trip.mean)
    torch.testing.assert_close(trip.std, torch.full_like(trip.std, 0.25 * SCALE))
    pixels = to_tensor([photo])[..., :4, :4].mean((2, 3))
    torch.testing.assert_close(trip.mean[..., 0, 0], pixels * SCALE)
    assert trip.statistics["channel"] == [0.0, 1.0, 2.0]
    assert trip.statistics["max"] == pytest.approx(trip.latents.amax((0, 2, 3)).tolist())
    assert trip.seconds > 0


def test_what_is_measured_is_the_picture_without_its_padding(photo):
    trip = roundtrip(model(Coarse()), photo)
    assert trip.original.size == trip.reconstruction.size == (37, 22)
    assert trip.original.tobytes() == photo.tobytes()
    a, b = to_tensor([photo]), to_tensor([trip.reconstruction])
    assert (trip.psnr, trip.ssim) == (psnr(a, b), ssim(a, b))
    assert trip.mae == pytest.approx(float((a - b).abs().mean() * 127.5), rel=1e-5)
    assert 10 < trip.psnr < 40


@pytest.mark.parametrize(
    ("size", "policy", "fitted", "note"),
    [
        ((37, 22), "pad", (37, 22), "The picture was padded from 37 x 22 to 40 x 24, a multiple of 4."),
        ((37, 22), "crop", (36, 20), "The picture was cropped from 37 x 22 to 36 x 20, a multiple of 4."),
        (
            (37, 3),
            "crop",
            (36, 3),
            "The picture was cropped and padded from 37 x 3 to 36 x 4, a multiple of 4.",
        ),
        ((36, 20), "pad", (36, 20), ""),
        ((36, 20), "crop", (36, 20), ""),
        ((1, 1), "pad", (1, 1), "The picture was padded from 1 x 1 to 4 x 4, a multiple of 4."),
        (
            (200, 100),
            "pad",
            (64, 32),
            "The picture was scaled down from 200 x 100 to 64 x 32, "
            "because a round trip takes at most 64 pixels a side.",
        ),
        (
            (100, 130),
            "crop",
            (48, 64),
            "The picture was scaled down from 100 x 130 to 49 x 64, "
            "because a round trip takes at most 64 pixels a side. "
            "The picture was cropped from 49 x 64 to 48 x 64, a multiple of 4.",
        ),
        (
            (3000, 1),
            "pad",
            (64, 1),
            "The picture was scaled down from 3000 x 1 to 64 x 1, "
            "because a round trip takes at most 64 pixels a side. "
            "The picture was padded from 64 x 1 to 64 x 4, a multiple of 4.",
        ),
    ],
)
def test_what_was_done_to_fit_the_picture_is_told(size, policy, fitted, note):
    image = Image.effect_noise(size, 80).convert("RGB")
    trip = roundtrip(model(Exact()), image, policy=policy, max_side=64)
    assert (trip.original.size, trip.reconstruction.size, trip.note) == (fitted, fitted, note)
    assert trip.psnr == math.inf


def test_a_sample_depends_on_its_seed_alone(photo):
    machine = model(Coarse(logvar=-2.0))
    a, b, other = (roundtrip(machine, photo, sample=True, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(a.latents, b.latents)
    assert not torch.equal(a.latents, other.latents)
    assert torch.equal(a.mean, other.mean)
    noise = torch.randn(a.mean.shape, generator=torch.Generator().manual_seed(3))
    torch.testing.assert_close(a.latents, a.mean + a.std * noise)


def test_the_global_seed_is_not_touched(photo):
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    roundtrip(model(Coarse()), photo, sample=True)
    assert torch.equal(torch.rand(1), expected)


def test_transparency_is_laid_on_white():
    trip = roundtrip(model(Exact()), Image.new("RGBA", (8, 8), (0, 0, 0, 0)))
    assert trip.original.getpixel((0, 0)) == trip.reconstruction.getpixel((0, 0)) == (255, 255, 255)


def test_a_broken_autoencoder_shows_itself(photo):
    machine = model(Exact())
    machine.autoencoder_decode = lambda z: torch.full((1, 3, 24, 40), math.nan)
    trip = roundtrip(machine, photo)
    assert trip.reconstruction.getextrema() == ((0, 0), (0, 0), (0, 0))


def test_a_real_model_makes_the_trip(photo):
    torch.manual_seed(0)
    real = random_model(default_config())
    trip = roundtrip(real, photo)
    factor = real.downsampling_factor
    fitted = Image.fromarray(
        np.pad(np.asarray(photo), ((0, -22 % factor), (0, -37 % factor), (0, 0)), mode="edge")
    )
    with torch.no_grad():
        latents = real.autoencoder_encode(to_tensor([fitted]), mean=True)
    assert torch.equal(trip.latents, latents)
    assert trip.reconstruction.size == photo.size
    assert not trip.latents.requires_grad
    assert (trip.name, trip.latent_scaling_factor, trip.codes) == (
        real.name,
        real.latent_scaling_factor,
        None,
    )


def test_a_vq_first_stage_makes_the_trip_by_codes(photo):
    stage = tiny_first_stage()
    trip = roundtrip(stage, photo)
    fitted = Image.fromarray(np.pad(np.asarray(photo), ((0, 2), (0, 3), (0, 0)), mode="edge"))
    z = stage.autoencoder_encode(to_tensor([fitted]))
    assert torch.equal(trip.mean, z)
    assert trip.std is None
    assert (trip.name, trip.latent_scaling_factor) == ("tiny VQ", 2.5)
    codes = trip.codes
    assert codes.indices.shape == (6, 10)
    assert torch.equal(stage.codes(codes.indices[None]), trip.latents)
    assert torch.equal(codes.indices[None], stage.quantise(z).indices)
    assert (codes.total, codes.used) == (32, len(set(codes.indices.flatten().tolist())))
    assert 1 <= codes.perplexity <= codes.used
    assert codes.perplexity == perplexity(codes.indices)
    assert (codes.bits_per_code, codes.bits) == (5, 60 * 5)
    pixels = to_images(stage.autoencoder_decode(trip.latents))[0].crop((0, 0, 37, 22))
    assert trip.reconstruction.tobytes() == pixels.tobytes()
    assert trip.psnr == psnr(to_tensor([photo]), to_tensor([pixels]))


def test_a_model_with_a_codebook_makes_the_trip_by_codes_too(photo):
    stage = tiny_first_stage()
    unet = replace(tiny_config().unet, in_channels=3, out_channels=3)
    real = tiny_model(unet=unet, autoencoder=stage.config.autoencoder, latent_scaling_factor=2.5)
    real.first_stage_model.load_state_dict(stage.first_stage_model.state_dict())
    trip, alone = roundtrip(real, photo), roundtrip(stage, photo)
    assert torch.equal(trip.codes.indices, alone.codes.indices)
    assert torch.equal(trip.latents, alone.latents)
    assert trip.reconstruction.tobytes() == alone.reconstruction.tobytes()


def test_a_model_of_pixels_loses_nothing(photo):
    unet = replace(tiny_config().unet, in_channels=3, out_channels=3)
    real = tiny_model(unet=unet, autoencoder=IdentityConfig(low=0.0), latent_scaling_factor=1.0)
    trip = roundtrip(real, photo)
    assert trip.reconstruction.tobytes() == photo.tobytes()
    assert (trip.std, trip.codes, trip.latents.shape) == (None, None, (1, 3, 22, 37))
    assert trip.latents.min() >= 0
    with pytest.raises(SettingsError) as error:
        roundtrip(real, photo, sample=True)
    assert str(error.value) == ("sample must be False for tiny: its encoder gives latents, no distribution.")


@pytest.mark.parametrize(("total", "bits"), [(1, 0), (2, 1), (3, 2), (1000, 10), (1024, 10), (1025, 11)])
def test_a_code_takes_as_many_bits_as_name_them_all(total, bits):
    assert Codes(torch.zeros(2, 3, dtype=torch.int64), total, 1, 1.0).bits == 6 * bits


def test_a_vq_first_stage_has_no_sample(photo):
    with pytest.raises(SettingsError) as error:
        roundtrip(tiny_first_stage(), photo, sample=True)
    assert str(error.value) == (
        "sample must be False for tiny VQ: a VQ first stage names codes, it gives no distribution."
    )


def test_a_first_stage_in_a_file_stands_in_for_the_model_s_own(photo, tmp_path):
    stage, own = tiny_first_stage(), model(Exact())
    save_first_stage(stage, tmp_path / "vq.safetensors")
    assert roundtrip_with(own, None, photo).psnr == math.inf
    trip = roundtrip_with(own, tmp_path / "vq.safetensors", photo, policy="crop")
    assert (trip.name, trip.original.size, tuple(trip.codes.indices.shape)) == ("tiny VQ", (36, 20), (5, 9))
    with pytest.raises(CheckpointError) as error:
        roundtrip_with(own, tmp_path / "none.safetensors", photo)
    assert str(error.value) == "There is no file none.safetensors."


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"policy": "stretch"}, "Unknown policy 'stretch'. Choose one of: pad, crop."),
        ({"max_side": 15}, "max_side must be between 16 and 4096, got 15."),
        ({"max_side": 10**9}, "max_side must be between 16 and 4096, got 1000000000."),
        ({"max_side": math.nan}, "max_side must be between 16 and 4096, got nan."),
    ],
)
def test_a_wrong_option_is_named(photo, options, sentence):
    with pytest.raises(SettingsError) as error:
        roundtrip(model(Exact()), photo, **options)
    assert str(error.value) == sentence


def test_saved_latents_say_what_they_are(tmp_path):
    latents = torch.randn(2, 4, 8, 8)[:1].transpose(2, 3)
    save_latents(latents, tmp_path / "x.safetensors", "tiny ☕", 0.18215)
    with safe_open(tmp_path / "x.safetensors", "pt") as file:
        assert torch.equal(file.get_tensor("latents"), latents)
        record = json.loads(file.metadata()["ldm_latents"])
    assert record == {"model": "tiny ☕", "latent_scaling_factor": 0.18215, "scaled": True}


def test_latents_that_cannot_be_saved_are_named(tmp_path):
    with pytest.raises(LdmError) as error:
        save_latents(torch.zeros(1), tmp_path / "none" / "x.safetensors", "tiny", 1.0)
    assert str(error.value) == "x.safetensors could not be written: No such file or directory."


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path):
    said = with_a_small_disk(
        "import torch; from ldm.roundtrip import save_latents",
        "save_latents(torch.zeros(1, 4, 64, 64), sys.argv[1], 'tiny', 1.0)",
        tmp_path / "x.safetensors",
    )
    assert said == "LdmError x.safetensors could not be written: File too large.\n"
    assert not list(tmp_path.iterdir())


def test_grey_levels_survive(photo):
    assert roundtrip(model(Exact()), grey_ramp()).reconstruction.tobytes() == grey_ramp().tobytes()
