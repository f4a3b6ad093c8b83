"""Sizes of the networks, as frozen records.  A checkpoint of ours carries them as JSON in its metadata.

Field names are CompVis's where CompVis has the field: names inside files are forever.  To add a field, give
it the default that means "as before".
"""

from dataclasses import asdict, dataclass, field, fields, is_dataclass
from typing import Any, Self, get_type_hints

from ..errors import CheckpointError


@dataclass(frozen=True)
class UNetConfig:
    """Sizes of the U-Net; defaults are Stable Diffusion 1's.

    Attributes:
        model_channels: channels at full latent resolution.
        channel_mult: multiplier per level; the length is the number of levels.
        num_res_blocks: ResBlocks per level on the way down (one more on the way up).
        attention_resolutions: downsampling factors (1, 2, 4 ...) that have attention.
        num_heads: heads of every attention; -1 where `num_head_channels` is set.
        num_head_channels: channels per head; -1 where `num_heads` is set.
        use_spatial_transformer: transformer blocks with cross-attention; False is `AttentionBlock`.
        transformer_depth: blocks per transformer, one number or one per level.
        transformer_depth_middle: blocks in the middle; None is the last level's.
        context_dim: channels of the context; None without cross-attention.
        use_linear_in_transformer: proj_in and proj_out are linear layers (Stable Diffusion 2 and XL).
        resblock_updown: ResBlocks resample instead of convolutions.
        use_scale_shift_norm: the time embedding scales and shifts the second norm.
        num_classes: entries of the class embedding; "sequential" is SDXL's vector; None is without.
        adm_in_channels: length of the vector where num_classes is "sequential".
        legacy: CompVis's flag of that name, kept so that its configs can be read: with the head sizes above
            it changes nothing.
        use_new_attention_order: `AttentionBlock` splits q, k, v before the heads.
        num_groups: groups of every GroupNorm.
    """

    in_channels: int = 4
    out_channels: int = 4
    model_channels: int = 320
    channel_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int | tuple[int, ...] = 2
    attention_resolutions: tuple[int, ...] = (4, 2, 1)
    num_heads: int = 8
    num_head_channels: int = -1
    use_spatial_transformer: bool = True
    transformer_depth: int | tuple[int, ...] = 1
    transformer_depth_middle: int | None = None
    context_dim: int | None = 768
    use_linear_in_transformer: bool = False
    resblock_updown: bool = False
    use_scale_shift_norm: bool = False
    conv_resample: bool = True
    num_classes: int | str | None = None
    adm_in_channels: int | None = None
    legacy: bool = True
    use_new_attention_order: bool = False
    num_groups: int = 32

    def __post_init__(self) -> None:
        if self.num_heads == -1 and self.num_head_channels == -1:
            raise CheckpointError("One of num_heads and num_head_channels must be set, both are -1.")
        if self.use_spatial_transformer and self.context_dim is None:
            raise CheckpointError("use_spatial_transformer needs a context_dim, it is None.")
        for name in ("num_res_blocks", "transformer_depth"):
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) != len(self.channel_mult):
                raise CheckpointError(
                    f"{name} {value} needs {len(self.channel_mult)} numbers, one per entry of channel_mult."
                )
        if self.model_channels % self.num_groups:
            raise CheckpointError(
                f"model_channels must be a multiple of num_groups {self.num_groups}, "
                f"got {self.model_channels}."
            )

    @property
    def downsamplings(self) -> int:
        """How often the U-Net halves the latents."""
        return len(self.channel_mult) - 1


@dataclass(frozen=True)
class AutoencoderConfig:
    """Sizes of the autoencoder (CompVis's `ddconfig` and `embed_dim`); defaults are Stable Diffusion's.

    Attributes:
        ch, ch_mult: channels at full resolution and the multiplier per level.
        num_res_blocks: ResBlocks per level of the encoder; the decoder has one more.
        attn_resolutions: sizes, at a picture of `resolution` pixels, that have attention.
        attn_type: "vanilla", or "none" for no attention in the middle either.
        z_channels: channels of the inner latents; embed_dim: of the latents outside.
        num_groups: groups of every GroupNorm.
    """

    ch: int = 128
    ch_mult: tuple[int, ...] = (1, 2, 4, 4)
    num_res_blocks: int = 2
    attn_resolutions: tuple[int, ...] = ()
    attn_type: str = "vanilla"
    resolution: int = 256
    in_channels: int = 3
    out_ch: int = 3
    z_channels: int = 4
    embed_dim: int = 4
    double_z: bool = True
    num_groups: int = 32

    def __post_init__(self) -> None:
        if self.attn_type not in ("vanilla", "none"):
            raise CheckpointError(f"attn_type must be 'vanilla' or 'none', got {self.attn_type!r}.")

    @property
    def downsampling_factor(self) -> int:
        """Pixels per latent along each side."""
        return 2 ** (len(self.ch_mult) - 1)


