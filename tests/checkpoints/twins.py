"""Tiny twins: a model with the very structure of a published one and small random weights."""

from dataclasses import replace

import torch

from ldm.checkpoints.zoo import Row
from ldm.diffusion.schedule import build_schedule
from ldm.latent_diffusion import LatentDiffusion
from ldm.models.autoencoder_config import AutoencoderConfig, VQConfig
from ldm.models.condition_config import (
    BERTConfig,
    ClassConfig,
    NeighboursConfig,
    NoConditionConfig,
    OpenCLIPConfig,
    SDXLTextConfig,
    TextConfig,
)
from ldm.models.config import ModelConfig, UNetConfig
from ldm.models.tokenizer import Tokenizer

MULT = {4: (1, 2, 4), 8: (1, 2, 2, 4), 16: (1, 1, 2, 2, 4)}
ATTENTION = {4: (), 8: (32,), 16: (16,)}
WORDS = ("[PAD]", *(f"[unused{i}]" for i in range(99)), "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "castle")


def stage_of(row: Row) -> AutoencoderConfig | VQConfig:
    kind, f = row.fingerprint.first_stage.split("-f")
    channels = row.fingerprint.channels[1]
    sizes = AutoencoderConfig(
        ch=32,
        ch_mult=(1, 1, 1, 2) if kind == "kl" and f == "8" else MULT[int(f)],
        num_res_blocks=1,
        attn_resolutions=() if kind == "kl" and f == "8" else ATTENTION[int(f)],
        attn_type="vanilla" if row.fingerprint.attention else "none",
        z_channels=channels,
        embed_dim=channels,
        double_z=kind == "kl",
    )
    return sizes if kind == "kl" else VQConfig(sizes, n_embed=64)


def condition_of(row: Row):
    mark = row.fingerprint
    if mark.condition == "class":
        return ClassConfig(
            mark.classes,
            32,
            null=1000 if mark.classes == 1001 else None,
            names="imagenet",
        )
    if mark.condition == "bert":
        boxes = mark.words == 8192
        return BERTConfig(mark.words, 32, depth=2, length=92 if boxes else 77, layout=boxes)
    if mark.condition == "neighbours":
        return NeighboursConfig(dim=32)
    if mark.channels == (6, 3) and row.names[0].startswith("semantic"):
        return NoConditionConfig(rescaler_channels=182)
    return NoConditionConfig()


def zoo_config(row: Row) -> ModelConfig:
    """The row's model at a width of 32."""
    mark, (heads, head_channels) = row.fingerprint, row.heads
    text = condition_of(row)
    unet = UNetConfig(
        in_channels=mark.channels[0],
        out_channels=mark.channels[1],
        model_channels=32,
        channel_mult=mark.mult,
        num_res_blocks=2,
        attention_resolutions=mark.attends,
        num_heads=heads,
        num_head_channels=head_channels,
        use_spatial_transformer=mark.depth > 0,
        transformer_depth=mark.depth or 1,
        context_dim=text.context_dim if mark.depth else None,
        resblock_updown=mark.updown,
        use_scale_shift_norm=mark.scale_shift,
    )
    return ModelConfig(name="twin", unet=unet, autoencoder=stage_of(row), text=text, picture=picture_of(row))


def picture_of(row: Row) -> str | None:
    names = {
        "bsr_sr": "low_resolution",
        "inpainting_big": "inpaint_signed",
        "semantic_synthesis256": "palette",
    }
    return names.get(row.names[0])


CLIP = TextConfig(hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=1)
BIG = OpenCLIPConfig(width=64, layers=2, heads=1, embed_dim=64)
SD_STAGE = AutoencoderConfig(ch=32, ch_mult=(1, 1, 1, 2), num_res_blocks=1)


def sdxl_text(refiner: bool = False) -> SDXLTextConfig:
    return SDXLTextConfig(
        clip=None if refiner else replace(CLIP, hidden_layer=-2, final_norm=False),
        openclip=replace(BIG, final_norm=False),
        size_dim=256,
        sizes=5 if refiner else 6,
        zero_empty=not refiner,
    )


def sd_unet(**changes) -> UNetConfig:
    sizes = {"model_channels": 32, "channel_mult": (1, 2), "attention_resolutions": (1, 2), "context_dim": 64}
    return UNetConfig(**(sizes | changes))


LINEAR = {
    "num_heads": -1,
    "num_head_channels": 64,
    "use_linear_in_transformer": True,
    "model_channels": 64,
}
SDXL = {**LINEAR, "channel_mult": (1, 2, 4), "transformer_depth": (0, 1, 2), "num_classes": "sequential"}


def xl_unet(text: SDXLTextConfig, **changes) -> UNetConfig:
    return sd_unet(
        **SDXL
        | {
            "attention_resolutions": (2, 4),
            "context_dim": text.context_dim,
            "adm_in_channels": text.vector_dim,
        }
        | changes
    )


def family_configs() -> dict[str, ModelConfig]:
    """Stable Diffusion's families by the name of what their files are, tiny."""
    xl, refiner = sdxl_text(), sdxl_text(refiner=True)
    two = {"autoencoder": SD_STAGE, "text": BIG}
    upscaler = replace(SD_STAGE, ch_mult=(1, 1, 2))
    sdxl = {"autoencoder": SD_STAGE, "latent_scaling_factor": 0.13025}
    return {
        "sd1": ModelConfig(unet=sd_unet(), autoencoder=SD_STAGE, text=CLIP),
        "sd1 inpainting": ModelConfig(
            unet=sd_unet(in_channels=9), autoencoder=SD_STAGE, text=CLIP, picture="inpaint"
        ),
        "sd1 pix2pix": ModelConfig(
            unet=sd_unet(in_channels=8), autoencoder=SD_STAGE, text=CLIP, picture="edit"
        ),
        "sd2": ModelConfig(unet=sd_unet(**LINEAR), prediction_type="v", **two),
        "sd2 inpainting": ModelConfig(unet=sd_unet(**LINEAR, in_channels=9), picture="inpaint", **two),
        "sd2 upscaler": ModelConfig(
            unet=sd_unet(
                in_channels=7,
                use_linear_in_transformer=True,
                num_classes=1000,
                disable_self_attentions=(True, False),  # of the second the context is as wide as itself
            ),
            autoencoder=upscaler,
            text=BIG,
            picture="upscale",
            prediction_type="v",
            latent_scaling_factor=0.08333,
        ),
        "sdxl": ModelConfig(unet=xl_unet(xl), text=xl, **sdxl),
        "sdxl inpainting": ModelConfig(unet=xl_unet(xl, in_channels=9), text=xl, picture="inpaint", **sdxl),
        "sdxl refiner": ModelConfig(unet=xl_unet(refiner), text=refiner, **sdxl),
    }


def twin(config: ModelConfig, seed: int = 7) -> LatentDiffusion:
    """A model whose every weight matters."""
    words = isinstance(config.text, TextConfig | OpenCLIPConfig | SDXLTextConfig)
    model = LatentDiffusion(config, Tokenizer.clip() if words else None).eval().requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        noise = torch.randn(parameter.shape, generator=generator)
        spread = 0.05 if parameter.ndim < 2 else max(parameter[0].numel(), 1) ** -0.5
        parameter.copy_((parameter if parameter.ndim < 2 else 0) + spread * noise)
    return model


def training_state(
    model: LatentDiffusion, *, betas: bool = True, averaged: bool = True
) -> dict[str, torch.Tensor]:
    """The state dict of a training run whose averaged weights are the model's; its last ones are noise."""
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    noise = torch.Generator().manual_seed(1)
    if averaged:
        unet = [name for name in state if name.startswith("model.")]
        for name in unet:
            state["model_ema." + name.removeprefix("model.").replace(".", "")] = state[name]
            state[name] = torch.randn(state[name].shape, generator=noise)
        state |= {"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(3)}
    if betas:
        own = build_schedule(**vars(model.config.schedule))
        state |= {"betas": own.betas.float(), "alphas_cumprod": own.alphas_cumprod.float()}
    return state


def vocabulary(size: int = 30522) -> str:
    """The text of a WordPiece vocabulary with few words."""
    return "\n".join((*WORDS, *(f"[more{i}]" for i in range(size - len(WORDS))))) + "\n"
