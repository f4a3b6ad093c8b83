"""The trainings known by name: `default`, the shipped model, and `small`, a proof of the same path."""

from dataclasses import dataclass, replace

from ..data.scenes import COMMON_OBJECTS, DEFAULT_OBJECTS
from ..models.config import AutoencoderConfig, RecommendedSettings, ScheduleConfig, TextConfig, UNetConfig
from ..models.vq import VQConfig
from .autoencoder import AutoencoderTraining
from .draft import DraftTraining
from .latent import LatentTraining, Phase
from .preview import PreviewTraining
from .teacher import Teaching
from .vq import VQTraining

VOCABULARY_SIZE = 1880
POSITIONS = 32


@dataclass(frozen=True)
class Training:
    """Everything that makes a model, apart from its name.

    Attributes:
        objects: what is drawn.
        bpe_captions: how many captions the tokenizer is learned from.
    """

    name: str
    objects: tuple[str, ...]
    autoencoder: AutoencoderTraining
    latent: LatentTraining
    recommended: RecommendedSettings
    bpe_captions: int = 6000


_AUTOENCODER = AutoencoderConfig(
    ch=16,
    ch_mult=(1, 2, 4, 4, 8),
    num_res_blocks=1,
    attn_type="none",
    resolution=256,
    z_channels=16,
    embed_dim=16,
    num_groups=4,
)
_SCHEDULE = ScheduleConfig(zero_terminal_snr=True)
_RECOMMENDED = RecommendedSettings(
    steps=20, sampler="dpmpp_2m", cfg_scale=3.0, cfg_rescale=0.7, width=256, height=256
)


def _unet(model_channels: int, context_dim: int) -> UNetConfig:
    return UNetConfig(
        in_channels=16,
        out_channels=16,
        model_channels=model_channels,
        channel_mult=(1, 2),
        num_res_blocks=1,
        attention_resolutions=(2,),
        num_heads=-1,
        num_head_channels=32,
        context_dim=context_dim,
        num_groups=8,
    )


def _text(width: int, layers: int) -> TextConfig:
    return TextConfig(
        vocab_size=VOCABULARY_SIZE,
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        max_position_embeddings=POSITIONS,
        bos_token_id=VOCABULARY_SIZE - 2,
        eos_token_id=VOCABULARY_SIZE - 1,
        pad_token_id=VOCABULARY_SIZE - 1,
        tokenizer="embedded",
    )


_MIXED = {"easy": 0.6, "free": 0.2, "many": 0.2}
_MOSTLY_EASY = {"easy": 0.7, "free": 0.1, "many": 0.2}
_MOSTLY_MANY = {"easy": 0.3, "free": 0.15, "many": 0.55}

DEFAULT = Training(
    name="default",
    objects=DEFAULT_OBJECTS,
    autoencoder=AutoencoderTraining(_AUTOENCODER, DEFAULT_OBJECTS, basis_objects=COMMON_OBJECTS),
    latent=LatentTraining(
        unet=_unet(96, 256),
        text=_text(256, 2),
        schedule=_SCHEDULE,
        phases=(
            Phase(until=2000, shares={"easy": 1.0}, chunks=10, object_weight=3.0, objects=COMMON_OBJECTS),
            Phase(until=3800, shares=_MIXED, chunks=8, objects=COMMON_OBJECTS),
            Phase(until=3900, shares=_MOSTLY_EASY, chunks=2),
            Phase(until=4300, shares=_MOSTLY_EASY, chunks=8),
            Phase(until=5300, shares=_MOSTLY_EASY, chunks=20),
            Phase(until=7200, shares=_MOSTLY_MANY, chunks=24),
        ),
        decay=0.2,
    ),
    recommended=_RECOMMENDED,
)

_FEW = ("apple", "cat", "heart", "car", "tree", "rocket", "fish", "house")

SMALL = Training(
    name="small",
    objects=_FEW,
    autoencoder=AutoencoderTraining(
        _AUTOENCODER, _FEW, decoder_steps=70, encoder_steps=50, basis_pictures=300, warmup=20
    ),
    latent=LatentTraining(
        unet=_unet(64, 128),
        text=_text(128, 2),
        schedule=_SCHEDULE,
        phases=(Phase(until=240, shares={"easy": 1.0}, chunks=1),),
        batch=32,
        warmup=20,
        ema_decay=0.98,
    ),
    recommended=_RECOMMENDED,
    bpe_captions=6000,
)

PREVIEW = PreviewTraining(DEFAULT_OBJECTS, channels=(96, 96), blocks=(1, 3))

DRAFT = DraftTraining(Teaching({"easy": 0.3, "free": 0.1, "many": 0.3, "pairs": 0.3}))

VQ = VQTraining(
    name="Default, VQ",
    model=VQConfig(
        replace(_AUTOENCODER, ch_mult=(1, 2, 4, 4), z_channels=8, embed_dim=8, double_z=False),
        n_embed=4096,
        legacy=False,
    ),
    objects=DEFAULT_OBJECTS,
)

TRAININGS: dict[str, Training] = {"default": DEFAULT, "small": SMALL}
