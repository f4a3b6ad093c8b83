"""What a file or a folder is and why one thinks so, from names and shapes alone: no tensor is read.

`identify` never raises for what lies in a file: what cannot be loaded is said in `Identity.refusal`.
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..errors import CheckpointError
from . import compvis, diffusers_folder, pixel, study
from .compvis_yaml import yaml_file, yaml_params
from .families import evidence_of, family_of, title_of
from .files import read_shapes, read_types
from .first_stage import read_config as read_stage_config
from .first_stage_layouts import recognise as is_stage
from .guesses import PREDICTION, guesses_in_words
from .identity import PARTS, Identity, add_up, count
from .infer import CONDITION, FIRST_STAGE, UNET, infer_config
from .native import CONFIG
from .report import Format, Shapes, looks_like
from .strangers import stranger_of
from .study_sizes import looks_like_study

log = logging.getLogger(__name__)
WHAT_LOADS = "What does is listed in docs/checkpoints.md."
ADDITIONS = ("lora", "textual_inversion")


def identify(path: str | Path) -> Identity:
    """What a file or folder is; see `Identity`."""
    path = Path(path)
    try:
        return _folder(path) if path.is_dir() else _file(path)
    except CheckpointError as error:
        words = str(error)
        return Identity(path, "gguf" if "GGUF" in words else "unreadable", "unreadable", refusal=words)
    except Exception as error:
        # whatever lies there: one file must not hide all others
        log.warning("%s cannot be identified", path.name, exc_info=True)
        refusal = f"{path.name} is damaged in a way that was not foreseen ({type(error).__name__})."
        return Identity(path, "unreadable", "unreadable", refusal=refusal)


def is_addition(path: Path) -> bool:
    """Whether a file is a LoRA or a textual inversion, which lie beside models; False for a damaged one."""
    try:
        found = stranger_of(read_shapes(path)[0])
    except CheckpointError:
        return False
    return found is not None and found[0].family in ADDITIONS


def _file(path: Path) -> Identity:
    shapes, metadata = read_shapes(path)
    found = count(shapes, read_types(path), metadata)
    for ask in ASKED:
        told = ask(path, shapes, metadata)
        if told is not None:
            return Identity(path=path, **{**found, **told})
    words = looks_like(shapes)
    refusal = f"{path.name} looks like {words}; that cannot be loaded as a model. {WHAT_LOADS}"
    return Identity(path=path, family="unknown", title=words, refusal=refusal, **found)


def _folder(path: Path) -> Identity:
    if diffusers_folder.matches(path):
        return _diffusers(path)
    stage = is_stage(path)
    if stage is not None:
        return Identity(path, "first_stage", stage.config.noun, "first stage", loads=True)
    return Identity(
        path,
        "unknown",
        "a folder",
        refusal=f"{path.name} is a folder without a model; name a file of weights, or a folder of diffusers.",
    )


def _diffusers(path: Path) -> Identity:
    evidence = (
        (f"{diffusers_folder.INDEX} names the parts",) if (path / diffusers_folder.INDEX).is_file() else ()
    )
    try:
        config, _ = diffusers_folder.read_config(path)
    except CheckpointError as error:
        return Identity(path, "unknown", "a diffusers folder", "diffusers", evidence, refusal=str(error))
    parts: dict[str, tuple[int, int]] = {}
    dtypes: dict[str, int] = {}
    for folder in sorted(one for one in path.iterdir() if one.is_dir()):
        part = next((words for start, words in PARTS.items() if f"{folder.name}/".startswith(start)), None)
        for file in _weights(folder) if part is not None else ():
            counted = count(*_header(file), named=part)
            parts[str(part)] = add_up(parts.get(str(part), (0, 0)), *counted["parts"].values())
            for kind, often in counted["dtypes"].items():
                dtypes[kind] = dtypes.get(kind, 0) + often
    return Identity(
        path,
        family_of(config),
        title_of(config),
        "diffusers",
        (*evidence, *evidence_of(config), *guesses_in_words(config, diffusers_folder.guessed(path))),
        loads=True,
        parts=parts,
        dtypes=dtypes,
        config=config,
    )


def _weights(folder: Path) -> list[Path]:
    from .diffusers_files import weight_files

    try:
        return weight_files(folder)
    except CheckpointError:
        return []


def _header(file: Path) -> tuple[Shapes, dict[str, str], dict[str, str]]:
    shapes, metadata = read_shapes(file)
    return shapes, read_types(file), metadata


def _native(path: Path, _: Shapes, metadata: Mapping[str, str]) -> dict[str, Any] | None:
    if CONFIG not in metadata:
        return None
    from .native import read

    config = read(path).config  # maps the file: no tensor is touched
    return {
        "family": "native",
        "title": f"{config.name}, a model of this program",
        "layout": "native",
        "evidence": ("its metadata has a config of this program", *evidence_of(config)),
        "loads": True,
        "config": config,
    }


def _stranger(path: Path, shapes: Shapes, _: Mapping[str, str]) -> dict[str, Any] | None:
    found = stranger_of(shapes)
    if found is None:
        return None
    stranger, name = found
    return {
        "family": stranger.family,
        "title": stranger.title,
        "evidence": (f"it has {name}",),
        "refusal": f"{path.name} is {stranger.title} and no model: {stranger.why}.",
    }


def _compvis(path: Path, shapes: Shapes, metadata: Mapping[str, str]) -> dict[str, Any] | None:
    ours = {compvis.renamed(name): shape for name, shape in shapes.items()}
    if not compvis.has_model(ours):
        return None
    ema = compvis.has_ema(ours)
    evidence: tuple[str, ...] = ()
    if ema:
        evidence += (f"{compvis.EMA}* are averages of the U-Net's weights",)
    told: dict[str, Any] = {"layout": "compvis", "ema": ema}
    try:
        config = infer_config(ours, path.name)
        params = yaml_params(path)
        config, assumed = compvis.told_config(path, config, params, ours, metadata)
    except CheckpointError as error:
        title = looks_like(shapes)
        return told | {"family": "unknown", "title": title, "evidence": evidence, "refusal": str(error)}
    beside = yaml_file(path) if params else None
    if beside is not None:
        evidence += (f"{beside.name} lies beside it",)
    evidence += guesses_in_words(config, assumed)
    return told | {
        "family": family_of(config),
        "title": title_of(config, sure=PREDICTION not in assumed),
        "evidence": evidence_of(config) + evidence,
        "loads": True,
        "config": config,
    }


def _study(path: Path, shapes: Shapes, _: Mapping[str, str]) -> dict[str, Any] | None:
    if looks_like_study(shapes) != "study":
        return None
    told = {
        "family": "study",
        "title": "a U-Net of the study (explainingai's StableDiffusion-PyTorch)",
        "layout": "study",
        "evidence": ("its names are the study's (t_proj, downs, conv_out)",),
    }
    return told | _opened(path, study)


def _pixel(path: Path, _: Shapes, __: Mapping[str, str]) -> dict[str, Any] | None:
    if not pixel.matches(path):
        return None
    told = {"family": "pixel", "title": "a network in pixel space", "layout": "pixel"}
    return told | _opened(path, pixel)


def _opened(path: Path, reader: Format) -> dict[str, Any]:
    """What reading a file tells whose parts lie beside it; tensors are mapped, not read."""
    try:
        config = reader.read(path).config
    except CheckpointError as error:
        return {"refusal": str(error)}
    return {"title": title_of(config), "loads": True, "config": config, "evidence": evidence_of(config)}


def _stage(path: Path, _: Shapes, __: Mapping[str, str]) -> dict[str, Any] | None:
    try:
        found = is_stage(path)
    except CheckpointError as error:
        return {"family": "damaged", "title": "an autoencoder", "refusal": str(error)}
    if found is None:
        return None
    config = read_stage_config(path)
    return {
        "family": "first_stage",
        "title": f"{config.noun} alone",
        "layout": "first stage",
        "evidence": ("it has an encoder and a decoder and no U-Net",),
        "loads": False,
        "refusal": (
            f"{path.name} is {config.noun} alone, a first stage: it sends pictures there and back and cannot "
            "draw. Choose it on the tab Round trip, or as the autoencoder of a model."
        ),
    }


def _half(path: Path, shapes: Shapes, _: Mapping[str, str]) -> dict[str, Any] | None:
    """A part of a model under CompVis's names."""
    needed = {"U-Net (model.diffusion_model)": UNET, "autoencoder (first_stage_model)": FIRST_STAGE}
    ours = [compvis.renamed(name) for name in shapes]
    if not any(name.startswith((UNET, FIRST_STAGE, CONDITION)) for name in ours):
        return None
    missing = [part for part, start in needed.items() if not any(name.startswith(start) for name in ours)]
    words = looks_like(shapes)
    lacks = " and ".join(missing) or "first weights of its U-Net"
    return {
        "family": "part",
        "title": f"a part of {words}",
        "evidence": (f"it has no {lacks}",),
        "refusal": f"{path.name} looks like {words}, but is not all of it: it has no {lacks}.",
    }


ASKED: tuple[Callable[[Path, Shapes, Mapping[str, str]], dict[str, Any] | None], ...] = (
    _native,
    _compvis,
    _pixel,  # before strangers: labml's first layer is called as an IP-Adapter's
    _stranger,
    _study,
    _stage,
    _half,
)
