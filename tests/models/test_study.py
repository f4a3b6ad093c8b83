"""The study's networks: against its own numbers, and what the rest of the program asks of them."""

import copy
from dataclasses import fields, replace

import pytest
import torch
import torch.nn.functional as F

from ldm.errors import CheckpointError, SettingsError
from ldm.models.build import build_first_stage, build_network
from ldm.models.study import StudyUNet, StudyVAE, StudyVQVAE, study_autoencoder
from ldm.models.study.blocks import time_embedding
from ldm.models.study_config import StudyAutoencoderConfig, StudyUNetConfig
from ldm.speed import Graphs
from tests.golden_cases import assert_whole, case

both_dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])


def record(cls, values, **more):
    """A config from the study's own parameters; what a record has no field for is told by `more`."""
    known = {f.name for f in fields(cls)}
    lists = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items() if k in known}
    return cls(**lists | more)


def unet_config(golden):
    params = golden.config["model_config"]
    condition = params.get("condition_config", {})
    text, image = condition.get("text_condition_config"), condition.get("image_condition_config")
    kinds = condition.get("condition_types", [])
    return record(
        StudyUNetConfig,
        params,
        im_channels=golden.config["im_channels"],
        text_dim=text["text_embed_dim"] if "text" in kinds else None,
        n_classes=condition["class_condition_config"]["num_classes"] if "class" in kinds else None,
        mask_channels=image["image_condition_input_channels"] if "image" in kinds else None,
        mask_out=image["image_condition_output_channels"] if "image" in kinds else None,
    )


def autoencoder(golden, kind, dtype):
    params, images = golden.config["model_config"], golden.config["im_channels"]
    config = record(StudyAutoencoderConfig, params, im_channels=images, kind=kind)
    net = study_autoencoder(config)
    net.load_state_dict(golden.weights)
    return net.to(dtype).eval()


def suffix(dtype):
    return ".f64" if dtype == torch.float64 else ""


@pytest.mark.golden
@pytest.mark.parametrize("name", ["base", "class", "text", "text_image"])
@both_dtypes
def test_the_unet_gives_the_study_s_numbers(name, dtype):
    golden = case(f"exai_unet_{name}")
    net = StudyUNet(unet_config(golden)).eval()
    net.load_state_dict(golden.weights)
    net.to(dtype)
    inputs = {k: v.to(dtype) if v.is_floating_point() else v for k, v in golden.inputs.items()}
    x, t = inputs["x"], inputs["t"]
    if "cond_image" in inputs:
        x = torch.cat([x, F.interpolate(inputs["cond_image"], size=x.shape[2:])], dim=1)
    y = None
    if "cond_class" in inputs:
        y = inputs["cond_class"].argmax(1)
        assert torch.equal(F.one_hot(y, net.config.n_classes).to(dtype), inputs["cond_class"])
    with torch.no_grad():
        golden.assert_matches("output" + suffix(dtype), net(x, t, inputs.get("cond_text"), y), key="output")
        if y is not None:
            dropped, key = net(x, t, y=torch.full_like(y, -1)), "output_class_dropped"
            golden.assert_matches(key + suffix(dtype), dropped, key=key)
            assert torch.equal(net(x, t), dropped)


@pytest.mark.golden
@both_dtypes
def test_the_vae_gives_the_study_s_numbers(dtype):
    golden = case("exai_vae")
    net = autoencoder(golden, "study_vae", dtype)
    assert isinstance(net, StudyVAE)
    x, noise = (golden.inputs[k].to(dtype) for k in ("x", "noise"))
    with torch.no_grad():
        posterior = net.posterior(x)
        ours = {
            "encoder_output": net.moments(x),
            "sample": posterior.sample(noise),
            "decode_noise": net.decode(noise),
            "output": net.decode(posterior.sample(noise)),
        }
    for key, value in ours.items():
        golden.assert_matches(key + suffix(dtype), value, key=key)


