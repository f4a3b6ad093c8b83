"""Small random models for the tests of checkpoints."""

import torch

from ldm.latent_diffusion import LatentDiffusion
from ldm.models.config import (
    AutoencoderConfig,
    ModelConfig,
    RecommendedSettings,
    ScheduleConfig,
    TextConfig,
    UNetConfig,
)
from ldm.models.tokenizer import BOS, EOS, Tokenizer, train_bpe

CAPTIONS = ["a large red ball on a mat", "a small red box, isn't it?", "two balls and a box", "the red mat"]
PROMPT, NEGATIVE = "a large red ball", "two boxes"


def own_tokenizer(length: int = 32) -> Tokenizer:
    vocab, merges = train_bpe(CAPTIONS, 560)
    return Tokenizer(vocab, merges, length, vocab[BOS], vocab[EOS], vocab[EOS])


def default_config(**changes) -> ModelConfig:
    """The shape of the model that ships, smaller."""
    tokenizer = own_tokenizer()
    config = {
        "name": "tiny",
        "unet": UNetConfig(
            in_channels=16,
            out_channels=16,
            model_channels=64,
            channel_mult=(1, 2),
            num_res_blocks=1,
            attention_resolutions=(2,),
            num_heads=-1,
            num_head_channels=32,
            context_dim=256,
            num_groups=8,
        ),
        "autoencoder": AutoencoderConfig(
            ch=16,
            ch_mult=(1, 2, 4, 4, 8),
            num_res_blocks=1,
            attn_type="none",
            z_channels=16,
            embed_dim=16,
            num_groups=4,
        ),
        "text": TextConfig(
            vocab_size=len(tokenizer.vocab),
            hidden_size=256,
            intermediate_size=512,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=32,
            bos_token_id=tokenizer.bos,
            eos_token_id=tokenizer.eos,
            pad_token_id=tokenizer.pad,
            tokenizer="embedded",
        ),
        "schedule": ScheduleConfig(zero_terminal_snr=True),
        "prediction_type": "v",
        "latent_scaling_factor": 0.7,
        "recommended": RecommendedSettings(width=64, height=64, sampler="dpmpp_2m"),
        "vocabulary": {"colour": ["red"]},
        "examples": ("a large red ball",),
        "training": {"steps": 3, "curve": [1.0, 0.5]},
    }
    return ModelConfig(**(config | changes))


def sd_config(**changes) -> ModelConfig:
    """Stable Diffusion 1's shape, much smaller; CLIP's vocabulary."""
    config = {
        "name": "sd",
        "unet": UNetConfig(model_channels=32, channel_mult=(1, 2), num_res_blocks=2, context_dim=64)
        if "unet" not in changes
        else changes["unet"],
        "autoencoder": AutoencoderConfig(ch=32, ch_mult=(1, 2), num_res_blocks=1),
        "text": TextConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=1),
    }
    return ModelConfig(**(config | changes))


def random_model(
    config: ModelConfig, tokenizer: Tokenizer | None = None, preview: bool = False
) -> LatentDiffusion:
    """A model whose every weight matters: small noise, also on what starts as 0 or 1."""
    if tokenizer is None:
        own = config.text.tokenizer == "embedded"
        tokenizer = own_tokenizer() if own else Tokenizer.clip(config.text.max_position_embeddings)
    model = LatentDiffusion(config, tokenizer, preview=preview).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(7)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        spread = 0.05 if parameter.ndim < 2 else parameter[0].numel() ** -0.5
        parameter.copy_((parameter if parameter.ndim < 2 else 0) + spread * noise)
    return model
