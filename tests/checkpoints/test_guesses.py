"""What nothing tells is guessed, and said to be a guess: heads, noise levels, scales, what is predicted."""

import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file

from ldm import checkpoints
from ldm.behaviour import Verdict
from ldm.checkpoints import STAGE_SCALE, identify
from ldm.checkpoints.compvis_export import write_compvis
from ldm.checkpoints.naming import shown_name
from ldm.diffusion.schedule import build_schedule
from ldm.errors import CheckpointError
from ldm.models.config import ScheduleConfig

from .families import FAMILIES
from .twins import twin


def verdict(**fields):
    usual = {"prediction_type": "v", "confidence": 1.0, "scores": {}, "zero_terminal_snr": True,
             "latent_scaling_factor": 1.0, "latent_scaling_factor_ok": True, "evidence": ()}  # fmt: skip
    return Verdict(**usual | fields)


def test_a_folder_without_a_scheduler_is_asked(tmp_path, monkeypatch):
    checkpoints.convert(twin(FAMILIES["sd1-v"]), tmp_path / "f")
    assert checkpoints.read(tmp_path / "f").assumed == ()
    shutil.rmtree(tmp_path / "f" / "scheduler")
    checkpoint = checkpoints.read(tmp_path / "f")
    best = checkpoint.config.recommended
    assert checkpoint.assumed == ("prediction_type", "schedule")
    assert checkpoint.config.schedule == ScheduleConfig()
    assert (best.sampler, best.steps, best.cfg_scale) == ("dpmpp_2m", 20, 7.5)
    evidence = identify(tmp_path / "f").evidence
    assert any(line.startswith("whether it predicts noise or v") for line in evidence)
    assert any("noise levels stands nowhere" in line for line in evidence)
    monkeypatch.setattr(checkpoints, "decide", lambda model: verdict())
    model = checkpoints.load(tmp_path / "f", "cpu", torch.float32)
    assert (model.prediction_type, model.config.schedule.zero_terminal_snr) == ("v", True)
    assert model.schedule.alphas_cumprod[-1] < 1e-6
    assert model.assumed == ("schedule",)
    monkeypatch.setattr(checkpoints, "decide", lambda model: verdict(confidence=0.1))
    model = checkpoints.load(tmp_path / "f", "cpu", torch.float32)
    assert model.assumed == ("prediction_type", "schedule")


def test_a_scheduler_that_says_so_is_a_few_step_model(tmp_path):
    checkpoints.convert(twin(FAMILIES["sd1"]), tmp_path / "f")
    file = tmp_path / "f" / "scheduler" / "scheduler_config.json"
    file.write_text('{"_class_name": "LCMScheduler"}')
    best = checkpoints.read(tmp_path / "f").config.recommended
    assert (best.sampler, best.steps, best.cfg_scale) == ("lcm", 4, 1.0)


def test_what_is_guessed_of_a_model_that_is_nobodys_is_said(tmp_path):
    path = tmp_path / "u.safetensors"
    write_compvis(twin(FAMILIES["unconditional"]), path)
    assert checkpoints.read(path).assumed == ()
    yaml = path.with_suffix(".yaml").read_text()
    path.with_suffix(".yaml").unlink()
    assert checkpoints.read(path).assumed == ("unet.num_heads",)
    bare = {k: v for k, v in load_file(path).items() if k not in ("betas", "alphas_cumprod", "scale_factor")}
    save_file(bare, path)
    names = ("unet.num_heads", "schedule", "latent_scaling_factor")
    assert checkpoints.read(path).assumed == names
    assert checkpoints.load(path, "cpu").assumed == names
    evidence = identify(path).evidence
    assert "how many heads its attention has stands in no shape: taken to be 8" in evidence
    assert any(line.endswith("taken to be scaled_linear from 0.0015 to 0.0195") for line in evidence)
    assert "how its latents are scaled stands nowhere: taken to be 1" in evidence
    path.with_suffix(".yaml").write_text(yaml)
    assert checkpoints.read(path).assumed == ()


@pytest.mark.parametrize("name", ["sd1", "sdxl", "sd1-inpainting"])
def test_of_known_families_nothing_is_a_guess(tmp_path, name):
    path = tmp_path / "u.safetensors"
    write_compvis(twin(FAMILIES[name]), path)
    path.with_suffix(".yaml").unlink()
    bare = {k: v for k, v in load_file(path).items() if k not in ("betas", "alphas_cumprod", "scale_factor")}
    save_file(bare, path)
    assert checkpoints.read(path).assumed == ()


