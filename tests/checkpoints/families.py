"""A tiny random twin of each family that has several layouts."""

from ldm.models.condition_config import NoConditionConfig, OpenCLIPConfig, SDXLTextConfig
from ldm.models.config import (
    AutoencoderConfig,
    ModelConfig,
    RecommendedSettings,
    ScheduleConfig,
    TextConfig,
    UNetConfig,
    VQConfig,
)

SMALL = RecommendedSettings(width=32, height=32)
KL = AutoencoderConfig(ch=32, ch_mult=(1, 2), num_res_blocks=1)
CLIP = TextConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=1)
VIT = OpenCLIPConfig(width=64, layers=3, heads=1, embed_dim=64)
BIG = OpenCLIPConfig(width=128, layers=3, heads=2, embed_dim=128, final_norm=False)
SD1_UNET = {
    "model_channels": 32,
    "channel_mult": (1, 2),
    "num_res_blocks": 1,
    "attention_resolutions": (2, 1),
}
SD2_UNET = SD1_UNET | {
    "model_channels": 64,
    "num_heads": -1,
    "num_head_channels": 64,
    "use_linear_in_transformer": True,
    "context_dim": 64,
}
XL_UNET = SD2_UNET | {
    "num_classes": "sequential",
    "adm_in_channels": 128 + 6 * 32,
    "context_dim": 64 + 128,
    "attention_resolutions": (2,),
    "transformer_depth": (0, 2),
    "transformer_depth_middle": 2,
}
XL_TEXT = SDXLTextConfig(
    clip=TextConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=3,
        num_attention_heads=1,
        hidden_layer=-2,
        final_norm=False,
    ),
    openclip=BIG,
    size_dim=32,
)
REFINER = SDXLTextConfig(clip=None, openclip=BIG, size_dim=32, sizes=5, zero_empty=False)


def _config(name: str, **fields) -> ModelConfig:
    fields = {"autoencoder": KL, "recommended": SMALL} | fields
    return ModelConfig(name=name, **fields)


FAMILIES: dict[str, ModelConfig] = {
    "sd1": _config("sd1", unet=UNetConfig(**SD1_UNET, context_dim=64), text=CLIP),
    "sd1-v": _config(
        "sd1-v",
        unet=UNetConfig(**SD1_UNET, context_dim=64),
        text=CLIP,
        prediction_type="v",
        schedule=ScheduleConfig(zero_terminal_snr=True),
    ),
    "sd1-inpainting": _config(
        "sd1-inpainting",
        unet=UNetConfig(**SD1_UNET, context_dim=64, in_channels=9),
        text=CLIP,
        picture="inpaint",
    ),
    "instruct-pix2pix": _config(
        "instruct-pix2pix",
        unet=UNetConfig(**SD1_UNET, context_dim=64, in_channels=8),
        text=CLIP,
        picture="edit",
    ),
    "sd2": _config("sd2", unet=UNetConfig(**SD2_UNET), text=VIT, prediction_type="v"),
    "sd2-inpainting": _config(
        "sd2-inpainting", unet=UNetConfig(**SD2_UNET | {"in_channels": 9}), text=VIT, picture="inpaint"
    ),
    "x4-upscaler": _config(
        "x4-upscaler",
        unet=UNetConfig(
            **SD1_UNET
            | {
                "in_channels": 7,
                "num_classes": 1000,
                "context_dim": 64,
                "use_linear_in_transformer": True,
                "disable_self_attentions": (True, False),
            }
        ),
        text=VIT,
        picture="upscale",
        prediction_type="v",
        latent_scaling_factor=0.08333,
        schedule=ScheduleConfig(linear_start=1e-4, linear_end=0.02),
    ),
    "sdxl": _config("sdxl", unet=UNetConfig(**XL_UNET), text=XL_TEXT, latent_scaling_factor=0.13025),
    "sdxl-v": _config(
        "sdxl-v",
        unet=UNetConfig(**XL_UNET),
        text=XL_TEXT,
        latent_scaling_factor=0.13025,
        prediction_type="v",
        schedule=ScheduleConfig(zero_terminal_snr=True),
    ),
    "sdxl-inpainting": _config(
        "sdxl-inpainting",
        unet=UNetConfig(**XL_UNET | {"in_channels": 9}),
        text=XL_TEXT,
        latent_scaling_factor=0.13025,
        picture="inpaint",
    ),
    "sdxl-refiner": _config(
        "sdxl-refiner",
        unet=UNetConfig(**XL_UNET | {"context_dim": 128, "adm_in_channels": 128 + 5 * 32}),
        text=REFINER,
        latent_scaling_factor=0.13025,
    ),
    "unconditional": _config(
        "unconditional",
        unet=UNetConfig(
            in_channels=3,
            out_channels=3,
            model_channels=32,
            channel_mult=(1, 2),
            num_res_blocks=1,
            attention_resolutions=(2, 1),
            num_heads=-1,
            num_head_channels=16,
            use_spatial_transformer=False,
            context_dim=None,
        ),
        autoencoder=VQConfig(
            AutoencoderConfig(
                ch=32, ch_mult=(1, 2), num_res_blocks=1, z_channels=3, embed_dim=3, double_z=False
            ),
            n_embed=64,
        ),
        text=NoConditionConfig(),
        latent_scaling_factor=1.0,
        schedule=ScheduleConfig(linear_start=0.0015, linear_end=0.0195),
        recommended=RecommendedSettings(width=32, height=32, cfg_scale=1.0, sampler="ddim"),
    ),
}