@pytest.mark.golden
@both_dtypes
def test_the_vqvae_gives_the_study_s_numbers(dtype):
    golden = case("exai_vqvae")
    net = autoencoder(golden, "study_vqvae", dtype)
    assert isinstance(net, StudyVQVAE)
    x, z = (golden.inputs[k].to(dtype) for k in ("x", "z"))
    with torch.no_grad():
        quantised, of_z = net.posterior(x).mode(), net.quantize(z)
        ours = {
            "quantized": quantised,
            "output": net.decode(quantised),
            "decode_z": net.decode(z),
            "quantize_z": of_z.latents,
        }
        net.quantize.beta = 0.0  # leaves the codebook's term alone, and with `legacy` the other one
        ours["codebook_loss"] = net.encode(x).loss
        ours["quantize_z_codebook_loss"] = net.quantize(z).loss
        net.quantize.legacy = True
        ours["commitment_loss"] = net.encode(x).loss
    for key, value in ours.items():
        golden.assert_matches(key + suffix(dtype), value, key=key)
    golden.assert_matches("quantize_z_indices", of_z.indices)


@pytest.mark.golden
def test_the_timestep_embedding_is_the_study_s():
    golden = case("exai_time_embedding")
    t = golden.inputs["t"]
    for key in golden.expected:
        name, _, exact = key.partition(".")
        ours = time_embedding(t.double() if exact else t, int(name.removeprefix("dim")))
        golden.assert_matches(key, ours, key=name)


TINY = StudyUNetConfig(
    down_channels=(8, 16, 16),
    mid_channels=(16, 16),
    down_sample=(True, False),
    attn_down=(True, False),
    time_emb_dim=16,
    num_down_layers=1,
    num_mid_layers=1,
    num_up_layers=2,
    num_heads=4,
    norm_channels=4,
    conv_out_channels=8,
    text_dim=6,
    n_classes=5,
    mask_channels=3,
    mask_out=2,
)


@pytest.fixture(scope="module")
def net():
    torch.manual_seed(3)
    return StudyUNet(TINY).eval().requires_grad_(False)


@pytest.fixture
def given():
    """What every kind of condition needs: latents and mask, timesteps, a text, classes."""
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(2, TINY.in_channels, 8, 8, generator=generator)
    context = torch.randn(2, 5, TINY.text_dim, generator=generator)
    return x, torch.tensor([3.0, 700.5]), context, torch.tensor([4, -1])


def test_recording_changes_no_bit_and_gives_one_map_for_each_size(net, given):
    output, maps = net(*given, record=True)
    assert torch.equal(output, net(*given))
    assert [m.shape for m in maps] == [(2, 5, 8, 8), (2, 5, 4, 4)]
    for m in maps:
        assert torch.allclose(m.sum(1), torch.ones(2, *m.shape[2:]), atol=1e-5)


def test_every_condition_moves_the_output(net, given):
    x, t, context, y = given
    plain = net(x, t, context, y)
    no_mask = torch.cat([x[:, : TINY.im_channels], torch.zeros(2, TINY.mask_channels, 8, 8)], dim=1)
    changed = {
        "text": net(x, t, context.flip(1).roll(1, 2), y),
        "class": net(x, t, context, torch.tensor([3, 0])),
        "mask": net(no_mask, t, context, y),
        "time": net(x, t + 1, context, y),
    }
    for name, output in changed.items():
        assert (output - plain).abs().amax((1, 2, 3)).min() > 1e-5, name


def test_heads_are_what_the_maps_are_the_mean_of(net, given):
    x, t, context, y = given
    layers = dict(net.heads(x, t, context, y=y))
    assert list(layers) == list(net.cross_attentions())
    modules = dict(net.named_modules())
    by_size = {}
    for name, maps in layers.items():
        level, heads = net.cross_attentions()[name]
        assert modules[name].heads == heads
        assert maps.shape == (2, heads, 5, 8 >> level, 8 >> level)
        by_size.setdefault(8 >> level, []).append(maps.mean(1))
    recorded = net(*given, record=True)[1]
    for size, maps in zip(sorted(by_size, reverse=True), recorded, strict=True):
        assert torch.allclose(torch.stack(by_size[size]).mean(0), maps, atol=1e-6)


