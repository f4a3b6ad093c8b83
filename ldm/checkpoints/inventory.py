"""Whether every key of a real checkpoint has its place, from a list of its names and shapes alone.

An inventory is a JSON file `{name: {"shape": [...]}}` of a file that need not be here.  Its model is built
without memory from nothing but that, and both sides are compared: no key may be without a place but for those
a named pattern lets go, and no weight may be without a key.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import nn

from ..errors import CheckpointError
from ..latent_diffusion import LatentDiffusion
from ..models.build import build_first_stage, build_network
from ..models.condition_config import OpenCLIPConfig, SDXLTextConfig, TextConfig
from ..models.config import ModelConfig
from ..models.tokenizer import Tokenizer
from . import compvis, diffusers_folder
from .diffusers_names import to_ours
from .diffusers_tables import tables, weight_shapes
from .families import title_of
from .first_stage_layouts import LEFTOVERS as STAGE_LEFTOVERS
from .infer import FIRST_STAGE, UNET, infer_config, is_open
from .infer_first_stage import first_stage_config
from .report import Shapes, is_leftover
from .strangers import stranger_of
from .study_sizes import config_of_autoencoder, config_of_unet, house_names, looks_like_study

FOLDERS = "diffusers_configs"  # of JSON files of diffusers folders, beside the inventories of their parts
PARTS = ("unet", "vae", "text_encoder", "text_encoder_2")
# folders of configs whose text encoder is another's, which has the same inventory
SHARED = {"sd15-inpainting": "sd15", "sd2-inpainting": "sd21", "sd-x4-upscaler": "sd21"}
NAMES = "_about"  # of a file of patterns instead of names


@dataclass(frozen=True)
class Account:
    """What became of the keys of one file, or of one folder.

    Attributes:
        name: of the inventory; title: what it is.
        keys: in it; claimed: of those the weights of the model.
        ignored: pattern -> keys that it lets go, such as averages and tables of noise.
        unclaimed: keys that nothing has a place for; misshapen: those of another shape than their place.
        fed: weights of the model that have a key; unfed: those that have none.
        parameters: numbers in all weights; of_part: in those of each part.
        refusal: why it is no model; empty where it is one.
    """

    name: str
    title: str
    keys: int
    claimed: int = 0
    ignored: dict[str, int] = field(default_factory=dict)
    unclaimed: tuple[str, ...] = ()
    misshapen: tuple[str, ...] = ()
    fed: int = 0
    unfed: tuple[str, ...] = ()
    parameters: int = 0
    of_part: dict[str, int] = field(default_factory=dict)
    refusal: str = ""

    @property
    def is_strict(self) -> bool:
        """Whether nothing is left over and nothing is missing."""
        return not (self.refusal or self.unclaimed or self.unfed or self.misshapen)


def accounts(folder: Path) -> Iterator[Account]:
    """One for each inventory in a folder, by name, and one for each folder of diffusers there.

    Raises:
        CheckpointError: an inventory cannot be read.
    """
    for path in sorted(folder.glob("*.json")):
        if not path.name.startswith("diffusers-"):
            shapes = read_inventory(path)
            if shapes:
                yield account(path.stem, shapes)
    for configs in sorted((folder / FOLDERS).glob("*/")):
        yield _account_folder(folder, configs)
    for path in sorted(folder.glob("diffusers-*.json")):
        stranger = stranger_of(read_inventory(path))
        if stranger is not None:
            yield account(path.stem, read_inventory(path))


def read_inventory(path: Path) -> dict[str, tuple[int, ...]]:
    """Shapes by name; empty for a file that holds something else.

    Raises:
        CheckpointError: it cannot be read.
    """
    try:
        entries = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path.name} is no inventory: {error}.") from error
    if not isinstance(entries, dict) or NAMES in entries:
        return {}
    return {name: tuple(entry["shape"]) for name, entry in entries.items()}


def account(name: str, shapes: Shapes) -> Account:
    """What becomes of the keys of one file."""
    stranger = stranger_of(shapes)
    if stranger is not None:
        return Account(name, stranger[0].title, len(shapes), refusal=f"is {stranger[0].title}")
    ours = {compvis.renamed(key): shape for key, shape in shapes.items()}
    try:
        if compvis.has_model(ours):
            config = infer_config(ours, name)
            return _compared(
                name,
                title_of(config, sure=not is_open(config)),
                ours,
                _model(config),
                compvis.leftovers_of(ours),
            )
        if (kind := looks_like_study(shapes)) is not None:
            return _study(name, kind, house_names(shapes))
        bare = {key.removeprefix(FIRST_STAGE): shape for key, shape in shapes.items()}
        sizes = first_stage_config(bare)
    except CheckpointError as error:
        return Account(name, "unknown", len(shapes), refusal=str(error))
    with torch.device("meta"):
        net: nn.Module = build_first_stage(sizes)
    title = f"{sizes.kind.upper()} autoencoder, {sizes.downsampling_factor} pixels a latent"
    return _compared(name, title, bare, net, STAGE_LEFTOVERS)


def _model(config: ModelConfig) -> LatentDiffusion:
    words = isinstance(config.text, TextConfig | OpenCLIPConfig | SDXLTextConfig)
    with torch.device("meta"):
        return LatentDiffusion(config, Tokenizer.clip() if words else None)


def _study(name: str, kind: str, shapes: Mapping[str, tuple[int, ...]]) -> Account:
    words = {"study": "a U-Net", "study_vqvae": "a VQVAE", "study_vae": "a VAE"}[kind]
    with torch.device("meta"):
        net: nn.Module
        if kind == "study":
            net = build_network(config_of_unet(shapes))
        else:
            net = build_first_stage(config_of_autoencoder(shapes))
    return _compared(name, f"{words} of the study", shapes, net, ())


def _compared(name: str, title: str, found: Shapes, net: nn.Module, leftovers: tuple[str, ...]) -> Account:
    wanted = {key: tuple(tensor.shape) for key, tensor in net.state_dict().items()}
    parameters = {key: tensor.numel() for key, tensor in net.named_parameters()}
    parts = {
        part: sum(count for key, count in parameters.items() if key.startswith(start))
        for part, start in (("U-Net", UNET), ("autoencoder", FIRST_STAGE))
    }
    return _account(name, title, found, wanted, leftovers, sum(parameters.values()), parts)


def _account(
    name: str,
    title: str,
    found: Shapes,
    wanted: Shapes,
    leftovers: tuple[str, ...],
    parameters: int,
    parts: dict[str, int],
) -> Account:
    ignored: dict[str, int] = {}
    unclaimed: list[str] = []
    for key in found:
        if key in wanted:
            continue
        pattern = next((one for one in leftovers if is_leftover(key, (one,))), None)
        if pattern is None:
            unclaimed.append(key)
        else:
            ignored[pattern] = ignored.get(pattern, 0) + 1
    fed = [key for key in wanted if key in found]
    return Account(
        name,
        title,
        len(found),
        claimed=len(fed),
        ignored=ignored,
        unclaimed=tuple(unclaimed),
        misshapen=tuple(key for key in fed if found[key] != wanted[key]),
        fed=len(fed),
        unfed=tuple(key for key in wanted if key not in found),
        parameters=parameters,
        of_part=parts,
    )


def _account_folder(folder: Path, configs: Path) -> Account:
    """A folder of diffusers by its JSON files and the inventories of its parts."""
    config, texts = diffusers_folder.read_config(configs)
    wanted = weight_shapes(config, texts.tokenizer)
    found: dict[str, tuple[int, ...]] = {}
    keys, claimed, unclaimed = 0, 0, []
    ignored: dict[str, int] = {}
    for part, table in tables(config, wanted, texts.towers, "vae").items():
        theirs = diffusers_folder.modern(part, _weights(folder, configs.name, part))
        ours, rest = to_ours(table, theirs)
        found |= {key: tuple(tensor.shape) for key, tensor in ours.items()}
        keys, claimed = keys + len(theirs), claimed + len(theirs) - len(rest)
        for key in rest:
            pattern = next(
                (one for one in diffusers_folder.LEFTOVERS if is_leftover(f"{part}/{key}", (one,))), None
            )
            if pattern is None:
                unclaimed.append(f"{part}/{key}")
            else:
                ignored[pattern] = ignored.get(pattern, 0) + 1
    sizes = {key: torch.Size(shape).numel() for key, shape in wanted.items()}
    parts = {
        part: sum(count for key, count in sizes.items() if key.startswith(start))
        for part, start in (("U-Net", UNET), ("autoencoder", FIRST_STAGE))
    }
    made = _account(
        f"diffusers-{configs.name}", title_of(config), found, wanted, (), sum(sizes.values()), parts
    )
    return Account(
        **vars(made) | {"keys": keys, "claimed": claimed, "ignored": ignored, "unclaimed": tuple(unclaimed)}
    )


def _weights(folder: Path, name: str, part: str) -> dict[str, torch.Tensor]:
    """Weights without memory, of the names and shapes of a part's inventory."""
    owner = name if (folder / f"diffusers-{name}-{part}.json").is_file() else SHARED.get(name, name)
    shapes = read_inventory(folder / f"diffusers-{owner}-{part}.json")
    return {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}


def as_markdown(found: list[Account]) -> str:
    """The table of README and docs/checkpoints.md."""
    lines = [
        "| file | is | keys | claimed | let go | no place | weights fed | unfed | parameters |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for one in found:
        if one.refusal:
            lines.append(f"| {one.name} | refused: {one.title} | {one.keys:,} | | | | | | |")
            continue
        lines.append(
            f"| {one.name} | {one.title} | {one.keys:,} | {one.claimed:,} | {sum(one.ignored.values()):,} | "
            f"{len(one.unclaimed)} | {one.fed:,} | {len(one.unfed) + len(one.misshapen)} | "
            f"{one.parameters:,} |"
        )
    return "\n".join(lines) + "\n"
