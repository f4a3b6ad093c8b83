"""Checkpoints by the name of their repository on the Hugging Face Hub, or by its address.

Only what a model needs is fetched, into the Hub's own cache, where other programs find it too.  The variables
HF_TOKEN, HF_HOME, HF_HUB_OFFLINE and HF_ENDPOINT mean what they mean everywhere: `huggingface_hub` reads
them.  Nothing here is imported before a repository is asked for.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import CheckpointError
from .diffusers_files import preferred

INDEX = "model_index.json"
PARTS = ("unet", "vae", "vqvae", "text_encoder", "text_encoder_2")
BESIDE = ("scheduler/scheduler_config.json", "tokenizer/", "tokenizer_2/")
TOKENIZER_FILES = (
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer_config.json",
    "tokenizer.json",
)
SINGLE = (".safetensors", ".ckpt")
NAMED = 6  # files that a message spells out
# a path that was made of an address has one slash less
ADDRESS = re.compile(r"^(?:https?:/{1,2})?(?:www\.)?(?:huggingface\.co|hf\.co)/|^hf:/{1,2}(?:models/)?")
PART = r"[A-Za-z0-9][\w.-]*"
NAME = re.compile(
    rf"^(?P<id>{PART}/{PART})(?:@(?P<revision>[^@\s]+?))?(?P<file>/[^@\s]+?)?(?:@(?P<late>[^@\s]+))?$"
)


@dataclass(frozen=True)
class Repository:
    """What a name says.

    Attributes:
        id: "owner/name".
        revision: branch, tag or commit; None is the main branch.
        file: one file of it; None is whatever the model is in.
    """

    id: str
    revision: str | None = None
    file: str | None = None


@dataclass(frozen=True)
class Fetched:
    """How far fetching is.

    Attributes:
        file: the one that is being fetched, number `number` of `count`.
        done, total: bytes of all of them; total is 0 where the Hub does not say.
    """

    file: str
    number: int
    count: int
    done: int
    total: int


Progress = Callable[[Fetched], None]


def parse(name: str) -> Repository | None:
    """A repository's id, perhaps with "@revision" or a file behind it, or an address; None if neither."""
    text, is_address = ADDRESS.subn("", name.strip())
    text = text.split("?")[0].split("#")[0].rstrip("/")
    if is_address:
        found = re.match(rf"^({PART}/{PART})/(?:tree|blob|resolve)/([^/]+)(?:/(.+))?$", text)
        if found:
            return Repository(found[1], found[2], found[3])
    match = NAME.match(text)
    if match is None or ".." in text:
        return None
    file = match["file"].strip("/") if match["file"] else None
    return Repository(match["id"], match["revision"] or match["late"], file)


def is_repository(name: str) -> bool:
    """Whether a name can only mean the Hub: nothing here is called so, nor the folder it would be in."""
    if parse(name) is None or Path(name).exists():
        return False
    return ADDRESS.match(name) is not None or not Path(PurePosixPath(name).parts[0]).exists()


