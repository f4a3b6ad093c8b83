"""Sizes of the first stages: between pictures and latents."""

from dataclasses import dataclass, field

from ..errors import CheckpointError
from .pixel_config import IdentityConfig, TinyAutoencoderConfig
from .study_config import StudyAutoencoderConfig


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
    kind: str = "kl"

    def __post_init__(self) -> None:
        if self.attn_type not in ("vanilla", "none"):
            raise CheckpointError(f"attn_type must be 'vanilla' or 'none', got {self.attn_type!r}.")

    @property
    def downsampling_factor(self) -> int:
        """Pixels per latent along each side."""
        return 2 ** (len(self.ch_mult) - 1)


@dataclass(frozen=True)
class VQConfig:
    """A VQ autoencoder: its networks and its codebook; defaults are those of the paper's vq-f8.

    Attributes:
        autoencoder: sizes of encoder and decoder; `double_z` must be False, a code has no variance.
        n_embed: codes in the codebook, each of `autoencoder.embed_dim` numbers.
        beta: weight of one term of the codebook's loss against the other.
        legacy: which one, see `models.vq.VectorQuantizer.forward`.
    """

    autoencoder: AutoencoderConfig = field(
        default_factory=lambda: AutoencoderConfig(
            ch_mult=(1, 2, 2, 4), attn_resolutions=(32,), double_z=False
        )
    )
    n_embed: int = 16384
    beta: float = 0.25
    legacy: bool = True
    kind: str = "vq"

    def __post_init__(self) -> None:
        if self.autoencoder.double_z:
            raise CheckpointError("A VQ autoencoder must have double_z False, it is True.")
        if self.n_embed < 1:
            raise CheckpointError(f"n_embed must be at least 1, got {self.n_embed}.")

    @property
    def downsampling_factor(self) -> int:
        """Pixels per latent along each side."""
        return self.autoencoder.downsampling_factor

    @property
    def in_channels(self) -> int:
        """Channels of a picture."""
        return self.autoencoder.in_channels

    @property
    def embed_dim(self) -> int:
        """Channels of the latents."""
        return self.autoencoder.embed_dim


FirstStageSizes = (
    AutoencoderConfig | VQConfig | StudyAutoencoderConfig | IdentityConfig | TinyAutoencoderConfig
)