def test_nobody_listens_to_a_position_that_is_not_heard(net, given):
    x, t, context, y = given
    heard = torch.ones(2, 5, dtype=torch.bool)
    heard[:, 3] = False
    other = context.clone()
    other[:, 3] = 100.0
    output, maps = net(x, t, context, y, record=True, heard=heard)
    assert torch.equal(output, net(x, t, other, y, heard=heard))
    assert not torch.equal(output, net(x, t, context, y))
    assert all(not m[:, 3].any() for m in maps)


def test_a_traced_graph_gives_the_same(net, given):
    x, t, context, y = given
    heard = torch.tensor([[True] * 5, [True, True, False, False, True]])
    graphs = Graphs(net)
    for more in ({}, {"y": y}, {"heard": heard, "y": y}):
        with torch.no_grad():
            expected, maps = net(x, t, context, record=True, **more)
            output, *traced = graphs(x, t, context, True, **more)
        assert torch.allclose(output, expected, atol=1e-6)
        assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(traced, maps, strict=True))


def test_an_unconditional_network_needs_nothing_else(given):
    config = replace(TINY, text_dim=None, n_classes=None, mask_channels=None, mask_out=None)
    net = StudyUNet(config).eval().requires_grad_(False)
    x = given[0][:, : config.im_channels]
    output, maps = net(x, given[1], torch.zeros(2, 0, 0), record=True)
    assert maps == () and net.cross_attentions() == {}
    assert torch.equal(output, net(x, given[1]))


def test_what_is_missing_is_said(net, given):
    x, t, context, y = given
    with pytest.raises(SettingsError, match="embedding of a text"):
        net(x, t, None, y)
    with pytest.raises(SettingsError, match="4 channels of latents and 3 of a mask, got 4"):
        net(x[:, :4], t, context, y)


def test_the_blocks_have_the_sizes_of_the_study_s_table():
    """The table is of latents of 32 x 32 and CLIP ViT-B/16's 512 channels."""
    with torch.device("meta"):
        net = StudyUNet(StudyUNetConfig(text_dim=512))
        sizes = {}

        def note(name):
            return lambda module, inputs, output: sizes.update(
                {name: (inputs[0].shape[1], *output.shape[1:])}
            )

        for name, module in net.named_modules():
            if name in ("conv_in", "conv_out") or name.partition(".")[2].isdigit():
                module.register_forward_hook(note(name))
            if name.startswith("ups.") and name.endswith("residual_input_conv.0"):
                module.register_forward_hook(note(name))
        net(torch.zeros(1, 4, 32, 32), torch.zeros(1), torch.zeros(1, 77, 512))
    sizes = {name: size for name, size in sizes.items() if not name.startswith("t_proj")}
    assert sizes == {
        "conv_in": (4, 256, 32, 32),
        "downs.0": (256, 384, 16, 16),
        "downs.1": (384, 512, 8, 8),
        "downs.2": (512, 768, 4, 4),
        "mids.0": (768, 512, 4, 4),
        "ups.0.residual_input_conv.0": (512 + 512, 384, 8, 8),
        "ups.0": (512, 384, 8, 8),
        "ups.1.residual_input_conv.0": (384 + 384, 256, 16, 16),
        "ups.1": (384, 256, 16, 16),
        "ups.2.residual_input_conv.0": (256 + 256, 128, 32, 32),
        "ups.2": (256, 128, 32, 32),
        "conv_out": (128, 4, 32, 32),
    }


STAGE = StudyAutoencoderConfig(
    z_channels=3,
    codebook_size=9,
    down_channels=(8, 8, 16),
    mid_channels=(16, 8, 16),
    down_sample=(True, True),
    attn_down=(False, True),
    norm_channels=4,
    num_down_layers=1,
    num_mid_layers=1,
    num_up_layers=1,
)