@dataclass(frozen=True)
class TextConfig:
    """Sizes of the CLIP text encoder; defaults are CLIP ViT-L/14's.

    Attributes:
        max_position_embeddings: tokens per prompt, T.
        tokenizer: "clip" for CLIP's own vocabulary, "embedded" where the checkpoint carries its own.
    """

    vocab_size: int = 49408
    hidden_size: int = 768
    intermediate_size: int = 3072
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    max_position_embeddings: int = 77
    hidden_act: str = "quick_gelu"
    layer_norm_eps: float = 1e-5
    bos_token_id: int = 49406
    eos_token_id: int = 49407
    pad_token_id: int = 49407
    tokenizer: str = "clip"


@dataclass(frozen=True)
class ScheduleConfig:
    """The noise schedule a model was trained on; defaults are Stable Diffusion's.

    Attributes:
        betas: a key of `diffusion.schedule.BETAS`.
        zero_terminal_snr: rescale so that the last timestep is pure noise.
    """

    n_steps: int = 1000
    betas: str = "scaled_linear"
    linear_start: float = 0.00085
    linear_end: float = 0.012
    zero_terminal_snr: bool = False


@dataclass(frozen=True)
class RecommendedSettings:
    """What to draw with when nothing else is asked for."""

    steps: int = 20
    sampler: str = "dpmpp_2m"
    cfg_scale: float = 7.5
    cfg_rescale: float = 0.0
    width: int = 512
    height: int = 512


@dataclass(frozen=True)
class ModelConfig:
    """Everything needed to build a `LatentDiffusion`, and what it can draw.

    Attributes:
        name: for people.
        prediction_type: "eps", "v" or "x0".
        latent_scaling_factor: makes latents unit variance.
        vocabulary: kind of word -> words the model learned; empty for models that know "everything".
        synonyms: another wording of a word in `vocabulary` -> that word.
        plurals: name of a thing -> its plural, of things that were ever counted.
        words: every word that training captions hold, and names of several words ("ice cream") whose parts
            never stood alone; lower case.  Empty: nothing is known about what the model does not know.
        examples: prompts worth clicking.
        training: how it was made: config, curve, commands; for people, free of structure.
    """

    name: str = "Stable Diffusion"
    unet: UNetConfig = field(default_factory=UNetConfig)
    autoencoder: AutoencoderConfig = field(default_factory=AutoencoderConfig)
    text: TextConfig = field(default_factory=TextConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    prediction_type: str = "eps"
    latent_scaling_factor: float = 0.18215
    recommended: RecommendedSettings = field(default_factory=RecommendedSettings)
    vocabulary: dict[str, list[str]] = field(default_factory=dict)
    synonyms: dict[str, str] = field(default_factory=dict)
    plurals: dict[str, str] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    training: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.prediction_type not in ("eps", "v", "x0"):
            raise CheckpointError(
                f"prediction_type must be 'eps', 'v' or 'x0', got {self.prediction_type!r}."
            )

    @property
    def size_multiple(self) -> int:
        """What width and height must be multiples of, in pixels."""
        return self.autoencoder.downsampling_factor * 2**self.unet.downsamplings

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            CheckpointError: a field this version does not know, so nothing of a model is silently dropped.
        """
        return build_record(cls, values)


def build_record(cls: type, values: dict[str, Any]) -> Any:  # noqa: ANN401 - one of several records
    """A record of class `cls` from plain JSON types, records inside it included.

    Raises:
        CheckpointError: a field the class does not know.
    """
    hints = get_type_hints(cls)
    known = {f.name for f in fields(cls)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise CheckpointError(
            f"{cls.__name__} has no field {unknown[0]!r}; is the file from a newer version?"
        )
    made: dict[str, Any] = {}
    for key, value in values.items():
        if is_dataclass(hints[key]):
            made[key] = build_record(hints[key], value)
        else:
            made[key] = tuple(value) if isinstance(value, list) else value
    return cls(**made)
