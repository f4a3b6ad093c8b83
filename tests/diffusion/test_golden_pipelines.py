"""Whole pipelines of the latent diffusion paper against its own code, from conditions to pixels."""

import functools
import json

import pytest
import torch
from safetensors.torch import load_file

from ldm.diffusion.denoiser import Denoiser
from ldm.diffusion.guidance import Guidance
from ldm.diffusion.samplers import SAMPLERS, SamplerOptions
from ldm.diffusion.schedule import build_schedule
from ldm.diffusion.spacing import sampling_sigmas
from ldm.models.autoencoder_config import AutoencoderConfig, VQConfig
from ldm.models.vq import VQModel

from ..golden_cases import assert_whole, case
from .golden_replay import both_dtypes, unet

pytestmark = pytest.mark.golden


@functools.cache
def first_stage(path, dtype):
    params = json.loads((path.parent / "config.json").read_text())["params"]
    known = {k: tuple(v) if isinstance(v, list) else v for k, v in params["ddconfig"].items()}
    fields = {k: v for k, v in known.items() if k in AutoencoderConfig.__dataclass_fields__}
    sizes = AutoencoderConfig(**fields, embed_dim=params["embed_dim"])
    net = VQModel(VQConfig(sizes, n_embed=params["n_embed"])).eval().requires_grad_(False)
    net.load_state_dict({k: v.float() for k, v in load_file(path).items() if k in net.state_dict()})
    return net.to(dtype)


def logged(xs, count):
    """Those that CompVis keeps: the first, and each whose number, counted down to 0, is divisible."""
    numbers = range(len(xs) - 1, -1, -1)
    for every in range(1, len(xs) + 1):
        kept = [x for x, n in zip(xs, numbers, strict=True) if n % every == 0 or n == len(xs) - 1]
        if len(kept) == count:
            return kept
    raise AssertionError(f"no way to keep {count} of {len(xs)}")


class Pipeline:
    """A case's networks, and DDIM as CompVis ran it."""

    def __init__(self, golden, dtype):
        self.golden, self.dtype = golden, dtype
        weights = golden.config["weights"]
        own = weights.get("unet", "weights.safetensors")
        self.network, config = unet((golden.folder / own).resolve(), dtype)
        self.stage = first_stage((golden.folder / weights["first_stage"].split()[0]).resolve(), dtype)
        given = golden.config if "linear_start" in golden.config else config
        self.schedule = build_schedule(
            n_steps=1000,
            betas="scaled_linear",
            linear_start=given["linear_start"],
            linear_end=given["linear_end"],
        )

    def input(self, name):
        return self.golden.inputs[name].to(self.dtype)

    def sample(self, eta=0.0, context=None, uncond=None, scale=1.0, concat=None, quantise=None):
        """(last latents, those before and after the kept steps), at unit variance as the original's."""
        x = self.input("x_T")
        steps = self.golden.config["S"]
        sigmas = sampling_sigmas(self.schedule, steps, "leading", "first_timestep")
        context = torch.zeros(len(x), 0, 0, dtype=self.dtype) if context is None else context
        denoise = Denoiser(
            self.network,
            self.schedule,
            "eps",
            context,
            uncond,
            Guidance(scale),
            concat=concat,
            quantise=quantise,
        )

        def unit(level):
            return (1 + float(level) ** 2) ** 0.5

        def noise(draw):
            return self.input("noise")[draw - 1]

        run = SAMPLERS["ddim"].run(denoise, x * unit(sigmas[0]), sigmas, SamplerOptions(eta=eta), noise, ())
        made = [step.x_next / unit(step.sigma_next) for step in run]
        assert len(made) == steps
        return made[-1], [x, *made]

    def suffix(self, name):
        return f"{name}.f64" if self.dtype == torch.float64 else name

    def matches(self, name, ours):
        self.golden.assert_matches(self.suffix(name), ours)

    def matches_latents(self, name, found):
        latent, xs = found
        self.matches(f"{name}latent", latent)
        if self.dtype == torch.float32:
            kept = self.golden.expected[f"{name}x_inter"]
            self.golden.assert_matches(f"{name}x_inter", torch.stack([xs[0], *logged(xs[1:], len(kept) - 1)]))
        return latent


@both_dtypes
def test_a_class_is_drawn_with_guidance(dtype):
    pipeline = Pipeline(case("ldm_class_cond"), dtype)
    table = load_file(pipeline.golden.folder / "weights.safetensors")["cond_stage_model.embedding.weight"]
    labels = pipeline.golden.inputs["class_label"]
    cond = table.to(dtype)[labels][:, None]
    uncond = table.to(dtype)[-1:].expand(len(labels), -1)[:, None]
    pipeline.matches("cond", cond)
    pipeline.matches("uncond", uncond)
    scale = pipeline.golden.config["guidance"]
    latent = pipeline.matches_latents("", pipeline.sample(context=cond, uncond=uncond, scale=scale))
    decoded = pipeline.stage.decode(latent)
    pipeline.matches("decoded", decoded)
    pipeline.matches("image01", (decoded / 2 + 0.5).clamp(0, 1))


@both_dtypes
def test_a_hole_is_filled(dtype):
    pipeline = Pipeline(case("ldm_inpaint_concat"), dtype)
    image, mask = pipeline.input("image01"), pipeline.input("mask01")
    masked = (1 - (mask >= 0.5).to(dtype)) * image * 2 - 1  # black where it is masked
    hole = ((mask >= 0.5).to(dtype)) * 2 - 1
    latents = pipeline.stage.posterior(masked).mode()
    f = image.shape[-1] // latents.shape[-1]
    concat = torch.cat([latents, hole[:, :, ::f, ::f]], dim=1)
    pipeline.matches("conditioning", concat)
    latent = pipeline.matches_latents("", pipeline.sample(pipeline.golden.config["eta"], concat=concat))
    decoded = pipeline.stage.decode(latent)
    pipeline.matches("decoded", decoded)
    made = (decoded / 2 + 0.5).clamp(0, 1)
    whole = (image * 2 - 1) / 2 + 0.5
    pipeline.matches("inpainted01", (1 - (hole / 2 + 0.5)) * whole + (hole / 2 + 0.5) * made)


@both_dtypes
def test_a_small_picture_is_enlarged(dtype):
    pipeline = Pipeline(case("ldm_superres"), dtype)
    found = pipeline.sample(pipeline.golden.config["eta"], concat=pipeline.input("lr_image"))
    latent = pipeline.matches_latents("", found)
    pipeline.matches("decoded", pipeline.stage.decode(latent))
    pipeline.matches("decoded_no_quantize", pipeline.stage.decode(latent, quantise=False))


@both_dtypes
@pytest.mark.parametrize("name", ["eta0", "eta1", "eta0_quantized"])
def test_nothing_is_asked_for(name, dtype):
    pipeline = Pipeline(case("ldm_uncond_vq"), dtype)
    quantise = (lambda z: pipeline.stage.quantize(z).latents) if "quantized" in name else None
    found = pipeline.sample(float(name[3]), quantise=quantise)
    latent = pipeline.matches_latents(f"{name}.", found)
    pipeline.matches(f"{name}.image", pipeline.stage.decode(latent))
    indices = pipeline.stage.quantize.nearest(latent)
    if dtype == torch.float32:
        pipeline.golden.assert_matches(f"{name}.indices", indices.flatten())


def test_every_number_is_compared(request):
    assert_whole(request, {})
