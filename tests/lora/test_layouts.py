"""One change written in every layout is the same change here, and the one that a slow sum gives."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from ldm import lora
from ldm.lora.state import originals

from . import twins

FAMILIES = ("sd1", "sd2", "sdxl")


def assert_merged(model, *sets, tolerance=2e-6):
    """Every weight is the loaded one with these changes, and is not copied where there are none."""
    wanted = twins.merged(originals(model), *sets)
    for name, parameter in model.named_parameters():
        assert np.abs(parameter.double().numpy() - wanted[name]).max() <= tolerance, name


def written(tmp_path, tensors, metadata=None, name="change.safetensors"):
    save_file(tensors, tmp_path / name, metadata)
    return tmp_path / name


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("sgm", [False, True])
def test_kohya(models, tmp_path, family, sgm):
    model = models[family]
    changes = twins.changes_of(model, convs=True)
    read = lora.read_lora(written(tmp_path, twins.kohya(changes, sgm, two=family == "sdxl")))
    (report,) = lora.apply(model, [(read, 0.7)])
    assert (len(report.matched), report.ignored) == (len(changes), ())
    assert_merged(model, (changes, 0.7))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize(
    ("form", "adapter"),
    [
        ("{part}.{name}", ""),
        ("{part}.{name}", ".default"),
        ("base_model.model.{part}.{name}", ".default"),
        ("{part}.base_model.model.{name}", ""),
    ],
)
def test_peft_s_names(models, tmp_path, family, form, adapter):
    model = models[family]
    changes = twins.changes_of(model)
    lora.apply(model, [(lora.read_lora(written(tmp_path, twins.peft(changes, form, adapter))), 1.0)])
    assert_merged(model, (changes, 1.0))


@pytest.mark.parametrize("processors", [False, True])
def test_diffusers_old_names(model, tmp_path, processors):
    changes = twins.attentions(twins.changes_of(model))
    read = lora.read_lora(written(tmp_path, twins.old(changes, processors)))
    lora.apply(model, [(read, -1.5)])
    assert_merged(model, (changes, -1.5))


def test_diffusers_oldest_names_have_no_unet_before_them(model, tmp_path):
    changes = [c for c in twins.attentions(twins.changes_of(model)) if c.place.part == "unet"]
    tensors = {key.removeprefix("unet."): value for key, value in twins.old(changes, True).items()}
    torch.save(tensors, tmp_path / "pytorch_lora_weights.bin")
    lora.apply(model, [(lora.read_lora(tmp_path), 1.0)])
    assert_merged(model, (changes, 1.0))


def test_the_text_encoder_s_names_may_lack_text_model(model, tmp_path):
    changes = [c for c in twins.changes_of(model) if c.place.part == "text_encoder"]
    tensors = {key.replace("text_model.", ""): value for key, value in twins.peft(changes).items()}
    lora.apply(model, [(lora.read_lora(written(tmp_path, tensors)), 1.0)])
    assert_merged(model, (changes, 1.0))


def test_names_of_the_network_itself(model, tmp_path):
    changes = [c for c in twins.changes_of(model) if c.place.part == "unet"]
    tensors = {}
    for change in changes:
        name = change.place.ours.replace("model.diffusion_model.", "diffusion_model.")
        tensors |= {f"{name}.lora_A.weight": change.down, f"{name}.lora_B.weight": twins.scaled_up(change)}
    lora.apply(model, [(lora.read_lora(written(tmp_path, tensors)), 1.0)])
    assert_merged(model, (changes, 1.0))


@pytest.mark.parametrize("rank_stabilised", [False, True])
def test_a_folder_of_peft_has_its_alpha_beside_it(model, tmp_path, rank_stabilised):
    changes = [c for c in twins.changes_of(model, rank=4) if c.place.part == "unet"]
    pattern = {"attn2.to_k": 5.0}
    for change in changes:
        alpha = 5.0 if change.place.theirs.endswith("attn2.to_k") else 2.0
        change.alpha = alpha * (4**0.5 if rank_stabilised else 1)  # the slow sum divides by the rank
    config = {"lora_alpha": 2, "alpha_pattern": pattern, "use_rslora": rank_stabilised}
    twins.peft_folder(tmp_path / "style", changes, **config)
    read = lora.read_lora(tmp_path / "style")
    assert read.name == "style"
    lora.apply(model, [(read, 1.0)])
    assert_merged(model, (changes, 1.0))


def test_a_folder_may_have_a_folder_of_peft_for_each_network(model, tmp_path):
    changes = twins.changes_of(model)
    for change in changes:
        change.alpha = 6.0 if change.place.part == "unet" else 1.5
    for part, alpha in (("unet", 6.0), ("text_encoder", 1.5)):
        own = [c for c in changes if c.place.part == part]
        twins.peft_folder(tmp_path / "both" / part, own, lora_alpha=alpha)
    lora.apply(model, [(lora.read_lora(tmp_path / "both"), 1.0)])
    assert_merged(model, (changes, 1.0))


def test_alpha_that_is_missing_is_the_rank(model, tmp_path):
    changes = twins.changes_of(model)
    for change in changes:
        change.alpha = float(change.up.shape[1])
    tensors = {key: value for key, value in twins.kohya(changes).items() if not key.endswith(".alpha")}
    lora.apply(model, [(lora.read_lora(written(tmp_path, tensors)), 1.0)])
    assert_merged(model, (changes, 1.0))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_file_of_half_precision(model, tmp_path, dtype):
    changes = twins.changes_of(model)
    halves = {key: value.to(dtype) for key, value in twins.kohya(changes).items()}
    for change in changes:
        change.up, change.down = change.up.to(dtype).float(), change.down.to(dtype).float()
        change.alpha = float(torch.tensor(change.alpha).to(dtype))
    lora.apply(model, [(lora.read_lora(written(tmp_path, halves)), 1.0)])
    assert_merged(model, (changes, 1.0))


def test_a_matrix_changes_a_convolution_of_one_point_and_the_other_way_round(models, tmp_path):
    for family in ("sd1", "sdxl"):  # proj_in is a convolution in the one, a linear layer in the other
        model = models[family]
        changes = [c for c in twins.changes_of(model) if ".proj_" in c.place.theirs]
        tensors = twins.kohya(changes)
        for key, value in tensors.items():
            if value.ndim:
                tensors[key] = value[:, :, 0, 0] if value.ndim == 4 else value[..., None, None]
        read = lora.read_lora(written(tmp_path, {k: v.contiguous() for k, v in tensors.items()}))
        lora.apply(model, [(read, 1.0)])
        assert_merged(model, (changes, 1.0))


def test_a_convolution_may_have_a_core(model, tmp_path):
    """LoCon's Tucker form: 1 x 1, k x k, 1 x 1, one after the other."""
    generator = torch.Generator().manual_seed(1)
    up, mid, down = (torch.randn(shape, generator=generator) for shape in ((32, 3), (3, 3, 3, 3), (3, 32)))
    name = "lora_unet_down_blocks_0_resnets_0_conv2"
    tensors = {
        f"{name}.lora_up.weight": up[..., None, None],
        f"{name}.lora_mid.weight": mid,
        f"{name}.lora_down.weight": down[..., None, None],
        f"{name}.alpha": torch.tensor(1.5),
    }
    weight = model.get_parameter("model.diffusion_model.input_blocks.1.0.out_layers.3.weight")
    before, x = weight.clone(), torch.randn(1, 32, 6, 6, generator=generator)
    lora.apply(model, [(lora.read_lora(written(tmp_path, tensors)), 1.0)])
    conv = torch.nn.functional.conv2d
    through = conv(conv(conv(x, down[..., None, None]), mid, padding=1), up[..., None, None])
    ours = conv(x, weight, padding=1) - conv(x, before, padding=1)
    torch.testing.assert_close(ours, 0.5 * through, rtol=1e-4, atol=1e-4)


def test_a_whole_difference_of_weights_and_biases(model, tmp_path):
    generator = torch.Generator().manual_seed(2)
    wanted = {
        "input_blocks.1.0.in_layers.2": ("conv1", "diff"),
        "input_blocks.1.0.in_layers.0": ("norm1", "w_norm"),
    }
    tensors, added = {}, {}
    for ours, (theirs, role) in wanted.items():
        name = f"model.diffusion_model.{ours}"
        for kind, ending in (("weight", role), ("bias", {"diff": "diff_b", "w_norm": "b_norm"}[role])):
            parameter = model.get_parameter(f"{name}.{kind}")
            change = torch.randn(parameter.shape, generator=generator)
            tensors[f"lora_unet_down_blocks_0_resnets_0_{theirs}.{ending}"] = change
            added[f"{name}.{kind}"] = parameter + 0.5 * change
    lora.apply(model, [(lora.read_lora(written(tmp_path, tensors)), 0.5)])
    for name, value in added.items():
        torch.testing.assert_close(model.get_parameter(name).data, value)
