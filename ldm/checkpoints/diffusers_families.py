"""Which pipeline of diffusers a model is for, and what keeps it from being for any."""

from typing import Any

from ..errors import CheckpointError
from ..models.autoencoder_config import FirstStageSizes
from ..models.condition_config import SDXLTextConfig
from ..models.config import AutoencoderConfig, ModelConfig, UNetConfig, VQConfig
from .diffusers_config import (
    BETA_SCHEDULES,
    VERSION,
    autoencoder_config,
    depths,
    scheduler_config,
    unet_config,
)
from .diffusers_names import resblocks

PIPELINES: dict[tuple[str, str | None], str] = {  # by what reads prompts, and what else the U-Net reads
    ("text", None): "StableDiffusionPipeline",
    ("text", "inpaint"): "StableDiffusionInpaintPipeline",
    ("text", "edit"): "StableDiffusionInstructPix2PixPipeline",
    ("text", "upscale"): "StableDiffusionUpscalePipeline",
    ("sdxl", None): "StableDiffusionXLPipeline",
    ("sdxl", "inpaint"): "StableDiffusionXLInpaintPipeline",
    ("sdxl", "edit"): "StableDiffusionXLInstructPix2PixPipeline",
    ("refiner", None): "StableDiffusionXLImg2ImgPipeline",
    ("none", None): "LDMPipeline",
    ("none", "low_resolution"): "LDMSuperResolutionPipeline",
}
KINDS = {"clip": "text", "openclip": "text", "none": "none"}
NOISE_LEVELS = 350  # the x4 upscaler's small picture is noised to at most this timestep


def check(config: ModelConfig) -> None:
    """See that diffusers has all this.

    Raises:
        CheckpointError: a network has something that its pipeline has no option for.
    """
    unet = config.unet
    obstacles = {"no U-Net of CompVis's kind": not isinstance(unet, UNetConfig)}
    if isinstance(unet, UNetConfig):
        obstacles |= _unet_obstacles(unet, config.picture)
    obstacles |= _autoencoder_obstacles(config.autoencoder)
    obstacles |= {
        f"betas {config.schedule.betas!r}": config.schedule.betas not in BETA_SCHEDULES,
        "a text encoder that ends without its final norm": not getattr(config.text, "final_norm", True),
        "an attention mask on its text encoder": getattr(config.text, "attention_mask", False),
        "a text encoder and a VQ autoencoder": config.text.kind != "none"
        and isinstance(config.autoencoder, VQConfig),
    }
    for obstacle, there in obstacles.items():
        if there:
            raise CheckpointError(f"{config.name} cannot be written for diffusers: it has {obstacle}.")
    if _family(config) not in PIPELINES:
        kind, picture = _family(config)
        reads = f"{kind} conditioning" + (f" and the picture {picture!r}" if picture else "")
        raise CheckpointError(f"{config.name} cannot be written for diffusers: no pipeline has {reads}.")


def _unet_obstacles(unet: UNetConfig, picture: str | None) -> dict[str, bool]:
    middle = unet.transformer_depth_middle
    heads = not unet.use_spatial_transformer and unet.num_head_channels == -1 and unet.num_heads != 1
    return {
        "resampling ResBlocks": unet.resblock_updown or not unet.conv_resample,
        "use_scale_shift_norm": unet.use_scale_shift_norm,
        "class labels": isinstance(unet.num_classes, int) and picture != "upscale",
        "another depth in the middle than below it": middle is not None and depths(unet)[-1] != middle,
        "as many heads at every width, without a context": heads,
        "another number of ResBlocks per level, without a context": not unet.use_spatial_transformer
        and len(set(resblocks(unet))) > 1,
    }


def _autoencoder_obstacles(autoencoder: FirstStageSizes) -> dict[str, bool]:
    if isinstance(autoencoder, AutoencoderConfig):
        differs = autoencoder.embed_dim != autoencoder.z_channels
        return {
            "an embed_dim other than z_channels": differs,
            "an autoencoder without a variance": not autoencoder.double_z,
        }
    return {f"an autoencoder of kind {autoencoder.kind!r}": not isinstance(autoencoder, VQConfig)}


def _family(config: ModelConfig) -> tuple[str, str | None]:
    text = config.text
    if isinstance(text, SDXLTextConfig):
        return ("refiner" if text.clip is None else "sdxl"), config.picture
    return KINDS.get(text.kind, text.kind), config.picture


def pipeline_config(config: ModelConfig) -> dict[str, Any]:
    """`model_index.json`."""
    check(config)
    family, picture = _family(config)
    scheduler = ["diffusers", scheduler_config(config)["_class_name"]]
    values: dict[str, Any] = {
        "_class_name": PIPELINES[family, picture],
        "_diffusers_version": VERSION,
        "unet": ["diffusers", unet_config(config)["_class_name"]],
        stage_name(config): ["diffusers", autoencoder_config(config)["_class_name"]],
        "scheduler": scheduler,
    }
    tokenizer, encoder = ["transformers", "CLIPTokenizer"], ["transformers", "CLIPTextModel"]
    projecting = ["transformers", "CLIPTextModelWithProjection"]
    absent = [None, None]
    if family == "text":
        values |= {"text_encoder": encoder, "tokenizer": tokenizer}
        values |= {"safety_checker": absent, "feature_extractor": absent}
    if family == "text" and picture == "upscale":
        values |= {"low_res_scheduler": ["diffusers", "DDPMScheduler"], "watermarker": absent}
        values["max_noise_level"] = NOISE_LEVELS
    elif family == "text":
        values["requires_safety_checker"] = False
    if family == "text" and picture != "upscale":
        values["image_encoder"] = absent
    if isinstance(config.text, SDXLTextConfig):
        values |= {
            "text_encoder": encoder if family == "sdxl" else absent,
            "text_encoder_2": projecting,
            "tokenizer": tokenizer if family == "sdxl" else absent,
            "tokenizer_2": tokenizer,
            "force_zeros_for_empty_prompt": config.text.zero_empty,
        }
    if isinstance(config.text, SDXLTextConfig) and picture is None:
        values |= {"feature_extractor": absent, "image_encoder": absent}
        if family == "refiner":
            values["requires_aesthetics_score"] = config.text.sizes == 5
    return values


def stage_name(config: ModelConfig) -> str:
    """What the pipeline calls its autoencoder."""
    return "vqvae" if config.text.kind == "none" else "vae"


def text_towers(config: ModelConfig) -> dict[str, str]:
    """Folder of each text encoder -> what it stands under below `cond_stage_model.`."""
    if isinstance(config.text, SDXLTextConfig):
        base = {"text_encoder": "embedders.0.", "text_encoder_2": "embedders.1."}
        return {"text_encoder_2": "embedders.0."} if config.text.clip is None else base
    return {"text_encoder": ""} if config.text.kind in ("clip", "openclip") else {}
