"""Damaged, mislabelled, foreign and malicious files, made small.

`CASES` maps a name to a `Case`.  `make(place)` writes the file and gives its path; everything that a file
tries to run would make `place.canary`.
"""

import gzip
import io
import json
import os
import pickle
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file

from ldm.checkpoints import convert, native
from ldm.checkpoints.diffusers_export import _write_json
from ldm.checkpoints.first_stage import save_first_stage
from ldm.latent_diffusion import LatentDiffusion
from ldm.models.config import AutoencoderConfig, ModelConfig, TextConfig, UNetConfig
from tests.conftest import tiny_first_stage, tiny_model, tiny_tokenizer


@dataclass(frozen=True)
class Place:
    """An empty folder, and a file that must never come to be."""

    folder: Path
    canary: Path


@dataclass(frozen=True)
class Case:
    """One file.

    Attributes:
        make: writes it.
        says: what the sentence of the refusal holds, or what the report holds of one that opens.
        opens: it loads as a model; what is wrong with it stands in the report.
    """

    make: Callable[[Place], Path]
    says: str
    opens: bool = False


# ---- models to damage -------------------------------------------------------------------------------------


@lru_cache
def whole() -> dict[str, torch.Tensor]:
    """A small model in CompVis's layout, in float16."""
    torch.manual_seed(3)
    unet = UNetConfig(
        model_channels=32, channel_mult=(1,), num_res_blocks=1, attention_resolutions=(1,), context_dim=64
    )
    text = TextConfig(vocab_size=600, hidden_size=64, intermediate_size=128, num_hidden_layers=2,
                      num_attention_heads=1, max_position_embeddings=77,
                      bos_token_id=598, eos_token_id=599, pad_token_id=599)  # fmt: skip
    config = ModelConfig(
        unet=unet, autoencoder=AutoencoderConfig(ch=32, ch_mult=(1, 1), num_res_blocks=1), text=text
    )
    model = LatentDiffusion(config, tiny_tokenizer(77))
    return {name: torch.randn_like(tensor).mul(0.05).half() if tensor.is_floating_point() else tensor
            for name, tensor in model.state_dict().items()}  # fmt: skip


@lru_cache
def own() -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """A small model of this program: tensors and metadata."""
    import tempfile

    from safetensors import safe_open

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "x.safetensors"
        native.save(tiny_model(), path, dtype=torch.float16)
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name).clone() for name in file.keys()}, dict(file.metadata())  # noqa: SIM118


UNET, STAGE, TEXT = "model.diffusion_model.", "first_stage_model.", "cond_stage_model."


def compvis(change: Callable[[dict[str, torch.Tensor]], object], name: str = "model.safetensors"):
    """A file of `whole()` after `change`, with its vocabulary beside it."""

    def make(place: Place) -> Path:
        tensors = dict(whole())
        changed = change(tensors)
        path = place.folder / name
        save_file({k: v.contiguous() for k, v in (tensors if changed is None else changed).items()}, path)
        vocabulary(place.folder)
        return path

    return make


def vocabulary(folder: Path) -> None:
    tokenizer = tiny_tokenizer(77)
    (folder / "tokenizer").mkdir()
    _write_json(folder / "tokenizer" / "vocab.json", tokenizer.vocab)
    lines = "\n".join(" ".join(pair) for pair in tokenizer.merges)
    (folder / "tokenizer" / "merges.txt").write_text("#version: 0.2\n" + lines, "utf-8")
    marks = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "pad_token": "<|endoftext|>"}
    _write_json(folder / "tokenizer" / "special_tokens_map.json", marks)


def ours(change=None, config=None):
    """A file of `own()` after `change` of its tensors or `config` of its config."""

    def make(place: Place) -> Path:
        tensors, metadata = own()
        tensors, metadata = {k: v.clone() for k, v in tensors.items()}, dict(metadata)
        if change is not None:
            change(tensors)
        if config is not None:
            values = json.loads(metadata["ldm_config"])
            config(values)
            metadata["ldm_config"] = json.dumps(values)
        save_file(tensors, place.folder / "own.safetensors", metadata)
        return place.folder / "own.safetensors"

    return make


