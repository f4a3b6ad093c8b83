import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import ldm
from ldm.training.autoencoder import pictures
from ldm.training.basis import fit_basis
from ldm.training.config import SMALL
from ldm.training.judge import Judge, JudgeTraining, accuracy_on_renders, load_judge, train_judge
from ldm.training.latent import Phase, build, loss_of, x0_errors
from ldm.training.run import Workplace, tokenizer_for, train_all
from ldm.training.state import generator_for, load_state, save_state

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The small training, whole: its folder and what it printed."""
    folder = tmp_path_factory.mktemp("small")
    command = [sys.executable, "-m", "ldm", "train", "--config", "small", "--folder", str(folder / "state")]
    started = time.perf_counter()
    subprocess.run([*command, "--out", str(folder / "small.safetensors")], cwd=ROOT, check=True)
    return folder, time.perf_counter() - started


def test_the_small_training_makes_a_model_that_draws_backgrounds(trained):
    folder, _ = trained
    model = ldm.load(folder / "small.safetensors")
    assert model.config.training["latent"]["samples"] == 160 * 32
    rows = [json.loads(line) for line in (folder / "state" / "log.jsonl").read_text().splitlines()]
    losses = {
        part: [r["loss"] for r in rows if r["part"] == part] for part in ("decoder", "encoder", "latent")
    }
    assert all(values[-1] < 0.75 * values[0] for values in losses.values())
    settings = ldm.Settings("a heart on a blue background", steps=8)
    image = ldm.run(model, settings).images[0]
    red, _, blue = (band.resize((1, 1)).getpixel((0, 0)) for band in image.crop((0, 0, 256, 40)).split())
    assert blue > red + 40


def test_the_small_model_knows_more_than_a_constant(trained):
    folder, _ = trained
    from ldm.training.basis import Basis
    from ldm.training.cache import Cache

    state = folder / "state"
    basis = Basis.from_tensors(load_state(state / "basis.safetensors")[0])
    cache = Cache(state, SMALL.objects, basis, tokenizer_for(SMALL, state))
    networks = build(SMALL.latent, cache, torch.float32)
    tensors, _ = load_state(state / "latent.safetensors")
    with torch.no_grad():
        for name, p in networks.named_parameters():
            p.copy_(tensors[f"ema/{name}"])
    batch = cache.batch({"easy": 1.0}, 1, 64, generator_for(99))
    assert x0_errors(networks, batch, (600,))[600] < 0.55


def _tiny():
    latent = dataclasses.replace(
        SMALL.latent, phases=(Phase(until=6, shares={"easy": 1.0}, chunks=1),), batch=4, warmup=2
    )
    return dataclasses.replace(SMALL, latent=latent)


KILLED = """
import dataclasses, sys, time
from pathlib import Path
import torch
torch.set_num_threads(1)
import ldm.training.cache, ldm.training.latent as latent
ldm.training.cache.CHUNK = 64
ldm.training.cache.make_chunk.__defaults__ = (64,)
from ldm.training.run import Workplace, train_all
from tests.training.test_training import _tiny
import ldm.training.run as run
original = latent.train
run.train = lambda config, cache, folder: original(config, cache, folder, save_every=0.0)
for step in train_all(_tiny(), Workplace(Path(sys.argv[1]), grid_every=0), ("latent",)):
    print(step.step, flush=True)
    if len(sys.argv) > 2 and step.step == 3:
        time.sleep(60)
"""


def _run(folder, *arguments):
    code = [sys.executable, "-c", KILLED, str(folder), *arguments]
    return subprocess.Popen(code, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def test_a_training_that_was_killed_ends_with_the_same_weights(tmp_path, trained):
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
        for file in ("tokenizer.json", "basis.safetensors"):
            shutil.copy(trained[0] / "state" / file, tmp_path / name)
    whole = _run(tmp_path / "whole")
    assert whole.wait() == 0
    killed = _run(tmp_path / "killed", "wait")
    for line in killed.stdout:
        if line.strip() == "3":
            os.kill(killed.pid, signal.SIGKILL)
            break
    killed.wait()
    assert load_state(tmp_path / "killed" / "latent.safetensors")[1] == {"step": 3}
    assert _run(tmp_path / "killed").wait() == 0
    a, b = (load_state(tmp_path / name / "latent.safetensors")[0] for name in ("whole", "killed"))
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_a_state_that_is_being_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "state.safetensors"
    save_state(path, {"a": torch.ones(2)}, {"step": 1})

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ldm.LdmError, match=r"state\.safetensors could not be written: No space left"):
        save_state(path, {"a": torch.zeros(2)}, {"step": 2})
    assert load_state(path)[1] == {"step": 1}


def test_the_basis_gives_uncorrelated_latents_of_unit_variance_and_goes_back():
    images = pictures(1, 0, 24, SMALL.objects)
    basis = fit_basis(images, 16, 16)
    z = basis.encode(images)
    assert z.shape == (24, 16, 16, 16)
    assert float(z.square().mean()) == pytest.approx(1.0, abs=1e-3)
    rows = z.permute(0, 2, 3, 1).flatten(0, 2)
    correlation = torch.corrcoef(rows.T) - torch.eye(16)
    assert float(correlation.abs().max()) < 0.05
    torch.testing.assert_close(basis.encode(basis.decode(z)), z, rtol=1e-3, atol=1e-3)


def test_an_object_s_cells_weigh_more():
    training = _tiny()
    from ldm.training.cache import Batch

    class Untold:
        tokenizer = None

    networks = build(training.latent, Untold(), torch.float32)
    mask = torch.zeros(4, 1, 16, 16)
    mask[..., :8] = 1
    generator = torch.Generator().manual_seed(0)
    batch = Batch(torch.randn(4, 16, 16, 16, generator=generator), mask, torch.zeros(4, 32, dtype=torch.long))
    empty = torch.zeros(32, dtype=torch.long)

    def loss(weight):
        return float(loss_of(networks, batch, training.latent, weight, empty, generator_for(1)).detach())

    # a network that starts at zero has an error of v itself, 1 everywhere: no weight changes its mean much
    assert loss(1.0) == pytest.approx(1.0, abs=0.05) and loss(3.0) == pytest.approx(1.0, abs=0.05)
    assert loss(1.0) != loss(3.0)


def test_parts_resume_where_they_are_done(trained):
    folder, _ = trained
    assert list(train_all(SMALL, Workplace(folder / "state"))) == []


def test_the_judge_learns_renders(tmp_path):
    path = tmp_path / "judge.safetensors"
    config = JudgeTraining(SMALL.objects, pictures=600, steps=160)
    list(train_judge(config, path))
    found = accuracy_on_renders(load_judge(path), 128)
    assert found["object"] > 0.8 and found["background"] > 0.5
    assert Judge(SMALL.objects).names(torch.zeros(2, 3, 256, 256))[0][0] in SMALL.objects
