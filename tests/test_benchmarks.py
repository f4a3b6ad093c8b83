"""The training benchmark compares like with like, and its ratios do not drift with the machine."""

import pytest
import torch
import torch.nn.functional as F

from benchmarks.train_speed import Peer, networks_of, random_batch, report
from ldm.checkpoints import convert
from ldm.diffusion.gaussian import q_sample, target
from ldm.models.config import ScheduleConfig
from tests.conftest import tiny_model


@pytest.fixture(scope="module")
def model():
    return tiny_model(schedule=ScheduleConfig(zero_terminal_snr=True))


def test_ours_and_the_peer_learn_from_the_same_loss(model, tmp_path):
    pytest.importorskip("diffusers")
    convert(model, tmp_path / "folder")
    peer = Peer(tmp_path / "folder")
    generator = torch.Generator().manual_seed(0)
    batch = random_batch(model, 4, generator)
    noise, t = torch.randn(batch.latents.shape, generator=generator), torch.tensor([3, 250, 700, 999])
    theirs = peer.loss(batch.latents, batch.ids, t, noise)
    x, context = (
        q_sample(model.schedule, batch.latents, t, noise),
        model.cond_stage_model.encode_ids(batch.ids),
    )
    ours = F.mse_loss(model(x, t, context), target(model.schedule, batch.latents, t, noise, "v"))
    torch.testing.assert_close(theirs, ours, rtol=1e-5, atol=0.0)


def test_both_train_every_weight_of_the_model(model, tmp_path):
    pytest.importorskip("diffusers")
    convert(model, tmp_path / "folder")
    networks, config = networks_of(model)
    trained, weights = dict(networks.named_parameters()), dict(model.named_parameters())
    for name, p in trained.items():
        assert torch.equal(p.detach(), weights[name].to(p.dtype)), name
    peer = [p.numel() for _, p in Peer(tmp_path / "folder").named_parameters()]
    assert sorted(peer) == sorted(p.numel() for p in trained.values())
    assert (config.unet, config.text) == (model.config.unet, model.config.text)


def test_a_ratio_is_the_median_of_steps_side_by_side():
    def steps(*seconds):
        return [{"seconds": [s, s, 2 * s], "processor": [s / 4, s / 4, s / 2]} for s in seconds]

    text = report({"ours": steps(1.0, 2.0, 8.0), "slower": steps(2.0, 4.0, 20.0)}, size=64, threads=1)
    assert "Batch 64, 1 thread, 3 rounds" in text
    assert "| ours | 8.0 | 1.00 | 2.00 | 1.00 |" in text
    assert "| slower | 4.0 | 2.00 | 4.00 | 2.00 |" in text
    assert "| slower | 1.00 | 1.00 | 2.00 |" in text