@pytest.mark.parametrize("kind", StudyAutoencoderConfig.KINDS)
@pytest.mark.parametrize("channels", [3, 1])
def test_an_autoencoder_takes_and_gives_pictures_of_three_channels(kind, channels):
    config = replace(STAGE, kind=kind, im_channels=channels)
    net = study_autoencoder(config).eval().requires_grad_(False)
    images = torch.rand(2, 3, 16, 24) * 2 - 1
    z = net.posterior(images).mode()
    assert z.shape == (2, 3, 16 // config.downsampling_factor, 24 // config.downsampling_factor)
    decoded = net.decode(z)
    assert decoded.shape == images.shape
    if channels == 1:
        assert torch.equal(decoded[:, 0], decoded[:, 1]) and torch.equal(decoded[:, 0], decoded[:, 2])
        grey = (images * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(1, keepdim=True)
        assert torch.allclose(net.posterior(grey.expand(-1, 3, -1, -1)).mode(), z, atol=1e-5)


def test_the_codebook_is_one_table_under_the_study_s_name():
    net = StudyVQVAE(STAGE)
    assert [name for name in net.state_dict() if "embedding" in name] == ["embedding.weight"]
    other = copy.deepcopy(net).double()
    weight = torch.arange(27, dtype=torch.float64).view(9, 3)
    other.load_state_dict({**other.state_dict(), "embedding.weight": weight}, assign=True)
    assert torch.equal(other.quantize.embedding.weight, weight)
    assert not torch.equal(net.quantize.embedding.weight.double(), weight)
    indices = torch.arange(9).view(1, 3, 3)
    assert torch.equal(other.quantize.nearest(other.quantize.codes(indices)), indices)


def test_the_vqvae_gives_codes_and_takes_none_again():
    net = StudyVQVAE(STAGE).eval().requires_grad_(False)
    posterior = net.posterior(torch.rand(1, 3, 8, 8) * 2 - 1)
    codes = posterior.mode()
    assert torch.equal(codes, net.quantize.codes(net.quantize.nearest(codes)))
    assert torch.equal(posterior.sample(torch.ones_like(codes)), codes) and posterior.std is None
    between = codes + 0.01
    assert not torch.equal(net.decode(between), net.decode(codes))
    assert torch.equal(net.decode(between, quantise=True), net.decode(codes))


@pytest.mark.parametrize(
    ("config", "changes", "words"),
    [
        (TINY, {"down_sample": (True,)}, "down_sample must have one entry fewer than down_channels, 2"),
        (TINY, {"mid_channels": (8, 16)}, "the first of them the last of down_channels"),
        (TINY, {"mid_channels": (16, 8)}, "must be the last but one of"),
        (TINY, {"num_heads": 3}, "num_heads 3 does not divide 16 channels"),
        (TINY, {"norm_channels": 16}, "norm_channels 16 does not divide 8 channels"),
        (TINY, {"time_emb_dim": 15}, "time_emb_dim must be even, got 15"),
        (TINY, {"mask_out": None}, "mask_channels 3 and mask_out None go together"),
        (TINY, {"names": "labml"}, "names must be 'repo' or 'study', got 'labml'"),
        (TINY, {"num_mid_layers": 0}, "num_mid_layers must be at least 1, got 0"),
        (STAGE, {"mid_channels": (16, 8)}, "must be the last of down_channels"),
        (STAGE, {"kind": "study_gan"}, "kind must be one of study_vqvae, study_vae, got 'study_gan'"),
        (STAGE, {"num_heads": 5}, "num_heads 5 does not divide 16 channels"),
    ],
)
def test_sizes_that_no_network_can_have_are_named(config, changes, words):
    with pytest.raises(CheckpointError, match=words):
        replace(config, **changes)


def test_the_tables_of_networks_lead_here():
    assert isinstance(build_network(TINY), StudyUNet)
    assert isinstance(build_first_stage(STAGE), StudyVQVAE)
    assert isinstance(build_first_stage(replace(STAGE, kind="study_vae")), StudyVAE)


@pytest.mark.golden
def test_every_number_of_these_cases_is_compared(request):
    assert_whole(request, {})
