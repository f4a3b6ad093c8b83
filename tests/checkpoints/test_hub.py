"""Repositories of the Hub, without the Hub: its cache as it lies on disks, and a stand-in for its answers."""

from pathlib import Path
from types import SimpleNamespace

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import (
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from ldm.checkpoints import find_file, hub
from ldm.checkpoints.hub import Repository, chosen, parse, resolve
from ldm.errors import CheckpointError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
FOLDER = {
    "model_index.json",
    "README.md",
    "v1-5-pruned.ckpt",
    "v1-5-pruned-emaonly.safetensors",
    "safety_checker/config.json",
    "safety_checker/model.safetensors",
    "feature_extractor/preprocessor_config.json",
    "scheduler/scheduler_config.json",
    "tokenizer/vocab.json",
    "tokenizer/merges.txt",
    "tokenizer/special_tokens_map.json",
    "tokenizer/tokenizer_config.json",
    *(
        f"{part}/{name}"
        for part, stem in (
            ("unet", "diffusion_pytorch_model"),
            ("vae", "diffusion_pytorch_model"),
            ("text_encoder", "model"),
        )
        for name in (
            "config.json",
            f"{stem}.safetensors",
            f"{stem}.fp16.safetensors",
            f"{stem}.non_ema.safetensors",
            "flax_model.msgpack",
            "pytorch_model.bin",
            "openvino_model.bin",
        )
    ),
}
NEEDED = {
    *("model_index.json", "scheduler/scheduler_config.json", "tokenizer/vocab.json", "tokenizer/merges.txt"),
    *("tokenizer/special_tokens_map.json", "tokenizer/tokenizer_config.json"),
    *("unet/config.json", "vae/config.json", "text_encoder/config.json"),
}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the Hub, and no way to it."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return tmp_path / "hub"


def remember(cache: Path, repository: str, names, revision: str = "main") -> Path:
    """Files in the layout of the Hub's cache."""
    root = cache / f"models--{repository.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / revision).write_text(COMMIT)
    for name in names:
        path = root / "snapshots" / COMMIT / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("{}")
    return root / "snapshots" / COMMIT


@pytest.fixture
def answers(cache, monkeypatch):
    """A Hub that has the files of `answers.files`, ten bytes each."""
    stand_in = SimpleNamespace(files=sorted(FOLDER), error=None, fetched=[], asked=[])

    class Api:
        def model_info(self, repo_id, *, revision=None, files_metadata=False):
            stand_in.asked.append((repo_id, revision))
            if stand_in.error is not None:
                raise stand_in.error
            return SimpleNamespace(siblings=[SimpleNamespace(rfilename=f, size=10) for f in stand_in.files])

    def fetch(repo_id, filename, *, revision=None, tqdm_class=None):
        stand_in.fetched.append(filename)
        with tqdm_class(total=10, initial=0, unit="B", desc=filename) as bar:
            bar.update(4)
            bar.set_description("half way")
            bar.update(6)
        path = cache / "snapshot" / filename
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        return str(path)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
    return stand_in


def refusal(kind, status):
    request = SimpleNamespace(url="https://huggingface.co/x", method="GET", headers={})
    error = kind.__new__(kind)
    Exception.__init__(error, "no")
    error.response = SimpleNamespace(status_code=status, request=request, headers={})
    return error


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("owner/name", Repository("owner/name")),
        ("owner/name@fp16", Repository("owner/name", "fp16")),
        (" o-w.n_er/na.me-1 ", Repository("o-w.n_er/na.me-1")),
        ("owner/name/model.safetensors", Repository("owner/name", None, "model.safetensors")),
        ("owner/name@v2/sub/model.ckpt", Repository("owner/name", "v2", "sub/model.ckpt")),
        ("owner/name/model.ckpt@v2", Repository("owner/name", "v2", "model.ckpt")),
        ("https://huggingface.co/owner/name", Repository("owner/name")),
        ("https://huggingface.co/owner/name/", Repository("owner/name")),
        ("hf.co/owner/name", Repository("owner/name")),
        ("hf://owner/name@main", Repository("owner/name", "main")),
        ("https://huggingface.co/owner/name/tree/fp16", Repository("owner/name", "fp16")),
        (
            "https://huggingface.co/owner/name/blob/main/a/b.safetensors",
            Repository("owner/name", "main", "a/b.safetensors"),
        ),
        (
            "https://hf.co/owner/name/resolve/main/b.ckpt?download=true",
            Repository("owner/name", "main", "b.ckpt"),
        ),
        ("name", None),
        ("", None),
        ("/etc/passwd", None),
        ("../weights/model", None),
        ("owner/name/../../etc", None),
        ("https://example.com/owner/name", None),
        ("owner/na me", None),
    ],
)
def test_a_name_is_taken_apart(name, expected):
    assert parse(name) == expected


