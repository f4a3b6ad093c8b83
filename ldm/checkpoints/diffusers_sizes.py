"""The sizes of our networks from the JSON files of a diffusers folder: the inverse of `diffusers_config`.

Whatever an option says that our networks have no counterpart for is an error, in a sentence.
"""

from collections.abc import Mapping
from typing import Any

from ..errors import CheckpointError
from ..models.config import AutoencoderConfig, ScheduleConfig, TextConfig, UNetConfig, VQConfig
from .careful import reading
from .diffusers_config import BETA_SCHEDULES, PREDICTIONS

Json = Mapping[str, Any]

# options that change what a network computes, and the values that are ours
UNET_OPTIONS: dict[str, tuple[object, ...]] = {
    "act_fn": ("silu", "swish"),
    "add_attention": (True,),
    "addition_embed_type": (None, "text_time"),
    "attention_type": ("default",),
    "attn_norm_num_groups": (None,),
    "center_input_sample": (False,),
    "class_embed_type": (None,),
    "class_embeddings_concat": (False,),
    "conv_in_kernel": (3,),
    "conv_out_kernel": (3,),
    "cross_attention_norm": (None,),
    "downsample_padding": (1,),
    "downsample_type": ("conv",),
    "dual_cross_attention": (False,),
    "encoder_hid_dim": (None,),
    "encoder_hid_dim_type": (None,),
    "flip_sin_to_cos": (True,),
    "freq_shift": (0,),
    "mid_block_only_cross_attention": (None, False),
    "mid_block_scale_factor": (1,),
    "mid_block_type": ("UNetMidBlock2DCrossAttn", "UNetMidBlock2D"),
    "norm_eps": (1e-5,),
    "resnet_out_scale_factor": (1.0,),
    "resnet_skip_time_act": (False,),
    "resnet_time_scale_shift": ("default", "scale_shift"),
    "reverse_transformer_layers_per_block": (None,),
    "time_embedding_act_fn": (None,),
    "time_embedding_dim": (None,),
    "time_embedding_type": ("positional",),
    "timestep_post_act": (None,),
    "upsample_type": ("conv",),
}
AUTOENCODER_OPTIONS: dict[str, tuple[object, ...]] = {
    "act_fn": ("silu", "swish"),
    "latents_mean": (None,),
    "latents_std": (None,),
    "lookup_from_codebook": (False,),
    "norm_type": ("group",),
    "shift_factor": (None, 0.0),
    "use_post_quant_conv": (True,),
    "use_quant_conv": (True,),
}
BLOCKS = {"UNet2DConditionModel": "CrossAttnDownBlock2D", "UNet2DModel": "AttnDownBlock2D"}
# what schedulers take where their file says nothing: linear, as in the DDPM paper, but for these
STABLE_DIFFUSION: Json = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
SCHEDULER_DEFAULTS: dict[str, Json] = {"LCMScheduler": STABLE_DIFFUSION, "TCDScheduler": STABLE_DIFFUSION}
PLAIN: Json = {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02}


@reading("unet/config.json")
def read_unet_config(values: Json) -> UNetConfig:
    """Sizes of a U-Net from `unet/config.json`.

    Raises:
        CheckpointError: it is of another class, or has an option that ours has not.
    """
    kind = values.get("_class_name", "UNet2DConditionModel")
    if kind not in BLOCKS:
        raise CheckpointError(f"unet/ holds a {kind}; what can be read is {' and '.join(BLOCKS)}.")
    _only(values, UNET_OPTIONS, "unet/config.json")
    widths = _numbers(values, "block_out_channels", "unet/config.json")
    count = len(widths)
    has_context = kind == "UNet2DConditionModel"
    attends = _attention_levels(values, BLOCKS[kind], count)
    told = _each(values, "transformer_layers_per_block", 1, count)
    depths = [depth * there for depth, there in zip(told, attends, strict=True)]
    middle = told[-1]  # diffusers' middle has as many as the deepest level would have
    same = {d for d in depths if d} <= {middle}
    only_context = _each(values, "only_cross_attention", False, count)
    blocks = _each(values, "layers_per_block", 2, count)
    heads, head_channels = _head_sizes(values, widths, has_context)
    is_sized = values.get("addition_embed_type") == "text_time"
    return UNetConfig(
        in_channels=int(values.get("in_channels", 4)),
        out_channels=int(values.get("out_channels", 4)),
        model_channels=widths[0],
        channel_mult=_multiples(widths, "unet/config.json"),
        num_res_blocks=blocks[0] if len(set(blocks)) == 1 else tuple(blocks),
        attention_resolutions=tuple(2**level for level, there in enumerate(attends) if there),
        num_heads=heads,
        num_head_channels=head_channels,
        use_spatial_transformer=has_context,
        transformer_depth=middle if same else tuple(depths),
        transformer_depth_middle=None if same else middle,
        context_dim=_context_dim(values) if has_context else None,
        use_linear_in_transformer=bool(values.get("use_linear_projection", False)),
        use_scale_shift_norm=values.get("resnet_time_scale_shift", "default") == "scale_shift",
        num_classes="sequential" if is_sized else values.get("num_class_embeds"),
        adm_in_channels=values.get("projection_class_embeddings_input_dim") if is_sized else None,
        num_groups=int(values.get("norm_num_groups", 32)),
        disable_self_attentions=tuple(map(bool, only_context)) if any(only_context) else (),
        time_cond_proj_dim=values.get("time_cond_proj_dim"),
    )