def without(start: str):
    return lambda tensors: {name: t for name, t in tensors.items() if not name.startswith(start)}


def only(start: str, cut: bool = False):
    return lambda tensors: {
        name.removeprefix(start) if cut else name: t for name, t in tensors.items() if name.startswith(start)
    }


def minus(name: str):
    def change(tensors):
        del tensors[name]

    return change


def put(name: str, value: Callable[[torch.Tensor], torch.Tensor]):
    def change(tensors):
        tensors[name] = value(tensors[name])

    return change


def put_first(value: float):
    """One number of a convolution replaced."""

    def change(tensors):
        tensors[UNET + "out.2.weight"].flatten()[0] = value

    return change


# ---- headers ----------------------------------------------------------------------------------------------


def raw(content: bytes, name: str = "x.safetensors"):
    def make(place: Place) -> Path:
        (place.folder / name).write_bytes(content)
        return place.folder / name

    return make


def header(text: str | dict, data: bytes = b"", length: int | None = None):
    content = (text if isinstance(text, str) else json.dumps(text)).encode()
    return raw(struct.pack("<Q", len(content) if length is None else length) + content + data)


def entry(shape=(2,), place=(0, 8), dtype="F32") -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(place)}


# ---- pickles ----------------------------------------------------------------------------------------------


class Runs:
    """Pickled as a call of `function`."""

    def __init__(self, function, *args):
        self.call = function, args

    def __reduce__(self):
        return self.call


def named(module: str, name: str, argument: str) -> bytes:
    """A pickle that calls module.name(argument), whether or not it is here to be called."""
    return f"c{module}\n{name}\n(V{argument}\ntR.".encode()


def attack(module: str, name: str, argument: str = "{}", is_zip: bool = True, nested: bool = False):
    """A file of torch.save whose data call a function."""

    def make(place: Place) -> Path:
        path = place.folder / "model.ckpt"
        program = named(module, name, argument.format(place.canary))
        if nested:
            program = b"\x80\x02}(X\x0a\x00\x00\x00state_dict}X\x01\x00\x00\x00w" + program[:-1] + b"su."
        if not is_zip:
            path.write_bytes(b"\x80\x02" + program if not program.startswith(b"\x80") else program)
            return path
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("archive/data.pkl", program)
            archive.writestr("archive/version", "3\n")
        return path

    return make


def saved(content: Callable[[], object], name: str = "model.ckpt", **options):
    def make(place: Place) -> Path:
        torch.save(content(), place.folder / name, **options)
        vocabulary(place.folder)
        return place.folder / name

    return make


def archive(entries: dict[str, bytes], compress: int = zipfile.ZIP_STORED, name: str = "model.ckpt"):
    def make(place: Place) -> Path:
        with zipfile.ZipFile(place.folder / name, "w", compress) as file:
            for inner, content in entries.items():
                file.writestr(inner, content)
        return place.folder / name

    return make


def old_tar(place: Place) -> Path:
    """As torch before 0.1.10 saved."""
    path = place.folder / "model.pth"
    with tarfile.open(path, "w") as tar:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            content = pickle.dumps(Runs(os.system, f"touch {place.canary}"), 2)
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def torchscript(place: Place) -> Path:
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), place.folder / "model.pt")
    return place.folder / "model.pt"


def npz(place: Place) -> Path:
    np.savez(place.folder / "latents.npz", a=np.zeros(3))
    return (place.folder / "latents.npz").rename(place.folder / "latents.pt")


# ---- what lies beside, and what is no file ----------------------------------------------------------------


