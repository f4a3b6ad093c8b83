"""The JSON files of the parts of a diffusers folder, from a `ModelConfig`."""

from typing import Any

from ..errors import CheckpointError
from ..models.condition_config import OpenCLIPConfig, SDXLTextConfig
from ..models.config import AutoencoderConfig, ModelConfig, TextConfig, UNetConfig, VQConfig
from .diffusers_names import resblocks

VERSION = "0.42.1"  # of diffusers, whose names these are
PREDICTIONS = {"eps": "epsilon", "v": "v_prediction", "x0": "sample"}
BETA_SCHEDULES = {"scaled_linear": "scaled_linear", "linear": "linear", "cosine": "squaredcos_cap_v2"}
SCHEDULERS: dict[str, dict[str, Any]] = {  # by our sampler; DDIM for all others
    "dpmpp_2m": {
        "_class_name": "DPMSolverMultistepScheduler",
        "algorithm_type": "dpmsolver++",
        "solver_order": 2,
        "final_sigmas_type": "zero",
    },
    "euler": {"_class_name": "EulerDiscreteScheduler"},
    "lcm": {"_class_name": "LCMScheduler"},
    "tcd": {"_class_name": "TCDScheduler"},
    "ddim": {"_class_name": "DDIMScheduler", "clip_sample": False, "set_alpha_to_one": True},
}


def attends(config: UNetConfig) -> list[bool]:
    """Which levels have transformers."""
    depth = config.transformer_depth
    each = [depth] * len(config.channel_mult) if isinstance(depth, int) else list(depth)
    return [2**i in config.attention_resolutions and d > 0 for i, d in enumerate(each)]


def depths(config: UNetConfig) -> list[int]:
    """Transformer blocks per level; a level without any has the middle's, as diffusers counts."""
    depth = config.transformer_depth
    each = [depth] * len(config.channel_mult) if isinstance(depth, int) else list(depth)
    middle = config.transformer_depth_middle
    fallback = each[-1] if middle is None else middle
    return [d if there else fallback for d, there in zip(each, attends(config), strict=True)]


def unet_config(config: ModelConfig) -> dict[str, Any]:
    """`unet/config.json`.

    Raises:
        CheckpointError: the network is another one.
    """
    unet = config.unet
    if not isinstance(unet, UNetConfig):
        raise CheckpointError(f"{config.name} has a network of kind {unet.kind!r}; diffusers has none.")
    has_context = unet.use_spatial_transformer
    widths = [unet.model_channels * mult for mult in unet.channel_mult]
    with_attention = "CrossAttnDownBlock2D" if has_context else "AttnDownBlock2D"
    down = [with_attention if there else "DownBlock2D" for there in attends(unet)]
    side = max(config.recommended.width, config.recommended.height)
    values: dict[str, Any] = {
        "_class_name": "UNet2DConditionModel" if has_context else "UNet2DModel",
        "_diffusers_version": VERSION,
        "sample_size": side // config.autoencoder.downsampling_factor,
        "in_channels": unet.in_channels,
        "out_channels": unet.out_channels,
        "block_out_channels": widths,
        "down_block_types": down,
        "up_block_types": [kind.replace("Down", "Up") for kind in reversed(down)],
        "norm_num_groups": unet.num_groups,
    }
    if not has_context:
        size = None if unet.num_head_channels == -1 else unet.num_head_channels
        return values | {"layers_per_block": resblocks(unet)[0], "attention_head_dim": size}
    heads = [
        unet.num_heads if unet.num_head_channels == -1 else width // unet.num_head_channels
        for width in widths
    ]
    values |= {
        "layers_per_block": resblocks(unet),
        "attention_head_dim": heads,  # diffusers' name for the number of heads
        "transformer_layers_per_block": depths(unet),
        "cross_attention_dim": unet.context_dim,
        "use_linear_projection": unet.use_linear_in_transformer,
        # Stable Diffusion 2's attention overflows in half precision
        "upcast_attention": isinstance(config.text, OpenCLIPConfig) and config.prediction_type == "v",
        "time_cond_proj_dim": unet.time_cond_proj_dim,
    }
    if unet.disable_self_attentions:
        values["only_cross_attention"] = list(unet.disable_self_attentions)
    if isinstance(unet.num_classes, int):
        values["num_class_embeds"] = unet.num_classes
    if isinstance(config.text, SDXLTextConfig):
        values |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": config.text.size_dim,
            "projection_class_embeddings_input_dim": unet.adm_in_channels,
        }
    return values


