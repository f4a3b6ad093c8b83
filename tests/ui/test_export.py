"""What the buttons of the tab Keep hand out."""

import zipfile
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
import torch
from PIL import Image

from ldm import export, run_file
from ldm.errors import LdmError, SettingsError
from ldm.ui.scrubber import Shown
from ldm.ui.tabs.denoising.export import Keep

from ..traces import decode, make_trace


@pytest.fixture
def keep(monkeypatch, tmp_path):
    """The buttons of an app that keeps two runs."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))
    traces = {"a-run": make_trace(steps=4, batch=2), "still": make_trace(steps=0)}
    preview = SimpleNamespace(weight=torch.zeros(4, 3, 8, 8), bias=torch.zeros(3))
    model = SimpleNamespace(
        name="tiny", quick_decode=decode, quick_decoder="the linear map", preview=preview, n_steps=1000
    )
    app = SimpleNamespace(
        engine=SimpleNamespace(model=model, trace=traces.__getitem__), save=lambda path: {"file": path}
    )
    return Keep(SimpleNamespace(app=app, decoder=lambda: lambda latents: -decode(latents)))


def saved(action, shown=None, lanes=("x0",)):
    return Path(action(shown or Shown("a-run", 4), list(lanes))["file"])


@pytest.mark.parametrize("kind", ["gif", "webp"])
def test_animations_show_the_lanes_chosen(keep, kind):
    path = saved(getattr(keep, f"export_{kind}"), lanes=("x0", "eps"))
    with Image.open(path) as image:
        assert (image.format, image.n_frames, image.size) == (kind.upper(), 4, (132, 64))
    assert path.name == f"a-red-circle-seed7.{kind}"


def test_what_is_saved_is_what_is_shown(keep):
    quick, exact, second = (
        saved(keep.export_webp, shown)
        for shown in (Shown("a-run", 4), Shown("a-run", 4, exact=True), Shown("a-run", 4, picture=1))
    )
    assert len({quick.read_bytes(), exact.read_bytes(), second.read_bytes()}) == 3
    assert (quick.name, second.name) == ("a-red-circle-seed7.webp", "a-red-circle-seed8.webp")
    assert quick.exists() and exact.exists()  # none in the place of the other


def test_the_archive_and_the_run_file_hold_the_run(keep, tmp_path):
    with zipfile.ZipFile(saved(keep.export_zip, lanes=("x0", "change"))) as file:
        assert len([name for name in file.namelist() if name.startswith("frames/change/")]) == 4
        file.extract("run.safetensors", tmp_path)
    trace = run_file.load(tmp_path / "run.safetensors")
    assert run_file.equal(trace, run_file.load(saved(keep.export_run)))


def test_a_branch_does_not_tell_the_id_of_the_run_it_left(keep):
    trace = replace(make_trace(steps=4), parent=("the secret of the parent", 2))
    keep.app.engine.trace = lambda _: trace
    for path in (saved(keep.export_run), saved(keep.export_zip), saved(keep.export_page)):
        assert b"the secret" not in path.read_bytes()
    assert run_file.load(saved(keep.export_run)).parent[1] == 2


def test_the_page_is_of_the_picture_shown_and_does_not_know_the_run(keep):
    text = saved(keep.export_page, Shown("a-run", 4, picture=1, exact=True)).read_text()
    assert "seed 8," in text and "by the full decoder" in text
    assert "a-run" not in text


def test_nothing_is_kept_of_nothing(keep):
    with pytest.raises(gr.Error, match=r"There is no run to keep yet\."):
        keep.export_zip(None, ["x0"])
    for action in (keep.export_gif, keep.export_zip, keep.export_page):
        with pytest.raises(SettingsError, match="The run has no steps to draw"):
            saved(action, Shown("still", 0))
    with pytest.raises(SettingsError, match="Choose a lane to keep"):
        saved(keep.export_webp, lanes=())


def test_limits_hold_whatever_the_page_sends(keep, monkeypatch):
    monkeypatch.setattr(export, "ARCHIVE_BYTES", 1000)
    with pytest.raises(SettingsError, match="Choose fewer lanes"):
        saved(keep.export_zip)
    with pytest.raises(SettingsError, match="Unknown lane"):
        saved(keep.export_gif, lanes=("../../etc",))
    with pytest.raises(SettingsError, match="at most"):
        saved(keep.export_gif, lanes=["x0"] * 1000)


def test_a_video_without_an_encoder_is_a_sentence(keep, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LdmError, match="MP4 needs the program ffmpeg"):
        saved(keep.export_mp4)
