"""Sizes of a first stage from CompVis's names and shapes alone.

What those cannot tell is as in all published ones: 32 groups, and the weights of a codebook's loss.
"""

from ..errors import CheckpointError
from ..models.autoencoder_config import AutoencoderConfig, VQConfig
from .report import Shapes

NEEDED = (
    "encoder.conv_in.weight",
    "encoder.conv_out.weight",
    "encoder.down.0.block.0.conv1.weight",
    "decoder.conv_in.weight",
    "decoder.conv_out.weight",
    "quant_conv.weight",
    "post_quant_conv.weight",
)
CODEBOOK = "quantize.embedding.weight"


def first_stage_config(shapes: Shapes) -> AutoencoderConfig | VQConfig:
    """Sizes of a KL or a VQ autoencoder.

    Args:
        shapes: under CompVis's names, without "first_stage_model." before them; others may be among them.

    Raises:
        CheckpointError: a weight that every such autoencoder has is missing or of an impossible shape.
    """
    missing = [name for name in NEEDED if name not in shapes]
    if missing:
        raise CheckpointError(f"It is missing {missing[0]}, which every autoencoder has.")
    misshapen = [name for name in NEEDED if len(shapes[name]) != 4]
    if misshapen:
        raise CheckpointError(
            f"{misshapen[0]} has the shape {list(shapes[misshapen[0]])}, not of a convolution."
        )
    is_vq = CODEBOOK in shapes
    inner = shapes["decoder.conv_in.weight"][1]
    moments = shapes["encoder.conv_out.weight"][0]
    if moments != (inner if is_vq else 2 * inner):
        raise CheckpointError(
            f"The encoder gives {moments} channels; with a decoder of {inner} "
            f"{'and a codebook' if is_vq else 'and no codebook'} it must be {inner if is_vq else 2 * inner}."
        )
    sizes = _sizes(shapes, inner, double_z=not is_vq)
    return VQConfig(sizes, n_embed=shapes[CODEBOOK][0]) if is_vq else sizes


def _sizes(shapes: Shapes, inner: int, *, double_z: bool) -> AutoencoderConfig:
    width, pixels = shapes["encoder.conv_in.weight"][:2]
    levels = range(_count(shapes, "encoder.down."))
    usual = AutoencoderConfig()
    return AutoencoderConfig(
        ch=width,
        ch_mult=tuple(_multiple(shapes, level, width) for level in levels),
        num_res_blocks=_count(shapes, "encoder.down.0.block."),
        attn_resolutions=tuple(
            usual.resolution // 2**i for i in levels if f"encoder.down.{i}.attn.0.q.weight" in shapes
        ),
        attn_type="vanilla" if "encoder.mid.attn_1.q.weight" in shapes else "none",
        in_channels=pixels,
        out_ch=shapes["decoder.conv_out.weight"][0],
        z_channels=inner,
        embed_dim=shapes["post_quant_conv.weight"][1],
        double_z=double_z,
    )


def _multiple(shapes: Shapes, level: int, width: int) -> int:
    name = f"encoder.down.{level}.block.0.conv1.weight"
    channels = shapes.get(name, (0,))[0]
    if not channels or channels % width:
        raise CheckpointError(f"{name} gives {channels} channels, which is no multiple of {width}.")
    return channels // width


def _count(shapes: Shapes, prefix: str) -> int:
    """How many numbered children a prefix has."""
    return len({name.removeprefix(prefix).split(".")[0] for name in shapes if name.startswith(prefix)})
