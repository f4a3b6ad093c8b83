"""Models in pixel space from the files that labml's and NCSN's own programs write."""

from dataclasses import asdict

import pytest
import torch

from ldm.checkpoints import build, pixel
from ldm.checkpoints.formats import FORMATS
from ldm.errors import CheckpointError
from ldm.generation import run
from ldm.models.ddpm import DDPMUNet
from ldm.models.ncsn import ScoreNet
from ldm.models.pixel_config import DDPMUNetConfig, IdentityConfig, ScoreNetConfig
from ldm.settings import Settings

DDPM = DDPMUNetConfig(n_channels=32, ch_mults=(1, 2, 1), is_attn=(False, True, False), n_blocks=1)
NCSN = ScoreNetConfig(ngf=4, num_classes=6)


@pytest.fixture(scope="module")
def networks():
    torch.manual_seed(0)
    return DDPMUNet(DDPM), ScoreNet(NCSN)


@pytest.fixture
def files(networks, tmp_path):
    """labml's checkpoint, and NCSN's: weights under `module.` and the optimizer's state in a list."""
    ddpm, ncsn = networks
    torch.save(ddpm.state_dict(), tmp_path / "eps_model.pth")
    optimizer = torch.optim.Adam(ncsn.parameters())
    weights = {f"module.{name}": tensor for name, tensor in ncsn.state_dict().items()}
    torch.save([weights, optimizer.state_dict()], tmp_path / "checkpoint.pth")
    return tmp_path / "eps_model.pth", tmp_path / "checkpoint.pth"


def refused(function, *arguments):
    with pytest.raises(CheckpointError) as error:
        function(*arguments)
    return str(error.value)


def test_both_are_known_by_their_names(files):
    for file in files:
        assert [name for name, reader in FORMATS.items() if reader.matches(file)] == ["pixel"]


def test_sizes_come_from_shapes(files):
    ddpm, ncsn = (pixel.read(file) for file in files)
    assert (ddpm.config.unet, ncsn.config.unet) == (DDPM, NCSN)
    assert ddpm.config.autoencoder == IdentityConfig(3, low=0.0)
    assert ncsn.config.autoencoder == IdentityConfig(3)
    schedule = ncsn.config.schedule
    levels = (schedule.n_steps, schedule.betas, schedule.linear_start, schedule.linear_end)
    assert levels == (6, "geometric", 0.02, 2.0)
    assert (ddpm.config.schedule.betas, ddpm.config.schedule.linear_end) == ("linear", 0.02)
    assert (ddpm.config.size_multiple, ncsn.config.size_multiple) == (4, 2)
    assert ddpm.assumed == ("schedule", "autoencoder.low")


def test_the_real_one_s_sizes_come_from_its_shapes():
    usual = DDPMUNetConfig()
    with torch.device("meta"):
        net = DDPMUNet(usual)
    assert pixel.ddpm_config({name: tuple(t.shape) for name, t in net.state_dict().items()}) == usual


@pytest.mark.parametrize("which", [0, 1])
def test_a_model_of_it_draws(files, networks, which):
    model = build(pixel.read(files[which]), "cpu", torch.float32)
    inner = model.model.diffusion_model
    assert all(torch.equal(t, networks[which].state_dict()[n]) for n, t in inner.state_dict().items())
    x, t = torch.randn(1, 3, 8, 8), torch.tensor([1])
    assert torch.equal(model(x, t, torch.zeros(1, 0, 0)), networks[which](x, t))
    best = model.config.recommended
    sampler = {
        "steps": 6,
        "sampler": best.sampler,
        "cfg_scale": 1.0,
        "cfg_rescale": 0.0,
        "steps_per_level": 2,
    }
    trace = run(model, Settings("anything", width=24, height=16, **sampler))
    assert trace.images[0].size == (24, 16)
    assert len(trace.steps) == 6


def test_annealed_langevin_visits_every_level_of_the_network(files):
    model = build(pixel.read(files[1]), "cpu", torch.float32)
    best = asdict(model.config.recommended) | {"width": 16, "height": 16}
    trace = run(model, Settings("anything", **best))
    visited = [float(step.sigma) for step in trace.steps]
    assert visited == pytest.approx([float(s) for s in model.schedule.sigmas.flip(0) for _ in range(5)])


def test_the_noise_levels_of_the_file_beside_it_win(files):
    said = "!!python/object:argparse.Namespace\nmodel: !!python/object:argparse.Namespace\n  sigma_begin: 3\n"
    said += "  sigma_end: 0.5\ndata: !!python/object:argparse.Namespace\n  image_size: 28\n"
    beside = files[1].with_name("config.yml")
    beside.write_text(said)
    found = pixel.read(files[1])
    assert (found.config.unet.sigma_begin, found.config.unet.sigma_end) == (3, 0.5)
    assert (found.config.schedule.linear_start, found.config.recommended.width) == (1.0, 28)
    assert found.assumed == ()
    beside.write_text("model: {sigma_begin: 1, sigma_end: 2}")
    assert refused(pixel.read, files[1]) == (
        "checkpoint.pth has sizes that do not fit together: its noise levels must fall from sigma_begin to "
        "sigma_end, got 1.0 to 2.0."
    )
    beside.write_text("model: {}\ndata: {logit_transform: true}")
    assert "trained on logits" in refused(pixel.read, files[1])
    beside.write_text("model: [")
    assert "config.yml cannot be read" in refused(pixel.read, files[1])


def test_what_cannot_be_built_is_named(files, networks, tmp_path):
    deeper = {**networks[1].state_dict(), "refine5.crp.convs.0.weight": torch.zeros(1)}
    torch.save(deeper, tmp_path / "deeper.pth")
    assert "CondRefineNetDeeperDilated" in refused(pixel.read, tmp_path / "deeper.pth")
    odd = {**networks[0].state_dict(), "down.2.res.conv1.weight": torch.zeros(33, 32, 3, 3)}
    torch.save(odd, tmp_path / "odd.pth")
    assert refused(pixel.read, tmp_path / "odd.pth") == (
        "odd.pth has sizes that do not fit together: a level has 33 channels, the one before it 32."
    )


def test_grey_pictures_and_those_from_0_to_1_are_turned_both_ways():
    from ldm.models.identity import IdentityFirstStage

    images = torch.rand(1, 3, 4, 4) * 2 - 1
    unit = IdentityFirstStage(IdentityConfig(3, low=0.0))
    torch.testing.assert_close(unit.encode(images), (images + 1) / 2)
    torch.testing.assert_close(unit.decode(unit.encode(images)), images)
    grey = IdentityFirstStage(IdentityConfig(1))
    z = grey.encode(images)
    torch.testing.assert_close(z[:, 0], 0.299 * images[:, 0] + 0.587 * images[:, 1] + 0.114 * images[:, 2])
    assert torch.equal(grey.decode(z), z.expand(-1, 3, -1, -1))
