"""Which first stages a round trip can take: the model's own, and those alone in the weights folder."""

from pathlib import Path

from ..checkpoints import weights_folder
from ..checkpoints.first_stage import find_first_stages, read_config
from ..errors import CheckpointError, SettingsError, check_choice
from ..models.autoencoder_config import AutoencoderConfig, FirstStageSizes
from ..models.first_stage_config import gives_distribution, kind_of

OWN = "model"


def keys() -> dict[str, Path | None]:
    """Name -> file or folder, the model's own first; found anew each time: one can be put there any time.

    Of two files with the same stem the second keeps its suffix.
    """
    there: dict[str, Path | None] = {OWN: None}
    for path in find_first_stages(weights_folder()):
        name = path.name if path.is_dir() else path.stem
        if name == OWN:
            continue
        there[path.name if name in there else name] = path
    return there


def path_of(name: str) -> Path | None:
    """The file of a first stage, None for the model's own.

    Raises:
        SettingsError: there is none of that name.
    """
    there = keys()
    check_choice("first stage", name, there)
    return there[name]


def choices(model_name: str, own: FirstStageSizes | None = None) -> list[tuple[str, str]]:
    """(label, name) of each first stage, for a widget.

    Args:
        model_name: of the model that is open.
        own: sizes of its first stage; None is a KL autoencoder.
    """
    name = model_name.removeprefix("Latent Darkroom ")
    label = f"{name[:1].upper()}{name[1:]}, {kind_of(AutoencoderConfig() if own is None else own)}"
    return [(label if path is None else _label(path), key) for key, path in keys().items()]


def can_draw(name: str, own: FirstStageSizes) -> bool:
    """Whether a first stage gives a distribution that latents can be drawn from; not one that cannot be read.

    Args:
        own: sizes of the first stage of the model that is open.
    """
    try:
        path = path_of(name)
        return gives_distribution(own if path is None else read_config(path).autoencoder)
    except (CheckpointError, SettingsError):  # said when it is used
        return False


def _label(path: Path) -> str:
    try:
        return read_config(path).name
    except CheckpointError:  # said when it is chosen
        return path.stem
