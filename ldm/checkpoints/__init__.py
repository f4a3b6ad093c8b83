"""Files <-> models.  `load` opens a checkpoint of any known kind, `save` writes one of ours.

`identify` says what a file is without reading its weights; the kinds themselves stand in `formats.FORMATS`.
"""

import os
from dataclasses import asdict, replace
from pathlib import Path

import torch

from ..behaviour import decide
from ..diffusion.schedule import build_schedule
from ..errors import CheckpointError
from ..latent_diffusion import LatentDiffusion
from ..models.condition_config import NeighboursConfig, SDXLTextConfig
from ..models.config import ModelConfig
from ..models.pixel_config import IdentityConfig
from ..speed import preferred_device, preferred_dtype
from . import compvis, hub
from .diffusers_export import convert
from .diffusers_folder import matches as is_model_folder
from .draft import draft_config, draft_path, is_draft
from .files import SUFFIXES
from .first_stage import is_first_stage, load_first_stage, refuse_first_stage, use_first_stage
from .formats import FOLDERS, FORMATS
from .identify import Identity, identify, is_addition
from .native import save
from .plan import plan
from .preview import add_preview, is_preview
from .report import Checkpoint, load_strict

__all__ = ["FORMATS", "Identity", "add_preview", "convert", "draft_config", "draft_path", "find", "identify",
           "load", "save", "swap_first_stage", "weights_folder"]  # fmt: skip

DEFAULT = "default.safetensors"
STAGE_SCALE = "latent_scaling_factor of the first stage"  # in `assumed`, of one that does not say its own


def weights_folder() -> Path:
    """Where checkpoints are looked for: what LDM_WEIGHTS names, else `weights/` of the repository."""
    named = Path(os.environ["LDM_WEIGHTS"]) if os.environ.get("LDM_WEIGHTS") else None
    if named is not None:
        return named if named.is_dir() else named.parent
    return Path(__file__).parents[2] / "weights"


def find(folder: str | Path | None = None) -> list[Path]:
    """What in a folder may be checkpoints, files or folders of diffusers, by name, the one that ships first.

    Args:
        folder: None is `weights_folder()`; one that does not exist is empty.
    """
    folder = weights_folder() if folder is None else Path(folder)
    if not folder.is_dir():
        return []
    files = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    shown = (path for path in files if not path.name.startswith(".") and not is_preview(path))
    models = (path for path in shown if not (is_first_stage(path) or is_draft(path) or is_addition(path)))
    folders = [path for path in folder.iterdir() if not path.name.startswith(".") and is_model_folder(path)]
    return sorted([*models, *folders], key=lambda path: (path.name != DEFAULT, path.name.lower()))


def load(
    path: str | Path | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    *,
    ema: bool | None = None,
    vae: str | Path | None = None,
) -> LatentDiffusion:
    """Open a checkpoint of any kind in `FORMATS`, for drawing: in evaluation mode, without gradients.

    Args:
        path: a file, or a folder of diffusers; None is what LDM_WEIGHTS names, else
            `weights/default.safetensors`.
        device: None is CUDA if it is there, else MPS, else the CPU.
        dtype: of all weights; None is what is fastest on the device without harm.
        ema: which weights of a training file: the averaged ones (True), the last ones (False), or the
            averaged ones where it has them (None).
        vae: a file of an autoencoder alone, to be used in place of the checkpoint's.

    Raises:
        CheckpointError: there is no such file, or not every weight of a model of a known kind is in it; or
            there are no averaged weights; or the autoencoder's latents are not those of the model; or the
            text encoder beside it is another's.
    """
    path = find_file(path)
    device = preferred_device() if device is None else torch.device(device)
    checkpoint = read(path, ema=ema)
    model = build(checkpoint, device, suited_dtype(checkpoint.config, device) if dtype is None else dtype)
    if isinstance(model.config.text, NeighboursConfig):
        from .clip_text import lend_clip  # seldom needed, and importing costs

        lend_clip(model, path)
    if vae is not None:
        swap_first_stage(model, vae)
    if "prediction_type" in checkpoint.assumed:
        believe(model)
    return model


def believe(model: LatentDiffusion) -> None:
    """Take what a network predicts from how it behaves, where its file does not say it (`behaviour.decide`).

    So too whether its noise levels end in pure noise, where nothing says what they are.  Of one that cannot
    be told, such as an untrained one, what was assumed stands, and `assumed` says so.
    """
    verdict = decide(model)
    if not verdict.is_sure:
        return
    if "schedule" in model.assumed and verdict.zero_terminal_snr:
        schedule = replace(model.config.schedule, zero_terminal_snr=True)
        model.config = replace(model.config, schedule=schedule)
        model.schedule = build_schedule(**asdict(schedule))
    model.assumed = tuple(name for name in model.assumed if name != "prediction_type")
    if verdict.prediction_type != model.prediction_type:
        best = model.config.recommended  # Stable Diffusion 2: v is drawn at 768 pixels, eps at 512
        if verdict.prediction_type == "eps":
            best = replace(best, width=512, height=512, cfg_rescale=0.0)
        model.config = replace(model.config, prediction_type=verdict.prediction_type, recommended=best)


