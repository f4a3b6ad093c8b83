"""What a file is, told from its header."""

import json
import random
import re
import time
from dataclasses import replace
from functools import cache

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from ldm.checkpoints import convert, find, identify, load, save
from ldm.checkpoints.compvis import renamed
from ldm.checkpoints.infer import infer_config
from ldm.checkpoints.strangers import STRANGERS
from ldm.errors import CheckpointError
from ldm.generation import run
from ldm.settings import Settings

from ..golden_cases import _roots
from .models import default_config, random_model
from .twins import SD_STAGE, family_configs, training_state, twin

CONFIGS = family_configs()
BYTES = {"float32": 4, "int64": 8, "float16": 2, "bfloat16": 2, "int32": 4}
TYPES = {"float32": "F32", "int64": "I64", "float16": "F16", "int32": "I32"}
TITLES = {
    "sd1": ("sd1", "Stable Diffusion 1"),
    "sd1 inpainting": ("sd1", "Stable Diffusion 1, inpainting"),
    "sd1 pix2pix": ("sd1", "Stable Diffusion 1 InstructPix2Pix"),
    "sd2": ("sd2", "Stable Diffusion 2"),
    "sd2 inpainting": ("sd2", "Stable Diffusion 2, inpainting"),
    "sd2 upscaler": ("sd2", "Stable Diffusion 2 x4 upscaler"),
    "sdxl": ("sdxl", "Stable Diffusion XL"),
    "sdxl inpainting": ("sdxl", "Stable Diffusion XL, inpainting"),
    "sdxl refiner": ("sdxl_refiner", "the refiner of Stable Diffusion XL"),
}


@cache
def random_twin(name: str):
    return twin(CONFIGS[name])


def as_file(model) -> dict[str, torch.Tensor]:
    """The weights under the names that files have: Stability AI's of Stable Diffusion XL."""
    state = training_state(model, betas=False, averaged=False)
    xl = model.config.text.kind == "sdxl"
    return {k.replace("cond_stage_model.", "conditioner.") if xl else k: v for k, v in state.items()}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.long if name == "sdxl inpainting" else ()) for name in TITLES],
)
def test_every_family_is_told_and_loads_as_it_is_told(name, tmp_path):
    model = random_twin(name)
    save_file(as_file(model), tmp_path / "x.safetensors")
    told = identify(tmp_path / "x.safetensors")
    assert (told.family, told.title, told.layout, told.loads, told.refusal) == (
        *TITLES[name],
        "compvis",
        True,
        "",
    )
    assert told.config.picture == model.config.picture
    assert told.evidence and all(line and not line.endswith(".") for line in told.evidence)
    assert set(told.parts) == {"U-Net", "autoencoder", "conditioner"}
    assert told.parts["U-Net"][1] == sum(p.numel() for p in model.model.parameters())
    assert told.dtypes == {"float32": len(model.state_dict())}
    loaded = load(tmp_path / "x.safetensors", "cpu", torch.float32)
    state = loaded.state_dict()
    assert all(torch.equal(state[key], tensor) for key, tensor in model.state_dict().items())
    assert loaded.latent_scaling_factor == model.latent_scaling_factor
    assert loaded.prediction_type == model.prediction_type
    assert replace(loaded.config.unet, transformer_depth_middle=None) == model.config.unet
    assert loaded.config.autoencoder == model.config.autoencoder
    text = model.config.text
    assert loaded.config.text == (text if text.kind != "sdxl" else replace(text, clip=text.clip))


@pytest.mark.parametrize("name", TITLES)
def test_every_family_draws(name):
    model = random_twin(name)
    image = Image.linear_gradient("L").convert("RGB").resize((64, 64))
    mask = Image.new("L", (64, 64), 255) if model.config.picture == "inpaint" else None
    shown = image if model.config.picture is not None else None
    trace = run(model, Settings("a castle", steps=2, width=64, height=64), init_image=shown, mask=mask)
    assert trace.images[0].size == (64, 64)
    assert all(step.x.isfinite().all() for step in trace.steps)


@pytest.mark.parametrize(("key", "field"), [("v_pred", "prediction_type"), ("ztsnr", "schedule")])
def test_marks_of_stable_diffusion_xl_are_heeded(tmp_path, key, field):
    save_file(as_file(random_twin("sdxl")) | {key: torch.zeros(0)}, tmp_path / "x.safetensors")
    config = load(tmp_path / "x.safetensors", "cpu", torch.float32).config
    assert (config.prediction_type, config.schedule.zero_terminal_snr) == (
        ("v", False) if key == "v_pred" else ("eps", True)
    )
    assert ("v" in identify(tmp_path / "x.safetensors").title.split(", ")) == (key == "v_pred")


