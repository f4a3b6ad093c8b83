"""Sizes of the study's networks (explainingai-code/StableDiffusion-PyTorch), as frozen records."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from ..errors import CheckpointError


@dataclass(frozen=True)
class StudyUNetConfig:
    """Sizes of the study's U-Net (`unet_base.py`, `unet_cond_base.py`); field names are its YAML's.

    Attributes:
        im_channels: of the latents. down_channels, mid_channels: of the blocks.
        down_sample: per down block, whether it halves.  num_heads: of every attention.
        attn_down: per down block, whether it has attention of positions to each other; the others all do.
        text_dim: channels of the text's context; None without cross-attention.
        n_classes: rows of the class table, added to the time embedding; None without.
        mask_channels, mask_out: of the mask picture (one-hot) and of what its 1x1 convolution gives; None
            without.  The mask comes after the latents in `x`, at their size.
        names: "repo" for `downs.0...`, "study" for `down_block_0...`; how the file names its blocks, so that
            it can be written as it was read.
    """

    im_channels: int = 4
    down_channels: tuple[int, ...] = (256, 384, 512, 768)
    mid_channels: tuple[int, ...] = (768, 512)
    time_emb_dim: int = 512
    down_sample: tuple[bool, ...] = (True, True, True)
    num_down_layers: int = 2
    num_mid_layers: int = 2
    num_up_layers: int = 2
    num_heads: int = 16
    norm_channels: int = 32
    conv_out_channels: int = 128
    attn_down: tuple[bool, ...] = (True, True, True)
    text_dim: int | None = None
    n_classes: int | None = None
    mask_channels: int | None = None
    mask_out: int | None = None
    names: str = "repo"
    kind: str = "study"

    def __post_init__(self) -> None:
        _check_blocks(self)
        if len(self.down_channels) < 2 or self.mid_channels[-1:] != self.down_channels[-2:-1]:
            raise CheckpointError(
                f"The last of mid_channels {self.mid_channels} must be the last but one of "
                f"down_channels {self.down_channels}."
            )
        if self.time_emb_dim % 2:
            raise CheckpointError(f"time_emb_dim must be even, got {self.time_emb_dim}.")
        if (self.mask_channels is None) != (self.mask_out is None):
            raise CheckpointError(
                f"mask_channels {self.mask_channels} and mask_out {self.mask_out} go together."
            )
        if self.names not in ("repo", "study"):
            raise CheckpointError(f"names must be 'repo' or 'study', got {self.names!r}.")
        _check_groups(self.norm_channels, (*self.down_channels, *self.mid_channels, self.conv_out_channels))
        down = (width for width, has in zip(self.down_channels[1:], self.attn_down, strict=True) if has)
        up = (*self.down_channels[:-2], self.conv_out_channels)
        _check_heads(self.num_heads, (*down, *self.mid_channels[1:], *up))

    @property
    def in_channels(self) -> int:
        """What the network reads: the latents, and the mask after them."""
        return self.im_channels + (self.mask_channels or 0)

    @property
    def out_channels(self) -> int:
        """What it gives."""
        return self.im_channels

    @property
    def context_dim(self) -> int | None:
        """Channels of the context; None without."""
        return self.text_dim

    @property
    def downsamplings(self) -> int:
        """How often it halves the latents."""
        return sum(self.down_sample)


@dataclass(frozen=True)
class StudyAutoencoderConfig:
    """Sizes of the study's `VQVAE` and `VAE`; field names are its YAML's.

    Attributes:
        codebook_size: codes of the VQVAE; ignored by the VAE.
        kind: "study_vqvae" or "study_vae".
    """

    KINDS: ClassVar[tuple[str, ...]] = ("study_vqvae", "study_vae")

    im_channels: int = 3
    z_channels: int = 4
    codebook_size: int = 8192
    down_channels: tuple[int, ...] = (64, 128, 256, 256)
    mid_channels: tuple[int, ...] = (256, 256)
    down_sample: tuple[bool, ...] = (True, True, True)
    attn_down: tuple[bool, ...] = (False, False, False)
    norm_channels: int = 32
    num_heads: int = 4
    num_down_layers: int = 2
    num_mid_layers: int = 2
    num_up_layers: int = 2
    kind: str = "study_vqvae"

    def __post_init__(self) -> None:
        _check_blocks(self)
        if self.mid_channels[-1:] != self.down_channels[-1:]:
            raise CheckpointError(
                f"The last of mid_channels {self.mid_channels} must be the last of "
                f"down_channels {self.down_channels}."
            )
        if self.kind not in self.KINDS:
            raise CheckpointError(f"kind must be one of {', '.join(self.KINDS)}, got {self.kind!r}.")
        if self.codebook_size < 1:
            raise CheckpointError(f"codebook_size must be at least 1, got {self.codebook_size}.")
        _check_groups(self.norm_channels, (*self.down_channels, *self.mid_channels))
        outer = zip(self.down_channels[:-1], self.down_channels[1:], self.attn_down, strict=True)
        _check_heads(self.num_heads, (*self.mid_channels, *(w for *pair, has in outer if has for w in pair)))

    @property
    def downsampling_factor(self) -> int:
        """Pixels per latent along each side."""
        return 2 ** sum(self.down_sample)

    @property
    def in_channels(self) -> int:
        """Channels of a picture."""
        return self.im_channels

    @property
    def embed_dim(self) -> int:
        """Channels of the latents."""
        return self.z_channels


def _check_blocks(config: StudyUNetConfig | StudyAutoencoderConfig) -> None:
    """What the study's own constructors demand of the lists, and that there is at least one layer."""
    blocks = len(config.down_channels) - 1
    for name in ("down_sample", "attn_down"):
        if len(getattr(config, name)) != blocks:
            raise CheckpointError(
                f"{name} must have one entry fewer than down_channels, {blocks}, got {getattr(config, name)}."
            )
    if len(config.mid_channels) < 2 or config.mid_channels[0] != config.down_channels[-1]:
        raise CheckpointError(
            f"mid_channels {config.mid_channels} must be two or more, the first of them the last of "
            f"down_channels {config.down_channels}."
        )
    for name in ("num_down_layers", "num_mid_layers", "num_up_layers"):
        if getattr(config, name) < 1:
            raise CheckpointError(f"{name} must be at least 1, got {getattr(config, name)}.")


def _check_groups(groups: int, widths: Iterable[int]) -> None:
    uneven = [width for width in widths if groups < 1 or width % groups]
    if uneven:
        raise CheckpointError(f"norm_channels {groups} does not divide {uneven[0]} channels.")


def _check_heads(heads: int, widths: Iterable[int]) -> None:
    uneven = [width for width in widths if heads < 1 or width % heads]
    if uneven:
        raise CheckpointError(f"num_heads {heads} does not divide {uneven[0]} channels.")
