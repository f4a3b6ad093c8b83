import dataclasses

import pytest
from PIL import Image

from ldm import png
from ldm.engine import Run
from ldm.settings import Settings
from ldm.ui import files
from ldm.ui.tray import SHEET, sheet_value, status_line, tray_value

from ..traces import make_trace

S = Settings("a dog", steps=20, seed=7)
BATCH = dataclasses.replace(S, batch_size=3)
WEAK, NONE = (dataclasses.replace(S, strength=strength) for strength in (0.5, 0))
VARIED = dataclasses.replace(BATCH, variation_seed=3, variation_strength=0.5)
ALONE = VARIED.of_picture(0)
NO_STEPS = "No steps at strength 0: the picture went through the autoencoder and back."


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))


@pytest.mark.parametrize(
    ("run", "line"),
    [
        (Run("id", S, "waiting", ahead=1), "In the queue: next. Seed 7."),
        (Run("id", S, "waiting", ahead=3), "In the queue: 3 works are before it. Seed 7."),
        (Run("id", S, "running", step=1), "Step 1 of 20. Seed 7."),
        (Run("id", S, "running", step=5, seconds_left=1.26), "Step 5 of 20, 1.3 s left. Seed 7."),
        (Run("id", BATCH, "running", step=5), "Step 5 of 20. Seeds 7 to 9."),
        (Run("id", S, "done", step=20, seconds=0.456), "Seed 7. 20 steps in 0.46 s."),
        (Run("id", S, "done", step=1, seconds=0.456), "Seed 7. 1 step in 0.46 s."),
        (Run("id", S, "stopped", step=4), "Stopped after step 4 of 20. Seed 7."),
        (Run("id", S, "paused", step=3), "Paused after step 3 of 20. Seed 7."),
        (Run("id", S, "paused"), "Paused before its first step. Seed 7."),
        (Run("id", S, "failed"), "This run failed."),
        (Run("id", WEAK, "running", step=5, from_picture=True), "Step 5 of 10. Seed 7."),
        (Run("id", WEAK, "stopped", step=4, from_picture=True), "Stopped after step 4 of 10. Seed 7."),
        (Run("id", NONE, "done", from_picture=True, seconds=0.1), NO_STEPS),
        (Run("id", VARIED, "done", step=20, seconds=1), "Seed 7, variations 3 to 5. 20 steps in 1.00 s."),
        (Run("id", ALONE, "done", step=20, seconds=1), "Seed 7, variation 3. 20 steps in 1.00 s."),
    ],
)
def test_how_far_a_run_is_in_words(run, line):
    assert status_line(run) == line


def test_a_preview_travels_inside_the_page():
    image = Image.new("RGB", (64, 64), "red")
    value = tray_value(Run("id", BATCH, "running", step=5, preview=(image,) * 3, decoder="the small decoder"))
    assert value["fraction"] == 0.25
    assert [picture["seed"] for picture in value["pictures"]] == ["7", "8", "9"]
    assert value["pictures"][0]["src"].startswith("data:image/jpeg;base64,")
    assert value["note"] == "Predicted x0, decoded by the small decoder"


def test_a_finished_picture_is_a_png_with_its_own_settings():
    trace = make_trace(batch=2)
    value = tray_value(Run("secret", trace.settings, "done", step=4, trace=trace))
    assert (value["fraction"], value["note"]) == (1.0, "Decoded by the full decoder")
    paths = [picture["file"]["path"] for picture in value["pictures"]]
    assert [png.read(path)[0] for path in paths] == [trace.settings.of_picture(i) for i in (0, 1)]
    assert paths[1].endswith("/a-red-circle-seed8.png")
    assert "secret" not in paths[0]


def test_pictures_of_one_seed_and_several_variations_are_several_files():
    trace = make_trace(batch=3)
    trace = dataclasses.replace(trace, settings=dataclasses.replace(VARIED, width=64, height=64))
    paths = files.pictures("varied", trace)
    assert [path.name for path in paths] == [f"a-dog-seed7-{i}.png" for i in (3, 4, 5)]
    assert [png.read(path)[0].variation_seed for path in paths] == [3, 4, 5]
    value = tray_value(Run("varied", trace.settings, "done", step=4, trace=trace))
    assert [picture["seed"] for picture in value["pictures"]] == ["7 + 3", "7 + 4", "7 + 5"]


def test_each_picture_of_a_batch_carries_its_own_guidance():
    trace = make_trace(batch=2)
    settings = dataclasses.replace(trace.settings, cfg_scales=(2.0, 5.0))
    paths = files.pictures("scales", dataclasses.replace(trace, settings=settings))
    assert [png.read(path)[0].cfg_scales for path in paths] == [(2.0,), (5.0,)]


def test_a_run_without_steps_shows_its_picture():
    trace = dataclasses.replace(make_trace(steps=0), settings=dataclasses.replace(NONE, width=64, height=64))
    run = Run("none", trace.settings, "done", trace=trace, from_picture=True)
    value = tray_value(run)
    assert (len(value["pictures"]), value["fraction"], value["line"]) == (1, 1.0, NO_STEPS)
    assert sheet_value([run])[0]["run"] == "none"
    assert tray_value(Run("none", NONE, "running", from_picture=True))["fraction"] == 0


def test_a_run_stopped_while_it_waited_shows_nothing():
    value = tray_value(Run("id", S, "stopped"))
    assert (value["pictures"], value["over"]) == ([], True)  # the tray drops the pictures of the run before


def test_a_paused_run_shows_its_last_preview_and_has_a_tile():
    image = Image.new("RGB", (64, 64), "red")
    trace = dataclasses.replace(make_trace(finished=False), images=())
    run = Run("id", S, "paused", step=4, preview=(image,), trace=trace, decoder="the linear map")
    value = tray_value(run)
    assert (value["state"], value["over"], value["fraction"]) == ("paused", True, 0.2)
    assert value["pictures"][0]["src"].startswith("data:image/jpeg;base64,")
    assert value["note"] == "Predicted x0, decoded by the linear map"
    assert sheet_value([run])[0]["src"] == value["pictures"][0]["src"]


def test_the_sheet_shows_the_newest_runs_that_came_to_something():
    trace = make_trace()
    done = [Run(f"run {i}", trace.settings, "done", trace=trace) for i in range(SHEET + 3)]
    value = sheet_value([Run("waits", S), *done])
    assert [tile["run"] for tile in value][:2] == ["waits", "run 0"]
    assert len(value) == SHEET


@pytest.mark.parametrize(
    ("prompt", "stem"),
    [
        ("a red apple!", "a-red-apple-seed7"),
        ("../../etc/passwd", "etc-passwd-seed7"),
        ("猫", "picture-seed7"),
    ],
)
def test_file_names_are_made_of_harmless_letters(prompt, stem):
    trace = make_trace()
    trace = dataclasses.replace(trace, settings=dataclasses.replace(trace.settings, prompt=prompt))
    assert files.stem(trace) == stem