@pytest.mark.parametrize(("said", "predicts"), [("epsilon", "eps"), ("v", "v"), (None, "v")])
def test_what_the_metadata_says_of_the_prediction_is_heeded(tmp_path, said, predicts):
    metadata = {} if said is None else {"modelspec.prediction_type": said}
    save_file(as_file(random_twin("sd2")), tmp_path / "x.safetensors", metadata)
    from ldm.checkpoints import read

    checkpoint = read(tmp_path / "x.safetensors")
    assert checkpoint.config.prediction_type == predicts
    assert checkpoint.assumed == (("prediction_type",) if said is None else ())
    sentence = "whether it predicts noise or v stands in no name: that shows in what it does"
    assert (sentence in identify(tmp_path / "x.safetensors").evidence) == (said is None)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("edm_mean", "x.safetensors is Playground 2.5, whose latents and noise levels are its own (EDM)."),
        ("edm_vpred.sigma_max", "x.safetensors is CosXL, whose noise levels are its own (EDM)."),
    ],
)
def test_relatives_that_would_draw_wrong_are_refused_by_name(tmp_path, key, words):
    save_file(as_file(random_twin("sdxl")) | {key: torch.ones(4)}, tmp_path / "x.safetensors")
    told = identify(tmp_path / "x.safetensors")
    assert (told.loads, told.refusal) == (False, f"{words} Such models cannot be loaded.")
    with pytest.raises(CheckpointError) as error:
        load(tmp_path / "x.safetensors", "cpu")
    assert str(error.value) == told.refusal


def test_the_refusal_is_the_same_whoever_is_asked(tmp_path):
    unet = replace(CONFIGS["sd2"].unet, in_channels=5)
    save_file(as_file(twin(replace(CONFIGS["sd2"], unet=unet))), tmp_path / "x.safetensors")
    told = identify(tmp_path / "x.safetensors")
    assert not told.loads and told.refusal.startswith("x.safetensors is Stable Diffusion 2 with depth")
    with pytest.raises(CheckpointError) as error:
        load(tmp_path / "x.safetensors", "cpu")
    assert str(error.value) == told.refusal


def test_a_pruned_model_is_refused_by_name(tmp_path):
    weights = as_file(random_twin("sdxl"))
    start = "model.diffusion_model.input_blocks.8.1.transformer_blocks.1."
    save_file({k: v for k, v in weights.items() if not k.startswith(start)}, tmp_path / "x.safetensors")
    told = identify(tmp_path / "x.safetensors")
    assert not told.loads and "as in SSD-1B, Vega and KOALA" in told.refusal


@pytest.mark.parametrize("stranger", STRANGERS, ids=lambda one: one.family)
def test_every_stranger_is_known_by_each_of_its_names(tmp_path, stranger):
    for number, pattern in enumerate(stranger.patterns):
        path = tmp_path / f"{number}.safetensors"
        save_file({pattern.replace("*", "0"): torch.ones(1)}, path)
        told = identify(path)
        assert told.family == stranger.family, pattern
        assert told.refusal == f"{path.name} is {stranger.title} and no model: {stranger.why}."
        assert not told.loads


@pytest.mark.parametrize("name", ["sd1", "sdxl", "sd2 upscaler"])
def test_whatever_is_missing_or_misshapen_there_is_a_sentence(name):
    shapes = {renamed(key): tuple(tensor.shape) for key, tensor in as_file(random_twin(name)).items()}
    telling = [key for key in shapes if not re.search(r"\.(bias|norm\d?)\b", key)]
    for number, key in enumerate(random.Random(3).sample(telling, 60)):
        changed = dict(shapes)
        changed[key] = ((), (0, 0), (5,), (0, 0, 0, 0), (7, 3, 3, 3))[number % 5]
        if number % 6 == 0:
            del changed[key]
        try:
            assert infer_config(changed, "x").unet.model_channels >= 1, key
        except CheckpointError as error:
            assert str(error).endswith("."), key


def test_a_gguf_file_is_known_and_refused(tmp_path):
    (tmp_path / "x.gguf").write_bytes(b"GGUF\x03\0\0\0" + bytes(100))
    told = identify(tmp_path / "x.gguf")
    assert (told.family, told.loads) == ("gguf", False)
    assert "GGUF" in told.refusal


@pytest.mark.parametrize("content", [b"", b"nothing", bytes(600), b"PK\x03\x04broken"])
def test_a_damaged_file_is_no_crash(tmp_path, content):
    (tmp_path / "x.ckpt").write_bytes(content)
    told = identify(tmp_path / "x.ckpt")
    assert not told.loads and told.refusal and told.family == "unreadable"


def test_ours_a_first_stage_and_folders_are_told(tmp_path):
    model = random_model(default_config())
    save(model, tmp_path / "ours.safetensors")
    convert(model, tmp_path / "folder")
    stage = {k: v for k, v in model.state_dict().items() if k.startswith("first_stage_model.")}
    save_file(stage, tmp_path / "vae.safetensors")
    (tmp_path / "empty").mkdir()
    told = {one.name: identify(one) for one in tmp_path.iterdir()}
    assert {name: (one.family, one.layout, one.loads) for name, one in told.items()} == {
        "ours.safetensors": ("native", "native", True),
        "folder": ("sd1", "diffusers", True),
        "vae.safetensors": ("first_stage", "first stage", False),
        "empty": ("unknown", "", False),
    }
    assert set(told["folder"].parts) == {"U-Net", "autoencoder", "conditioner"}
    assert told["folder"].parts["U-Net"] == told["ours.safetensors"].parts["U-Net"]


