"""What a first stage alone looks like in files that were not written here, by their headers alone.

Known are CompVis's names (with or without "first_stage_model." before them, as a training file or pruned),
diffusers' `AutoencoderKL`, `VQModel` and `AutoencoderTiny` as a file or a folder, the study's, and TAESD's
pair of files.  To read another, write a function that recognises it and add it to `LAYOUTS`.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError
from ..models.autoencoder_config import AutoencoderConfig, FirstStageSizes, VQConfig
from ..models.build import build_first_stage
from ..models.first_stage_config import FirstStageConfig, kind_of
from .diffusers_files import read_json, weight_files
from .diffusers_names import OLD, autoencoder_table, renamed, to_ours
from .diffusers_sizes import read_autoencoder_config
from .files import read_shapes, read_state_dict
from .infer_first_stage import first_stage_config
from .naming import shown_name
from .report import Shapes
from .study import autoencoder_config as study_config
from .study_sizes import house_names, looks_like_study
from .tiny_files import find_partner, tiny_config, tiny_names

PREFIX = "first_stage_model."
WHOLE = (
    "model.diffusion_model.",
    "cond_stage_model.",
    "conditioner.",
    "denoiser.",
)  # of more than a first stage
LEFTOVERS = ("loss.*", "model_ema.*", "colorize", "scale_factor", "global_step")
KINDS = ("AutoencoderKL", "VQModel", "AutoencoderTiny")  # of diffusers
SD_SCALE, SDXL_SCALE = 0.18215, 0.13025
MOST_BLOCKS, MOST_LEVELS = 6, 8  # that names are looked for; published ones have 3 and 6


@dataclass(frozen=True, eq=False)
class Found:
    """A first stage in a file or folder, its tensors not read yet.

    Attributes:
        config: what it is.
        tensors: reads the weights, under this project's names.
        leftovers: patterns of names that need no place in the network.
    """

    config: FirstStageConfig
    tensors: Callable[[], dict[str, Tensor]]
    leftovers: tuple[str, ...] = ()


def recognise(path: Path) -> Found | None:
    """What a file or a folder is, as a first stage alone; None if it is none.

    Raises:
        CheckpointError: it cannot be read, or is one of sizes that cannot be.
    """
    if path.is_dir():
        return _folder(path)
    shapes, metadata = read_shapes(path)
    if any(name.startswith(WHOLE) for name in shapes):
        return None
    for layout in LAYOUTS:
        try:
            found = layout(path, shapes, metadata)
        except CheckpointError as error:
            raise CheckpointError(f"{path.name} cannot be read as an autoencoder. {error}") from error
        if found is not None:
            return found
    return None


def file_of(folder: Path) -> Path | None:
    """The file of a folder for a first stage alone, diffusers' or one of the paper's; None if it is none.

    Raises:
        CheckpointError: it is one of diffusers and incomplete.
    """
    config = folder / "config.json"
    if config.is_file() and _kind(config) in KINDS:
        return weight_files(folder)[0]
    named = folder / "model.ckpt"
    return named if named.is_file() else None


def _label(path: Path, sizes: FirstStageSizes) -> str:
    """The name, and what kind it is where that does not say so."""
    name, kind = shown_name(path), kind_of(sizes)
    return name if kind.lower() in name.lower() else f"{name}, {kind}"


def _folder(path: Path) -> Found | None:
    file = file_of(path)
    return None if file is None else recognise(file)


def _kind(config: Path) -> str:
    try:
        return str(read_json(config).get("_class_name", ""))
    except CheckpointError:
        return ""


def _compvis(path: Path, shapes: Shapes, metadata: dict[str, str]) -> Found | None:
    bare = {name.removeprefix(PREFIX): shape for name, shape in shapes.items()}
    if "encoder.conv_in.weight" not in bare or "encoder.down.0.block.0.conv1.weight" not in bare:
        return None
    if "quant_conv.weight" not in bare and bare.get("decoder.conv_in.weight", (0, 0))[1] == 16:
        raise CheckpointError("It is Stable Diffusion 3's or Flux's, which has no quant_conv.")
    for name in bare:  # of files that were diffusers' once
        if re.search(r"\.attn(_1|\.\d+)\.(q|k|v|proj_out)\.weight$", name) and len(bare[name]) == 2:
            bare[name] = (*bare[name], 1, 1)
    sizes = first_stage_config(bare)
    averaged = _averaged(bare)
    scale, note = _scale(sizes, path, metadata)
    if averaged:
        note = " ".join((note, "The averaged weights (EMA) of the file are taken.")).strip()

    def tensors() -> dict[str, Tensor]:
        found = {name.removeprefix(PREFIX): tensor for name, tensor in read_state_dict(path)[0].items()}
        found |= {name: found[ema] for name, ema in averaged.items()}
        return {
            name: tensor[..., None, None] if len(bare[name]) - tensor.ndim == 2 else tensor
            for name, tensor in found.items()
        }

    return Found(FirstStageConfig(_label(path, sizes), sizes, scale, note=note), tensors, LEFTOVERS)


def _averaged(names: Shapes) -> dict[str, str]:
    """Name of a weight -> name of its average, which CompVis writes without dots."""
    pairs = {
        name: "model_ema." + name.replace(".", "") for name in names if not name.startswith("model_ema.")
    }
    return {name: ema for name, ema in pairs.items() if ema in names}


def _diffusers(path: Path, shapes: Shapes, metadata: dict[str, str]) -> Found | None:
    theirs = {renamed(name, OLD): shape for name, shape in shapes.items()}
    if "encoder.down_blocks.0.resnets.0.conv1.weight" not in theirs:
        return None
    beside = path.with_name("config.json")
    values: dict[str, Any] = read_json(beside) if beside.is_file() and _kind(beside) in KINDS else {}
    sizes: AutoencoderConfig | VQConfig
    if values:
        sizes, scale = read_autoencoder_config(values, path.parent.name)
        told = "scaling_factor" in values or isinstance(sizes, VQConfig)
        note = "" if told else _assumed(f"{scale:g} is taken, as diffusers does")
    else:
        sizes = first_stage_config(_house_shapes(theirs))
        scale, note = _scale(sizes, path, metadata)

    def tensors() -> dict[str, Tensor]:
        loaded = {renamed(name, OLD): tensor for name, tensor in read_state_dict(path)[0].items()}
        ours, rest = to_ours(autoencoder_table(sizes, _names(sizes)), loaded)
        return ours | rest

    return Found(FirstStageConfig(_label(path, sizes), sizes, scale, note=note), tensors)


def _house_shapes(theirs: Shapes) -> dict[str, tuple[int, ...]]:
    """Shapes of diffusers' file under our names: ours are run forward and looked up."""
    numbers = [
        int(found[1]) for found in (re.match(r"encoder\.down_blocks\.(\d+)\.", n) for n in theirs) if found
    ]
    levels = max(numbers) + 1
    if levels > MOST_LEVELS:
        raise CheckpointError(f"It halves pictures {levels - 1} times; at most {MOST_LEVELS - 1} can be.")
    # has every name that one of so many levels can have: widths that always change, attention everywhere
    everything = VQConfig(
        AutoencoderConfig(
            ch=32,
            ch_mult=tuple(2 - level % 2 for level in range(levels)),
            num_res_blocks=MOST_BLOCKS,
            attn_resolutions=tuple(256 // 2**level for level in range(levels)),
            double_z=False,
        )
    )
    places = {place.names[0]: (ours, place.ones) for ours, place in _every_place(everything).items()}
    house: dict[str, tuple[int, ...]] = {}
    for name, shape in theirs.items():
        ours, ones = places.get(name, (name, 0))
        house[ours] = (*shape, *[1] * ones) if ones and len(shape) == 2 else shape
    return house


@cache
def _every_place(config: VQConfig) -> dict[str, Any]:
    return autoencoder_table(config, _names(config))


def _names(sizes: FirstStageSizes) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        net = build_first_stage(sizes)
    return {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}


def _study(path: Path, shapes: Shapes, metadata: dict[str, str]) -> Found | None:
    if looks_like_study(shapes) not in ("study_vae", "study_vqvae"):
        return None
    sizes = study_config(path)
    config = FirstStageConfig(_label(path, sizes), sizes, note="The study does not scale its latents.")
    return Found(config, lambda: house_names(read_state_dict(path)[0]))


def _tiny(path: Path, shapes: Shapes, metadata: dict[str, str]) -> Found | None:
    names = tiny_names(shapes)
    if names is None:
        return None
    files = {path: names}
    partner = find_partner(path, names)
    if partner is not None:
        files[partner] = tiny_names(read_shapes(partner)[0]) or {}
    found = {
        ours: shape
        for file, table in files.items()
        for theirs, shape in (shapes if file == path else read_shapes(file)[0]).items()
        if (ours := table.get(theirs)) is not None
    }

    def tensors() -> dict[str, Tensor]:
        return {
            table.get(name, name): tensor
            for file, table in files.items()
            for name, tensor in read_state_dict(file)[0].items()
        }

    sizes = tiny_config(found)
    missing = "encoder" if not sizes.has_encoder else "decoder" if not sizes.has_decoder else ""
    note = f"It is half of TAESD: the {missing} is in another file, which is not here." if missing else ""
    return Found(FirstStageConfig(_label(path, sizes), sizes, 1.0, note=note), tensors)


def _scale(sizes: AutoencoderConfig | VQConfig, path: Path, metadata: dict[str, str]) -> tuple[float, str]:
    """What makes latents unit variance, and the sentence that says what was assumed."""
    if kind_of(sizes) == "VQ":
        return 1.0, _assumed("1 is taken, as all of the paper's VQ models have it")
    if (sizes.downsampling_factor, sizes.embed_dim) != (8, 4):
        return 1.0, _assumed("1 is taken, as the paper's autoencoders of that size have it")
    if "xl" in metadata.get("modelspec.architecture", "").lower():
        return SDXL_SCALE, ""
    if re.search(r"xl", shown_name(path), re.IGNORECASE):
        return SDXL_SCALE, _assumed(f"{SDXL_SCALE} is taken, Stable Diffusion XL's, because of its name")
    return SD_SCALE, _assumed(f"{SD_SCALE} is taken, Stable Diffusion's")


def _assumed(taken: str) -> str:
    return f"The file does not say how its latents are scaled; {taken}."


Layout = Callable[[Path, Shapes, dict[str, str]], Found | None]
LAYOUTS: tuple[Layout, ...] = (_compvis, _diffusers, _study, _tiny)
