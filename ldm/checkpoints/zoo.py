"""The diffusion models of the latent diffusion paper: what names and shapes of their files cannot tell.

Their files are all called model.ckpt, so a row is known by the structure of its networks; a model of the same
structure and another width is taken for a relative, with the same heads and the same schedule.  A YAML file
beside the checkpoint wins over all of it.

Source: CompVis/latent-diffusion, models/ldm/*/config.yaml, README (quality and sampling), scripts/.
"""

from dataclasses import dataclass, replace

from ..models.autoencoder_config import AutoencoderConfig, VQConfig
from ..models.config import ModelConfig, RecommendedSettings, ScheduleConfig, UNetConfig


@dataclass(frozen=True)
class Fingerprint:
    """What a file's names and shapes say about the structure of its networks, widths left out.

    Attributes:
        channels: in and out of the U-Net; mult: its `channel_mult`; attends: where it has attention.
        depth: transformer blocks per transformer, 0 where attention has no context.
        updown: ResBlocks resample; scale_shift: the time embedding scales and shifts.
        first_stage: kind and how often smaller latents are, "vq-f4".
        condition: `kind` of the condition's config.
        classes: how many of them, a null class included; 0 without.
        words: entries of a text encoder's vocabulary; 0 without one.
        attention: whether the middle of the first stage has any.
    """

    channels: tuple[int, int]
    mult: tuple[int, ...]
    attends: tuple[int, ...]
    depth: int
    first_stage: str
    condition: str = "none"
    updown: bool = False
    scale_shift: bool = False
    classes: int = 0
    words: int = 0
    attention: bool = True


@dataclass(frozen=True)
class Row:
    """One model of the zoo, or several that no shape tells apart.

    Attributes:
        names: of the models; task: what they draw, for people.
        width: `model_channels` of the U-Net.
        heads: (num_heads, num_head_channels), one of them -1.
        betas: first and last; CompVis calls their kind "linear", here it is "scaled_linear".
        scale: makes latents unit variance; a `scale_factor` in the file wins.
        recommended: as published.
    """

    names: tuple[str, ...]
    task: str
    fingerprint: Fingerprint
    width: int
    heads: tuple[int, int]
    betas: tuple[float, float]
    scale: float
    recommended: RecommendedSettings

    @property
    def title(self) -> str:
        """The names, as a phrase."""
        *most, last = self.names
        return f"{', '.join(most)} or {last}" if most else last


def _best(steps: int, side: int, scale: float = 1.0, eta: float = 0.0) -> RecommendedSettings:
    return RecommendedSettings(steps=steps, sampler="ddim", cfg_scale=scale, width=side, height=side, eta=eta)