def beside(text: str | bytes):
    """A good model with a YAML file of its name."""

    def make(place: Place) -> Path:
        path = compvis(lambda _: None)(place)
        content = text.encode() if isinstance(text, str) else text
        path.with_suffix(".yaml").write_bytes(content.replace(b"CANARY", str(place.canary).encode()))
        return path

    return make


def folder(change: Callable[[Path], object]):
    """A diffusers folder after `change`."""

    def make(place: Place) -> Path:
        path = place.folder / "pipeline"
        convert(tiny_model(), path)
        change(path)
        return path

    return make


def edit(name: str, **values):
    def change(path: Path) -> None:
        file = path / name
        file.write_text(json.dumps(json.loads(file.read_text()) | values))

    return change


def sharded(weights: str):
    def change(path: Path) -> None:
        file = next((path / "unet").glob("*.safetensors"))
        file.rename(path / "unet" / SHARD.format(1))
        index = {"weight_map": {"conv_in.weight": weights, "conv_in.bias": SHARD.format(1)}}
        (path / "unet" / "diffusion_pytorch_model.safetensors.index.json").write_text(json.dumps(index))

    return change


def linked(target: str):
    def make(place: Place) -> Path:
        path = place.folder / "link.safetensors"
        path.symlink_to(place.folder / target if not target.startswith("/") else target)
        return path

    return make


def pipe(place: Place) -> Path:
    os.mkfifo(place.folder / "pipe.safetensors")
    return place.folder / "pipe.safetensors"


def plain_folder(place: Place) -> Path:
    (place.folder / "folder.safetensors").mkdir()
    return place.folder / "folder.safetensors"


def looped(path: Path) -> None:
    (path / "unet" / "config.json").unlink()
    (path / "unet" / "config.json").symlink_to("config.json")


def stage(place: Place) -> Path:
    save_first_stage(tiny_first_stage(), place.folder / "vq.safetensors")
    return place.folder / "vq.safetensors"


def lora(value: float, name: str = "lora.safetensors"):
    def make(place: Place) -> Path:
        key = "lora_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q"
        tensors = {
            f"{key}.lora_up.weight": torch.full((32, 2), value),
            f"{key}.lora_down.weight": torch.ones(2, 32),
            f"{key}.alpha": torch.tensor(2.0),
        }
        save_file(tensors, place.folder / name)
        return place.folder / name

    return make


def lies(**changes):
    """A config of ours in the metadata whose U-Net, text encoder or schedule says something else."""

    def change(values: dict) -> None:
        for path, value in changes.items():
            part, _, name = path.partition("__")
            values[part][name] = value

    return ours(config=change)


def swap_ema(tensors):
    made = {}
    for name, tensor in tensors.items():
        if name.startswith(UNET):
            made["model_ema." + name.removeprefix("model.").replace(".", "")] = tensor
        else:
            made[name] = tensor
    return made