def resolve(name: str, progress: Progress | None = None, *, half: bool = False) -> Path:
    """The folder or file of a repository's model, fetched if it is not in the Hub's cache.

    Args:
        name: "owner/name", "owner/name@revision", "owner/name/file.safetensors", or an address on the Hub.
        progress: is told what is being fetched, after every piece.
        half: take weights of half precision where there are some, which are half as large.

    Raises:
        CheckpointError: it is no such name, there is no such repository or no model in it, it is closed,
            there is no network, or no room.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    repository = parse(name)
    if repository is None:
        raise CheckpointError(
            f"{name!r} names no repository of the Hub; write owner/name or owner/name@revision."
        )
    transport = HfHubHTTPError.__bases__[0]  # of every failure on the way, whichever library carries requests
    try:
        info = HfApi().model_info(repository.id, revision=repository.revision, files_metadata=True)
        sizes = {file.rfilename: file.size or 0 for file in info.siblings or []}
        return _fetch(repository, chosen(sizes, repository, half=half), sizes, progress)
    except HfHubHTTPError as error:
        raise CheckpointError(_refusal(repository, error)) from error
    except (OfflineModeIsEnabled, ConnectionError, transport) as error:  # type: ignore[misc]
        return _cached(repository, half, error)
    except OSError as error:
        raise CheckpointError(f"{repository.id} could not be fetched: {error.strerror or error}.") from error


def chosen(names: Iterable[str], repository: Repository, *, half: bool = False) -> list[str]:
    """Which files of a repository its model needs, the one that is to be opened first.

    Raises:
        CheckpointError: there is no model, or several to choose from.
    """
    names = sorted(names)
    if repository.file is not None:
        if repository.file not in names:
            raise CheckpointError(f"{repository.id} has no file {repository.file}.{_listed(names)}")
        return [repository.file, *_yaml(repository.file, names)]
    if INDEX in names:
        return [INDEX, *_folder(names, half)]
    single = [name for name in names if "/" not in name and name.endswith(SINGLE)]
    stems = {PurePosixPath(name).stem for name in single}
    if len(stems) == 1:
        best = min(single, key=lambda name: SINGLE.index(PurePosixPath(name).suffix))
        return [best, *_yaml(best, names)]
    if not single:
        raise CheckpointError(f"{repository.id} has no model: no {INDEX}, no .safetensors or .ckpt file.")
    raise CheckpointError(
        f"{repository.id} has {len(single)} files; name one, as {repository.id}/{single[0]}.{_listed(single)}"
    )


def _folder(names: list[str], half: bool) -> list[str]:
    """What a diffusers folder needs; without a U-Net, no more than tells what it is."""
    if not any(name.startswith("unet/") for name in names):
        return [name for name in names if name == "transformer/config.json"]
    wanted: list[str] = []
    for part in PARTS:
        inside = [name.removeprefix(f"{part}/") for name in names if name.startswith(f"{part}/")]
        best = preferred([name for name in inside if "/" not in name], half=half)
        config = [name for name in ("config.json",) if name in inside]
        wanted += [f"{part}/{name}" for name in (*config, *best)]
    for name in names:
        folder, _, file = name.partition("/")
        is_tokenizer = f"{folder}/" in BESIDE and file in TOKENIZER_FILES
        if name in BESIDE or is_tokenizer:
            wanted.append(name)
    return wanted


def _yaml(file: str, names: Iterable[str]) -> list[str]:
    """The YAML file that belongs to a single file."""
    beside = str(PurePosixPath(file).with_suffix(".yaml"))
    return [beside] if beside in names else []


def _listed(names: list[str]) -> str:
    weights = [name for name in names if name.endswith((*SINGLE, ".bin", ".pt", ".pth"))]
    if not weights:
        return ""
    return f" It has {', '.join(weights[:NAMED])}{' ...' if len(weights) > NAMED else ''}."


def _fetch(
    repository: Repository, files: list[str], sizes: dict[str, int], progress: Progress | None
) -> Path:
    from huggingface_hub import hf_hub_download

    total, before, first = sum(sizes[file] for file in files), 0, None
    for number, file in enumerate(files, 1):

        def told(done: int, *, file: str = file, number: int = number, before: int = before) -> None:
            if progress is not None:
                progress(Fetched(file, number, len(files), before + done, total))

        path = Path(
            hf_hub_download(repository.id, file, revision=repository.revision, tqdm_class=_bar(told))  # type: ignore[arg-type]
        )
        before += sizes[file]
        first = path if first is None else first
        if progress is not None:
            progress(Fetched(file, number, len(files), before, total))
    if first is None:  # `chosen` names at least one
        raise CheckpointError(f"{repository.id} holds no model.")
    return first.parent if files[0] == INDEX else first


def _bar(told: Callable[[int], None]) -> type:
    """Something like a progress bar of tqdm, which tells how many bytes are there and draws nothing."""

    class Bar:
        def __init__(self, *args: object, **kwargs: Any) -> None:  # noqa: ANN401 - tqdm's
            self.n, self.total = int(kwargs.get("initial") or 0), kwargs.get("total")

        def update(self, n: float | None = 1) -> None:
            self.n += int(n or 0)
            told(self.n)

        def __enter__(self) -> "Bar":
            return self

        def __exit__(self, *args: object) -> None:
            pass

        def __getattr__(self, name: str) -> Callable[..., None]:
            if name.startswith("__"):
                raise AttributeError(name)
            return lambda *args, **kwargs: None

    return Bar


def _cached(repository: Repository, half: bool, error: Exception) -> Path:
    """What an earlier fetch left in the Hub's cache.

    Raises:
        CheckpointError: nothing.
    """
    folder = _snapshot(repository)
    if folder is not None:
        names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        files = chosen(names, repository, half=half)
        return folder if files[0] == INDEX else folder / files[0]
    from huggingface_hub import constants

    why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else "There is no way to the Hub"
    raise CheckpointError(
        f"{why}, and {repository.id} is not in its cache ({constants.HF_HUB_CACHE}); "
        "name a file or folder that is here."
    ) from error


def _snapshot(repository: Repository) -> Path | None:
    """The folder in the Hub's cache that a revision stands for; None if it was never fetched."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    root = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=repository.id, repo_type="model")
    revision = repository.revision or constants.DEFAULT_REVISION
    ref = root / "refs" / revision
    commit = ref.read_text("utf-8").strip() if ref.is_file() else revision
    folder = root / "snapshots" / commit
    return folder if folder.is_dir() else None


def _refusal(repository: Repository, error: Exception) -> str:
    """What an answer of the Hub means."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    name = repository.id
    if isinstance(error, GatedRepoError):
        return f"{name} is gated: accept its terms on https://huggingface.co/{name}, and set HF_TOKEN."
    if isinstance(error, RepositoryNotFoundError):
        return f"There is no repository {name} on the Hub, or it is private: set HF_TOKEN to see your own."
    if isinstance(error, RevisionNotFoundError):
        return f"{name} has no revision {repository.revision!r}."
    status = getattr(getattr(error, "response", None), "status_code", None)
    return f"The Hub did not give {name}: it answered {status if status is not None else error}."