def test_of_a_folder_only_what_the_model_needs_is_chosen():
    full = {f"{part}/diffusion_pytorch_model.safetensors" for part in ("unet", "vae")}
    wanted = chosen(FOLDER, Repository("a/b"))
    assert wanted[0] == "model_index.json"
    assert set(wanted) == NEEDED | full | {"text_encoder/model.safetensors"}
    half = {f"{part}/diffusion_pytorch_model.fp16.safetensors" for part in ("unet", "vae")}
    assert set(chosen(FOLDER, Repository("a/b"), half=True)) == NEEDED | half | {
        "text_encoder/model.fp16.safetensors"
    }


def test_shards_come_with_their_index_and_pickles_only_where_there_is_nothing_else():
    names = ["model_index.json", "unet/config.json", "vae/config.json", "vae/diffusion_pytorch_model.bin"]
    shards = [f"unet/diffusion_pytorch_model-0000{i}-of-00002.safetensors" for i in (1, 2)]
    index = "unet/diffusion_pytorch_model.safetensors.index.json"
    half = [f"unet/diffusion_pytorch_model.fp16-0000{i}-of-00002.safetensors" for i in (1, 2)]
    other = "unet/diffusion_pytorch_model.safetensors.index.fp16.json"
    everything = [*names, *shards, index, *half, other, "unet/diffusion_pytorch_model.bin"]
    assert set(chosen(everything, Repository("a/b"))) == {*names, *shards, index}
    assert set(chosen(everything, Repository("a/b"), half=True)) == {*names, *half, other}


def test_what_has_no_unet_is_fetched_only_as_far_as_it_takes_to_name_it():
    names = ["model_index.json", "transformer/config.json", "transformer/big.safetensors", "vae/config.json"]
    assert chosen(names, Repository("a/b")) == ["model_index.json", "transformer/config.json"]


def test_a_repository_of_one_file_is_that_file_with_its_yaml():
    names = ["README.md", "m.safetensors", "m.ckpt", "m.yaml", "sub/other.safetensors"]
    assert chosen(names, Repository("a/b")) == ["m.safetensors", "m.yaml"]
    assert chosen(names, Repository("a/b", None, "m.ckpt")) == ["m.ckpt", "m.yaml"]


def test_of_several_files_one_must_be_named():
    with pytest.raises(CheckpointError) as error:
        chosen(["a.safetensors", "b.ckpt", "README.md"], Repository("o/n"))
    assert str(error.value) == (
        "o/n has 2 files; name one, as o/n/a.safetensors. It has a.safetensors, b.ckpt."
    )
    with pytest.raises(CheckpointError) as error:
        chosen(["a.safetensors", "b.ckpt"], Repository("o/n", None, "c.ckpt"))
    assert str(error.value) == "o/n has no file c.ckpt. It has a.safetensors, b.ckpt."
    with pytest.raises(CheckpointError) as error:
        chosen(["README.md"], Repository("o/n"))
    assert str(error.value) == "o/n has no model: no model_index.json, no .safetensors or .ckpt file."


