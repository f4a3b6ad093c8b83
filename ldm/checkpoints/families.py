"""What a model is called and what tells that, by its config."""

from ..models.autoencoder_config import FirstStageSizes, VQConfig
from ..models.condition_config import (
    BERTConfig,
    ClassConfig,
    ConditionConfig,
    NeighboursConfig,
    NoConditionConfig,
    OpenCLIPConfig,
    SDXLTextConfig,
    TextConfig,
)
from ..models.config import ModelConfig, UNetConfig
from .zoo import is_one, row_of

ADDED = {
    None: "",
    "inpaint": ", inpainting",
    "edit": " InstructPix2Pix",
    "upscale": " x4 upscaler",
}
SD1, SD2 = 768, 1024  # channels of the context
SD_WIDTHS = (1, 2, 4, 4)


def family_of(config: ModelConfig) -> str:
    """A word for programs: "sd1", "sd2", "sdxl", "sdxl_refiner", "zoo", "compvis", "study" or "pixel"."""
    if not isinstance(config.unet, UNetConfig):
        return "study" if config.unet.kind.startswith("study") else "pixel"
    text = config.text
    if isinstance(text, SDXLTextConfig):
        return "sdxl" if text.clip is not None else "sdxl_refiner"
    if isinstance(text, OpenCLIPConfig):
        return "sd2"
    if isinstance(text, TextConfig):
        return "sd2" if config.unet.use_linear_in_transformer else "sd1"
    return "zoo" if row_of(config) is not None else "compvis"


def title_of(config: ModelConfig, *, sure: bool = True) -> str:
    """For people.

    Args:
        sure: whether what it predicts is known and not a guess.
    """
    family = family_of(config)
    added = ADDED.get(config.picture, "")
    v = ", v" if sure and config.prediction_type == "v" and config.picture != "upscale" else ""
    row = row_of(config)
    if row is not None:
        return row.title if is_one(row, config) else f"a model built like {row.title}"
    names = {
        "sd1": "Stable Diffusion 1",
        "sd2": "Stable Diffusion 2",
        "sdxl": "Stable Diffusion XL",
        "sdxl_refiner": "the refiner of Stable Diffusion XL",
        "study": "a model of the study (explainingai's StableDiffusion-PyTorch)",
        "pixel": "a model in pixel space",
        "compvis": f"a latent diffusion model that reads {_reads(config.text)}",
    }
    return names[family] + (added + v if family.startswith("sd") else "")


def evidence_of(config: ModelConfig) -> tuple[str, ...]:
    """What the sizes of its networks tell."""
    unet, latents = config.unet, config.autoencoder.embed_dim
    told = [f"the U-Net reads {unet.in_channels} channels, latents have {latents}"]
    if config.picture is not None:
        told[0] += f": it also reads {PICTURE_WORDS.get(config.picture, 'a picture')}"
    if unet.context_dim is not None:
        told.append(f"its cross-attention looks at {unet.context_dim} channels")
    if isinstance(unet, UNetConfig) and unet.num_classes == "sequential":
        told.append(f"it is told a vector of {unet.adm_in_channels} numbers")
    told.append(f"it is told what to draw by {_reads(config.text)}")
    told.append(f"the first stage is {_stage(config.autoencoder)}")
    row = row_of(config)
    if row is not None:
        told.append(f"levels and attention are those of {row.title} ({row.task})")
    told.append(f"taken to predict {PREDICTIONS[config.prediction_type]}")
    return tuple(told)


PREDICTIONS = {"eps": "the noise (eps)", "v": "the velocity (v)", "x0": "the clean latents (x0)"}
PICTURE_WORDS = {
    "inpaint": "a mask and a picture with a hole",
    "inpaint_signed": "a picture with a hole and a mask",
    "edit": "the picture to edit",
    "low_resolution": "a small picture",
    "upscale": "a small picture",
    "palette": "a picture of class numbers",
    "study_mask": "a picture of class numbers",
}


def _reads(text: ConditionConfig) -> str:
    """What tells the network what to draw, as a noun."""
    match text:
        case TextConfig():
            return f"CLIP's text encoder ({text.num_hidden_layers} layers of {text.hidden_size})"
        case OpenCLIPConfig():
            return f"OpenCLIP's text tower ({text.layers} layers of {text.width})"
        case SDXLTextConfig():
            return "CLIP's and OpenCLIP's text towers" if text.clip is not None else "OpenCLIP's text tower"
        case BERTConfig():
            return (
                "boxes" if text.layout else f"BERT's kind of text encoder ({text.depth} layers of {text.dim})"
            )
        case ClassConfig():
            return f"{text.n_classes} classes"
        case NeighboursConfig():
            return f"CLIP embeddings of {text.dim} numbers, which are not in the file"
        case NoConditionConfig():
            return "a picture of class numbers" if text.rescaler_channels else "nothing"


def _stage(sizes: FirstStageSizes) -> str:
    f, channels = sizes.downsampling_factor, sizes.embed_dim
    if isinstance(sizes, VQConfig):
        return f"VQ, {sizes.n_embed} codes, {f} pixels a latent, {channels} channels"
    if sizes.kind == "identity":
        return "none: it draws pixels"
    return f"KL, {f} pixels a latent, {channels} channels"
