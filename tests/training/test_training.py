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
from PIL import Image

import ldm
from ldm.evaluation import accuracies, judged
from ldm.training.autoencoder import pictures
from ldm.training.basis import fit_basis
from ldm.training.config import DEFAULT, SMALL
from ldm.training.export import export
from ldm.training.judge import JUDGE, Judge, JudgeTraining, accuracy_on_renders, load_judge, train_judge
from ldm.training.latent import Phase, build, loss_of, x0_errors
from ldm.training.run import Workplace, tokenizer_for, train_all
from ldm.training.state import Log, TrainStep, generator_for, load_state, save_state
from ldm.training.team import Team
from ldm.training.warm import start_from

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.train
long = pytest.mark.long  # what needs the small training, which takes minutes


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The small training, whole: its folder, and the seconds it takes on two cores of its own."""
    folder = tmp_path_factory.mktemp("small")
    command = [sys.executable, "-m", "ldm", "train", "--config", "small", "--folder", str(folder / "state")]
    started, before = time.perf_counter(), os.times()
    subprocess.run([*command, "--out", str(folder / "small.safetensors")], cwd=ROOT, check=True)
    wall, after = time.perf_counter() - started, os.times()
    worked = after.children_user + after.children_system - before.children_user - before.children_system
    return folder, min(wall, worked / 2)  # neighbours on the same cores make the wall clock run on


@long
def test_the_small_training_makes_a_model_that_draws_backgrounds(trained):
    folder, _ = trained
    model = ldm.load(folder / "small.safetensors")
    assert model.config.training["latent"]["samples"] == SMALL.latent.steps * SMALL.latent.batch
    rows = [json.loads(line) for line in (folder / "state" / "log.jsonl").read_text().splitlines()]
    losses = {
        part: [r["loss"] for r in rows if r["part"] == part] for part in ("decoder", "encoder", "latent")
    }
    assert all(values[-1] < 0.75 * values[0] for values in losses.values())
    results = list(judged(model, load_judge(JUDGE), settings_of(model), 64, None, objects=SMALL.objects))
    found = accuracies(results)
    assert found["background"] >= 0.3


def settings_of(model):
    best = model.config.recommended
    return ldm.Settings(
        "?", steps=12, cfg_scale=best.cfg_scale, cfg_rescale=best.cfg_rescale, width=256, height=256
    )


@long
def test_the_small_training_takes_less_than_four_minutes(trained):
    assert trained[1] < 240


@long
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
    assert x0_errors(networks, batch, (600,))[600] < 0.42


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
run.train = lambda config, cache, folder, **more: original(config, cache, folder, 0.0, **more)
for step in train_all(_tiny(), Workplace(Path(sys.argv[1]), grid_every=0), ("latent",)):
    print(step.step, flush=True)
    if len(sys.argv) > 2 and step.step == 3:
        time.sleep(60)
"""


def _run(folder, *arguments):
    code = [sys.executable, "-c", KILLED, str(folder), *arguments]
    return subprocess.Popen(code, cwd=ROOT, stdout=subprocess.PIPE, text=True)


@long
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


@long
def test_parts_resume_where_they_are_done(trained):
    folder, _ = trained
    assert list(train_all(SMALL, Workplace(folder / "state"))) == []


@long
def test_the_judge_learns_renders(tmp_path):
    path = tmp_path / "judge.safetensors"
    config = JudgeTraining(SMALL.objects, pictures=600, steps=200)
    list(train_judge(config, path))
    found = accuracy_on_renders(load_judge(path), 128)
    assert found["object"] > 0.75 and found["background"] > 0.5
    assert Judge(SMALL.objects).names(torch.zeros(2, 3, 256, 256))[0].object in SMALL.objects


@long
def test_two_processes_make_the_steps_that_one_makes(tmp_path, trained):
    training, losses = _tiny(), {}
    for processes in (1, 2):
        folder = tmp_path / str(processes)
        folder.mkdir()
        for name in ("tokenizer.json", "basis.safetensors", "cache"):
            (folder / name).symlink_to(trained[0] / "state" / name)
        place = Workplace(folder, grid_every=0, processes=processes, threads=1)
        losses[processes] = [step.loss for step in train_all(training, place, ("latent",))]
    assert losses[1] == pytest.approx(losses[2], rel=0.02)
    one, two = (load_state(tmp_path / n / "latent.safetensors")[0] for n in ("1", "2"))
    moved = [k for k in one if k.startswith("master/") and k.endswith("out.2.weight")]
    assert moved
    for key in moved:
        assert float((one[key] - two[key]).norm()) < 0.1 * float(one[key].norm())


def test_a_batch_that_processes_cannot_share_is_refused(tmp_path):
    with pytest.raises(ldm.LdmError, match="processes must divide the batch of 4, got 3"):
        Team(0, 3).check(_tiny().latent.batch)


@long
def test_a_training_goes_on_from_its_checkpoint(tmp_path, trained):
    made = trained[0] / "small.safetensors"
    start_from(SMALL, made, tmp_path / "again")
    state, info = load_state(tmp_path / "again" / "latent.safetensors")
    assert info == {"step": SMALL.latent.steps}
    before, _ = load_state(trained[0] / "state" / "latent.safetensors")
    for key in (key for key in state if key.startswith("master/")):
        averaged = before[key.replace("master/", "ema/")]
        torch.testing.assert_close(state[key], averaged.bfloat16().float())
    basis, _ = load_state(tmp_path / "again" / "basis.safetensors")
    original, _ = load_state(trained[0] / "state" / "basis.safetensors")
    torch.testing.assert_close(basis["encode"], original["encode"], rtol=0.02, atol=1e-3)
    export(SMALL, tmp_path / "again", tmp_path / "copy.safetensors")
    steps = SMALL.latent.steps * SMALL.latent.batch
    record = ldm.load(tmp_path / "copy.safetensors").config.training
    assert record["before"]["latent"]["samples"] == record["latent"]["samples"] == steps
    with pytest.raises(ldm.LdmError, match="holds a training already"):
        start_from(SMALL, made, tmp_path / "again")
    with pytest.raises(ldm.LdmError, match="has not the sizes of the training 'default'"):
        start_from(DEFAULT, made, tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_scalars_and_grids_go_to_tensorboard(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = Log(tmp_path)
    for step in (20, 40):
        log.write(TrainStep("latent", step, step * 64, 1.0 / step, 0.5, 30.0))
    Image.new("RGB", (8, 8)).save(tmp_path / "grid.png")
    log.picture(tmp_path / "grid.png", 2560)
    log.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("latent/loss")] == [
        (1280, pytest.approx(0.05)),
        (2560, pytest.approx(0.025)),
    ]
    assert [e.step for e in events.Images("samples")] == [2560]
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 2
