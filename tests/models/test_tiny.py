"""TAESD against diffusers' `AutoencoderTiny`, and its names against the original's files."""

import pytest
import torch

from ldm.errors import CheckpointError
from ldm.models.identity import IdentityFirstStage
from ldm.models.pixel_config import IdentityConfig, TinyAutoencoderConfig
from ldm.models.tiny import TinyAutoencoder

SMALL = TinyAutoencoderConfig(width=8, encoder_blocks=(1, 2, 1), decoder_blocks=(2, 1, 1))


@pytest.fixture(scope="module")
def twins():
    """diffusers' network and ours with the same random weights."""
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    theirs = diffusers.AutoencoderTiny(
        encoder_block_out_channels=(8, 8, 8),
        decoder_block_out_channels=(8, 8, 8),
        num_encoder_blocks=SMALL.encoder_blocks,
        num_decoder_blocks=SMALL.decoder_blocks,
    ).eval()
    ours = TinyAutoencoder(SMALL).eval()
    state = {}
    for name, tensor in theirs.state_dict().items():
        half, _, number, rest = name.split(".", 3)
        state[f"{half}.{int(number) + (half == 'decoder')}.{rest}"] = tensor
    ours.load_state_dict(state)
    return theirs, ours


@torch.no_grad()
def test_it_computes_what_diffusers_computes(twins):
    theirs, ours = twins
    images = torch.rand(2, 3, 16, 24) * 2 - 1
    z = theirs.encode(images).latents
    torch.testing.assert_close(ours.encode(images), z, rtol=0, atol=1e-5)
    wide = torch.randn(2, 4, 4, 6) * 4  # beyond what the squash leaves alone
    torch.testing.assert_close(ours.decode(wide), theirs.decode(wide).sample, rtol=0, atol=1e-5)
    assert torch.equal(ours(wide), ours.decode(wide))
    assert ours.decode(z).shape == images.shape


@torch.no_grad()
def test_its_latents_are_certain(twins):
    posterior = twins[1].posterior(torch.zeros(1, 3, 8, 8))
    assert posterior.std is None
    assert torch.equal(posterior.mode(), posterior.sample(torch.randn(1, 4, 2, 2)))


def test_its_names_and_sizes_are_the_original_s():
    with torch.device("meta"):
        net = TinyAutoencoder(TinyAutoencoderConfig())
    shapes = {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}
    assert shapes["encoder.0.weight"] == (64, 3, 3, 3)
    assert shapes["encoder.2.weight"] == shapes["decoder.7.weight"] == (64, 64, 3, 3)
    assert "encoder.2.bias" not in shapes
    assert "decoder.7.bias" not in shapes
    assert shapes["encoder.14.weight"] == (4, 64, 3, 3)
    assert shapes["decoder.1.weight"] == (64, 4, 3, 3)
    assert shapes["decoder.3.conv.0.weight"] == (64, 64, 3, 3)
    assert shapes["decoder.19.weight"] == (3, 64, 3, 3)
    count = {half: sum(p.numel() for p in getattr(net, half).parameters()) for half in ("encoder", "decoder")}
    assert count == {"encoder": 1_222_532, "decoder": 1_222_531}
    assert net.config.downsampling_factor == 8


def test_half_of_it_says_which_half_is_missing():
    encoder = TinyAutoencoder(TinyAutoencoderConfig(width=4, has_decoder=False))
    decoder = TinyAutoencoder(TinyAutoencoderConfig(width=4, has_encoder=False))
    assert {name.split(".")[0] for name in encoder.state_dict()} == {"encoder"}
    assert {name.split(".")[0] for name in decoder.state_dict()} == {"decoder"}
    with pytest.raises(CheckpointError, match="decoder alone"):
        decoder.encode(torch.zeros(1, 3, 8, 8))
    with pytest.raises(CheckpointError, match="encoder alone"):
        encoder.decode(torch.zeros(1, 4, 1, 1))


def test_no_first_stage_changes_nothing():
    net = IdentityFirstStage(IdentityConfig())
    images = torch.rand(1, 3, 5, 7)
    assert torch.equal(net.decode(net.posterior(images).mode()), images)
    assert torch.equal(net.encode(images), images)
    assert (net.config.downsampling_factor, net.config.embed_dim, net.dtype) == (1, 3, torch.float32)
    assert not net.state_dict()
