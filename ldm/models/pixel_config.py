"""Sizes of what came before latents: networks in pixels, a first stage that does nothing, tiny decoders."""

from dataclasses import dataclass


@dataclass(frozen=True)
class DDPMUNetConfig:
    """Sizes of labml's DDPM U-Net; defaults are its CelebA-HQ experiment's.

    Attributes:
        image_channels: of a picture. n_channels: after the first convolution.
        ch_mults: multiply the width level by level, one on the other (64, 64, 128, 256, 1024).
        is_attn: per level.  n_blocks: residual blocks per level on the way down.
    """

    image_channels: int = 3
    n_channels: int = 64
    ch_mults: tuple[int, ...] = (1, 2, 2, 4)
    is_attn: tuple[bool, ...] = (False, False, False, True)
    n_blocks: int = 2
    kind: str = "labml_ddpm"

    @property
    def in_channels(self) -> int:
        """What the network reads."""
        return self.image_channels

    @property
    def out_channels(self) -> int:
        """What it gives."""
        return self.image_channels

    @property
    def context_dim(self) -> None:
        """There is no context."""
        return

    @property
    def downsamplings(self) -> int:
        """How often it halves."""
        return len(self.ch_mults) - 1


@dataclass(frozen=True)
class ScoreNetConfig:
    """Sizes of a noise-conditional score network (NCSN, Song & Ermon 2019: `CondRefineNetDilated`).

    Attributes:
        channels: of a picture.  ngf: width.  num_classes: noise levels.
        sigma_begin, sigma_end: the first and the last of them, of pictures in [0, 1], geometric between.
        image_size: side it was trained at.
    """

    channels: int = 3
    ngf: int = 128
    num_classes: int = 10
    sigma_begin: float = 1.0
    sigma_end: float = 0.01
    image_size: int = 32
    kind: str = "ncsn"

    @property
    def in_channels(self) -> int:
        """What the network reads."""
        return self.channels

    @property
    def out_channels(self) -> int:
        """What it gives."""
        return self.channels

    @property
    def context_dim(self) -> None:
        """There is no context."""
        return

    @property
    def downsamplings(self) -> int:
        """How often it halves: once, then it widens its view by dilation."""
        return 1


@dataclass(frozen=True)
class IdentityConfig:
    """The first stage that does nothing: diffusion in pixels (CompVis's `IdentityFirstStage`).

    Attributes:
        in_channels: of the pictures that the network reads: 3, or 1 for grey ones.
        low: what it reads for black, white is 1: -1, or 0 for networks trained on pictures in [0, 1].
    """

    in_channels: int = 3
    low: float = -1.0
    kind: str = "identity"

    @property
    def downsampling_factor(self) -> int:
        """A latent is a pixel."""
        return 1

    @property
    def embed_dim(self) -> int:
        """Channels of the latents: the picture's."""
        return self.in_channels


@dataclass(frozen=True)
class TinyAutoencoderConfig:
    """Sizes of TAESD (diffusers' `AutoencoderTiny`): pictures in [0, 1], latents already of unit variance.

    Attributes:
        latent_channels: 4; width: of every convolution; blocks: per level on the way down and up.
        has_encoder, has_decoder: a file may hold one half.
    """

    latent_channels: int = 4
    width: int = 64
    encoder_blocks: tuple[int, ...] = (1, 3, 3, 3)
    decoder_blocks: tuple[int, ...] = (3, 3, 3, 1)
    in_channels: int = 3
    has_encoder: bool = True
    has_decoder: bool = True
    kind: str = "taesd"

    @property
    def downsampling_factor(self) -> int:
        """Pixels per latent along each side."""
        return 2 ** (len(self.decoder_blocks) - 1)

    @property
    def embed_dim(self) -> int:
        """Channels of the latents."""
        return self.latent_channels
