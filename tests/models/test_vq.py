"""The VQ autoencoder; that its numbers are CompVis's is in `test_golden.py`."""

import json
from dataclasses import replace

import pytest
import torch

from ldm.errors import CheckpointError
from ldm.models import vq
from ldm.models.config import AutoencoderConfig
from ldm.models.first_stage_config import FirstStageConfig
from ldm.models.vq import VectorQuantizer, VQConfig, VQModel
from tests.golden_cases import _roots

SIZES = AutoencoderConfig(
    ch=16,
    ch_mult=(1, 2),
    num_res_blocks=1,
    attn_type="none",
    z_channels=3,
    embed_dim=2,
    double_z=False,
    num_groups=4,
)
CONFIG = VQConfig(SIZES, n_embed=12, legacy=False)


def book(codes, **options):
    made = VectorQuantizer(len(codes), len(codes[0]), **options)
    made.load_state_dict({"embedding.weight": torch.tensor(codes)})
    return made


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(0)
    return VQModel(CONFIG).eval().requires_grad_(False)


def test_every_position_takes_its_nearest_code(monkeypatch):
    monkeypatch.setattr(vq, "ROWS", 7)  # in several parts
    torch.manual_seed(0)
    made, z = VectorQuantizer(9, 3), torch.randn(2, 3, 4, 5)
    torch.nn.init.normal_(made.embedding.weight)
    distances = torch.cdist(z.permute(0, 2, 3, 1).flatten(0, 2), made.embedding.weight)
    assert torch.equal(made.nearest(z), distances.argmin(1).view(2, 4, 5))


def test_of_equal_codes_the_first_is_taken():
    made = book([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    assert made.nearest(torch.tensor([0.9, 0.1]).view(1, 2, 1, 1)).item() == 0


def test_latents_are_codes_to_the_bit_and_gradients_pass_as_if_nothing_were_done():
    torch.manual_seed(0)
    made = VectorQuantizer(9, 3)
    torch.nn.init.normal_(made.embedding.weight)
    z = torch.randn(2, 3, 4, 5, requires_grad=True)
    found = made(z)
    assert torch.equal(found.latents, made.codes(found.indices))
    weight = torch.randn(found.latents.shape)
    (found.latents * weight).sum().backward()
    assert torch.equal(z.grad, weight)
    assert made.embedding.weight.grad is None


@pytest.mark.parametrize("legacy", [False, True])
def test_beta_weighs_the_commitment_or_in_the_legacy_form_the_codebook(legacy):
    made = book([[0.0], [4.0]], beta=0.25, legacy=legacy)
    z = torch.tensor([1.0, 3.5]).view(1, 1, 1, 2).requires_grad_()
    loss = made(z).loss  # squared distances 1 and 0.25, so both terms are 0.625
    assert loss.item() == pytest.approx(0.625 * 1.25)
    loss.backward()
    to_codes, to_latents = (0.25, 1.0) if legacy else (1.0, 0.25)
    assert made.embedding.weight.grad.flatten().tolist() == pytest.approx([-to_codes, 0.5 * to_codes])
    assert z.grad.flatten().tolist() == pytest.approx([to_latents, -0.5 * to_latents])


def test_indices_decode_to_what_the_quantised_latents_decode_to(net):
    images = torch.rand(2, 3, 16, 12) * 2 - 1
    found = net.encode(images)
    assert found.indices.shape == (2, 8, 6)
    by_indices = net.decode(net.quantize.codes(found.indices), quantise=False)
    assert torch.equal(net.decode(found.latents), by_indices)
    assert torch.equal(net.decode(net.prequantised(images)), by_indices)
    assert not torch.equal(net.decode(net.prequantised(images), quantise=False), by_indices)


def test_a_network_in_bfloat16_gives_float32():
    torch.manual_seed(0)
    half = VQModel(CONFIG).bfloat16()
    with torch.no_grad():
        found = half.encode(torch.zeros(1, 3, 8, 8))
        assert (found.latents.dtype, half.decode(found.latents).dtype) == (torch.float32, torch.float32)


def test_outer_and_inner_levels_make_the_whole(net):
    images = torch.rand(1, 3, 16, 16) * 2 - 1
    moments = net.encoder(images)
    z = net.post_quant_conv(net.quant_conv(moments))
    for level in (0, 1):
        assert torch.equal(net.encoder.inner(net.encoder.outer(images, level), level), moments)
        assert torch.equal(net.decoder.outer(net.decoder.inner(z, level), level), net.decoder(z))
    assert net.encoder.outer(images, 0).shape == (1, 16, 16, 16)
    assert net.encoder.outer(images, 1).shape == (1, 32, 8, 8)
    assert net.decoder.inner(z, 0).shape == (1, 16, 16, 16)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (
            lambda: VQConfig(AutoencoderConfig()),
            "A VQ autoencoder must have double_z False, it is True.",
        ),
        (lambda: replace(CONFIG, n_embed=0), "n_embed must be at least 1, got 0."),
    ],
)
def test_a_wrong_size_is_named(make, sentence):
    with pytest.raises(CheckpointError) as error:
        make()
    assert str(error.value) == sentence


def test_the_config_survives_json():
    config = FirstStageConfig("x", CONFIG, 1.5, {"steps": 3, "psnr": 27.5})
    assert FirstStageConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


PAPER = {  # of the latent diffusion paper's models: ddconfig, embed_dim, n_embed
    "vq-f4": ({"ch_mult": (1, 2, 4), "z_channels": 3}, 3, 8192),
    "vq-f4-noattn": ({"ch_mult": (1, 2, 4), "z_channels": 3, "attn_type": "none"}, 3, 8192),
    "vq-f8": ({"ch_mult": (1, 2, 2, 4), "z_channels": 4, "attn_resolutions": (32,)}, 4, 16384),
    "vq-f8-n256": ({"ch_mult": (1, 2, 2, 4), "z_channels": 4, "attn_resolutions": (32,)}, 4, 256),
    "vq-f16": ({"ch_mult": (1, 1, 2, 2, 4), "z_channels": 8, "attn_resolutions": (16,)}, 8, 16384),
}


@pytest.mark.golden
@pytest.mark.parametrize("name", PAPER)
def test_the_keys_are_those_of_the_paper_s_models(name):
    files = [path for root in _roots() for path in (root / "keys").glob(f"first-stage-{name}.json")]
    if not files:
        pytest.skip(f"no inventory first-stage-{name} is here; set GOLDEN to the folder of cases.")
    sizes, embed_dim, n_embed = PAPER[name]
    with torch.device("meta"):
        net = VQModel(VQConfig(AutoencoderConfig(embed_dim=embed_dim, double_z=False, **sizes), n_embed))
    listed = {key: entry["shape"] for key, entry in json.loads(files[0].read_text()).items()}
    wanted = {key: shape for key, shape in listed.items() if not key.startswith("loss.")}
    assert {key: list(tensor.shape) for key, tensor in net.state_dict().items()} == wanted
