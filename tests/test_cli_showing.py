import json

import pytest
import torch
from PIL import Image

from ldm import export, run_file
from ldm.checkpoints import save
from ldm.generation import run as draw
from ldm.settings import Settings
from tests.conftest import tiny_model

from .test_cli import run
from .test_player_page import Read
from .traces import make_trace


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A checkpoint and a run of it."""
    path = tmp_path_factory.mktemp("runs")
    torch.manual_seed(0)
    model = tiny_model()
    save(model, path / "tiny.safetensors")
    asked = Settings("a red circle", steps=3, width=32, height=32, seed=5, batch_size=2)
    run_file.save(draw(model, asked), path / "run.safetensors")
    return path


def called(capsys, folder, command, *more, file="run.safetensors"):
    given = [command, str(folder / file), "--weights", str(folder / "tiny.safetensors"), "--device", "cpu"]
    return run(capsys, *given, *map(str, more))


def test_page_writes_one_file_of_a_run(capsys, folder, tmp_path):
    path = tmp_path / "x.html"
    code, out, err = called(capsys, folder, "page", "--out", path, "--picture", "1")
    assert code == 0, err
    assert out.startswith(f"{path} (0.")
    page = Read(path.read_text())
    trace = run_file.load(folder / "run.safetensors")
    assert page.run["sigma"] == [step.sigma for step in trace.steps]
    assert json.loads(page.texts["pre"])["seed"] == 6
    assert page.run["lanes"][1]["how"] == "decoded by the full decoder"
    assert "run.safetensors" in page.texts["code"]


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_animate_writes_a_picture_for_each_step(capsys, folder, tmp_path, kind):
    path = tmp_path / f"x.{kind}"
    code, out, err = called(capsys, folder, "animate", "--out", path, "--lane", "x_t", "x0", "--ms", "50")
    assert (code, out) == (0, f"{path} (3 pictures)\n"), err
    with Image.open(path) as image:
        assert (image.format, image.n_frames, image.size) == (kind.upper(), 3, (68, 32))
        assert image.info.get("duration", 50) == 50


def test_animate_names_the_formats_there_are(capsys, folder, tmp_path):
    code, _, err = called(capsys, folder, "animate", "--out", tmp_path / "x.avi")
    assert code == 2
    assert err.startswith("ldm: out must end in one of .gif, .webp, .mp4, got ")
    code, _, err = called(capsys, folder, "animate", "--out", tmp_path / "x.gif", "--ms", "0")
    assert (code, err) == (2, "ldm: ms must be between 10 and 10000, got 0.\n")


def test_a_video_without_an_encoder_is_refused(capsys, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    code, _, err = called(capsys, folder, "animate", "--out", tmp_path / "x.mp4")
    assert (code, err) == (2, f"ldm: {export.NO_ENCODER}\n")


def test_a_run_of_another_models_latents_is_refused(capsys, folder):
    run_file.save(make_trace(channels=16), folder / "other.safetensors")
    code, _, err = called(capsys, folder, "page", file="other.safetensors")
    assert code == 2
    assert err == (
        "ldm: other.safetensors was made by tiny with 16 latent channels; tiny has 4 and cannot decode it. "
        "Name its own checkpoint with --weights.\n"
    )
