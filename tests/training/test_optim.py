import pytest
import torch
from torch import nn

from ldm.training.optim import ADAM_BETAS, Optimiser, orthogonalised


@pytest.mark.parametrize("shape", [(1, 48, 48), (3, 32, 96), (2, 96, 32)])
def test_newton_schulz_brings_singular_values_near_one(shape):
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonalised(torch.randn(shape)))
    assert float(values.min()) > 0.6 and float(values.max()) < 1.3


def test_a_gradient_of_low_rank_gives_finite_numbers():
    torch.manual_seed(0)
    low = torch.randn(1, 64, 2) @ torch.randn(1, 2, 64)
    assert orthogonalised(low).isfinite().all()
    assert orthogonalised(torch.zeros(1, 32, 32)).abs().max() == 0


def test_what_is_not_for_muon_moves_as_torch_s_adam():
    torch.manual_seed(0)
    ours, theirs = nn.Linear(4, 3), nn.Linear(4, 3)
    theirs.load_state_dict(ours.state_dict())
    optimiser = Optimiser(ours.named_parameters(), muon_lr=0.02, adamw_lr=1e-2, smallest=32)
    reference = torch.optim.Adam(theirs.parameters(), lr=1e-2, betas=ADAM_BETAS, eps=1e-8)
    for _ in range(5):
        x = torch.randn(8, 4)
        ours(x).square().sum().mul(1e-2).backward()
        theirs(x).square().sum().mul(1e-2).backward()
        optimiser.step(1.0, clip=1e9)
        reference.step()
        reference.zero_grad()
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_large_matrices_go_to_muon_and_named_ones_do_not():
    net = nn.ModuleDict({"body": nn.Linear(64, 64), "embedding": nn.Linear(64, 64)})
    optimiser = Optimiser(
        net.named_parameters(), muon_lr=0.02, adamw_lr=1e-3, smallest=32, adamw_only=("embedding",)
    )
    assert optimiser.muon == {(64, 64): ["body.weight"]}
    assert set(optimiser.adamw) == {"body.bias", "embedding.weight", "embedding.bias"}


def test_the_moving_average_is_ramped_up():
    layer = nn.Linear(1, 1, bias=False)
    optimiser = Optimiser(layer.named_parameters(), muon_lr=0.0, adamw_lr=0.1, smallest=32, ema_decay=0.9)
    shadow = optimiser.masters["weight"].clone()
    for n in range(1, 12):
        layer.weight.grad = torch.ones(1, 1)
        optimiser.step(1.0)
        decay = min(0.9, (1 + n) / (10 + n))
        shadow = decay * shadow + (1 - decay) * optimiser.masters["weight"]
        torch.testing.assert_close(optimiser.ema["weight"], shadow)


def test_a_step_that_overflowed_changes_nothing():
    layer = nn.Linear(2, 2)
    optimiser = Optimiser(layer.named_parameters(), muon_lr=0.02, adamw_lr=0.1, smallest=32)
    before = layer.weight.clone()
    layer(torch.tensor([[float("inf"), 1.0]])).sum().backward()
    optimiser.step(1.0)
    assert torch.equal(layer.weight, before) and layer.weight.grad is None


def test_bfloat16_weights_learn_what_is_smaller_than_their_resolution():
    layer = nn.Linear(1, 1, bias=False).bfloat16()
    with torch.no_grad():
        layer.weight.fill_(1.0)
    optimiser = Optimiser(layer.named_parameters(), muon_lr=0.0, adamw_lr=1e-4, smallest=32)
    for _ in range(100):  # each step is far below bfloat16's spacing of 2**-8 at 1
        layer.weight.grad = torch.ones(1, 1, dtype=torch.bfloat16)
        optimiser.step(1.0)
    assert float(layer.weight.detach()) == pytest.approx(0.99, abs=0.004)
