import pytest
import torch

from ldm.first_stage import FirstStage
from ldm.models.first_stage_config import FirstStageConfig
from ldm.models.vq import VQModel

from .conftest import tiny_first_stage


@pytest.fixture(scope="module")
def stage():
    return tiny_first_stage()


@pytest.fixture(scope="module")
def images():
    torch.manual_seed(1)
    return torch.rand(2, 3, 16, 8) * 2 - 1


def test_it_says_what_it_is(stage):
    assert (stage.name, stage.device.type, stage.downsampling_factor, stage.n_embed) == (
        "tiny VQ",
        "cpu",
        4,
        32,
    )
    assert stage.latent_scaling_factor == 2.5


def test_latents_are_scaled_on_the_way_out_and_in(stage, images):
    net = stage.first_stage_model
    z = stage.autoencoder_encode(images)
    torch.testing.assert_close(z, net.prequantised(images) * 2.5)
    found = stage.quantise(z)
    torch.testing.assert_close(found.latents, net.encode(images).latents * 2.5)
    assert torch.equal(found.indices, net.encode(images).indices)
    torch.testing.assert_close(
        stage.autoencoder_decode(found.latents), net.decode(net.encode(images).latents)
    )


def test_indices_are_enough_to_decode(stage, images):
    found = stage.quantise(stage.autoencoder_encode(images))
    codes = stage.codes(found.indices)
    assert torch.equal(codes, found.latents)
    assert torch.equal(stage.autoencoder_decode(codes), stage.autoencoder_decode(found.latents))


def test_the_decoder_takes_the_nearest_codes_itself(stage, images):
    z = stage.autoencoder_encode(images)
    assert torch.equal(stage.autoencoder_decode(z), stage.autoencoder_decode(stage.quantise(z).latents))


def test_the_default_config_is_the_paper_s_vq_f8():
    config = FirstStageConfig()
    with torch.device("meta"):
        stage = FirstStage(config, VQModel(config.vq))
    assert (stage.downsampling_factor, stage.n_embed, config.vq.autoencoder.embed_dim) == (8, 16384, 4)