def find_file(path: str | Path | None, progress: hub.Progress | None = None) -> Path:
    """The checkpoint that is meant; None is what LDM_WEIGHTS names, else `weights/default.safetensors`.

    Args:
        path: a file or folder, or a repository of the Hub (`hub.resolve`), which is fetched.
        progress: is told how far fetching is.

    Raises:
        CheckpointError: there is no such file.
    """
    if path is not None and hub.is_repository(str(path)):
        return hub.resolve(str(path), progress)
    path = _default() if path is None else Path(path)
    if not path.exists():
        raise CheckpointError(
            f"There is no checkpoint {path}. "
            "Put one into weights/, or name one with --weights or the variable LDM_WEIGHTS."
        )
    return path


def read(path: Path, *, ema: bool | None = None) -> Checkpoint:
    """A file or folder of any kind in `FORMATS`, its tensors mapped where the file allows it.

    Args:
        ema: as `load`.

    Raises:
        CheckpointError: it is of none, or there are no averaged weights and they are asked for.
    """
    if path.is_file():
        refuse_first_stage(path)
    readers = [reader for name, reader in FORMATS.items() if path.is_file() or name in FOLDERS]
    for reader in readers:
        if reader.matches(path):
            checkpoint = reader.read(path)
            if ema or (ema is None and compvis.has_ema(checkpoint.tensors)):
                compvis.use_ema(checkpoint)
            return checkpoint
    raise CheckpointError(identify(path).refusal)


def build(checkpoint: Checkpoint, device: str | torch.device, dtype: torch.dtype | None) -> LatentDiffusion:
    """The model of a checkpoint, whose tensors it takes over.

    Raises:
        CheckpointError: a weight is missing, left over, or of another shape.
    """
    preview = "preview.weight" in checkpoint.tensors
    model = plan(checkpoint.config, checkpoint.tokenizer, checkpoint.path.name, preview=preview)
    load_strict(
        model,
        checkpoint.tensors,
        checkpoint.path.name,
        leftovers=checkpoint.leftovers,
        device=device,
        dtype=dtype,
        dtypes=careful_dtypes(checkpoint.config, dtype),
    )
    if dtype in (torch.bfloat16, torch.float16):
        # convolutions with the weights laid out as the pictures are: a fifth to a half less time
        for part in (model.model, model.first_stage_model):
            part.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    model.assumed = checkpoint.assumed
    return model.eval().requires_grad_(False)


def swap_first_stage(model: LatentDiffusion, path: str | Path) -> None:
    """Have a model encode and decode with the autoencoder of another file.

    A file of an autoencoder alone seldom says how its latents are scaled; then it is taken for the model's,
    and `model.assumed` says so (`STAGE_SCALE`).

    Raises:
        CheckpointError: it is none, or its latents have other channels, another size or another scale.
    """
    like = next(model.first_stage_model.parameters(), None)
    stage = load_first_stage(path, model.device, None if like is None else like.dtype)
    taken: tuple[str, ...] = ()
    if stage.config.note:
        told = replace(stage.config, latent_scaling_factor=model.latent_scaling_factor, note="")
        stage = replace(stage, config=told)
        taken = (STAGE_SCALE,)
    model_assumed = tuple(name for name in model.assumed if name != STAGE_SCALE)
    use_first_stage(model, stage)
    model.assumed = model_assumed + taken
    model.preview = None  # it was fitted to the other one


def suited_dtype(config: ModelConfig, device: torch.device) -> torch.dtype:
    """What a model runs in when nothing is asked for: what is fastest on the device without harm.

    Networks in pixels keep float32: their last noise levels are as small as bfloat16's steps.
    """
    in_pixels = isinstance(config.autoencoder, IdentityConfig)
    return torch.float32 if in_pixels else preferred_dtype(device)


def careful_dtypes(config: ModelConfig, dtype: torch.dtype | None) -> dict[str, torch.dtype]:
    """Parts that are not to run in what the rest runs in, by the start of their names.

    The autoencoder of Stable Diffusion XL overflows in float16: pictures come out black.
    """
    if dtype is torch.float16 and isinstance(config.text, SDXLTextConfig):
        return {"first_stage_model.": torch.float32}
    return {}


def _default() -> Path:
    named = Path(os.environ["LDM_WEIGHTS"]) if os.environ.get("LDM_WEIGHTS") else None
    if named is not None and not named.is_dir():
        return named
    return weights_folder() / DEFAULT
