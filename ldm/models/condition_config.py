"""Sizes of what tells a U-Net what to draw, as frozen records: text encoders, classes, boxes, neighbours."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class TextConfig:
    """Sizes of the CLIP text encoder; defaults are CLIP ViT-L/14's.

    Attributes:
        max_position_embeddings: tokens per prompt, T.
        tokenizer: "clip" for CLIP's own vocabulary, "embedded" where the checkpoint carries its own.
        hidden_layer: which layer's output is the context: -1 is the last one's, -2 the one before it.
        final_norm: whether the final norm follows that layer.
        attention_mask: hide the padding from the encoder, as the study does; Stable Diffusion does not.
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
    hidden_layer: int = -1
    final_norm: bool = True
    attention_mask: bool = False
    kind: str = "clip"

    @property
    def context_dim(self) -> int:
        """Channels of the context, D."""
        return self.hidden_size


@dataclass(frozen=True)
class OpenCLIPConfig:
    """Sizes of an OpenCLIP text tower; defaults are ViT-H/14's as Stable Diffusion 2 uses it.

    Attributes:
        width, layers, heads: of the transformer; context_length: tokens per prompt, T.
        embed_dim: length of the pooled vector after `text_projection`.
        hidden_layer: -2 is the output of the last layer but one.
        final_norm: whether `ln_final` follows it (Stable Diffusion 2), or not (XL).
        pad_token_id: open_clip pads with 0.
        has_projection: False where the file carries no `text_projection` (diffusers folders of Stable
            Diffusion 2), so that there is no pooled vector.
        act: "gelu", or "quick_gelu" for OpenAI's weights.
    """

    vocab_size: int = 49408
    width: int = 1024
    layers: int = 24
    heads: int = 16
    context_length: int = 77
    embed_dim: int = 1024
    hidden_layer: int = -2
    final_norm: bool = True
    pad_token_id: int = 0
    has_projection: bool = True
    act: str = "gelu"
    kind: str = "openclip"

    @property
    def context_dim(self) -> int:
        """Channels of the context, D."""
        return self.width


@dataclass(frozen=True)
class SDXLTextConfig:
    """Both text towers of Stable Diffusion XL side by side, and the vector of sizes; its refiner has one.

    Attributes:
        clip: CLIP ViT-L/14, its last layer but one without the norm; None in the refiner.
        openclip: OpenCLIP ViT-bigG/14, the same, and the pooled vector.
        size_dim: channels of each number of the size conditioning.
        sizes: how many numbers: original size, crop, target size are 6; with an aesthetic score 5.
        zero_empty: an empty prompt is all zeros, as diffusers has it, instead of the empty prompt's encoding.
    """

    clip: TextConfig | None = field(default_factory=lambda: TextConfig(hidden_layer=-2, final_norm=False))
    openclip: OpenCLIPConfig = field(
        default_factory=lambda: OpenCLIPConfig(
            width=1280, layers=32, heads=20, embed_dim=1280, final_norm=False
        )
    )
    size_dim: int = 256
    sizes: int = 6
    zero_empty: bool = True
    kind: str = "sdxl"

    @property
    def context_dim(self) -> int:
        """Channels of the context, D: those of both towers."""
        return (0 if self.clip is None else self.clip.hidden_size) + self.openclip.width

    @property
    def vector_dim(self) -> int:
        """Length of the vector beside the context."""
        return self.openclip.embed_dim + self.sizes * self.size_dim


@dataclass(frozen=True)
class BERTConfig:
    """CompVis's `BERTEmbedder`, an x-transformers encoder; defaults are text2img-large's.

    Attributes:
        dim, depth: of the transformer; heads of 64 channels, GELU feed-forward of four times the width.
        vocab_size: 30522 is BERT's WordPiece; length: tokens per prompt, T.
        layout: the tokens are boxes instead of words (layout2img): no tokenizer, `vocab_size` 8192, 92 long.
    """

    vocab_size: int = 30522
    dim: int = 1280
    depth: int = 32
    heads: int = 8
    head_dim: int = 64
    length: int = 77
    layout: bool = False
    kind: str = "bert"

    @property
    def context_dim(self) -> int:
        """Channels of the context, D."""
        return self.dim


@dataclass(frozen=True)
class ClassConfig:
    """A class number as the context (CompVis's `ClassEmbedder`), or as a vector beside it.

    Attributes:
        n_classes: rows of the table, the one of "no class" included.
        embed_dim: channels of a row; 0 where the U-Net has the table and takes numbers (the study's).
        null: the number that means no class; None where the model never saw that (no guidance then), -1
            where it is a vector of zeros.
        names: a list of names that ships: "imagenet", "digits", or "" for bare numbers.
    """

    n_classes: int = 1001
    embed_dim: int = 512
    null: int | None = 1000
    names: str = "imagenet"
    kind: str = "class"

    @property
    def context_dim(self) -> int | None:
        """Channels of the context, D; None where there is none."""
        return self.embed_dim or None


@dataclass(frozen=True)
class NeighboursConfig:
    """CLIP embeddings of pictures or of a prompt as the context (retrieval-augmented diffusion).

    Attributes:
        dim: of an embedding; most: embeddings per picture. The empty prompt is zeros.
    """

    dim: int = 768
    most: int = 21
    kind: str = "neighbours"

    @property
    def context_dim(self) -> int:
        """Channels of the context, D."""
        return self.dim


@dataclass(frozen=True)
class NoConditionConfig:
    """Nothing: an unconditional model, or one that is told by a picture alone.

    Attributes:
        rescaler_channels, rescaler_out, rescaler_stages: of CompVis's `SpatialRescaler`, whose weights stand
            where a text encoder's would (semantic synthesis): channels of the palette, of what the U-Net
            reads, and how often it is halved; 0 is without one.
    """

    rescaler_channels: int = 0
    rescaler_out: int = 3
    rescaler_stages: int = 2
    kind: str = "none"

    @property
    def context_dim(self) -> None:
        """There is no context."""
        return


ConditionConfig = (
    TextConfig
    | OpenCLIPConfig
    | SDXLTextConfig
    | BERTConfig
    | ClassConfig
    | NeighboursConfig
    | NoConditionConfig
)
