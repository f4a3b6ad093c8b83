"""The networks against the numbers of CompVis's own."""

import pytest
import torch

from ldm.models.autoencoder import AutoencoderKL, DiagonalGaussian, normal_kl
from ldm.models.blocks import sinusoidal_embedding, timestep_embedding
from ldm.models.config import AutoencoderConfig, UNetConfig
from ldm.models.unet import UNetModel
from ldm.models.vq import VQConfig, VQModel
from tests.golden_cases import assert_whole, case

pytestmark = pytest.mark.golden


def unet_config(params):
    """CompVis's keyword arguments as our config; what it has only for training is left out."""
    known = {k: tuple(v) if isinstance(v, list) else v for k, v in params.items()}
    return UNetConfig(**{k: v for k, v in known.items() if k in UNetConfig.__dataclass_fields__})


def autoencoder_config(params):
    dd = {k: tuple(v) if isinstance(v, list) else v for k, v in params["ddconfig"].items() if k != "dropout"}
    return AutoencoderConfig(embed_dim=params["embed_dim"], **dd)


@pytest.mark.parametrize("name", ["unet_xattn_a", "unet_xattn_b", "unet_eps"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_unet_gives_compvis_s_numbers(name, dtype):
    golden = case(name)
    net = UNetModel(unet_config(golden.config["params"]))
    net.load_state_dict(golden.weights)
    net.to(dtype)
    inputs, suffix = golden.inputs, ".f64" if dtype == torch.float64 else ""
    variants = {
        "output": (1.0, "timesteps"),
        "output_fractional": (1.0, "timesteps_fractional"),
        "output_input_times_0.001": (0.001, "timesteps"),
    }
    checked = 0
    with torch.no_grad():
        for output, (scale, times) in variants.items():
            if output + suffix not in golden.expected:
                continue
            ours = net(inputs["x"].to(dtype) * scale, inputs[times], inputs["context"].to(dtype))
            golden.assert_matches(output + suffix, ours)
            checked += 1
    assert checked


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["kl_midattn", "kl_attnres"])
def test_the_autoencoder_gives_compvis_s_numbers(name, dtype):
    golden = case(name)
    net = AutoencoderKL(autoencoder_config(golden.config["params"]))
    net.load_state_dict(golden.weights)
    net.to(dtype)
    suffix = ".f64" if dtype == torch.float64 else ""
    x, noise, z = (golden.inputs[k].to(dtype) for k in ("x", "noise", "z"))
    with torch.no_grad():
        posterior = net.encode(x)
        ours = {
            "moments": net.quant_conv(net.encoder(x)),
            "mode": posterior.mode(),
            "sample": posterior.sample(noise),
            "kl": posterior.kl(),
            "logvar": posterior.logvar,
            "decoded_from_z": net.decode(z),
            "reconstruction_mode": net.decode(posterior.mode()),
            "moments_input_times_1e_4": net.quant_conv(net.encoder(x * 1e-4)),
        }
    for key, value in ours.items():
        golden.assert_matches(key + suffix, value, key=key)
    assert net.config.downsampling_factor == golden.config["downsampling_factor"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["vq_f4", "vq_attnres"])
def test_the_vq_autoencoder_gives_compvis_s_numbers(name, dtype):
    golden = case(name)
    params = golden.config["params"]
    net = VQModel(VQConfig(autoencoder_config(params), n_embed=params["n_embed"]))
    net.load_state_dict(golden.weights)
    net.to(dtype)
    suffix = ".f64" if dtype == torch.float64 else ""
    x, z = (golden.inputs[k].to(dtype) for k in ("x", "z"))
    with torch.no_grad():
        encoded, of_z = net.encode(x), net.quantize(z)
        codes = golden.inputs["codes"].view(z.shape[0], *z.shape[2:])
        ours = {
            "prequant": net.prequantised(x),
            "quantized": encoded.latents,
            "commit_loss": encoded.loss,
            "reconstruction": net.decode(encoded.latents, quantise=False),
            "quantize_z": of_z.latents,
            "quantize_z_loss": of_z.loss,
            "interface_encode": net.posterior(x).mode(),
            "interface_decode": net.decode(z),
            "interface_decode_force_not_quantize": net.decode(z, quantise=False),
            "codebook_entry": net.quantize.codes(codes),
        }
        back = net.decode(net.quantize.codes(encoded.indices), quantise=False)
    for key, value in ours.items():
        golden.assert_matches(key + suffix, value, key=key)
    golden.assert_matches("indices", encoded.indices.flatten())
    golden.assert_matches("quantize_z_indices", of_z.indices.flatten())
    assert torch.equal(back, ours["reconstruction"])
    assert torch.equal(net.decode(encoded.latents), ours["reconstruction"])  # codes are their own nearest
    assert net.config.autoencoder.downsampling_factor == golden.config["downsampling_factor"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_posterior_gives_compvis_s_numbers(dtype):
    golden = case("gaussian")
    suffix = ".f64" if dtype == torch.float64 else ""
    inputs = {k: v.to(dtype) for k, v in golden.inputs.items()}
    one, other = (DiagonalGaussian(inputs[k]) for k in ("parameters", "other_parameters"))
    logvars = [inputs[k].chunk(2, dim=1)[1] for k in ("parameters", "other_parameters")]
    calm = [bool(((lv >= -30) & (lv <= 20)).all()) for lv in logvars[0]]
    items = torch.tensor([i for i, inside in enumerate(calm) if inside])
    sample = inputs["sample_for_nll"]
    ours = {
        "mean": one.mean,
        "mode": one.mode(),
        "logvar": one.logvar,
        "std": one.std,
        "var": one.var,
        "sample": one.sample(inputs["noise"]),
        "kl_standard": one.kl(),
        "kl_other": one.kl(other),
        "nll": one.nll(sample),
        "kl_standard_unclamped_items": one.kl()[items],
        "nll_unclamped_items": one.nll(sample)[items],
        "normal_kl": normal_kl(*(t[items] for t in (one.mean, one.logvar, other.mean, other.logvar))),
        "normal_kl_standard": normal_kl(
            one.mean[items], one.logvar[items], torch.zeros(1, dtype=dtype), torch.zeros(1, dtype=dtype)
        ),
    }
    for key, value in ours.items():
        golden.assert_matches(key + suffix, value, key=key)


def test_the_timestep_embeddings_are_the_originals():
    golden = case("timestep_embedding")
    checked = 0
    for key in golden.expected:
        if key.endswith(".f64"):
            continue
        form, dim, kind = key.split("_")
        t = golden.inputs["t" if kind == "int" else "t_fractional"]
        embed = timestep_embedding if form == "unet" else sinusoidal_embedding
        golden.assert_matches(key, embed(t, int(dim.removeprefix("dim"))))
        checked += 1
    assert checked


def test_every_number_of_these_cases_is_compared(request):
    reason = "the formula all in float64; networks embed time in float32, ours as the original's"
    assert_whole(request, {("timestep_embedding", "*.f64"): reason})
