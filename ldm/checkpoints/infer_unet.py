"""Sizes of CompVis's U-Net from its names and shapes alone.

What those cannot tell, how many heads there are, is guessed here as the family has it: heads of 64 channels
where projections are linear layers (Stable Diffusion 2 and XL), else eight heads.  `zoo` and a YAML file know
better.
"""

from ..errors import CheckpointError
from ..models.config import UNetConfig
from .report import Shapes

HEADS, HEAD_CHANNELS = 8, 64
SD2_CONTEXT = 1024


def infer_unet(shapes: Shapes, name: str) -> UNetConfig:
    """The sizes of a U-Net.

    Args:
        shapes: its tensors by their names below `model.diffusion_model.`.
        name: of the file, for messages.

    Raises:
        CheckpointError: blocks of one level differ in depth (SSD-1B, Vega), so that no config describes it.
    """
    channels = shapes["time_embed.0.weight"][1]
    updown = _resamples_in_blocks(shapes)
    levels = _levels(shapes, updown)
    widths = [_width(shapes, level) or channels for level in levels]
    depths = [_depth(shapes, level, name) for level in levels]
    attends = [any(_kind(shapes, f"input_blocks.{i}.1.") for i in level) for level in levels]
    middle_depth = _count(shapes, "middle_block.1.transformer_blocks.")
    context = [shape[1] for key, shape in shapes.items() if key.endswith("attn2.to_k.weight")]
    linear = len(shapes.get("middle_block.1.proj_in.weight", ())) == 2
    classes, vector = _labels(shapes)
    spatial = bool(context)
    # the upscaler of Stable Diffusion 2 has eight heads all the same
    by_width = (linear or SD2_CONTEXT in context) and not isinstance(classes, int)
    same = {depth for depth in depths if depth} <= {middle_depth}
    blocks = [len(level) for level in levels]
    both = tuple(
        _looks_at_context_only(shapes, level, width) for level, width in zip(levels, widths, strict=True)
    )
    return UNetConfig(
        in_channels=shapes["input_blocks.0.0.weight"][1],
        out_channels=shapes["out.2.weight"][0],
        model_channels=channels,
        channel_mult=tuple(width // channels for width in widths),
        num_res_blocks=blocks[0] if len(set(blocks)) == 1 else tuple(blocks),
        attention_resolutions=tuple(2**level for level, there in enumerate(attends) if there),
        num_heads=-1 if by_width else HEADS,
        num_head_channels=HEAD_CHANNELS if by_width else -1,
        use_spatial_transformer=spatial,
        transformer_depth=1 if not spatial else middle_depth if same else tuple(depths),
        transformer_depth_middle=None if same or not spatial else middle_depth,
        context_dim=context[0] if spatial else None,
        use_linear_in_transformer=linear,
        resblock_updown=updown,
        use_scale_shift_norm=shapes["middle_block.0.emb_layers.1.weight"][0] == 2 * widths[-1],
        conv_resample=updown or any(key.endswith(".0.op.weight") for key in shapes) or len(levels) == 1,
        num_classes=classes,
        adm_in_channels=vector,
        disable_self_attentions=both if any(both) else (),
        time_cond_proj_dim=shapes["time_cond_proj.weight"][1] if "time_cond_proj.weight" in shapes else None,
    )


def _count(shapes: Shapes, prefix: str) -> int:
    """How many numbered children a prefix has."""
    return len({name.removeprefix(prefix).split(".")[0] for name in shapes if name.startswith(prefix)})


def _length(shapes: Shapes, prefix: str) -> int:
    """One more than the highest number below a prefix; children without weights count too."""
    return 1 + max(int(name.removeprefix(prefix).split(".")[0]) for name in shapes if name.startswith(prefix))


def _kind(shapes: Shapes, prefix: str) -> str:
    """What stands at a place: "transformer", "attention", or nothing known."""
    if prefix + "proj_in.weight" in shapes:
        return "transformer"
    return "attention" if prefix + "qkv.weight" in shapes else ""


def _resamples_in_blocks(shapes: Shapes) -> bool:
    """Whether ResBlocks double the size on the way up: the last one of a level is followed by another."""
    return any(
        name.startswith("output_blocks.")
        and name.split(".")[2] in "12"
        and name.endswith(".out_layers.3.weight")
        for name in shapes
    )


def _levels(shapes: Shapes, updown: bool) -> list[list[int]]:
    """Numbers of the input blocks of each level, those that halve left out."""
    length = _length(shapes, "input_blocks.")
    if updown:  # there the halving blocks look like any other: only the way up tells the levels apart
        blocks, per_level = 0, []
        for index in range(_length(shapes, "output_blocks.")):
            blocks += 1
            if any(f"output_blocks.{index}.{i}.out_layers.3.weight" in shapes for i in (1, 2)):
                per_level.append(blocks - 1)
                blocks = 0
        per_level.append(blocks - 1)
        levels, start = [], 1
        for count in reversed(per_level):
            levels.append(list(range(start, start + count)))
            start += count + 1
        return levels
    levels = [[]]
    for index in range(1, length):
        if f"input_blocks.{index}.0.out_layers.3.weight" in shapes:
            levels[-1].append(index)
        else:  # halving, with a convolution or without weights
            levels.append([])
    return levels


def _width(shapes: Shapes, level: list[int]) -> int:
    """Channels of a level; 0 where it has no block."""
    return shapes[f"input_blocks.{level[-1]}.0.out_layers.3.weight"][0] if level else 0


def _depth(shapes: Shapes, level: list[int], name: str) -> int:
    """Transformer blocks per transformer of a level."""
    found = {_count(shapes, f"input_blocks.{index}.1.transformer_blocks.") for index in level}
    if len(found) > 1:
        raise CheckpointError(
            f"{name} has a U-Net whose blocks of one level are {' and '.join(map(str, sorted(found)))} "
            "transformers deep, as in SSD-1B, Vega and KOALA; such pruned models cannot be loaded."
        )
    return found.pop() if found else 0


def _looks_at_context_only(shapes: Shapes, level: list[int], width: int) -> bool:
    """Whether the first attention of a level has keys of another width than its own: those of the context."""
    keys = (shapes.get(f"input_blocks.{i}.1.transformer_blocks.0.attn1.to_k.weight") for i in level)
    return any(key is not None and key[1] != width for key in keys)


def _labels(shapes: Shapes) -> tuple[int | str | None, int | None]:
    """(num_classes, adm_in_channels)."""
    if "label_emb.weight" in shapes:
        return shapes["label_emb.weight"][0], None
    if "label_emb.0.0.weight" in shapes:
        return "sequential", shapes["label_emb.0.0.weight"][1]
    return None, None