LAUGHS = (
    "a: &a [x,x,x,x,x,x,x,x,x]\n"
    + "\n".join(f"{b}: &{b} [{','.join(['*' + a] * 9)}]" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    + "\nmodel: {params: *i}\n"
)
STEPS = [f"a: &a [{','.join('x' * 9)}]"] + [
    f"{b}: &{b} [{','.join(['*' + a] * 9)}]" for a, b in zip("abcdefghijkl", "bcdefghijklm", strict=True)
]


def bomb(param: str) -> str:
    """A CompVis YAML that stands for 9**13 words; whoever writes one of them out has no memory left."""
    return "\n".join((*STEPS, f"model: {{params: {{{param}}}}}"))


def study_laughs(place: Place) -> Path:
    """A U-Net of the study whose own YAML has such words for what it is told."""
    from tests.checkpoints.test_study import put

    path = put(place.folder)
    types = "ldm_params: {condition_config: {condition_types: [*m]}}"
    path.with_suffix(".yaml").write_text("\n".join((*STEPS, types)))
    return path


LAYER = TEXT + "transformer.text_model.encoder.layers.1."
CONV = UNET + "input_blocks.1.0.in_layers.2.weight"
BIG = 10**12
SHARD = "diffusion_pytorch_model-0000{}-of-00002.safetensors"

CASES: dict[str, Case] = {
    # cut and damaged
    "empty": Case(raw(b""), "is empty"),
    "one byte": Case(raw(b"\x80"), "not a file of weights"),
    "seven bytes": Case(raw(b"\x00" * 7), "not a file of weights"),
    "zeros": Case(raw(b"\x00" * 4096), "not a file of weights"),
    "header cut": Case(header('{"a": {"dtype": "F3', length=400), "cut short"),
    "header longer than the file": Case(header({"a": entry()}, length=90_000_000), "cut short"),
    "header of 2**63 bytes": Case(header({"a": entry()}, length=2**63), "not a file of weights"),
    "header of no bytes": Case(header({"a": entry()}, length=0), "damaged header"),
    "header is a list": Case(raw(struct.pack("<Q", 8) + b"[1,2,3,]"), "not a file of weights"),
    "header is no JSON": Case(header("{" + "x" * 50), "damaged header"),
    "header is a tower of brackets": Case(header('{"a":' + "[" * 100_000), "damaged header"),
    "header with a number of 5000 digits": Case(
        header('{"a": {"dtype": "F32", "shape": [' + "9" * 5000 + "]}}"), "damaged header"
    ),
    "data cut": Case(header({"a": entry(place=(0, 8))}, b"\x00" * 5), "cut short"),
    "data too long": Case(header({"a": entry()}, b"\x00" * 19), "11 bytes behind"),
    "overlapping": Case(header({"a": entry(), "b": entry(place=(4, 12))}, b"\x00" * 12), "overlaps"),
    "a gap": Case(header({"a": entry(), "b": entry(place=(12, 20))}, b"\x00" * 20), "gap"),
    "backwards": Case(header({"a": entry(place=(8, 0))}, b"\x00" * 8), "a has -8 bytes"),
    "negative": Case(header({"a": entry(shape=(-2,), place=(0, -8))}, b"\x00" * 8), "a has a shape"),
    "fractions": Case(header({"a": entry(place=(0.0, 8.5))}, b"\x00" * 8), "a has a shape"),
    "unknown dtype": Case(header({"a": entry(dtype="F99")}, b"\x00" * 8), "unknown kind 'F99'"),
    "dtype is no text": Case(header({"a": entry(dtype=["F32"])}, b"\x00" * 8), "damaged header"),
    "shape does not fit": Case(header({"a": entry(shape=(3,))}, b"\x00" * 8), "not what its shape needs"),
    "shape of 10**15": Case(header({"a": entry(shape=(10**15,))}, b"\x00" * 8), "not what its shape needs"),
    "shape of 10**15 times 0": Case(header({"a": entry(shape=(10**15, 0), place=(0, 0))}), "x.safetensors"),
    "a name twice": Case(
        header("{" + ", ".join(['"a": ' + json.dumps(entry((1,), (0, 4)))] * 2) + "}", b"\x00" * 4),
        "a is in it twice",
    ),
    "metadata that is no text": Case(
        header({"__metadata__": {"ldm_config": {}}, "a": entry()}, b"\x00" * 8), "metadata is not all text"
    ),
    "names with line breaks": Case(
        header({"a\nb\x1b[2J" * 30: entry(dtype="F99")}, b"\x00" * 8), "unknown kind"
    ),
    "bits flipped in the header": Case(
        lambda place: _flip(compvis(lambda _: None)(place), 20), "damaged header"
    ),
    "model cut in the middle": Case(lambda place: _cut(compvis(lambda _: None)(place)), "cut short"),
    "a ckpt cut in the middle": Case(
        lambda place: _cut(saved(lambda: {"state_dict": whole()})(place)), "cut short or damaged"
    ),
    # values
    "NaN": Case(compvis(lambda t: _set(t, CONV, float("nan"))), "not a number", opens=True),
    "infinite": Case(compvis(lambda t: _set(t, CONV, float("inf"))), "infinite", opens=True),
    "all zero": Case(compvis(put(CONV, torch.zeros_like)), "all zero", opens=True),
    "all the same": Case(compvis(put(CONV, torch.ones_like)), "all the same", opens=True),
    "NaN in our own": Case(ours(put(CONV, lambda t: t * float("nan"))), "not a number", opens=True),
    # keys
    "U-Net lacks a weight": Case(compvis(minus(CONV)), CONV),
    "autoencoder lacks a weight": Case(
        compvis(minus(STAGE + "decoder.conv_in.bias")), STAGE + "decoder.conv_in.bias"
    ),
    "text encoder lacks a weight": Case(compvis(minus(LAYER + "mlp.fc1.bias")), LAYER + "mlp.fc1.bias"),
    "text encoder half there": Case(compvis(without(LAYER + "self_attn")), "missing 8 of"),
    "without text encoder": Case(compvis(without(TEXT)), "has no text encoder"),
    "without autoencoder": Case(compvis(without(STAGE)), "first_stage_model"),
    "U-Net alone": Case(compvis(only(UNET)), "first_stage_model"),
    "averaged weights alone": Case(compvis(swap_ema), "model.safetensors"),
    "misshapen": Case(compvis(put(CONV, lambda t: t[:, :, :1, :1])), CONV),
    "transposed": Case(compvis(put(UNET + "time_embed.0.weight", lambda t: t.T)), "model.safetensors"),
    "a weight too many": Case(
        compvis(lambda t: t.update({UNET + "extra.weight": torch.ones(3, 3)})), UNET + "extra.weight"
    ),
    "another prefix": Case(
        compvis(lambda t: {"net." + name: value for name, value in t.items()}), "something unknown"
    ),
    "our own lacks a weight": Case(ours(minus(CONV)), CONV),
    "our own misshapen": Case(ours(put(CONV, lambda t: t[:1])), CONV),
    # configs that lie
    "config: a level of 10**12": Case(lies(unet__channel_mult=[1, BIG]), "own.safetensors"),
    "config: 10**9 blocks": Case(lies(unet__num_res_blocks=10**9), "own.safetensors"),
    "config: 10**9 layers": Case(lies(text__num_hidden_layers=10**9), "own.safetensors"),
    "config: 10**5 levels": Case(lies(unet__channel_mult=[1] * 10**5), "own.safetensors"),
    "config: 10**12 timesteps": Case(lies(schedule__n_steps=BIG), "own.safetensors"),
    "config: no timesteps": Case(lies(schedule__n_steps=0), "own.safetensors"),
    "config: unknown betas": Case(lies(schedule__betas="os.system"), "own.safetensors"),
    "config: no groups": Case(lies(unet__num_groups=0), "own.safetensors"),
    "config: text for a number": Case(lies(unet__model_channels="32"), "own.safetensors"),
    "config: a wrong width": Case(lies(unet__model_channels=64), "own.safetensors"),
    "config: a word for a factor": Case(
        ours(config=lambda v: v.update(latent_scaling_factor="big")), "own.safetensors"
    ),
    "config: an unknown field": Case(ours(config=lambda v: v.update(target="os.system")), "target"),
    "config: a list": Case(lambda place: _metadata(place, ldm_config="[]"), "own.safetensors"),
    "config: vocabulary is a list": Case(
        lambda place: _metadata(place, ldm_tokenizer="[1, 2]"), "own.safetensors"
    ),
    # foreign
    "GGUF": Case(raw(b"GGUF\x03\x00\x00\x00" + b"\x00" * 64, "model.gguf"), "GGUF"),
    "web page": Case(raw(b"<!DOCTYPE html><html>Log in</html>"), "web page"),
    "JSON error": Case(raw(b'{"error": "Repository not found"}'), "text file"),
    "LFS pointer": Case(
        raw(b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 4265380512\n"), "git lfs pull"
    ),
    "picture": Case(raw(b"\x89PNG\r\n\x1a\n" + b"\x00" * 99), "picture"),
    "gzip": Case(raw(gzip.compress(b"x" * 100), "model.ckpt"), "gzip"),
    "NumPy array": Case(raw(b"\x93NUMPY\x01\x00" + b"\x00" * 99, "x.pt"), "x.pt"),
    "NumPy archive": Case(npz, "NumPy"),
    "zip of something": Case(archive({"readme.txt": b"hello"}), "zip archive"),
    "zip bomb": Case(
        archive({"archive/data.pkl": b"\x00" * 50_000_000}, zipfile.ZIP_DEFLATED), "larger inside"
    ),
    "TorchScript": Case(torchscript, "TorchScript"),
    "tar of the oldest torch": Case(old_tar, "model.pth"),
    "LoRA": Case(lora(0.5), "LoRA"),
    "LoRA that changes nothing": Case(lora(0.0), "LoRA"),
    "textual inversion": Case(
        compvis(lambda _: {"emb_params": torch.ones(2, 64)}, "word.safetensors"), "textual inversion"
    ),
    "old textual inversion": Case(
        saved(
            lambda: {"string_to_token": {"*": 265}, "string_to_param": {"*": torch.ones(1, 64)}}, "word.pt"
        ),
        "textual inversion",
    ),
    "autoencoder": Case(stage, "first stage"),
    "autoencoder of Stable Diffusion": Case(
        compvis(only(STAGE, cut=True), "vae.safetensors"), "vae.safetensors"
    ),
    "U-Net of diffusers": Case(
        compvis(lambda _: {"down_blocks.0.resnets.0.time_emb_proj.weight": torch.ones(2, 2)}),
        "U-Net of diffusers",
    ),
    "Flux": Case(compvis(lambda _: {"double_blocks.0.img_attn.qkv.weight": torch.ones(2, 2)}), "Flux"),
    "Stable Diffusion 3": Case(
        compvis(lambda _: {"model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight": torch.ones(2, 2)}),
        "Stable Diffusion 3",
    ),
    # attacks
    "os.system": Case(attack("os", "system", "touch {}"), "attack"),
    "posix.system": Case(attack("posix", "system", "touch {}"), "attack"),
    "posix.system, not a zip": Case(attack("posix", "system", "touch {}", is_zip=False), "model.ckpt"),
    "nt.system": Case(attack("nt", "system", "touch {}"), "attack"),
    "builtins.eval": Case(attack("builtins", "eval", "open('{}', 'w')"), "attack"),
    "__builtin__.exec": Case(attack("__builtin__", "exec", "open('{}', 'w')"), "attack"),
    "runpy": Case(attack("runpy", "run_path", "{}"), "attack"),
    "subprocess": Case(attack("subprocess", "getoutput", "touch {}"), "attack"),
    "importlib": Case(attack("importlib", "import_module", "antigravity"), "attack"),
    "pathlib.Path.touch": Case(attack("pathlib", "Path.touch", "{}"), "model.ckpt"),
    "torch.hub": Case(attack("torch.hub", "load", "{}"), "no weights"),
    "torch's own loader": Case(attack("torch.serialization", "load", "{}"), "no weights"),
    "numpy's loader": Case(attack("numpy", "save", "{}"), "no weights"),
    "a call inside the weights": Case(attack("os", "system", "touch {}", nested=True), "attack"),
    "a pickle in a pickle": Case(
        saved(
            lambda: {
                "state_dict": {"x": pickle.dumps(1)},
                "payload": Runs(pickle.loads, named("os", "system", "true")),
            }
        ),
        "attack",
    ),
    "a pickle that remembers too much": Case(raw(b"\x80\x02]r\xff\xff\xff\x7f.", "model.ckpt"), "model.ckpt"),
    "a pickle that promises 2**60 bytes": Case(
        raw(b"\x80\x04\x8e" + struct.pack("<Q", 2**60), "model.ckpt"), "model.ckpt"
    ),
    "a pickle without an end": Case(raw(b"\x80\x02" + b"(" * 20_000, "model.ckpt"), "model.ckpt"),
    "a list for weights": Case(saved(lambda: [torch.ones(2)]), "no weights"),
    # beside the file
    "YAML that makes objects": Case(
        beside('model: !!python/object/apply:os.system ["touch CANARY"]\n'), "model.yaml"
    ),
    "YAML that laughs": Case(beside(LAUGHS), "anchors or aliases"),
    "YAML that laughs for what it predicts": Case(beside(bomb("parameterization: *m")), "anchors or aliases"),
    "YAML that laughs for a number": Case(beside(bomb("scale_factor: *m")), "anchors or aliases"),
    "a study's YAML that laughs": Case(study_laughs, "anchors or aliases"),
    "YAML that holds itself": Case(beside("model: &a {params: *a}\n"), "anchors or aliases"),
    "YAML of a megabyte": Case(beside("# " + "x" * 2**20), "more than 256 KiB"),
    "YAML with a record for a name": Case(
        beside("model: {params: {parameterization: {a: 1}}}\n"), "predicts a dict"
    ),
    "YAML with a word for a record": Case(
        beside("model: {params: {denoiser_config: x}}\n"), "denoiser_config must be a record"
    ),
    "YAML with nothing for a record": Case(
        beside("model: {params: {denoiser_config: {params: {scaling_config: null}}}}\n"), "", opens=True
    ),
    "YAML with a list for a record": Case(
        beside("model: {params: {unet_config: {params: [1]}}}\n"), "params must be a record"
    ),
    "YAML of no scale": Case(beside("model: {params: {scale_factor: 0}}\n"), "above 0"),
    "YAML of an endless scale": Case(beside("model: {params: {scale_factor: .inf}}\n"), "above 0"),
    "YAML of betas that are none": Case(beside("model: {params: {linear_start: .nan}}\n"), "linear_start"),
    "YAML of another model": Case(
        beside("model: {params: {unet_config: {params: {model_channels: 320}}}}\n"), "of another model"
    ),
    "YAML that is no YAML": Case(beside("\tmodel: [}\n"), "model.yaml"),
    "YAML of bytes": Case(beside(b"\xff\xfe\x00model"), "model.yaml"),
    "YAML tower": Case(beside("[" * 1200), "model.yaml"),
    "YAML with words for numbers": Case(beside("model: {params: {timesteps: many}}\n"), "YAML"),
    "YAML of another schedule": Case(beside("model: {params: {beta_schedule: os.system}}\n"), "YAML"),
    "YAML of 10**12 timesteps": Case(beside(f"model: {{params: {{timesteps: {BIG}}}}}\n"), "model"),
    # folders and links
    "a folder": Case(plain_folder, "folder"),
    "a link to itself": Case(linked("link.safetensors"), "link.safetensors"),
    "a link to nothing": Case(linked("gone.safetensors"), "link.safetensors"),
    "a link to a device": Case(linked("/dev/zero"), "link.safetensors"),
    "a pipe": Case(pipe, "pipe.safetensors"),
    "a shard is missing": Case(folder(sharded(SHARD.format(2))), "00002-of-00002"),
    "a shard elsewhere": Case(folder(sharded("../../../../etc/passwd")), "unet"),
    "an index that is a list": Case(
        folder(lambda path: (path / "model_index.json").write_text("[]")), "model_index.json"
    ),
    "an index cut short": Case(
        folder(lambda path: (path / "model_index.json").write_text('{"_cl')), "model_index.json"
    ),
    "a pipeline that imports": Case(
        folder(edit("model_index.json", unet=["os", "system"], _class_name="os.system")), "", opens=True
    ),
    "a part's config is a loop": Case(folder(looped), "config.json"),
    "a part's config lies": Case(folder(edit("unet/config.json", block_out_channels=[BIG, BIG])), "pipeline"),
    "a part's config is a word": Case(
        folder(edit("unet/config.json", block_out_channels="wide")), "block_out_channels"
    ),
    "an index that is a tower": Case(
        folder(lambda path: (path / "model_index.json").write_text("[" * 200_000)), "nested too deeply"
    ),
    "a U-Net's config is a tower": Case(
        folder(lambda path: (path / "unet" / "config.json").write_text("[" * 200_000)), "nested too deeply"
    ),
    "a word for channels": Case(folder(edit("unet/config.json", in_channels="x")), "unet/config.json"),
    "a number for blocks": Case(folder(edit("unet/config.json", down_block_types=5)), "unet/config.json"),
    "lists for blocks": Case(
        folder(edit("unet/config.json", down_block_types=[["a"], ["b"]])), "unet/config.json"
    ),
    "a word for a beta": Case(
        folder(edit("scheduler/scheduler_config.json", beta_start="x")), "scheduler_config.json"
    ),
    "a list for betas": Case(
        folder(edit("scheduler/scheduler_config.json", beta_schedule=["x"])), "scheduler_config.json"
    ),
    "a number for a scheduler": Case(
        folder(edit("scheduler/scheduler_config.json", _class_name=5)), "scheduler_config.json"
    ),
    "a word for a scale": Case(folder(edit("vae/config.json", scaling_factor="a")), "autoencoder"),
    "no scale": Case(folder(edit("vae/config.json", scaling_factor=0)), "latent_scaling_factor"),
    "a word for a width": Case(folder(edit("text_encoder/config.json", hidden_size="a")), "text encoder"),
    "a record for a mark": Case(
        folder(edit("tokenizer/tokenizer_config.json", bos_token={"a": 1})), "", opens=True
    ),
    "a list for a pipeline": Case(folder(edit("model_index.json", _class_name=["x"])), "", opens=True),
    "a part is missing": Case(
        folder(lambda path: next((path / "vae").glob("*.safetensors")).unlink()), "vae/"
    ),
    # what opens, and must
    "good": Case(compvis(lambda _: None), "", opens=True),
    "a safetensors file named .ckpt": Case(compvis(lambda _: None, "model.ckpt"), "", opens=True),
    "a pickle named .safetensors": Case(
        saved(lambda: {"state_dict": whole()}, "model.safetensors"), "", opens=True
    ),
    "numpy's scalars beside": Case(
        saved(lambda: {"state_dict": whole(), "loss": np.float64(0.5), "step": np.int64(3)}), "", opens=True
    ),
    "raw and averaged": Case(
        compvis(lambda t: t | {k: v.clone() for k, v in swap_ema(only(UNET)(t)).items()}),
        "raw and averaged",
        opens=True,
    ),
    "letters of all kinds": Case(compvis(lambda _: None, "módel 模型 🎨.safetensors"), "", opens=True),
    "a line break in its name": Case(compvis(lambda _: None, "a\nb.safetensors"), "", opens=True),
}


def _set(tensors: dict[str, torch.Tensor], name: str, value: float) -> None:
    tensors[name] = tensors[name].clone()
    tensors[name].view(-1)[5] = value


def _flip(path: Path, at: int) -> Path:
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(content)
    return path


def _cut(path: Path) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return path


def _metadata(place: Place, **changes: str) -> Path:
    tensors, metadata = own()
    save_file(tensors, place.folder / "own.safetensors", metadata | changes)
    return place.folder / "own.safetensors"
