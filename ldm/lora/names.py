"""Where the layers that LoRA files name are in a model.

The table is made by running the model's own names forward through that of diffusers' folders, so that there
is one such table.  Names are looked up with `_` for every dot: kohya's files have no dots left.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from ..checkpoints.diffusers_names import Table, clip_table, openclip_table, unet_table
from ..errors import CheckpointError
from ..latent_diffusion import LatentDiffusion
from ..models.condition_config import OpenCLIPConfig, SDXLTextConfig, TextConfig
from ..models.config import ModelConfig, UNetConfig

UNET, TEXT = "model.diffusion_model.", "cond_stage_model."
ALL_LAYERS = 1000
# kind and width of what tells the network what to draw -> family
FAMILIES = {
    ("clip", 768): "Stable Diffusion 1",
    ("openclip", 1024): "Stable Diffusion 2",
    ("sdxl", 2048): "Stable Diffusion XL",
    ("sdxl", 1280): "the refiner of Stable Diffusion XL",
}
BY_WIDTH = {width: family for (_, width), family in FAMILIES.items()}

Name = tuple[str, str, str]  # part, module, "weight" or "bias"


@dataclass(frozen=True)
class Target:
    """Where a change goes.

    Attributes:
        parameter: its name in the model.
        block: the group of layers it is counted with.
        row, of: which of how many equal parts of the rows; q, k and v of OpenCLIP are one weight.
        turned: the model holds the transpose.
    """

    parameter: str
    block: str
    row: int = 0
    of: int = 1
    turned: bool = False

    def rows(self, count: int) -> slice:
        """Its rows of a weight that has `count`."""
        part = count // self.of
        return slice(self.row * part, (self.row + 1) * part)

    def shape(self, whole: tuple[int, ...]) -> tuple[int, ...]:
        """What a change of it must fit, of a weight of shape `whole`."""
        shape = (whole[0] // self.of, *whole[1:])
        return shape[::-1] if self.turned else shape


def targets(model: LatentDiffusion) -> dict[Name, Target]:
    """Every weight that a LoRA can change.

    Raises:
        CheckpointError: the model's network is of a kind that no LoRA file has names for.
    """
    config = model.config.unet
    if not isinstance(config, UNetConfig):
        raise CheckpointError(f"{model.name} cannot take a LoRA: its network is not CompVis's U-Net.")
    unet = [key for key, _ in model.model.diffusion_model.named_parameters()]
    found = dict(_named("unet", unet_table(config, unet), UNET, own=True))
    text = model.config.text
    if isinstance(text, TextConfig | OpenCLIPConfig | SDXLTextConfig):
        second = "text_2" if isinstance(text, SDXLTextConfig) else "text"
        keys = [key for key, _ in model.cond_stage_model.named_parameters()]
        for prefix, own in _below(keys, "transformer.text_model.").items():
            found.update(_named("text", clip_table(own, ALL_LAYERS), TEXT + prefix))
        for prefix, own in _below(keys, "model.").items():
            found.update(_named(second, openclip_table(own, ALL_LAYERS), TEXT + prefix))
    return found


def family(config: ModelConfig) -> str:
    """What kind of model it is, for people."""
    width = config.text.context_dim
    told = FAMILIES.get((config.text.kind, width or 0))
    return told or (f"a model whose context has {width} channels" if width else "a model without a context")


def _below(keys: Iterable[str], start: str) -> dict[str, list[str]]:
    """Names by the tower they are of: "" or "embedders.0." -> those of them that begin with `start`."""
    towers: dict[str, list[str]] = {}
    for key in keys:
        found = re.match(r"(?:embedders\.\d+\.)?", key)
        prefix = found[0] if found else ""
        if key.removeprefix(prefix).startswith(start):
            towers.setdefault(prefix, []).append(key.removeprefix(prefix))
    return towers


def _named(part: str, table: Table, prefix: str, own: bool = False) -> Iterator[tuple[Name, Target]]:
    """Every name of every weight in a table, the model's own besides if `own`."""
    for key, place in table.items():
        if place.heads:  # rows of q, k and v lie head by head: no file has a name for those
            continue
        aliases = [(name, row) for row, name in enumerate(place.names)]
        if own and len(aliases) == 1:
            aliases.append((key, 0))
        for name, row in aliases:
            module, _, kind = name.rpartition(".")
            target = Target(prefix + key, _block(part, key), row, len(place.names), place.turned)
            yield (part, module.replace(".", "_"), kind), target
            if module.startswith("text_model."):  # transformers 5 dropped that from its names
                yield (part, module.removeprefix("text_model.").replace(".", "_"), kind), target


def _block(part: str, key: str) -> str:
    """`input_blocks.4`, `text.layers.3` ...: what strengths are summed over."""
    if part == "unet":
        found = re.match(r"(?:in|out)put_blocks\.\d+|[^.]+", key)
        return found[0] if found else key
    found = re.search(r"(?:layers|resblocks)\.(\d+)\.", key)
    return f"{part}.layers.{found[1]}" if found else part
