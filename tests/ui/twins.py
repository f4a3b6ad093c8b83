"""A tiny model of every kind of condition, with random weights."""

import torch

from ldm.latent_diffusion import LatentDiffusion
from ldm.models.condition_config import (
    BERTConfig,
    ClassConfig,
    NeighboursConfig,
    NoConditionConfig,
    OpenCLIPConfig,
    SDXLTextConfig,
)
from ldm.models.config import AutoencoderConfig, ModelConfig, RecommendedSettings, UNetConfig
from ldm.models.study_config import StudyUNetConfig
from ldm.models.tokenizer import Tokenizer

TOWER = {"width": 32, "layers": 2, "heads": 2, "embed_dim": 32}
BOXES = BERTConfig(vocab_size=82, dim=32, depth=1, heads=2, head_dim=16, length=11, layout=True)
STUDY = {
    "down_channels": (16, 32), "mid_channels": (32, 16), "time_emb_dim": 32, "down_sample": (True,),
    "num_down_layers": 1, "num_mid_layers": 1, "num_up_layers": 1, "num_heads": 2, "norm_channels": 8,
    "conv_out_channels": 16, "attn_down": (True,),
}  # fmt: skip


def unet(**changes):
    values = {
        "model_channels": 32, "channel_mult": (1, 2), "num_res_blocks": 1, "attention_resolutions": (2,),
        "num_heads": 2, "context_dim": 32, "num_groups": 8,
    }  # fmt: skip
    return UNetConfig(**(values | changes))


def uncond(**changes):
    return unet(use_spatial_transformer=False, context_dim=None, **changes)


SDXL = SDXLTextConfig(clip=None, openclip=OpenCLIPConfig(**TOWER, final_norm=False), size_dim=8)
KINDS = {
    "words": {"text": OpenCLIPConfig(**TOWER), "unet": unet()},
    "sdxl": {
        "text": SDXL,
        "unet": unet(num_classes="sequential", adm_in_channels=SDXL.vector_dim),
    },
    "bert": {"text": BERTConfig(vocab_size=60, dim=32, depth=1, heads=2, head_dim=16), "unet": unet()},
    "class": {"text": ClassConfig(embed_dim=32), "unet": unet()},
    "numbers": {"text": ClassConfig(n_classes=12, embed_dim=32, null=None, names=""), "unet": unet()},
    "boxes": {"text": BOXES, "unet": unet()},
    "neighbours": {"text": NeighboursConfig(dim=32, most=4), "unet": unet()},
    "nothing": {"text": NoConditionConfig(), "unet": uncond()},
    "low_resolution": {
        "text": NoConditionConfig(),
        "unet": uncond(in_channels=7),
        "picture": "low_resolution",
    },
    "upscale": {
        "text": OpenCLIPConfig(**TOWER),
        "unet": unet(in_channels=7, num_classes=1000),
        "picture": "upscale",
    },
    "palette": {
        "text": NoConditionConfig(rescaler_channels=6, rescaler_out=3, rescaler_stages=2),
        "unet": uncond(in_channels=7),
        "picture": "palette",
    },
    "study_mask": {
        "text": NoConditionConfig(),
        "unet": StudyUNetConfig(**STUDY, mask_channels=5, mask_out=3),
        "picture": "study_mask",
    },
    "signed": {"text": NoConditionConfig(), "unet": uncond(in_channels=9), "picture": "inpaint_signed"},
    "inpaint": {"text": OpenCLIPConfig(**TOWER), "unet": unet(in_channels=9), "picture": "inpaint"},
    "edit": {"text": OpenCLIPConfig(**TOWER), "unet": unet(in_channels=8), "picture": "edit"},
    "distilled": {"text": OpenCLIPConfig(**TOWER), "unet": unet(time_cond_proj_dim=16)},
}


def config(kind):
    autoencoder = AutoencoderConfig(ch=16, ch_mult=(1, 1, 2), num_res_blocks=1, num_groups=4)
    guided = 1.0 if kind in ("nothing", "low_resolution", "palette", "signed", "boxes", "numbers") else 3.0
    guided = 1.0 if kind == "study_mask" else guided
    best = RecommendedSettings(steps=3, cfg_scale=guided, width=32, height=32)
    return ModelConfig(f"tiny {kind}", autoencoder=autoencoder, recommended=best, **KINDS[kind])


def twin(kind):
    torch.manual_seed(0)
    words = kind in ("words", "sdxl", "upscale", "inpaint", "edit", "distilled")
    model = LatentDiffusion(config(kind), Tokenizer.clip() if words else None)
    return model.eval().requires_grad_(False)
