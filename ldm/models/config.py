"""Sizes of the networks, as frozen records.  A checkpoint of ours carries them as JSON in its metadata.

Field names are CompVis's where CompVis has the field: names inside files are forever.  To add a field, give
it the default that means "as before".
"""

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from ..errors import CheckpointError
from .autoencoder_config import AutoencoderConfig, FirstStageSizes, VQConfig
from .condition_config import ConditionConfig, TextConfig
from .pixel_config import DDPMUNetConfig, ScoreNetConfig
from .records import build_record
from .sizes import check_between, check_sizes
from .study_config import StudyUNetConfig

__all__ = [
    "PICTURES",
    "AutoencoderConfig",
    "ModelConfig",
    "RecommendedSettings",
    "ScheduleConfig",
    "TextConfig",
    "UNetConfig",
    "VQConfig",
    "build_record",
]


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
        disable_self_attentions: per level, whether its first attention looks at the context too (the x4
            upscaler); empty is nowhere.
        time_cond_proj_dim: length of the embedding of the guidance scale that a distilled model reads (LCM);
            None is without.
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
    disable_self_attentions: tuple[bool, ...] = ()
    time_cond_proj_dim: int | None = None
    kind: str = "unet"

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

    def __post_init__(self) -> None:
        most = math.inf if self.betas == "geometric" else 1.0  # those betas are noise levels
        for name in ("linear_start", "linear_end"):
            check_between(name, getattr(self, name), most)


@dataclass(frozen=True)
class RecommendedSettings:
    """What to draw with when nothing else is asked for; fields are those of `Settings`."""

    steps: int = 20
    sampler: str = "dpmpp_2m"
    cfg_scale: float = 7.5
    cfg_rescale: float = 0.0
    width: int = 512
    height: int = 512
    eta: float | None = None


NetworkConfig = UNetConfig | StudyUNetConfig | DDPMUNetConfig | ScoreNetConfig

PICTURES = {
    "inpaint": "the mask (1 is painted anew) before the latents of the picture with its hole grey",
    "inpaint_signed": "the latents of the picture with its hole black before the mask (1 or -1)",
    "edit": "the latents of a picture, not scaled",
    "low_resolution": "a small picture itself, one of its pixels for each latent",
    "upscale": "a small picture under noise of a level that the network is told",
    "palette": "a picture of class numbers through the model's own convolution",
    "study_mask": "a picture of class numbers, one channel each",
}
"""What a network may read besides its latents, `ModelConfig.picture`."""


@dataclass(frozen=True)
class ModelConfig:
    """Everything needed to build a `LatentDiffusion`, and what it can draw.

    Attributes:
        name: for people.
        prediction_type: "eps", "v" or "x0".
        latent_scaling_factor: makes latents unit variance.
        text: what tells the network what to draw, text encoder or not.
        picture: a key of `PICTURES`; None where the network reads latents alone.
        vocabulary: kind of word -> words the model learned; empty for models that know "everything".
        synonyms: another wording of a word in `vocabulary` -> that word.
        plurals: name of a thing -> its plural, of things that were ever counted.
        words: every word that training captions hold, and names of several words ("ice cream") whose parts
            never stood alone; lower case.  Empty: nothing is known about what the model does not know.
        examples: prompts worth clicking.
        training: how it was made: config, curve, commands; for people, free of structure.
    """

    name: str = "Stable Diffusion"
    unet: NetworkConfig = field(default_factory=UNetConfig)
    autoencoder: FirstStageSizes = field(default_factory=AutoencoderConfig)
    text: ConditionConfig = field(default_factory=TextConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    prediction_type: str = "eps"
    latent_scaling_factor: float = 0.18215
    picture: str | None = None
    recommended: RecommendedSettings = field(default_factory=RecommendedSettings)
    vocabulary: dict[str, list[str]] = field(default_factory=dict)
    synonyms: dict[str, str] = field(default_factory=dict)
    plurals: dict[str, str] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    training: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_sizes(self)
        check_between("latent_scaling_factor", self.latent_scaling_factor)
        if self.prediction_type not in ("eps", "v", "x0"):
            raise CheckpointError(
                f"prediction_type must be 'eps', 'v' or 'x0', got {self.prediction_type!r}."
            )
        if self.picture is None and isinstance(self.unet, UNetConfig):
            c = self.autoencoder.embed_dim  # of files from before it was written down
            kind = {2 * c: "edit", 2 * c + 1: "inpaint"}.get(self.unet.in_channels)
            object.__setattr__(self, "picture", kind)
        if self.picture is not None and self.picture not in PICTURES:
            raise CheckpointError(f"picture must be one of {', '.join(PICTURES)}, got {self.picture!r}.")

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
