"""Tiny random pipelines of diffusers' own classes: the same picture there, here, and in CompVis's layout."""

from dataclasses import replace

import pytest
import torch
from PIL import Image

from ldm.checkpoints import build, read
from ldm.checkpoints.compvis_export import write_compvis
from ldm.checkpoints.diffusers_export import write_tokenizer
from ldm.diffusion.samplers import SAMPLERS
from ldm.generation import generate, noise_stream
from ldm.generation.asked import denoiser_of, levels_of, options_of
from ldm.generation.start import conditions, fitted
from ldm.models.tokenizer import Tokenizer
from ldm.settings import Settings

from .models import own_tokenizer

PROMPT = "a large red ball"
SETTINGS = Settings(
    PROMPT, "", steps=4, sampler="ddim", cfg_scale=3.0, cfg_rescale=0.0, width=64, height=32, seed=3
)
UNET = {
    "block_out_channels": [32, 64],
    "layers_per_block": 1,
    "down_block_types": ["CrossAttnDownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "CrossAttnUpBlock2D"],
    "cross_attention_dim": 64,
    "attention_head_dim": 8,
    "sample_size": 16,
}
SD2 = {"attention_head_dim": [1, 2], "use_linear_projection": True, "block_out_channels": [64, 128]}
XL = SD2 | {
    "down_block_types": ["DownBlock2D", "CrossAttnDownBlock2D"],
    "up_block_types": ["CrossAttnUpBlock2D", "UpBlock2D"],
    "transformer_layers_per_block": [1, 2],
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 32,
    "projection_class_embeddings_input_dim": 128 + 6 * 32,
    "cross_attention_dim": 64 + 128,
}
SCHEDULE = {
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "timestep_spacing": "trailing",
    "steps_offset": 1,
}
FAMILIES = {
    "sd1": ("StableDiffusionPipeline", UNET, {}),
    "sd1-inpainting": ("StableDiffusionInpaintPipeline", UNET | {"in_channels": 9}, {}),
    "sd2-v": ("StableDiffusionPipeline", UNET | SD2, {"prediction_type": "v_prediction"}),
    "sdxl": ("StableDiffusionXLPipeline", UNET | XL, {}),
}

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.fixture(scope="module")
def diffusers():
    return pytest.importorskip("diffusers")


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


def text_encoder(kind, tokenizer, **sizes):
    import transformers

    usual = {
        "vocab_size": len(tokenizer.vocab),
        "hidden_size": 64,
        "intermediate_size": 4 * sizes.get("hidden_size", 64),
        "num_hidden_layers": 3,
        "num_attention_heads": sizes.get("hidden_size", 64) // 64,
        "max_position_embeddings": tokenizer.length,
        "bos_token_id": tokenizer.bos,
        "eos_token_id": tokenizer.eos,
        "pad_token_id": tokenizer.pad,
    }
    return getattr(transformers, kind)(transformers.CLIPTextConfig(**usual | sizes))


def tokenizer_of(folder, tokenizer, pad=None):
    from transformers import CLIPTokenizer

    folder.mkdir()
    write_tokenizer(folder, tokenizer if pad is None else tokenizer.padded_with(tokenizer.vocab[pad]))
    return CLIPTokenizer.from_pretrained(folder)


def pipeline_of(diffusers, folder, family):
    """A pipeline with random weights, as diffusers builds and saves it."""
    torch.manual_seed(5)
    name, unet, scheduler = FAMILIES[family]
    # single files with OpenCLIP's tower are read with CLIP's vocabulary
    words = Tokenizer.clip() if family in ("sd2-v", "sdxl") else own_tokenizer()
    encoder = {"hidden_act": "quick_gelu"}
    if family == "sd2-v":  # as many layers as there are, but the last, which is not read
        encoder = {"hidden_act": "gelu", "num_hidden_layers": 23}
    parts = {
        "unet": diffusers.UNet2DConditionModel(**unet),
        "vae": diffusers.AutoencoderKL(
            block_out_channels=[32, 64],
            down_block_types=["DownEncoderBlock2D"] * 2,
            up_block_types=["UpDecoderBlock2D"] * 2,
            latent_channels=4,
            scaling_factor=0.13025 if family == "sdxl" else 0.18215,
        ),
        "scheduler": diffusers.EulerDiscreteScheduler(**SCHEDULE | {"timestep_spacing": "leading"})
        if family == "sdxl"
        else diffusers.DDIMScheduler(**SCHEDULE, **scheduler, clip_sample=False),
        "tokenizer": tokenizer_of(folder / "words", words, "!" if family == "sd2-v" else None),
        "text_encoder": text_encoder("CLIPTextModel", words, **encoder),
    }
    # what a picture's latents are is drawn at random in diffusers' inpainting: make the spread nothing
    parts["vae"].quant_conv.weight[4:] = 0.0
    parts["vae"].quant_conv.bias[4:] = -30.0
    for module in (parts["unet"], parts["vae"].decoder):
        module.conv_out.weight *= 3  # else random networks draw grey
    if family == "sdxl":
        parts["tokenizer_2"] = tokenizer_of(folder / "more words", words, "!")
        parts["text_encoder_2"] = text_encoder(
            "CLIPTextModelWithProjection", words, hidden_size=128, hidden_act="gelu", projection_dim=128
        )
    else:
        parts |= {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    pipeline = getattr(diffusers, name)(**parts)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.save_pretrained(folder / "model")
    return pipeline


def pictures():
    """A picture, and a mask of whole latents with its right half white."""
    image = Image.radial_gradient("L").resize((64, 32)).convert("RGB")
    mask = Image.new("L", (64, 32), 0)
    mask.paste(255, (32, 0, 64, 32))
    return image, mask


def theirs(pipeline, family, settings, noise):
    options = (
        {"image": pictures()[0], "mask_image": pictures()[1], "strength": 1.0}
        if "inpainting" in family
        else {}
    )
    return pipeline(
        PROMPT,
        negative_prompt=None if family == "sdxl" else "",
        height=settings.height,
        width=settings.width,
        num_inference_steps=settings.steps,
        guidance_scale=settings.cfg_scale,
        latents=noise,
        output_type="pt",
        **options,
    ).images


def ours(model, family, settings):
    if "inpainting" not in family:
        return shown(model, list(generate(model, settings))[-1].x_next)
    reads = conditions(model, settings, fitted(settings, *pictures(), model))
    # diffusers leaves what is not masked to the network; here it follows its own latents
    denoise = denoiser_of(model, settings, [PROMPT], reads=replace(reads, keep=None))
    sigmas, noise = levels_of(model, settings), noise_stream(model, settings)
    x = noise(0) * (1 + float(sigmas[0]) ** 2) ** 0.5
    steps = list(SAMPLERS[settings.sampler].run(denoise, x, sigmas, options_of(settings), noise, ()))
    return shown(model, steps[-1].x_next)


def shown(model, latents):
    return (model.autoencoder_decode(latents) / 2 + 0.5).clamp(0, 1)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_twin_draws_the_same_picture_in_diffusers_and_in_both_layouts_here(diffusers, tmp_path, family):
    pipeline = pipeline_of(diffusers, tmp_path, family)
    model = build(read(tmp_path / "model"), "cpu", torch.float32)
    settings = replace(SETTINGS, sampler="euler", spacing="leading") if family == "sdxl" else SETTINGS
    expected = theirs(pipeline, family, settings, noise_stream(model, settings)(0).float())
    assert expected.std() > 0.05
    found = ours(model, family, settings)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
    write_compvis(model, tmp_path / "single.safetensors")
    single = build(read(tmp_path / "single.safetensors"), "cpu", torch.float32)
    torch.testing.assert_close(ours(single, family, settings), expected, atol=1e-3, rtol=0)
