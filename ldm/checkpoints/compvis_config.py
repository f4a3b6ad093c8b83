"""CompVis's YAML file of a model, as a record: the inverse of what `compvis_yaml` reads.

Class names in it are CompVis's and Stability AI's, for their programs; ours reads numbers alone.
"""

from typing import Any

from ..models.condition_config import BERTConfig, ClassConfig, OpenCLIPConfig, SDXLTextConfig
from ..models.config import AutoencoderConfig, ModelConfig, UNetConfig, VQConfig

BETA_NAMES = {"scaled_linear": "linear", "linear": "sqrt_linear", "cosine": "cosine", "sqrt": "sqrt"}
UNET_FIELDS = (
    *("in_channels", "out_channels", "model_channels", "num_res_blocks", "num_heads", "num_head_channels"),
    *("use_spatial_transformer", "transformer_depth", "context_dim", "use_linear_in_transformer"),
    *("resblock_updown", "use_scale_shift_norm", "conv_resample", "num_classes", "adm_in_channels", "legacy"),
    "use_new_attention_order",
)
USUAL = {  # of CompVis's class, so that they need not be said
    "num_heads": -1,
    "num_head_channels": -1,
    "use_linear_in_transformer": False,
    "resblock_updown": False,
    "use_scale_shift_norm": False,
    "conv_resample": True,
    "num_classes": None,
    "adm_in_channels": None,
    "context_dim": None,
    "use_new_attention_order": False,
}
SGM = "sgm.modules"
OPENAI_MODEL = "modules.diffusionmodules.openaimodel.UNetModel"
NOTHING = {"target": "torch.nn.Identity"}


def yaml_values(config: ModelConfig) -> dict[str, Any]:
    """The whole file as plain types; the networks must be a U-Net of CompVis's and an autoencoder of its."""
    text = config.text
    return {"model": _sgm(config, text) if isinstance(text, SDXLTextConfig) else _ldm(config)}


