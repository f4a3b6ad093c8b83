"""The JSON files of a diffusers folder, from a `ModelConfig`."""

from typing import Any

from ..errors import CheckpointError
from ..models.config import ModelConfig, TextConfig, UNetConfig

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
    "ddim": {"_class_name": "DDIMScheduler", "clip_sample": False, "set_alpha_to_one": True},
}


def blocks(config: UNetConfig) -> list[int]:
    """ResBlocks per level on the way down."""
    count = config.num_res_blocks
    return [count] * len(config.channel_mult) if isinstance(count, int) else list(count)


def check(config: ModelConfig) -> None:
    """See that diffusers has all this.

    Raises:
        CheckpointError: a network has something that its pipeline has no option for.
    """
    unet, autoencoder = config.unet, config.autoencoder
    depths, middle = _depths(unet), unet.transformer_depth_middle
    obstacles = {
        "AttentionBlock layers": not unet.use_spatial_transformer,
        "resampling ResBlocks": unet.resblock_updown or not unet.conv_resample,
        "use_scale_shift_norm": unet.use_scale_shift_norm,
        "class labels": unet.num_classes is not None,
        "another depth in the middle than below it": middle is not None and depths[-1] != middle,
        "an embed_dim other than z_channels": autoencoder.embed_dim != autoencoder.z_channels,
        f"betas {config.schedule.betas!r}": config.schedule.betas not in BETA_SCHEDULES,
    }
    for obstacle, there in obstacles.items():
        if there:
            raise CheckpointError(f"{config.name} cannot be written for diffusers: it has {obstacle}.")


def attends(config: UNetConfig) -> list[bool]:
    """Which levels have transformers."""
    depth = config.transformer_depth
    depths = [depth] * len(config.channel_mult) if isinstance(depth, int) else list(depth)
    return [2**i in config.attention_resolutions and d > 0 for i, d in enumerate(depths)]


def _depths(config: UNetConfig) -> list[int]:
    """Transformer blocks per level; a level without any has the middle's, as diffusers counts."""
    depth = config.transformer_depth
    depths = [depth] * len(config.channel_mult) if isinstance(depth, int) else list(depth)
    middle = config.transformer_depth_middle
    fallback = depths[-1] if middle is None else middle
    return [d if there else fallback for d, there in zip(depths, attends(config), strict=True)]


def unet_config(config: ModelConfig) -> dict[str, Any]:
    """`unet/config.json`."""
    unet = config.unet
    widths = [unet.model_channels * mult for mult in unet.channel_mult]
    heads = [
        unet.num_heads if unet.num_head_channels == -1 else width // unet.num_head_channels
        for width in widths
    ]
    down = ["CrossAttnDownBlock2D" if there else "DownBlock2D" for there in attends(unet)]
    side = max(config.recommended.width, config.recommended.height)
    return {
        "_class_name": "UNet2DConditionModel",
        "_diffusers_version": VERSION,
        "sample_size": side // config.autoencoder.downsampling_factor,
        "in_channels": unet.in_channels,
        "out_channels": unet.out_channels,
        "block_out_channels": widths,
        "layers_per_block": blocks(unet),
        "down_block_types": down,
        "up_block_types": [kind.replace("Down", "Up") for kind in reversed(down)],
        "attention_head_dim": heads,  # diffusers' name for the number of heads
        "transformer_layers_per_block": _depths(unet),
        "cross_attention_dim": unet.context_dim,
        "use_linear_projection": unet.use_linear_in_transformer,
        "norm_num_groups": unet.num_groups,
    }


def autoencoder_config(config: ModelConfig) -> dict[str, Any]:
    """`vae/config.json`."""
    autoencoder = config.autoencoder
    attention = [
        autoencoder.resolution // 2**i in autoencoder.attn_resolutions and autoencoder.attn_type != "none"
        for i in range(len(autoencoder.ch_mult))
    ]
    return {
        "_class_name": "AutoencoderKL",
        "_diffusers_version": VERSION,
        "sample_size": max(config.recommended.width, config.recommended.height),
        "in_channels": autoencoder.in_channels,
        "out_channels": autoencoder.out_ch,
        "latent_channels": autoencoder.embed_dim,
        "block_out_channels": [autoencoder.ch * mult for mult in autoencoder.ch_mult],
        "layers_per_block": autoencoder.num_res_blocks,
        "down_block_types": ["AttnDownEncoderBlock2D" if a else "DownEncoderBlock2D" for a in attention],
        "up_block_types": ["AttnUpDecoderBlock2D" if a else "UpDecoderBlock2D" for a in reversed(attention)],
        "mid_block_add_attention": autoencoder.attn_type != "none",
        "norm_num_groups": autoencoder.num_groups,
        "scaling_factor": config.latent_scaling_factor,
        "force_upcast": False,
    }


def text_config(text: TextConfig) -> dict[str, Any]:
    """`text_encoder/config.json`."""
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


def pipeline_config(config: ModelConfig) -> dict[str, Any]:
    """`model_index.json`."""
    return {
        "_class_name": "StableDiffusionPipeline",
        "_diffusers_version": VERSION,
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
        "scheduler": ["diffusers", scheduler_config(config)["_class_name"]],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "safety_checker": [None, None],
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        "requires_safety_checker": False,
    }