def autoencoder_config(config: ModelConfig) -> dict[str, Any]:
    """`vae/config.json`, or `vqvae/config.json`.

    Raises:
        CheckpointError: the network is another one.
    """
    stage = config.autoencoder
    sizes = stage.autoencoder if isinstance(stage, VQConfig) else stage
    if not isinstance(sizes, AutoencoderConfig):
        raise CheckpointError(f"{config.name} has an autoencoder of kind {sizes.kind!r}; diffusers has none.")
    attention = [
        sizes.resolution // 2**i in sizes.attn_resolutions and sizes.attn_type != "none"
        for i in range(len(sizes.ch_mult))
    ]
    values: dict[str, Any] = {
        "_class_name": "AutoencoderKL",
        "_diffusers_version": VERSION,
        "sample_size": max(config.recommended.width, config.recommended.height),
        "in_channels": sizes.in_channels,
        "out_channels": sizes.out_ch,
        "latent_channels": sizes.z_channels,
        "block_out_channels": [sizes.ch * mult for mult in sizes.ch_mult],
        "layers_per_block": sizes.num_res_blocks,
        "down_block_types": ["AttnDownEncoderBlock2D" if a else "DownEncoderBlock2D" for a in attention],
        "up_block_types": ["AttnUpDecoderBlock2D" if a else "UpDecoderBlock2D" for a in reversed(attention)],
        "mid_block_add_attention": sizes.attn_type != "none",
        "norm_num_groups": sizes.num_groups,
        "scaling_factor": config.latent_scaling_factor,
        # Stable Diffusion XL's overflows in half precision
        "force_upcast": isinstance(config.text, SDXLTextConfig),
    }
    if isinstance(stage, VQConfig):
        values |= {
            "_class_name": "VQModel",
            "num_vq_embeddings": stage.n_embed,
            "vq_embed_dim": sizes.embed_dim,
        }
    return values


def text_config(text: TextConfig) -> dict[str, Any]:
    """`text_encoder/config.json` of CLIP's text encoder."""
    return {
        "architectures": ["CLIPTextModel"],
        "model_type": "clip_text_model",
        "vocab_size": text.vocab_size,
        "hidden_size": text.hidden_size,
        "intermediate_size": text.intermediate_size,
        "num_hidden_layers": text.num_hidden_layers,
        "num_attention_heads": text.num_attention_heads,
        "max_position_embeddings": text.max_position_embeddings,
        "hidden_act": text.hidden_act,
        "layer_norm_eps": text.layer_norm_eps,
        "bos_token_id": text.bos_token_id,
        "eos_token_id": text.eos_token_id,
        "pad_token_id": text.pad_token_id,
    }


def openclip_text_config(text: OpenCLIPConfig, bos: int, eos: int) -> dict[str, Any]:
    """`text_encoder/config.json` of an OpenCLIP tower, which transformers reads as CLIP's.

    Args:
        bos, eos: ids of the marks, which open_clip's configs leave to the tokenizer.
    """
    kind = "CLIPTextModelWithProjection" if text.has_projection else "CLIPTextModel"
    return {
        "architectures": [kind],
        "model_type": "clip_text_model",
        "vocab_size": text.vocab_size,
        "hidden_size": text.width,
        "intermediate_size": 4 * text.width,
        "num_hidden_layers": text.layers,
        "num_attention_heads": text.heads,
        "max_position_embeddings": text.context_length,
        "hidden_act": text.act,
        "layer_norm_eps": 1e-5,
        "projection_dim": text.embed_dim,
        "bos_token_id": bos,
        "eos_token_id": eos,
        "pad_token_id": text.pad_token_id,
    }


def scheduler_config(config: ModelConfig) -> dict[str, Any]:
    """`scheduler/scheduler_config.json`: what comes nearest to the recommended sampler."""
    return {
        **SCHEDULERS.get(config.recommended.sampler, SCHEDULERS["ddim"]),
        "_diffusers_version": VERSION,
        "num_train_timesteps": config.schedule.n_steps,
        "beta_schedule": BETA_SCHEDULES[config.schedule.betas],
        "beta_start": config.schedule.linear_start,
        "beta_end": config.schedule.linear_end,
        "prediction_type": PREDICTIONS[config.prediction_type],
        "rescale_betas_zero_snr": config.schedule.zero_terminal_snr,
        "timestep_spacing": "trailing",
        "steps_offset": 1,  # has no part in trailing spacing; the pipeline asks for it
    }