@reading("An autoencoder's config.json")
def read_autoencoder_config(values: Json, part: str) -> tuple[AutoencoderConfig | VQConfig, float]:
    """Sizes of an autoencoder from `vae/config.json`, and the factor that makes its latents unit variance.

    Args:
        part: the folder it is in, for messages.

    Raises:
        CheckpointError: it is of another class, or has an option that ours has not.
    """
    kind = values.get("_class_name", "AutoencoderKL")
    if kind not in ("AutoencoderKL", "VQModel"):
        raise CheckpointError(f"{part}/ holds a {kind}; what can be read is AutoencoderKL and VQModel.")
    file = f"{part}/config.json"
    _only(values, AUTOENCODER_OPTIONS, file)
    is_vq = kind == "VQModel"
    widths = _numbers(values, "block_out_channels", file)
    down = values.get("down_block_types") or ["DownEncoderBlock2D"] * len(widths)
    known = {"DownEncoderBlock2D", "AttnDownEncoderBlock2D"}
    if len(down) != len(widths) or not set(down) <= known:
        raise CheckpointError(f"{file} has down_block_types {down}; each of them must be one of {known}.")
    usual = AutoencoderConfig()
    inner = int(values.get("latent_channels", 4))
    outer = int((values.get("vq_embed_dim") or inner) if is_vq else inner)
    sizes = AutoencoderConfig(
        ch=widths[0],
        ch_mult=_multiples(widths, file),
        num_res_blocks=int(values.get("layers_per_block", 1)),
        attn_resolutions=tuple(usual.resolution // 2**i for i, name in enumerate(down) if "Attn" in name),
        attn_type="vanilla" if values.get("mid_block_add_attention", True) else "none",
        in_channels=int(values.get("in_channels", 3)),
        out_ch=int(values.get("out_channels", 3)),
        z_channels=inner,
        embed_dim=outer,
        double_z=not is_vq,
        num_groups=int(values.get("norm_num_groups", 32)),
    )
    # latents of the paper's VQ models are not scaled; their folders are older than the field
    factor = values.get("scaling_factor")
    factor = (1.0 if is_vq else 0.18215) if factor is None else float(factor)
    return (VQConfig(sizes, n_embed=int(values.get("num_vq_embeddings", 256))) if is_vq else sizes), factor


@reading("A text encoder's config.json")
def read_text_config(values: Json) -> TextConfig:
    """Sizes of CLIP's text encoder from `text_encoder/config.json`; ids of marks are the tokenizer's to say.

    Raises:
        CheckpointError: it is of another kind.
    """
    values = values.get("text_config", values) if values.get("model_type") == "clip" else values
    kind = values.get("model_type", "clip_text_model")
    if kind != "clip_text_model":
        raise CheckpointError(f"text_encoder/ holds a {kind}; what can be read is CLIP's text encoder.")
    usual = TextConfig()  # but transformers' sizes are smaller where a file says nothing
    return TextConfig(
        vocab_size=int(values.get("vocab_size", usual.vocab_size)),
        hidden_size=int(values.get("hidden_size", 512)),
        intermediate_size=int(values.get("intermediate_size", 2048)),
        num_hidden_layers=int(values.get("num_hidden_layers", 12)),
        num_attention_heads=int(values.get("num_attention_heads", 8)),
        max_position_embeddings=int(values.get("max_position_embeddings", 77)),
        hidden_act=str(values.get("hidden_act", "quick_gelu")),
        layer_norm_eps=float(values.get("layer_norm_eps", 1e-5)),
        tokenizer="clip" if values.get("vocab_size", usual.vocab_size) == usual.vocab_size else "embedded",
    )


@reading("scheduler_config.json")
def read_schedule(values: Json) -> tuple[ScheduleConfig, str]:
    """The noise schedule from `scheduler/scheduler_config.json`, and what the network predicts.

    Raises:
        CheckpointError: its noise levels are none of ours.
    """
    kind = values.get("_class_name", "DDIMScheduler")
    if not isinstance(kind, str):
        raise CheckpointError("scheduler_config.json has a _class_name that is no name.")
    if "EDM" in kind or "Flow" in kind or "ScoreSde" in kind:
        raise CheckpointError(f"The folder's scheduler is {kind}, which has other noise levels than ours.")
    known = {name: value for name, value in values.items() if value is not None}
    values = {**PLAIN, **SCHEDULER_DEFAULTS.get(kind, {}), **known}
    if "trained_betas" in values:
        raise CheckpointError("scheduler_config.json lists its betas; what can be read is a named schedule.")
    betas = {theirs: ours for ours, theirs in BETA_SCHEDULES.items()}
    predictions = {theirs: ours for ours, theirs in PREDICTIONS.items()}
    named, predicts = values["beta_schedule"], values.get("prediction_type", "epsilon")
    if named not in betas:
        raise CheckpointError(f"beta_schedule must be one of {', '.join(betas)}, got {named!r}.")
    if predicts not in predictions:
        raise CheckpointError(f"prediction_type must be one of {', '.join(predictions)}, got {predicts!r}.")
    schedule = ScheduleConfig(
        n_steps=int(values.get("num_train_timesteps", 1000)),
        betas=betas[named],
        linear_start=float(values["beta_start"]),
        linear_end=float(values["beta_end"]),
        zero_terminal_snr=bool(values.get("rescale_betas_zero_snr", False)),
    )
    return schedule, predictions[predicts]


def _only(values: Json, options: Mapping[str, tuple[object, ...]], file: str) -> None:
    for name, allowed in options.items():
        if name not in values or values[name] in allowed:
            continue
        if values[name] is not None or name == "mid_block_type":  # else None is "as usual"
            shown = " or ".join(repr(value) for value in allowed)
            raise CheckpointError(f"{file} has {name} {values[name]!r}; what can be read is {shown}.")


def _numbers(values: Json, name: str, file: str) -> list[int]:
    found = values.get(name)
    if not isinstance(found, list) or not found or not all(isinstance(n, int) and n > 0 for n in found):
        raise CheckpointError(f"{file} must list {name}, got {found!r}.")
    return found


def _each(values: Json, name: str, default: int, count: int) -> list[int]:
    """One number for every level."""
    found = values.get(name, default)
    numbers = list(found) if isinstance(found, list | tuple) else [found] * count
    if len(numbers) != count or not all(isinstance(n, int) for n in numbers):
        raise CheckpointError(f"unet/config.json has {name} {found!r}; it must be {count} whole numbers.")
    return numbers


def _multiples(widths: list[int], file: str) -> tuple[int, ...]:
    if any(width % widths[0] for width in widths):
        raise CheckpointError(f"{file} has block_out_channels {widths}; all must be multiples of the first.")
    return tuple(width // widths[0] for width in widths)


def _attention_levels(values: Json, with_attention: str, count: int) -> list[bool]:
    """Which levels have attention; the way up must have what the way down has."""
    usual = [with_attention] * (count - 1) + ["DownBlock2D"]
    down = values.get("down_block_types", usual)
    up = values.get("up_block_types", [name.replace("Down", "Up") for name in reversed(down)])
    known = ("DownBlock2D", with_attention)
    if len(down) != count or not set(down) <= set(known):
        raise CheckpointError(
            f"unet/config.json has down_block_types {down}; they must be {count}, each {' or '.join(known)}."
        )
    if [name.replace("Up", "Down") for name in reversed(up)] != list(down):
        raise CheckpointError(f"unet/config.json has up_block_types {up}, which are not {down} turned round.")
    return [name == with_attention for name in down]


def _head_sizes(values: Json, widths: list[int], has_context: bool) -> tuple[int, int]:
    """Heads and channels of a head, one of them -1.

    `attention_head_dim` is the number of heads where there is a context, and channels of a head without one.
    """
    if not has_context:
        size = values.get("attention_head_dim", 8)
        return (1, -1) if size is None else (-1, int(size))
    name = "attention_head_dim" if values.get("num_attention_heads") is None else "num_attention_heads"
    heads = _each(values, name, 8, len(widths))
    if len(set(heads)) == 1:
        return heads[0], -1
    sizes = {width // count for width, count in zip(widths, heads, strict=True) if count}
    if len(sizes) > 1 or any(not count or width % count for width, count in zip(widths, heads, strict=True)):
        raise CheckpointError(f"unet/config.json has {name} {heads} for {widths} channels: uneven heads.")
    return -1, sizes.pop()


def _context_dim(values: Json) -> int:
    found = values.get("cross_attention_dim", 1280)
    sizes = set(found) if isinstance(found, list) else {found}
    if len(sizes) != 1 or not all(isinstance(size, int) for size in sizes):
        raise CheckpointError(f"unet/config.json has cross_attention_dim {found!r}; it must be one number.")
    return int(sizes.pop())