@pytest.mark.parametrize("half", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize(
    "expected",
    [
        ScheduleConfig(),
        ScheduleConfig(zero_terminal_snr=True),
        ScheduleConfig(linear_start=0.0015, linear_end=0.0195),
        ScheduleConfig(betas="linear", linear_start=1e-4, linear_end=2e-2),
    ],
)
def test_what_is_left_of_a_picture_alone_tells_the_schedule(tmp_path, expected, half):
    if half is not torch.float32 and expected.linear_start != 0.00085:
        pytest.skip("the first beta is lost in half precision")
    path = tmp_path / "s.safetensors"
    write_compvis(twin(FAMILIES["sd1"]), path)
    path.with_suffix(".yaml").unlink()
    tensors = load_file(path)
    del tensors["betas"]
    tensors["alphas_cumprod"] = build_schedule(**vars(expected)).alphas_cumprod.to(half)
    save_file(tensors, path)
    assert checkpoints.read(path).config.schedule == expected


def test_a_table_that_is_no_schedule_is_an_error(tmp_path):
    path = tmp_path / "s.safetensors"
    write_compvis(twin(FAMILIES["sd1"]), path)
    tensors = load_file(path)
    del tensors["betas"]
    save_file(tensors | {"alphas_cumprod": torch.linspace(0.99, 0.0, 1000)}, path)
    with pytest.raises(
        CheckpointError, match=r"^s\.safetensors was trained on a noise schedule that is none"
    ):
        checkpoints.read(path)


@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan")])
def test_a_scale_in_the_file_that_cannot_be_is_an_error(tmp_path, value):
    path = tmp_path / "s.safetensors"
    write_compvis(twin(FAMILIES["sd1"]), path)
    save_file(load_file(path) | {"scale_factor": torch.tensor(value)}, path)
    with pytest.raises(
        CheckpointError, match=r"^s\.safetensors has a scale_factor that cannot be\. latent_sc"
    ):
        checkpoints.read(path)


def test_a_scale_taken_for_another_first_stage_is_remembered(tmp_path):
    stage = twin(FAMILIES["sd1"]).first_stage_model.state_dict()
    save_file({name: tensor.contiguous() for name, tensor in stage.items()}, tmp_path / "vae.safetensors")
    model = twin(FAMILIES["sdxl"])
    checkpoints.swap_first_stage(model, tmp_path / "vae.safetensors")
    checkpoints.swap_first_stage(model, tmp_path / "vae.safetensors")
    assert model.assumed == (STAGE_SCALE,)
    assert STAGE_SCALE == "latent_scaling_factor of the first stage"
    checkpoints.convert(twin(replace(FAMILIES["sdxl"], name="x")), tmp_path / "f")  # which says its own
    checkpoints.swap_first_stage(model, tmp_path / "f" / "vae")
    assert model.assumed == ()


@pytest.mark.parametrize("name", ["sdxl", "sdxl-refiner"])
def test_the_refiner_has_no_zeros_for_an_empty_prompt_in_any_layout(tmp_path, name):
    model = twin(FAMILIES[name])
    write_compvis(model, tmp_path / "m.safetensors")
    checkpoints.convert(model, tmp_path / "f")
    index = tmp_path / "f" / "model_index.json"
    for path in (tmp_path / "m.safetensors", tmp_path / "f"):
        assert checkpoints.read(path).config.text.zero_empty is (name == "sdxl")
    index.write_text("{}")
    assert checkpoints.read(tmp_path / "f").config.text.zero_empty is (name == "sdxl")
    other = replace(model.config, text=replace(model.config.text, zero_empty=name != "sdxl"))
    with pytest.raises(CheckpointError, match=r"that cannot say that text\.zero_empty is"):
        write_compvis(twin(other), tmp_path / "n.safetensors")


def test_a_file_whose_name_says_nothing_is_called_as_its_folder(tmp_path):
    for name in ("cin256", "ffhq256"):
        (tmp_path / name).mkdir()
        write_compvis(twin(FAMILIES["unconditional"]), tmp_path / name / "model.safetensors")
        assert checkpoints.load(tmp_path / name / "model.safetensors", "cpu").name == name
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123"
    assert shown_name(snapshot / "last.ckpt") == "a/b"
    assert shown_name(snapshot / "dreams-v1.5.safetensors") == "dreams-v1.5"
