"""The training of the VQ first stage, on networks small enough for a few steps a second."""

from dataclasses import replace
from itertools import islice

import pytest
import torch

from ldm.checkpoints.first_stage import load_first_stage
from ldm.data.scenes import COMMON_OBJECTS
from ldm.errors import LdmError
from ldm.models.autoencoder import AutoencoderKL
from ldm.models.config import AutoencoderConfig
from ldm.models.vq import VectorQuantizer, VQConfig, VQModel
from ldm.training import vq
from ldm.training.config import DEFAULT, VQ
from ldm.training.state import load_state
from ldm.training.vq import (
    CODEBOOK,
    VQTraining,
    clustered,
    export_vq,
    far_from_codes,
    optimiser_for,
    quality,
    rate,
    revive,
    take_over,
    train_vq,
)

KL = AutoencoderConfig(ch=16, ch_mult=(1, 2, 2), num_res_blocks=1, attn_type="none", num_groups=4)
SIZES = replace(KL, ch_mult=(1, 2), z_channels=3, embed_dim=3, double_z=False)
TINY = VQTraining(
    name="tiny",
    model=VQConfig(SIZES, n_embed=24, legacy=False),
    objects=COMMON_OBJECTS,
    steps=30,
    free_steps=5,
    inner_steps=9,
    crops=4,
    crop=32,
    shown=2,
    warmup=2,
    cluster_steps=2,
    rounds=2,
    revive_every=4,
)


@pytest.fixture(scope="module")
def teacher():
    torch.manual_seed(0)
    return AutoencoderKL(KL).bfloat16().eval().requires_grad_(False)


@pytest.fixture(scope="module")
def trained(teacher, tmp_path_factory):
    """A whole training: its folder and its steps."""
    folder = tmp_path_factory.mktemp("vq")
    return folder, list(train_vq(TINY, teacher, folder))


def net(seed=0):
    torch.manual_seed(seed)
    return VQModel(TINY.model)


def test_it_learns_what_it_sees_again_and_again(teacher, tmp_path, monkeypatch):
    same = vq.crops_of(TINY, 1)
    monkeypatch.setattr(vq, "crops_of", lambda config, step: same)
    config = replace(TINY, steps=60, inner_steps=20)
    steps = list(train_vq(config, teacher, tmp_path))
    assert [step.step for step in steps] == list(range(1, 61))
    assert steps[-1].samples == 60 * config.crops
    losses = [step.loss for step in steps]
    free, inner, whole = losses[:5], losses[5:20], losses[20:]
    assert free[-1] < 0.8 * free[0]
    assert sum(inner[-3:]) < 0.9 * sum(inner[:3])
    assert sum(whole[-5:]) < 0.2 * sum(whole[:5])


def test_the_file_says_how_it_was_made_and_how_good_it_is(trained, tmp_path):
    found = export_vq(TINY, trained[0], tmp_path / "x.safetensors", count=2)
    stage = load_first_stage(tmp_path / "x.safetensors", "cpu", torch.bfloat16)
    assert stage.name == "tiny"
    assert stage.config.training == {"steps": 30, "samples": 120, **found}
    assert quality(stage, TINY.objects, 2) == pytest.approx(found)
    assert 0 < found["used"] <= 1
    assert 1 <= found["perplexity"] <= found["used"] * 24
    latents = [
        stage.quantise(stage.autoencoder_encode(image)).latents
        for image in vq.pictures(vq.BASIS_SEED, 0, 2, TINY.objects).split(1)
    ]
    assert float(torch.cat(latents).std()) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("cut", [3, 8, 15])
def test_a_training_that_was_cut_off_goes_on_to_the_same_bits(teacher, trained, tmp_path, cut):
    steps = train_vq(TINY, teacher, tmp_path, save_every=0)
    seen = [step.loss for step in islice(steps, cut)]
    steps.close()
    seen += [step.loss for step in train_vq(TINY, teacher, tmp_path)]
    assert seen == [step.loss for step in trained[1]]
    ours, info = load_state(tmp_path / "vq.safetensors")
    whole, _ = load_state(trained[0] / "vq.safetensors")
    assert info == {"step": 30}
    assert list(ours) == list(whole)
    assert all(torch.equal(ours[name], tensor) for name, tensor in whole.items())


