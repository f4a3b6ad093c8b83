"""What files of weights hold that are no model of this family, known by their names: the telling ones first.

Additions to a model (LoRA, ControlNet ...) are told where they go; other architectures are told apart.
To add one, add a line.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

NOT_UNET = "it has no U-Net of this family, and only latent diffusion models with one are drawn with here"


@dataclass(frozen=True)
class Stranger:
    """One thing that is not loaded as a model.

    Attributes:
        family: a word for programs.
        title: what it is, for people.
        patterns: of names, any of which marks it.
        why: the reason, or where it goes instead; half a sentence.
    """

    family: str
    title: str
    patterns: tuple[str, ...]
    why: str = NOT_UNET


LORA_PLACE = (
    "it changes a model: put it into weights/ or a folder there, and name it with a weight beside the prompt"
)
TAUGHT_PLACE = (
    "it teaches a model a word: put it into weights/ or a folder there, and write its name in a prompt"
)
ADDITION = "it is an addition to a model, and this program has no use for it"

STRANGERS: tuple[Stranger, ...] = (
    Stranger(
        "controlnet",
        "a ControlNet",
        (
            "control_model.*",
            "lvcontrol.*",
            "controlnet_cond_embedding.*",
            "controlnet_blocks.*",
            "controlnet_x_embedder.*",
            "controlnet_down_blocks.*",
            "zero_convs.*",
            "input_hint_block.*",
        ),
        ADDITION,
    ),
    Stranger(
        "t2i_adapter",
        "a T2I-Adapter",
        ("adapter.body.*", "body.*.block1.weight", "body.*.in_conv.weight", "adapter.*.in_conv.*"),
        ADDITION,
    ),
    Stranger("ip_adapter", "an IP-Adapter", ("ip_adapter.*", "image_proj.*", "image_proj_model.*"), ADDITION),
    Stranger("motion", "a motion module of AnimateDiff", ("*.motion_modules.*",), ADDITION),
    Stranger(
        "lora",
        "a LoRA",
        (
            "lora_unet_*",
            "lora_te*",
            "lycoris_*",
            "lora_*",
            "*.lora_A.*",
            "*.lora_B.*",
            "*.lora_up.*",
            "*.lora_down.*",
            "*.lora.up.*",
            "*.lora.down.*",
            "*_lora.up.*",
            "*_lora.down.*",
            "*.hada_w1_a",
            "*.lokr_w1*",
            "*.dora_scale",
            "*.lora_*",
        ),
        LORA_PLACE,
    ),
    Stranger(
        "textual_inversion",
        "a textual inversion",
        ("string_to_param*", "emb_params", "clip_l", "clip_g"),
        TAUGHT_PLACE,
    ),
    Stranger(
        "latent", "a latent, a picture and no model", ("latent_tensor",), "open it on the tab Round trip"
    ),
    Stranger(
        "upscaler",
        "an upscaler of the ESRGAN kind, which works on pixels",
        ("RRDB_trunk.*", "body.*.rdb1.conv1.weight", "model.1.sub.*.RDB1.*", "*.residual_group.blocks.*"),
        "it enlarges pictures without diffusion",
    ),
    Stranger(
        "svd",
        "Stable Video Diffusion or another video model",
        ("model.diffusion_model.*.time_stack.*", "*.temporal_transformer_blocks.*", "*.temporal_conv.*"),
        "films are not drawn here",
    ),
    Stranger("hunyuan_video", "Hunyuan Video", ("*txt_in.individual_token_refiner.*",)),
    Stranger("chroma", "Chroma, a relative of Flux", ("*distilled_guidance_layer.*",)),
    Stranger(
        "flux",
        "Flux",
        (
            "*double_blocks.*.img_attn.*",
            "*double_blocks.*",
            "single_transformer_blocks.*",
            "transformer.single_transformer_blocks.*",
        ),
    ),
    Stranger("sd3", "Stable Diffusion 3", ("*joint_blocks.*", "transformer_blocks.*.ff_context.*")),
    Stranger(
        "aura_flow",
        "AuraFlow",
        ("*double_layers.*.attn.w1q.*", "joint_transformer_blocks.*", "*double_layers.*"),
    ),
    Stranger(
        "hunyuan_dit",
        "Hunyuan-DiT",
        ("*mlp_t5.0.weight", "text_embedding_padding", "*.style_embedder.weight"),
    ),
    Stranger(
        "pixart",
        "PixArt",
        (
            "*t_block.1.weight",
            "*y_embedder.y_embedding",
            "adaln_single.emb.resolution_embedder.*",
            "caption_projection.linear_1.*",
        ),
    ),
    Stranger(
        "cascade",
        "Stable Cascade",
        (
            "*down_blocks.*.channelwise.*",
            "*clip_txt_mapper.*",
            "*clip_txt_pooled_mapper.*",
            "*effnet_mapper.*",
        ),
    ),
    Stranger(
        "kandinsky",
        "Kandinsky",
        (
            "add_embedding.image_norm.*",
            "encoder_hid_proj.image_*",
            "*prior_embedding",
            "*.to_model_dim_n.*",
            "visual_transformer_blocks.*",
        ),
    ),
    Stranger(
        "wan",
        "Wan, a video model",
        ("*blocks.*.cross_attn.norm_k.weight", "*head.modulation"),
        "films are not drawn here",
    ),
    Stranger("ltx", "LTX, a video model", ("*patchify_proj.*",), "films are not drawn here"),
    Stranger(
        "mochi", "Mochi, a video model", ("*t5_yproj.*", "*t5_y_embedder.*"), "films are not drawn here"
    ),
    Stranger(
        "cog_video", "CogVideoX, a video model", ("patch_embed.text_proj.*",), "films are not drawn here"
    ),
    Stranger("qwen_image", "Qwen-Image", ("*transformer_blocks.*.img_mod.*",)),
    Stranger("lumina", "Lumina or a relative", ("*cap_embedder.*",)),
    Stranger("dit", "a diffusion transformer (DiT)", ("blocks.*.adaLN_modulation.1.weight",)),
    Stranger("deepfloyd", "DeepFloyd IF", ("encoder_hid_proj.weight", "add_embedding.norm1.weight")),
    Stranger(
        "t5", "a T5 text encoder", ("encoder.block.*.SelfAttention.*",), "it is one part of other models"
    ),
    Stranger(
        "clip_vision",
        "the half of CLIP that sees",
        ("vision_model.*", "visual.transformer.*"),
        "it is no part of these models",
    ),
    Stranger("safety_checker", "a safety checker", ("concept_embeds",), "it draws nothing"),
)


def stranger_of(names: Iterable[str]) -> tuple[Stranger, str] | None:
    """What a file with such names is, and the name that tells; None if it is nothing here."""
    known = tuple(names)
    for stranger in STRANGERS:
        for pattern in stranger.patterns:
            hit = next((name for name in known if fnmatchcase(name, pattern)), None)
            if hit is not None:
                return stranger, hit
    return None