ROWS: tuple[Row, ...] = (
    Row(
        ("celeba256", "ffhq256", "lsun_beds256"),
        "faces or bedrooms, from nothing",
        Fingerprint((3, 3), (1, 2, 3, 4), (2, 4, 8), 0, "vq-f4"),
        width=224,
        heads=(-1, 32),
        betas=(0.0015, 0.0195),
        scale=1.0,
        recommended=_best(200, 256, eta=1.0),  # celeba256 was measured with eta 0, the others with 1
    ),
    Row(
        ("lsun_churches256",),
        "churches, from nothing",
        Fingerprint((4, 4), (1, 2, 2, 4, 4), (1, 2, 4, 8), 0, "kl-f8", updown=True, scale_shift=True),
        width=192,
        heads=(8, -1),
        betas=(0.0015, 0.0155),
        scale=1.0,
        recommended=_best(400, 256),
    ),
    Row(
        ("cin256",),
        "ImageNet's classes",
        Fingerprint((4, 4), (1, 2, 4), (1, 2, 4), 1, "vq-f8", "class", classes=1000),
        width=256,
        heads=(-1, 32),
        betas=(0.0015, 0.0195),
        scale=1.0,
        recommended=_best(200, 256),
    ),
    Row(
        ("cin256-v2",),
        "ImageNet's classes, with guidance",
        Fingerprint((3, 3), (1, 2, 3, 5), (2, 4, 8), 1, "vq-f4", "class", classes=1001),
        width=192,
        heads=(1, -1),
        betas=(0.0015, 0.0195),
        scale=1.0,
        recommended=_best(20, 256, scale=3.0),
    ),
    Row(
        ("text2img256",),
        "prompts",
        Fingerprint((3, 3), (1, 2, 3, 5), (2, 4, 8), 1, "vq-f4", "bert", words=30522),
        width=192,
        heads=(-1, 32),
        betas=(0.0015, 0.0195),
        scale=1.0,
        recommended=_best(100, 256),
    ),
    Row(
        ("text2img-large",),
        "prompts",
        Fingerprint((4, 4), (1, 2, 4, 4), (1, 2, 4), 1, "kl-f8", "bert", words=30522),
        width=320,
        heads=(8, -1),
        betas=(0.00085, 0.012),
        scale=0.18215,
        recommended=_best(200, 256, scale=5.0),
    ),
    Row(
        ("bsr_sr",),
        "a small picture, four times as large",
        Fingerprint((6, 3), (1, 2, 2, 4), (8,), 0, "vq-f4"),
        width=160,
        heads=(-1, 32),
        betas=(0.0015, 0.0155),
        scale=1.0,
        recommended=_best(100, 256, eta=1.0),
    ),
    Row(
        ("inpainting_big",),
        "a picture's hole",
        Fingerprint((7, 3), (1, 2, 3, 4), (2, 4, 8), 0, "vq-f4", updown=True, attention=False),
        width=256,
        heads=(8, -1),
        betas=(0.0015, 0.0205),
        scale=1.0,
        recommended=_best(50, 512),
    ),
    Row(
        ("semantic_synthesis256", "semantic_synthesis512"),
        "a landscape, from a picture of class numbers",
        Fingerprint((6, 3), (1, 4, 8), (), 0, "vq-f4"),
        width=128,
        heads=(8, -1),
        betas=(0.0015, 0.0205),
        scale=1.0,
        recommended=_best(200, 256, eta=1.0),  # those of the samples CompVis's training logs
    ),
    Row(
        ("layout2img-openimages256",),
        "boxes",
        Fingerprint((3, 3), (1, 2, 3, 4), (2, 4, 8), 3, "vq-f4", "bert", words=8192),
        width=128,
        heads=(-1, 32),
        betas=(0.0015, 0.0205),
        scale=1.0,
        recommended=_best(200, 256),
    ),
    Row(
        ("rdm768",),
        "neighbours: CLIP embeddings of pictures or of a prompt",
        Fingerprint((16, 16), (1, 2, 3, 4), (1, 2, 4), 1, "kl-f16", "neighbours"),
        width=448,
        heads=(-1, 32),
        betas=(0.0015, 0.015),
        scale=0.22765929,
        recommended=_best(200, 768, scale=5.0),
    ),
)


def fingerprint(config: ModelConfig) -> Fingerprint | None:
    """What the structure of a model is; None for what CompVis's U-Net is not in."""
    unet, stage, text = config.unet, config.autoencoder, config.text
    if not isinstance(unet, UNetConfig) or not isinstance(stage, AutoencoderConfig | VQConfig):
        return None
    inner = stage.autoencoder if isinstance(stage, VQConfig) else stage
    depth = unet.transformer_depth if isinstance(unet.transformer_depth, int) else -1
    return Fingerprint(
        channels=(unet.in_channels, unet.out_channels),
        mult=unet.channel_mult,
        attends=unet.attention_resolutions,
        depth=depth if unet.use_spatial_transformer else 0,
        first_stage=f"{stage.kind}-f{stage.downsampling_factor}",
        condition=text.kind,
        updown=unet.resblock_updown,
        scale_shift=unet.use_scale_shift_norm,
        classes=getattr(text, "n_classes", 0),
        words=getattr(text, "vocab_size", 0),
        attention=inner.attn_type != "none",
    )


def row_of(config: ModelConfig) -> Row | None:
    """The model of the zoo that a config has the structure of; None if it has none's."""
    found = fingerprint(config)
    return next((row for row in ROWS if row.fingerprint == found), None)


def is_one(row: Row, config: ModelConfig) -> bool:
    """Whether it can be that very model and not a relative of another width."""
    return isinstance(config.unet, UNetConfig) and config.unet.model_channels == row.width


def with_row(config: ModelConfig, row: Row) -> ModelConfig:
    """The config with what the table knows."""
    heads, head_channels = row.heads
    start, end = row.betas
    unet = config.unet
    if isinstance(unet, UNetConfig):
        unet = replace(unet, num_heads=heads, num_head_channels=head_channels)
    return replace(
        config,
        unet=unet,
        schedule=ScheduleConfig(linear_start=start, linear_end=end),
        latent_scaling_factor=row.scale,
        prediction_type="eps",
        recommended=row.recommended,
    )
