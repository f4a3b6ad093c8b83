"""Sizes of the networks from the names and shapes of a CompVis file alone.

What those cannot tell is Stable Diffusion's: eight heads, or heads of 64 channels where layers are Stable
Diffusion 2's; 32 groups.
"""

from ..errors import CheckpointError
from ..models.config import AutoencoderConfig, ModelConfig, TextConfig, UNetConfig
from .report import Shapes

UNET, FIRST_STAGE = "model.diffusion_model.", "first_stage_model."
TEXT = "cond_stage_model.transformer.text_model."
CLIP_SIZE = 49408  # entries of CLIP's vocabulary


def infer_config(shapes: Shapes, name: str) -> ModelConfig:
    """The sizes of all networks, from names and shapes alone.

    Raises:
        CheckpointError: the U-Net takes more than latents, as for inpainting.
    """
    unet, autoencoder = _unet(_below(shapes, UNET)), _autoencoder(_below(shapes, FIRST_STAGE))
    if unet.in_channels != autoencoder.embed_dim:
        kinds = {9: "an inpainting model", 8: "InstructPix2Pix"}
        kind = kinds.get(unet.in_channels, "a model that takes more than a prompt")
        raise CheckpointError(
            f"{name} looks like {kind}: its U-Net has {unet.in_channels} channels in, latents have "
            f"{autoencoder.embed_dim}. Such models cannot be loaded."
        )
    text = _text(_below(shapes, TEXT))
    return ModelConfig(name=name, unet=unet, autoencoder=autoencoder, text=text)


def _below(shapes: Shapes, prefix: str) -> dict[str, tuple[int, ...]]:
    return {name.removeprefix(prefix): shape for name, shape in shapes.items() if name.startswith(prefix)}


def _count(shapes: Shapes, prefix: str) -> int:
    """How many numbered children a prefix has."""
    numbers = {name.removeprefix(prefix).split(".")[0] for name in shapes if name.startswith(prefix)}
    return len(numbers)


def _unet(shapes: Shapes) -> UNetConfig:
    channels = shapes["time_embed.0.weight"][1]
    widths, blocks, depths = [channels], [0], [0]
    for index in range(
        1, max(int(name.split(".")[1]) for name in shapes if name.startswith("input_blocks.")) + 1
    ):
        block = f"input_blocks.{index}."
        if block + "0.out_layers.3.weight" in shapes:
            widths[-1] = shapes[block + "0.out_layers.3.weight"][0]
            depths[-1] = _count(shapes, block + "1.transformer_blocks.")
            blocks[-1] += 1
        else:  # halving, with a convolution or without weights
            widths, blocks, depths = [*widths, 0], [*blocks, 0], [*depths, 0]
    middle = _count(shapes, "middle_block.1.transformer_blocks.")
    same = {depth for depth in depths if depth} <= {middle}
    keys = [shape for name, shape in shapes.items() if name.endswith("attn2.to_k.weight")]
    linear = len(shapes.get("middle_block.1.proj_in.weight", ())) == 2
    fixed_heads = linear or keys[0][1] == 1024
    return UNetConfig(
        in_channels=shapes["input_blocks.0.0.weight"][1],
        out_channels=shapes["out.2.weight"][0],
        model_channels=channels,
        channel_mult=tuple(width // channels for width in widths),
        num_res_blocks=blocks[0] if len(set(blocks)) == 1 else tuple(blocks),
        attention_resolutions=tuple(2**level for level, depth in enumerate(depths) if depth),
        num_heads=-1 if fixed_heads else 8,
        num_head_channels=64 if fixed_heads else -1,
        transformer_depth=middle if same else tuple(depths),
        transformer_depth_middle=None if same else middle,
        context_dim=keys[0][1],
        use_linear_in_transformer=linear,
        use_scale_shift_norm=shapes["middle_block.0.emb_layers.1.weight"][0] == 2 * widths[-1],
        conv_resample=any(name.endswith(".0.op.weight") for name in shapes) or len(widths) == 1,
        num_classes=shapes["label_emb.weight"][0] if "label_emb.weight" in shapes else None,
    )


def _autoencoder(shapes: Shapes) -> AutoencoderConfig:
    channels, pixels = shapes["encoder.conv_in.weight"][:2]
    levels = range(_count(shapes, "encoder.down."))
    inner = shapes["decoder.conv_in.weight"][1]
    usual = AutoencoderConfig()
    return AutoencoderConfig(
        ch=channels,
        ch_mult=tuple(shapes[f"encoder.down.{i}.block.0.conv1.weight"][0] // channels for i in levels),
        num_res_blocks=_count(shapes, "encoder.down.0.block."),
        attn_resolutions=tuple(
            usual.resolution // 2**i for i in levels if f"encoder.down.{i}.attn.0.q.weight" in shapes
        ),
        attn_type="vanilla" if "encoder.mid.attn_1.q.weight" in shapes else "none",
        in_channels=pixels,
        out_ch=shapes["decoder.conv_out.weight"][0],
        z_channels=inner,
        embed_dim=shapes["post_quant_conv.weight"][1],
        double_z=shapes["encoder.conv_out.weight"][0] == 2 * inner,
    )


def _text(shapes: Shapes) -> TextConfig:
    words, width = shapes["embeddings.token_embedding.weight"]
    return TextConfig(
        vocab_size=words,
        hidden_size=width,
        intermediate_size=shapes["encoder.layers.0.mlp.fc1.weight"][0],
        num_hidden_layers=_count(shapes, "encoder.layers."),
        num_attention_heads=width // 64 if width % 64 == 0 else 4,  # all of CLIP's have 64 channels per head
        max_position_embeddings=shapes["embeddings.position_embedding.weight"][0],
        tokenizer="clip" if words == CLIP_SIZE else "embedded",
    )
