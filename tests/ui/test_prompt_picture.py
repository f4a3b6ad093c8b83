"""The prompt tab with a picture to start from: what is drawn, what comes back, what has no steps."""

from dataclasses import replace

import gradio as gr
import numpy as np
import pytest
from PIL import Image

from ldm import run_file
from ldm.errors import SettingsError
from ldm.settings import Settings
from ldm.ui import files, pictures
from ldm.ui.shared import App
from ldm.ui.tabs import prompt
from ldm.ui.tabs.denoising import export

from .benches import bench_of
from .pages import after, holding

S = Settings("a red apple", steps=4, width=64, height=64, strength=0.5)
OWNER = "b" * 20


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))


@pytest.fixture(scope="module")
def app(engine):
    with gr.Blocks() as blocks:
        owner, run, saver = gr.BrowserState(None), gr.State(None), gr.HTML()
        with gr.Tabs() as tabs:
            pass
    return App(engine, blocks, owner, run, saver, tabs)


def laid_out(app, tab):
    """The tab, its events not wired."""
    found = []
    with pytest.MonkeyPatch.context() as patched, gr.Blocks(), gr.Tabs():
        patched.setattr(tab, "wire", lambda page, *more: found.append(page))
        tab.build(app)
    return found[0]


@pytest.fixture(scope="module")
def page(app):
    return laid_out(app, prompt)


def photo(tmp_path, size=(128, 96)):
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    return str(path)


def drawn(page, path, settings=S, mask=None):
    """Id of a run that starts from a picture."""
    image = pictures.opened(path, settings.width, settings.height)
    held = holding(page.asks, settings, path) | {
        page.asks.start.paint: pictures.plate(image, mask),
        page.switch.box: False,
        page.app.owner: OWNER,
    }
    told = list(page.draw(held))
    return told[0][page.app.run]


def half():
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 32, 64))
    return mask


def test_a_run_starts_from_the_picture_and_keeps_what_was_not_painted(page, tmp_path):
    path = photo(tmp_path)
    trace = page.app.engine.trace(drawn(page, path, mask=half()))
    start = pictures.opened(path, 64, 64)
    assert (trace.settings, len(trace.steps)) == (S, 2)
    assert trace.init_image.tobytes() == start.tobytes()
    kept = np.asarray(trace.images[0])[:, 33:]
    assert (kept == np.asarray(start)[:, 33:]).all()


def test_its_settings_come_back_with_the_picture_and_the_paint(page, tmp_path):
    path = photo(tmp_path)
    updates = page.reuse_settings(drawn(page, path, mask=half()))
    held = after(holding(page.asks, Settings("x")), updates)
    assert page.asks.read(held) == S
    image, mask = page.asks.start.read(held, S)
    assert image.tobytes() == pictures.opened(path, 64, 64).tobytes()
    assert mask.tobytes() == half().tobytes()


def test_the_settings_of_a_run_from_noise_take_the_picture_away(page, tmp_path):
    held = holding(page.asks, replace(S, strength=1.0), photo(tmp_path))
    updates = page.write(replace(S, strength=1.0), "tiny")
    there = after(held, updates)
    assert page.asks.start.read(there, S) == (None, None)
    assert page.asks.read(there).strength == 1.0


def test_a_png_of_a_run_from_a_picture_says_what_is_missing(page, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(gr, "Info", lambda text, title: said.append(text))
    run_id = drawn(page, photo(tmp_path))
    [path] = files.pictures(run_id, page.app.engine.trace(run_id))
    page.restore(str(path))
    assert said == [
        "It was made from another picture, with strength 0.5. A PNG does not carry that one; put it under "
        "“Start from a picture”."
    ]


def test_the_picture_in_the_tray_can_be_started_from(page, tmp_path):
    run_id = drawn(page, photo(tmp_path))
    held = holding(page.asks, replace(S, strength=1.0)) | {page.app.run: run_id}
    updates = page.start_from_tray(held)
    there = after(held, updates)
    image, mask = page.asks.start.read(there, S)
    assert image.tobytes() == page.app.engine.trace(run_id).images[0].tobytes()
    assert mask is None
    assert page.asks.read(there).strength == 0.75
    assert updates[page.asks.start.group]["open"] is True


def test_a_picture_that_is_gone_is_a_sentence(page, tmp_path):
    held = holding(page.asks, S, str(tmp_path / "gone.png")) | {page.switch.box: False, page.app.owner: OWNER}
    with pytest.raises(Exception, match=r"There is no picture gone\.png\."):
        list(page.draw(held))


def test_a_run_without_steps_is_shown_everywhere(page, tmp_path):
    run_id = drawn(page, photo(tmp_path), replace(S, strength=0))
    engine = page.app.engine
    trace = engine.trace(run_id)
    assert (trace.steps, trace.finished, len(trace.images)) == ((), True, 1)
    run = list(engine.follow(run_id))[-1]
    shown = page.show(run, OWNER)
    assert (run.status, run.step, run.steps) == ("done", 0, 0)
    assert shown[page.tray]["line"].startswith("No steps at strength 0")
    assert shown[page.sheet][0]["run"] == run_id
    held = after(holding(page.asks, Settings("x")), page.reuse_settings(run_id))
    assert page.asks.read(held) == replace(S, strength=0)

    keep, look = bench_of(engine, export, "Keep"), (None, None, 0, False)
    there = list(keep.bench.show(run_id, *look))[-1]
    assert there[keep.bench.player]["run"]["steps"] == 0
    shown = there[keep.bench.shown]
    with pytest.raises(SettingsError, match="no steps"):
        keep.export_gif(shown, ["x0"])
    path = keep.export_run(shown)["file"]["path"]
    assert run_file.equal(run_file.load(path), trace)
    opened = list(keep.open_run(path, *look, OWNER))[-1]
    assert opened[keep.bench.player]["run"]["said"].startswith("No steps at strength 0")