def _ldm(config: ModelConfig) -> dict[str, Any]:
    """`LatentDiffusion` of the paper and of Stable Diffusion 1 and 2."""
    paints = config.picture == "inpaint"
    side = (config.recommended.height, config.recommended.width)
    height, width = (number // config.autoencoder.downsampling_factor for number in side)
    has_context = config.text.context_dim is not None
    reads = {(True, False): "crossattn", (False, True): "concat", (True, True): "hybrid"}
    params = {
        **_schedule(config),
        "parameterization": config.prediction_type,
        "image_size": height if height == width else [height, width],
        "channels": config.autoencoder.embed_dim,
        "conditioning_key": reads.get((has_context, config.picture is not None)),
        "scale_factor": config.latent_scaling_factor,
        "use_ema": False,
        "unet_config": {"target": f"ldm.{OPENAI_MODEL}", "params": _unet(config)},
        "first_stage_config": _first_stage(config, "ldm"),
        "cond_stage_config": _condition(config),
    }
    kind = "LatentInpaintDiffusion" if paints else "LatentDiffusion"
    return {"target": f"ldm.models.diffusion.ddpm.{kind}", "params": params}


def _sgm(config: ModelConfig, text: SDXLTextConfig) -> dict[str, Any]:
    """`DiffusionEngine` of Stability AI's generative-models."""
    scaling = {"v": "VScaling", "eps": "EpsScaling"}.get(config.prediction_type, "EpsScaling")
    schedule = config.schedule
    table = {"linear_start": schedule.linear_start, "linear_end": schedule.linear_end}
    params = {
        "scale_factor": config.latent_scaling_factor,
        "disable_first_stage_autocast": True,
        "denoiser_config": {
            "target": f"{SGM}.diffusionmodules.denoiser.DiscreteDenoiser",
            "params": {
                "num_idx": schedule.n_steps,
                "scaling_config": {"target": f"{SGM}.diffusionmodules.denoiser_scaling.{scaling}"},
                "discretization_config": {
                    "target": f"{SGM}.diffusionmodules.discretizer.LegacyDDPMDiscretization",
                    "params": table | {"num_timesteps": schedule.n_steps},
                },
            },
        },
        "network_config": {"target": f"sgm.{OPENAI_MODEL}", "params": _unet(config)},
        "first_stage_config": _first_stage(config, "sgm"),
        "conditioner_config": {
            "target": f"{SGM}.GeneralConditioner",
            "params": {"emb_models": _embedders(text)},
        },
    }
    return {"target": "sgm.models.diffusion.DiffusionEngine", "params": params}


def _embedders(text: SDXLTextConfig) -> list[dict[str, Any]]:
    """Both text towers, and what turns numbers into a vector."""
    encoders = f"{SGM}.encoders.modules"
    layer = {"layer": "penultimate", "always_return_pooled": True, "legacy": False, "freeze": True}
    towers: list[tuple[str, str, dict[str, Any]]] = []
    if text.clip is not None:
        index = text.clip.num_hidden_layers + 1 + text.clip.hidden_layer
        towers.append(("txt", "FrozenCLIPEmbedder", {"layer": "hidden", "layer_idx": index}))
    towers.append(("txt", "FrozenOpenCLIPEmbedder2", layer))
    last = "target_size_as_tuple" if text.sizes == 6 else "aesthetic_score"
    for key in ("original_size_as_tuple", "crop_coords_top_left", last):
        towers.append((key, "ConcatTimestepEmbedderND", {"outdim": text.size_dim}))
    return [
        {"is_trainable": False, "input_key": key, "target": f"{encoders}.{kind}", "params": params}
        for key, kind, params in towers
    ]


def _schedule(config: ModelConfig) -> dict[str, Any]:
    schedule = config.schedule
    return {
        "linear_start": schedule.linear_start,
        "linear_end": schedule.linear_end,
        "timesteps": schedule.n_steps,
        "beta_schedule": BETA_NAMES.get(schedule.betas, schedule.betas),
    }


def _unet(config: ModelConfig) -> dict[str, Any]:
    unet = config.unet
    if not isinstance(unet, UNetConfig):
        return {}
    values = {name: _plain(getattr(unet, name)) for name in UNET_FIELDS}
    values = {name: value for name, value in values.items() if name not in USUAL or value != USUAL[name]}
    values["attention_resolutions"] = list(unet.attention_resolutions)
    values["channel_mult"] = list(unet.channel_mult)
    if unet.transformer_depth_middle is not None:
        values["transformer_depth_middle"] = unet.transformer_depth_middle
    if unet.disable_self_attentions:
        values["disable_self_attentions"] = list(unet.disable_self_attentions)
    return values


def _first_stage(config: ModelConfig, package: str) -> dict[str, Any]:
    stage = config.autoencoder
    sizes = stage.autoencoder if isinstance(stage, VQConfig) else stage
    if not isinstance(sizes, AutoencoderConfig):
        return {}
    detail = {
        "double_z": sizes.double_z,
        "z_channels": sizes.z_channels,
        "resolution": sizes.resolution,
        "in_channels": sizes.in_channels,
        "out_ch": sizes.out_ch,
        "ch": sizes.ch,
        "ch_mult": list(sizes.ch_mult),
        "num_res_blocks": sizes.num_res_blocks,
        "attn_resolutions": list(sizes.attn_resolutions),
        "attn_type": sizes.attn_type,
        "dropout": 0.0,
    }
    params: dict[str, Any] = {"embed_dim": sizes.embed_dim, "ddconfig": detail, "lossconfig": NOTHING}
    if isinstance(stage, VQConfig):
        params["n_embed"] = stage.n_embed
    kind = "VQModelInterface" if isinstance(stage, VQConfig) else "AutoencoderKL"
    return {"target": f"{package}.models.autoencoder.{kind}", "params": params}


def _condition(config: ModelConfig) -> Any:  # noqa: ANN401 - a record or CompVis's word for nothing
    text = config.text
    encoders = "ldm.modules.encoders.modules"
    if isinstance(text, OpenCLIPConfig):
        layer = "last" if text.hidden_layer == -1 and text.layers > 23 else "penultimate"
        return {"target": f"{encoders}.FrozenOpenCLIPEmbedder", "params": {"freeze": True, "layer": layer}}
    if isinstance(text, BERTConfig):
        sizes = {"n_embed": text.dim, "n_layer": text.depth, "vocab_size": text.vocab_size}
        return {"target": f"{encoders}.BERTEmbedder", "params": sizes | {"max_seq_len": text.length}}
    if isinstance(text, ClassConfig):
        table = {"embed_dim": text.embed_dim, "n_classes": text.n_classes, "key": "class_label"}
        return {"target": f"{encoders}.ClassEmbedder", "params": table}
    if text.kind == "clip":
        return {"target": f"{encoders}.FrozenCLIPEmbedder"}
    return "__is_unconditional__"


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple) else value