def test_it_begins_with_the_teacher_s_outer_levels(teacher):
    made = net()
    take_over(made, teacher)
    ours, theirs, fresh = made.state_dict(), teacher.state_dict(), net().state_dict()
    assert torch.equal(
        ours["encoder.down.0.block.0.conv1.weight"], theirs["encoder.down.0.block.0.conv1.weight"]
    )
    assert torch.equal(ours["decoder.up.0.block.1.conv2.weight"], theirs["decoder.up.0.block.1.conv2.weight"])
    assert torch.equal(ours["decoder.conv_in.weight"], fresh["decoder.conv_in.weight"])


def test_the_outer_levels_rest_while_the_inner_ones_learn(teacher, tmp_path):
    steps = train_vq(TINY, teacher, tmp_path, save_every=0)
    for _ in islice(steps, TINY.inner_steps):
        pass
    state, _ = load_state(tmp_path / "vq.safetensors")
    theirs = teacher.state_dict()
    outer = [
        name for name in theirs if name.startswith(("encoder.conv_in", "encoder.down.0", "decoder.up.0"))
    ]
    assert all(torch.equal(state[f"master/{name}"], theirs[name].float()) for name in outer)
    assert not torch.equal(
        state["master/decoder.conv_in.weight"], net().state_dict()["decoder.conv_in.weight"]
    )
    next(steps)
    state, _ = load_state(tmp_path / "vq.safetensors")
    assert not any(torch.equal(state[f"master/{name}"], theirs[name].float()) for name in outer)


def test_an_autoencoder_with_other_outer_levels_is_refused(tmp_path):
    other = AutoencoderKL(replace(KL, ch_mult=(1, 1, 2)))
    with pytest.raises(LdmError) as error:
        next(train_vq(TINY, other, tmp_path))
    assert str(error.value) == (
        "The autoencoder to begin with must have 16 x (1, 2) channels in its outer levels, "
        "it has 16 x (1, 1, 2), or other blocks."
    )


def test_the_shipped_training_fits_the_shipped_autoencoder():
    with torch.device("meta"):
        assert VQ.model.autoencoder.ch_mult == DEFAULT.autoencoder.model.ch_mult[:4]
        take_over(VQModel(VQ.model), AutoencoderKL(DEFAULT.autoencoder.model))
    assert VQ.model.autoencoder.downsampling_factor == 8


def test_the_codebook_is_where_latents_are():
    made = net().requires_grad_(False)
    codes = clustered(made, TINY)
    z = torch.cat([made.prequantised(vq.crops_of(TINY, step)) for step in (6, 7)])
    errors = []
    for values in (codes, z.permute(0, 2, 3, 1).flatten(0, 2)[:24]):
        book = VectorQuantizer(24, 3).requires_grad_(False)
        book.embedding.weight.copy_(values)
        errors.append(float((book(z).latents - z).square().mean()))
    assert errors[0] < 0.5 * errors[1]


def test_unused_codes_are_moved_to_latents_and_forget_their_past():
    made = net()
    optimiser = optimiser_for(made, TINY)
    optimiser.first[CODEBOOK] += 1
    optimiser.second[CODEBOOK] += 1
    before = optimiser.masters[CODEBOOK].clone()
    uses = torch.ones(24, dtype=torch.int64)
    uses[[3, 20]] = 0
    z = torch.randn(1, 3, 5, 5)
    assert revive(made, optimiser, uses, z, torch.Generator().manual_seed(0)) == 2
    kept = uses > 0
    rows = {tuple(row) for row in z.permute(0, 2, 3, 1).flatten(0, 2).tolist()}
    for tensors in (optimiser.masters, optimiser.ema, optimiser.params):
        assert torch.equal(tensors[CODEBOOK][kept], before[kept])
        assert {tuple(row) for row in tensors[CODEBOOK][~kept].tolist()} <= rows
    for moments in (optimiser.first, optimiser.second):
        assert moments[CODEBOOK][:, 0].tolist() == kept.float().tolist()


def test_what_is_far_from_every_code_is_drawn_most():
    book = VectorQuantizer(1, 1)
    book.embedding.weight.data.zero_()
    z = torch.tensor([0.0, 0.0, 0.0, 5.0]).view(1, 1, 2, 2)
    assert far_from_codes(book, z, 50, torch.Generator().manual_seed(0)).flatten().tolist() == [5.0] * 50
    assert far_from_codes(book, z, 0, torch.Generator()).shape == (0, 1)


def test_the_learning_rate_rises_and_falls():
    rates = [rate(TINY, step) for step in range(1, 31)]
    assert rates[0] < rates[1] == max(rates)
    assert rates[1:] == sorted(rates[1:], reverse=True)
    assert rates[-1] == pytest.approx(0.03)
