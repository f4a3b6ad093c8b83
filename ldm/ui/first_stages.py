"""Which first stages a round trip can take: the model's own, and those alone in the weights folder."""

from pathlib import Path

from ..checkpoints import weights_folder
from ..checkpoints.first_stage import find_first_stages, read_config
from ..errors import CheckpointError, check_choice

OWN = "model"


def keys() -> dict[str, Path | None]:
    """Name -> file, the model's own first; found anew each time, so that a file can be put there any time."""
    found = find_first_stages(weights_folder())
    return {OWN: None} | {path.stem: path for path in found if path.stem != OWN}


def path_of(name: str) -> Path | None:
    """The file of a first stage, None for the model's own.

    Raises:
        SettingsError: there is none of that name.
    """
    there = keys()
    check_choice("first stage", name, there)
    return there[name]


def choices(model_name: str) -> list[tuple[str, str]]:
    """(label, name) of each first stage, for a widget.

    Args:
        model_name: of the model that is open.
    """
    own = model_name.removeprefix("Latent Darkroom ")
    return [
        (f"{own[:1].upper()}{own[1:]}, KL" if path is None else _label(path), name)
        for name, path in keys().items()
    ]


def _label(path: Path) -> str:
    try:
        return read_config(path).name
    except CheckpointError:  # said when it is chosen
        return path.stem
