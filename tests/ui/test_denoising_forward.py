"""A picture of one's own: under the noise and back, as one movie."""

from dataclasses import replace

import gradio as gr
import numpy as np
import pytest
import torch
from PIL import Image

from ldm.errors import ImageError, SettingsError
from ldm.generation import forward as noising_of
from ldm.generation import run
from ldm.images import open_image
from ldm.settings import Settings
from ldm.ui.events import shows_errors
from ldm.ui.scrubber import Shown
from ldm.ui.tabs.denoising import forward
from ldm.views.predictions import NO_GUIDANCE, NOISING, why_none

from .benches import bench_of, held, somebody

S = Settings("a red apple", steps=6, width=64, height=64, seed=3, batch_size=2)


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))


@pytest.fixture
def tool(engine):
    return bench_of(engine, forward, "Forward")


@pytest.fixture
def photo(tmp_path):
    pixels = np.random.default_rng(1).integers(0, 256, (96, 128, 3), dtype=np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    return str(path)


def go(tool, path, strength=0.5, steps=6, owner=None):
    """What the page is told."""
    values = held(tool.bench, owner or somebody(), S)
    return list(tool.go({**values, tool.file: path, tool.strength: strength, tool.steps: steps}))


def shown_in(bench, told):
    return next(each[bench.shown] for each in told if bench.shown in each)


def pack_of(bench, shown):
    *_, pack = bench.packs.show(shown, bench.app.engine.trace(shown.run_id))
    return pack


def test_the_run_is_an_ordinary_one_from_that_picture(tool, engine, photo):
    shown = shown_in(tool.bench, go(tool, photo))
    assert shown == Shown(shown.run_id, 3, forward=True)
    trace = engine.trace(shown.run_id)
    settings = replace(S, batch_size=1, strength=0.5)
    plain = run(engine.model, settings, init_image=open_image(photo))
    assert trace.settings == settings
    assert trace.images[0].tobytes() == plain.images[0].tobytes()


def test_the_movie_is_the_noising_and_then_the_run(tool, engine, photo):
    shown = shown_in(tool.bench, go(tool, photo))
    pack, trace = pack_of(tool.bench, shown), engine.trace(shown.run_id)
    before = noising_of(engine.model, trace)
    assert (pack["before"], pack["steps"]) == (3, 6)
    assert pack["sigma"] == [step.sigma for step in (*before.steps, *trace.steps)]
    assert pack["sigma"][0] == 0
    assert pack["sigma_next"][2] == pack["sigma"][3] == trace.steps[0].sigma
    assert torch.equal(before.steps[-1].x_next, trace.steps[0].x)
    for lane in pack["lanes"]:
        assert lane["columns"] * lane["rows"] >= 6


def test_the_first_picture_of_the_movie_is_the_one_that_was_given(tool, engine, photo):
    pack = pack_of(tool.bench, shown_in(tool.bench, go(tool, photo)))
    lanes = {lane["name"]: lane for lane in pack["lanes"]}

    def cell(lane, i):
        with Image.open(lane["sheet"]["path"]) as sheet:
            w, h = sheet.width // lane["columns"], sheet.height // lane["rows"]
            left, top = i % lane["columns"] * w, i // lane["columns"] * h
            return np.asarray(sheet.crop((left, top, left + w, top + h)).convert("RGB"), dtype=float)

    first = cell(lanes["x_t"], 0)
    apart = [np.abs(first - each).mean() for each in (cell(lanes["x0"], 0), cell(lanes["x_t"], 3))]
    assert apart[0] < 0.4 * apart[1]  # JPEGs of one picture, and of another
    for i in (1, 2):
        assert np.abs(cell(lanes["x0"], 0) - cell(lanes["x0"], i)).mean() < 2


def test_only_what_the_noising_has_is_worked_out(tool, photo):
    pack = pack_of(tool.bench, shown_in(tool.bench, go(tool, photo)))
    assert set(pack["parts"]) == {"schedule"}
    assert (len(pack["parts"]["schedule"]["columns"]["sigma"]), pack["parts"]["schedule"]["warnings"]) == (
        6,
        [],
    )


def test_the_box_switches_the_noising_off_and_on_for_runs_from_a_picture(tool, engine, photo):
    bench, told = tool.bench, go(tool, photo)
    shown = shown_in(bench, told)
    boxes = [each[bench.noised] for each in told if bench.noised in each]
    assert (boxes[-1]["visible"], boxes[-1]["value"]) == (True, True)
    asked = (shown.run_id, shown, None, 0, False)
    off = list(bench.with_noising(False, *asked))
    assert shown_in(bench, off) == replace(shown, forward=False)
    assert pack_of(bench, shown_in(bench, off))["before"] == 0
    assert set(pack_of(bench, shown_in(bench, off))["parts"]) > {"schedule"}
    again = list(bench.with_noising(True, shown.run_id, replace(shown, forward=False), None, 0, False))
    assert shown_in(bench, again) == shown
    assert replace(shown, forward=False).key != shown.key


def test_another_run_is_shown_without_and_one_from_noise_has_no_box(tool, engine, photo):
    bench, shown = tool.bench, shown_in(tool.bench, go(tool, photo))
    other = engine.start(replace(S, batch_size=1), somebody())
    told = list(bench.follow(other, somebody(), shown, None, 0, False))
    assert shown_in(bench, told).forward is False
    box = next(each[bench.noised] for each in told if bench.noised in each)
    assert (box["visible"], box["value"]) == (False, False)
    back = list(bench.show(shown.run_id, shown_in(bench, told), None, 0, False))
    assert shown_in(bench, back).forward is False


def test_strength_0_is_the_picture_through_the_autoencoder(tool, engine, photo):
    bench, told = tool.bench, go(tool, photo, strength=0)
    shown = shown_in(bench, told)
    assert shown == Shown(shown.run_id, 0)
    assert pack_of(bench, shown)["steps"] == 0
    assert engine.trace(shown.run_id).images[0].size == (64, 64)


def test_strength_1_goes_up_to_the_most_noise_there_is(tool, engine, photo):
    shown = shown_in(tool.bench, go(tool, photo, strength=1))
    pack, trace = pack_of(tool.bench, shown), engine.trace(shown.run_id)
    assert (pack["before"], pack["steps"]) == (6, 12)
    assert (
        max(pack["sigma"])
        == trace.steps[0].sigma
        == run(engine.model, replace(S, batch_size=1)).steps[0].sigma
    )


def test_lanes_without_a_picture_say_why(tool, engine, photo):
    trace = engine.trace(shown_in(tool.bench, go(tool, photo)).run_id)
    assert {why_none(step) for step in noising_of(engine.model, trace).steps} == {NOISING}
    assert {why_none(step) for step in trace.steps} == {NO_GUIDANCE}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"path": None}, "Choose a picture first."),
        ({"strength": 1.1}, "strength must be between 0 and 1, got 1.1."),
        ({"strength": float("nan")}, "strength must be between 0 and 1, got nan."),
        ({"strength": None}, "strength must be a number, got None."),
        ({"steps": 61}, "steps must be a whole number from 1 to 60, got 61."),
    ],
)
def test_what_cannot_be_drawn_is_said(tool, engine, photo, given, said):
    owner = somebody()
    with pytest.raises(SettingsError) as error:
        go(tool, **{"path": photo, "owner": owner, **given})
    assert str(error.value) == said
    assert engine.runs(owner) == []


def test_a_file_that_is_no_picture_is_refused(tool, tmp_path):
    path = tmp_path / "notes.png"
    path.write_text("no picture")
    with pytest.raises(ImageError, match=r"notes\.png is not a picture"):
        go(tool, str(path))
    with pytest.raises(gr.Error):
        list(shows_errors(lambda: (yield from tool.go({tool.file: None})))())
