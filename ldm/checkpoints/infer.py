"""Sizes of the networks from the names and shapes of a CompVis file alone.

Names are this project's: CompVis's, with Stability AI's `conditioner.` of Stable Diffusion XL under
`cond_stage_model.`  What names and shapes cannot tell is the family's: `zoo` for the latent diffusion paper's
models, else Stable Diffusion's.
"""

from dataclasses import replace

from ..errors import CheckpointError
from ..models.autoencoder_config import AutoencoderConfig, FirstStageSizes, VQConfig
from ..models.condition_config import (
    ConditionConfig,
    NeighboursConfig,
    NoConditionConfig,
    OpenCLIPConfig,
    SDXLTextConfig,
    TextConfig,
)
from ..models.config import ModelConfig, RecommendedSettings, UNetConfig
from ..models.pixel_config import IdentityConfig
from .infer_first_stage import first_stage_config
from .infer_text import below, infer_condition
from .infer_unet import infer_unet
from .report import Shapes
from .zoo import row_of, with_row

UNET, FIRST_STAGE, CONDITION = "model.diffusion_model.", "first_stage_model.", "cond_stage_model."
TEXT = CONDITION + "transformer.text_model."
SDXL_SCALE, UPSCALER_SCALE = 0.13025, 0.08333
PICTURE_EDITED = RecommendedSettings(steps=50, cfg_scale=7.5)
SDXL = RecommendedSettings(steps=25, cfg_scale=7.0, width=1024, height=1024)
SD2_V = RecommendedSettings(steps=25, cfg_scale=7.5, width=768, height=768)
UPSCALER = RecommendedSettings(steps=50, cfg_scale=9.0, width=512, height=512)
# marker of a model that is not to be drawn with as it is -> what it is and why not
REFUSED: dict[str, str] = {
    "edm_mean": "Playground 2.5, whose latents and noise levels are its own (EDM)",
    "edm_vpred.sigma_max": "CosXL, whose noise levels are its own (EDM)",
    "edm_vpred.sigma_min": "CosXL, whose noise levels are its own (EDM)",
}


def infer_config(shapes: Shapes, name: str) -> ModelConfig:
    """The sizes of all networks, from names and shapes alone.

    Raises:
        CheckpointError: it is of a family that cannot be loaded, which the message names.
    """
    for marker, words in REFUSED.items():
        if marker in shapes:
            raise CheckpointError(f"{name} is {words}. Such models cannot be loaded.")
    try:
        return _infer(shapes, name)
    except CheckpointError as error:
        if name in str(error):
            raise
        raise CheckpointError(f"{name} has shapes that no network of its kind has. {error}") from error
    except (KeyError, IndexError, ValueError, TypeError, ArithmeticError, StopIteration) as error:
        missing = f" ({error})" if str(error) else ""
        raise CheckpointError(
            f"{name} has CompVis's names, but lacks weights that every such model has{missing}."
        ) from error


def _infer(shapes: Shapes, name: str) -> ModelConfig:
    unet = infer_unet(below(shapes, UNET), name)
    stage = below(shapes, FIRST_STAGE)
    try:
        autoencoder: FirstStageSizes = (
            first_stage_config(stage) if stage else IdentityConfig(unet.out_channels)
        )
    except CheckpointError as error:
        raise CheckpointError(f"{name} has an autoencoder that cannot be. {error}") from error
    text = infer_condition(below(shapes, CONDITION), unet, name)
    config = ModelConfig(
        name=name,
        unet=unet,
        autoencoder=autoencoder,
        text=text,
        picture=_picture(unet, autoencoder, text, name),
    )
    row = row_of(config)
    return _as_family(config) if row is None else with_row(config, row)


def _picture(unet: UNetConfig, autoencoder: FirstStageSizes, text: ConditionConfig, name: str) -> str | None:
    """What the U-Net reads besides latents, a key of `PICTURES`.

    Raises:
        CheckpointError: it is nothing that is known.
    """
    latent = autoencoder.embed_dim
    more = unet.in_channels - latent
    words = isinstance(text, TextConfig | OpenCLIPConfig | SDXLTextConfig)
    if unet.num_classes == "sequential" and not isinstance(text, SDXLTextConfig):
        raise CheckpointError(
            f"{name} is Stable unCLIP: its U-Net reads the embedding of a picture. "
            "Such models cannot be loaded."
        )
    if more == 0:
        return None
    if words and more == 1:
        raise CheckpointError(
            f"{name} is Stable Diffusion 2 with depth: its U-Net reads a map of distances, which another "
            "network makes. Such models cannot be loaded."
        )
    if words and more == latent + 1:
        return "inpaint"
    if words and more == latent:
        return "edit"
    if words and more == 3 and isinstance(unet.num_classes, int):
        return "upscale"
    if isinstance(text, NoConditionConfig) and text.rescaler_channels == 0 and more == latent + 1:
        return "inpaint_signed"
    if isinstance(text, NoConditionConfig) and more == 3:
        return "palette" if text.rescaler_channels else "low_resolution"
    raise CheckpointError(
        f"{name} takes more than a prompt: its U-Net has {unet.in_channels} channels in, latents have "
        f"{latent}. What the others are is not known, and such models cannot be loaded."
    )


def _as_family(config: ModelConfig) -> ModelConfig:
    """What else is known of Stable Diffusion's families, and of models that are nobody's."""
    if config.picture == "upscale":
        schedule = replace(config.schedule, linear_start=1e-4, linear_end=0.02)
        return replace(
            config,
            latent_scaling_factor=UPSCALER_SCALE,
            prediction_type="v",
            schedule=schedule,
            recommended=UPSCALER,
        )
    if isinstance(config.text, SDXLTextConfig):
        return replace(config, latent_scaling_factor=SDXL_SCALE, recommended=SDXL)
    if is_open(config):
        # the 768-pixel models and most of what was made from them predict v; `Checkpoint.assumed` says so
        return replace(config, prediction_type="v", recommended=SD2_V)
    if isinstance(config.text, OpenCLIPConfig | TextConfig):
        return replace(config, recommended=PICTURE_EDITED) if config.picture == "edit" else config
    scale = 0.18215 if isinstance(config.autoencoder, AutoencoderConfig) else 1.0
    best = RecommendedSettings(
        steps=50,
        cfg_scale=5.0
        if isinstance(config.text, NeighboursConfig) or hasattr(config.text, "vocab_size")
        else 1.0,
        width=256,
        height=256,
    )
    vq = isinstance(config.autoencoder, VQConfig)
    schedule = replace(config.schedule, linear_start=0.0015, linear_end=0.0195) if vq else config.schedule
    return replace(config, latent_scaling_factor=scale, recommended=best, schedule=schedule)


def is_open(config: ModelConfig) -> bool:
    """Whether nothing in names and shapes tells if it predicts noise or v: Stable Diffusion 2's."""
    return isinstance(config.text, OpenCLIPConfig) and config.picture is None