def sparse(path, entries) -> None:
    """A .safetensors file as large as a real one that takes no place on the disk: a header and a hole."""
    header, end = {}, 0
    for name, entry in entries.items():
        size = BYTES[entry["dtype"]]
        for length in entry["shape"]:
            size *= length
        kind = TYPES[entry["dtype"]]
        header[name] = {"dtype": kind, "shape": entry["shape"], "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)


@pytest.mark.golden
@pytest.mark.parametrize(
    ("name", "family", "least"), [("sdxl-base", "sdxl", 13e9), ("sd-v1-full-ema", "sd1", 7e9)]
)
def test_a_file_of_many_gigabytes_is_told_within_a_second(tmp_path, name, family, least):
    roots = [root / "keys" for root in _roots() if (root / "keys" / f"{name}.json").is_file()]
    if not roots:
        pytest.skip("the inventories of keys are not here; set GOLDEN to the folder of cases.")
    path = tmp_path / "x.safetensors"
    sparse(path, json.loads((roots[0] / f"{name}.json").read_text()))
    assert path.stat().st_size > least
    start = time.process_time()
    told = identify(path)
    seconds = time.process_time() - start
    assert (told.family, told.loads, told.ema) == (family, True, "ema" in name)
    assert seconds < 1.0, seconds


def test_loras_and_taught_words_are_not_listed_as_models(tmp_path):
    save_file({"lora_unet_x.lora_up.weight": torch.ones(1)}, tmp_path / "style.safetensors")
    save_file({"emb_params": torch.ones(1, 64)}, tmp_path / "word.safetensors")
    torch.save({"string_to_param": {"*": torch.ones(1, 64)}}, tmp_path / "old.pt")
    save(random_model(default_config()), tmp_path / "model.safetensors")
    assert [path.name for path in find(tmp_path)] == ["model.safetensors"]


def test_the_autoencoder_of_a_model_can_be_swapped(tmp_path):
    save_file(as_file(random_twin("sdxl")), tmp_path / "x.safetensors")
    other = twin(CONFIGS["sdxl"], seed=8).first_stage_model.state_dict()
    save_file(other, tmp_path / "vae.safetensors")
    model = load(tmp_path / "x.safetensors", "cpu", torch.float32, vae=tmp_path / "vae.safetensors")
    state = model.first_stage_model.state_dict()
    assert all(torch.equal(state[key], tensor) for key, tensor in other.items())
    assert model.latent_scaling_factor == 0.13025
    assert model.autoencoder_decode(torch.zeros(1, 4, 2, 2)).shape == (1, 3, 16, 16)


def test_an_autoencoder_of_other_latents_is_refused(tmp_path):
    save_file(as_file(random_twin("sd1")), tmp_path / "x.safetensors")
    smaller = replace(CONFIGS["sd1"], autoencoder=replace(SD_STAGE, ch_mult=(1, 2)))
    save_file(twin(smaller).first_stage_model.state_dict(), tmp_path / "vae.safetensors")
    with pytest.raises(CheckpointError, match="has 4 latent channels of 2 pixels a side"):
        load(tmp_path / "x.safetensors", "cpu", vae=tmp_path / "vae.safetensors")


def test_the_autoencoder_of_stable_diffusion_xl_is_kept_from_overflowing(tmp_path):
    save_file(as_file(random_twin("sdxl")), tmp_path / "x.safetensors")
    model = load(tmp_path / "x.safetensors", "cpu", torch.float16)
    assert (model.dtype, model.first_stage_model.dtype) == (torch.float16, torch.float32)


@pytest.mark.parametrize("ema", [None, True, False])
def test_averaged_weights_are_the_default_and_the_last_ones_a_choice(tmp_path, ema):
    model = random_twin("sd1")
    state = training_state(model)
    torch.save({"state_dict": state}, tmp_path / "x.ckpt")
    assert identify(tmp_path / "x.ckpt").ema
    loaded = load(tmp_path / "x.ckpt", "cpu", torch.float32, ema=ema).state_dict()
    expected = state if ema is False else model.state_dict()
    assert all(torch.equal(loaded[key], expected[key]) for key in loaded)


def test_averages_that_are_not_all_there_are_an_error(tmp_path):
    state = training_state(random_twin("sd1"))
    del state["model_ema.diffusion_modelout0bias"]
    save_file(state, tmp_path / "x.safetensors")
    with pytest.raises(CheckpointError, match=r"averages \(model_ema\) of \d+ of \d+ weights of its U-Net"):
        load(tmp_path / "x.safetensors", "cpu")
