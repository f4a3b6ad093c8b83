"""The golden case: kohya's and peft's file describe one change; what the networks give with it is known."""

import pytest
import torch

from ldm import lora
from ldm.checkpoints.diffusers_names import unet_table
from tests.checkpoints.test_tiny_ldm import open_model

from ..golden_cases import CHECKED, _test_file, assert_whole, case

pytestmark = pytest.mark.golden
FILES = ("kohya.safetensors", "peft.safetensors")
NEAR = 1e-5  # diffusers differs from the reference by 2.3e-6


@pytest.fixture(scope="module")
def golden():
    return case("lora")


@pytest.fixture(scope="module")
def networks():
    whole = case("tiny_ldm")
    single, double = (
        open_model(whole, "model.safetensors", dtype) for dtype in (torch.float32, torch.float64)
    )
    return {torch.float32: single, torch.float64: double}


def outputs(model, golden):
    inputs, dtype = golden.inputs, model.dtype
    unet = model.model.diffusion_model(
        inputs["x"].to(dtype), inputs["timesteps"], inputs["context"].to(dtype)
    )
    return {"unet": unet, "text": model.cond_stage_model.encode_ids(inputs["input_ids"])}


def multipliers(golden):
    return {key: float(key.removeprefix("unet_multiplier")) for key in golden.expected if "unet_multi" in key}


def assert_near(golden, name, ours):
    """The tolerance that was asked for; the case tells none, and its reference is of single precision."""
    expected = golden.expected[name].double()
    error, scale = float((ours.double() - expected).abs().max()), float(expected.abs().max())
    CHECKED[_test_file(), golden.name].add(name)
    assert error <= max(NEAR, 1e-6 * scale), f"{name}: off by {error:.3g}"


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("file", FILES)
def test_a_lora_gives_the_reference_s_numbers(golden, networks, file, dtype):
    model, read = networks[dtype], lora.read_lora(golden.folder / file)
    for key, weight in multipliers(golden).items():
        lora.apply(model, [(read, weight)])
        for part, ours in outputs(model, golden).items():
            assert_near(golden, key.replace("unet", part), ours)
    lora.remove(model)
    for part, ours in outputs(model, golden).items():
        golden.assert_matches(f"{part}_base", ours)


@pytest.mark.parametrize("file", FILES)
def test_the_weights_are_the_reference_s(golden, networks, file):
    model, read = networks[torch.float32], lora.read_lora(golden.folder / file)
    lora.apply(model, [(read, 1.0)])
    unet, text = model.model.diffusion_model, model.cond_stage_model.transformer
    table = unet_table(model.config.unet, [name for name, _ in unet.named_parameters()])
    ours = {place.names[0]: name for name, place in table.items()}
    for key in (key for key in golden.expected if key.startswith("merged.")):
        part, _, name = key.removeprefix("merged.").partition(".")
        name = f"{name}.weight"
        golden.assert_matches(
            key, unet.get_parameter(ours[name]) if part == "unet" else text.get_parameter(name)
        )
    lora.remove(model)


@pytest.mark.parametrize("file", FILES)
def test_all_of_the_file_has_its_place(golden, networks, file):
    report = lora.match(lora.read_lora(golden.folder / file), networks[torch.float32])
    assert len(report.matched) == sum(golden.config["n_modules"].values())
    assert report.ignored == ()
    assert report.changes_nothing is False
    assert all(strength > 0 for strength in report.strengths.values())


def test_every_number_of_the_case_is_compared(request):
    assert_whole(request, {("tiny_ldm", "*"): "its own tests compare those"})