def test_what_was_fetched_once_is_found_without_a_network(cache):
    folder = remember(cache, "owner/name", chosen(FOLDER, Repository("owner/name")))
    assert resolve("owner/name") == folder
    assert resolve(f"https://huggingface.co/owner/name/tree/{COMMIT}") == folder
    single = remember(cache, "owner/single", ["m.safetensors"], revision="v2")
    assert resolve("owner/single@v2") == single / "m.safetensors"


def test_without_a_network_what_was_never_fetched_is_an_error(cache, monkeypatch):
    with pytest.raises(CheckpointError) as error:
        resolve("owner/name")
    assert str(error.value) == (
        f"HF_HUB_OFFLINE is set, and owner/name is not in its cache ({cache}); "
        "name a file or folder that is here."
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    transport = HfHubHTTPError.__bases__[0]

    def unreachable(*_, **__):
        raise transport("no route to host")

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unreachable)
    with pytest.raises(CheckpointError) as error:
        resolve("owner/name")
    assert str(error.value).startswith("There is no way to the Hub, and owner/name is not in its cache (")


def test_files_are_fetched_one_by_one_and_progress_counts_their_bytes(answers):
    told = []
    path = resolve("owner/name@v2", told.append)
    wanted = chosen(FOLDER, Repository("owner/name"))
    assert answers.fetched == wanted
    assert answers.asked == [("owner/name", "v2")]
    assert (path / "model_index.json").is_file()
    total = 10 * len(wanted)
    assert [step.done for step in told] == sorted(step.done for step in told)
    assert {step.total for step in told} == {total}
    assert told[-1] == hub.Fetched(wanted[-1], len(wanted), len(wanted), total, total)
    assert told[0] == hub.Fetched("model_index.json", 1, len(wanted), 4, total)


def test_a_single_file_is_the_path_of_that_file(answers):
    answers.files = ["m.safetensors", "m.yaml"]
    assert resolve("owner/name").name == "m.safetensors"
    assert answers.fetched == ["m.safetensors", "m.yaml"]


@pytest.mark.parametrize(
    ("kind", "status", "message"),
    [
        (
            GatedRepoError,
            403,
            "o/n is gated: accept its terms on https://huggingface.co/o/n, and set HF_TOKEN.",
        ),
        (
            RepositoryNotFoundError,
            401,
            "There is no repository o/n on the Hub, or it is private: set HF_TOKEN to see your own.",
        ),
        (RevisionNotFoundError, 404, "o/n has no revision 'x'."),
        (HfHubHTTPError, 503, "The Hub did not give o/n: it answered 503."),
    ],
)
def test_refusals_of_the_hub_are_a_sentence_each(answers, kind, status, message):
    answers.error = refusal(kind, status)
    with pytest.raises(CheckpointError) as error:
        resolve("o/n@x")
    assert str(error.value) == message


def test_a_name_that_is_none_is_an_error():
    with pytest.raises(CheckpointError) as error:
        resolve("../x")
    assert (
        str(error.value) == "'../x' names no repository of the Hub; write owner/name or owner/name@revision."
    )


def test_a_full_disk_is_a_sentence(answers, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", full)
    with pytest.raises(CheckpointError) as error:
        resolve("o/n")
    assert str(error.value) == "o/n could not be fetched: No space left on device."


def test_a_path_is_not_taken_for_a_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights").mkdir()
    assert not hub.is_repository("weights/missing")
    assert not hub.is_repository("missing.safetensors")
    assert not hub.is_repository(str(tmp_path / "x"))
    assert hub.is_repository("owner/name")
    assert hub.is_repository(str(Path("https://huggingface.co/owner/name")))


def test_a_repository_can_stand_wherever_a_checkpoint_is_named(cache):
    folder = remember(cache, "owner/name", ["model_index.json", "unet/config.json", "vae/config.json"])
    assert find_file("owner/name") == folder
    assert find_file(Path("owner/name")) == folder
