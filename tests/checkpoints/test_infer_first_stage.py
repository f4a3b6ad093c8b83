"""Sizes of the paper's nine first stages, and of Stable Diffusion's, from names and shapes alone."""

import json

import pytest
import torch

from ldm.checkpoints.infer_first_stage import first_stage_config
from ldm.errors import CheckpointError
from ldm.models.autoencoder_config import AutoencoderConfig, VQConfig
from ldm.models.build import build_first_stage
from tests.golden_cases import _roots

ZOO = {  # name -> f, latent channels, codes (0: KL), parameters in millions, sizes that have attention
    "kl-f4": (4, 3, 0, 55.3, ()),
    "kl-f8": (8, 4, 0, 83.65, ()),
    "kl-f16": (16, 16, 0, None, (16,)),
    "kl-f32": (32, 64, 0, None, (16, 8)),
    "vq-f4": (4, 3, 8192, None, ()),
    "vq-f4-noattn": (4, 3, 8192, None, ()),
    "vq-f8": (8, 4, 16384, None, (32,)),
    "vq-f8-n256": (8, 4, 256, None, (32,)),
    "vq-f16": (16, 8, 16384, None, (16,)),
}


def inventory(name):
    """Names and shapes of a real file."""
    files = [path for root in _roots() for path in (root / "keys").glob(f"{name}.json")]
    if not files:
        pytest.skip(f"no inventory {name} is here; set GOLDEN to the folder of cases.")
    return {key: tuple(entry["shape"]) for key, entry in json.loads(files[0].read_text()).items()}


def shapes_of(config):
    with torch.device("meta"):
        net = build_first_stage(config)
    return {key: tuple(tensor.shape) for key, tensor in net.state_dict().items()}


@pytest.mark.golden
@pytest.mark.parametrize("name", ZOO)
def test_the_paper_s_first_stages_are_recognised_whole(name):
    f, channels, codes, millions, attention = ZOO[name]
    found = inventory(f"first-stage-{name}")
    config = first_stage_config(found)
    made = shapes_of(config)
    assert made == {key: shape for key, shape in found.items() if not key.startswith("loss.")}
    assert (config.downsampling_factor, config.embed_dim, config.in_channels) == (f, channels, 3)
    assert isinstance(config, VQConfig) == (codes > 0)
    sizes = config.autoencoder if isinstance(config, VQConfig) else config
    assert sizes.attn_resolutions == attention
    assert sizes.attn_type == ("none" if name == "vq-f4-noattn" else "vanilla")
    if codes:
        assert config.n_embed == codes
    if millions:
        count = sum(torch.Size(shape).numel() for shape in made.values()) / 1e6
        assert count == pytest.approx(millions, abs=0.05)


@pytest.mark.golden
@pytest.mark.parametrize("name", ["sd-v1", "sd-v2.1-v", "sdxl-base", "ldm-inpainting-big", "ldm-rdm-768"])
def test_the_first_stages_of_whole_models_are_recognised(name):
    prefix = "first_stage_model."
    found = {k.removeprefix(prefix): v for k, v in inventory(name).items() if k.startswith(prefix)}
    made = shapes_of(first_stage_config(found))
    assert made == {key: shape for key, shape in found.items() if not key.startswith("loss.")}


def test_outer_and_inner_latents_may_differ():
    config = AutoencoderConfig(ch=32, ch_mult=(1, 2, 2), z_channels=6, embed_dim=5, attn_resolutions=(64,))
    assert first_stage_config(shapes_of(config)) == config


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"quant_conv.weight": None}, "It is missing quant_conv.weight, which every autoencoder has."),
        (
            {"quant_conv.weight": (8, 8)},
            "quant_conv.weight has the shape [8, 8], not of a convolution.",
        ),
        (
            {"encoder.conv_out.weight": (5, 32, 3, 3)},
            "The encoder gives 5 channels; with a decoder of 4 and no codebook it must be 8.",
        ),
        (
            {"encoder.down.1.block.0.conv1.weight": (33, 32, 3, 3)},
            "encoder.down.1.block.0.conv1.weight gives 33 channels, which is no multiple of 32.",
        ),
        (
            {"encoder.down.1.block.0.conv1.weight": None},
            "encoder.down.1.block.0.conv1.weight gives 0 channels, which is no multiple of 32.",
        ),
    ],
)
def test_what_cannot_be_is_named(change, said):
    shapes = shapes_of(AutoencoderConfig(ch=32, ch_mult=(1, 1)))
    shapes |= {key: value for key, value in change.items() if value is not None}
    for key, value in change.items():
        if value is None:
            del shapes[key]
    with pytest.raises(CheckpointError) as error:
        first_stage_config(shapes)
    assert str(error.value) == said
