"""LoHa and LoKr against peft's own, and against slow sums written out."""

import numpy as np
import pytest
import torch
from torch import nn

from ldm.lora.reading import assemble

SCALE = 0.75


def net():
    torch.manual_seed(3)
    return nn.ModuleDict({"conv_in": nn.Conv2d(6, 8, 3), "time_embedding": nn.Linear(12, 16)})


def randomised(module):
    generator = torch.Generator().manual_seed(9)
    for name, parameter in module.named_parameters():
        if any(word in name for word in ("hada", "lokr")):
            parameter.data = torch.randn(parameter.shape, generator=generator)


def peft_layers(config):
    """(name, tensors as LyCORIS names them, the change that peft computes) of both layers."""
    peft = pytest.importorskip("peft")
    with torch.enable_grad():
        model = peft.get_peft_model(net(), config)
    randomised(model)
    for name, module in model.named_modules():
        if hasattr(module, "get_delta_weight"):
            own = {
                key.replace(".default", ""): value.detach()
                for key, value in module.named_parameters()
                if "hada" in key or "lokr" in key
            }
            yield name.removeprefix("base_model.model."), own, module.get_delta_weight("default").detach()


def change(delta, dtype=torch.float32):
    return delta.scale * delta.unscaled(torch.device("cpu"), dtype)


def lora_of(name, tensors, alpha):
    named = {f"lora_unet_{name}.{key}": tensor for key, tensor in tensors.items()}
    named[f"lora_unet_{name}.alpha"] = torch.tensor(float(alpha))
    return assemble("x", "x.safetensors", named).deltas[0]


@pytest.mark.parametrize("effective", [False, True])
def test_loha_is_peft_s(effective):
    peft = pytest.importorskip("peft")
    config = peft.LoHaConfig(
        r=4, alpha=3, target_modules=["conv_in", "time_embedding"], use_effective_conv2d=effective
    )
    compared = 0
    for name, tensors, wanted in peft_layers(config):
        delta = lora_of(name, tensors, alpha=3)
        assert (delta.form, delta.fits(tuple(wanted.shape))) == ("LoHa", True)
        ours = change(delta).reshape(wanted.shape)
        torch.testing.assert_close(ours, wanted)
        assert delta.norm() == pytest.approx(float(wanted.norm()), rel=1e-5)
        compared += 1
    assert compared == 2


@pytest.mark.parametrize("rank", [1, 64])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("effective", [False, True])
def test_lokr_is_peft_s(rank, both, effective):
    """Alpha has no part where both matrices are whole: so in LyCORIS, whose files these are, not in peft."""
    peft = pytest.importorskip("peft")
    config = peft.LoKrConfig(
        r=rank,
        alpha=rank,
        decompose_both=both,
        target_modules=["conv_in", "time_embedding"],
        use_effective_conv2d=effective,
    )
    compared = 0
    for name, tensors, wanted in peft_layers(config):
        factors = [key for key in tensors if key.endswith("_b")]
        delta = lora_of(name, tensors, alpha=rank * SCALE)
        assert (delta.form, delta.fits(tuple(wanted.shape))) == ("LoKr", True)
        ours = change(delta).reshape(wanted.shape)
        torch.testing.assert_close(ours, wanted * (SCALE if factors else 1.0))
        compared += 1
    assert compared == 2


def test_loha_and_lokr_number_by_number():
    generator = torch.Generator().manual_seed(4)

    def random(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    a, b, c, d = random(5, 2), random(2, 7), random(5, 2), random(2, 7)
    loha = {"hada_w1_a": a, "hada_w1_b": b, "hada_w2_a": c, "hada_w2_b": d}
    wanted = np.array(
        [
            [
                sum(float(a[o, r] * b[r, i]) for r in range(2))
                * sum(float(c[o, r] * d[r, i]) for r in range(2))
                for i in range(7)
            ]
            for o in range(5)
        ]
    )
    ours = change(lora_of("conv_in", loha, alpha=1.0), torch.float64).numpy()
    assert np.abs(ours - 0.5 * wanted).max() < 1e-12
    small, large = random(2, 3), random(4, 5)
    lokr = lora_of("conv_in", {"lokr_w1": small, "lokr_w2": large}, alpha=1.0)
    wanted = np.array(
        [[float(small[o // 4, i // 5] * large[o % 4, i % 5]) for i in range(15)] for o in range(8)]
    )
    assert np.abs(change(lokr, torch.float64).numpy() - wanted).max() < 1e-12
