"""What a file or folder of weights is called for people."""

from pathlib import Path

# names of files that say nothing: the folder's is taken
NAMELESS = ("model", "last", "diffusion_pytorch_model")
CACHED = "models--"  # what begins the name of a repository's folder in the Hub's cache


def shown_name(path: Path) -> str:
    """The name without its suffix; of a file whose name says nothing its folder's, or its repository's."""
    if not (path.suffix and path.stem.split(".")[0] in NAMELESS):
        return path.stem
    folder = path.absolute().parent
    repository = folder.parent.parent.name
    if folder.parent.name == "snapshots" and repository.startswith(CACHED):
        return repository.removeprefix(CACHED).replace("--", "/")
    return folder.name or path.stem
