import re
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from ldm import player
from ldm.latent_diffusion import FULL_DECODER, LINEAR_MAP, SMALL_DECODER
from ldm.player import DEFAULT_LANES, Look
from ldm.player.pack import how_drawn
from ldm.ui import theme
from ldm.ui.scrubber import KEPT, Packs, Shown
from ldm.views.curves import curves
from ldm.views.predictions import LANES

from ..traces import TRACES, decode, make_trace

SET_BY_SCRIPTS = re.compile(r"setProperty\(\s*['`](--[a-z0-9-]+)")


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))


class Counting:
    """A model whose decoder is a formula, and counts what it decodes."""

    name, quick_decoder, n_steps = "tiny", LINEAR_MAP, 1000

    def __init__(self, channels=4):
        self.seen, self.most = 0, 0
        self.preview = SimpleNamespace(weight=torch.zeros(channels, 3, 8, 8), bias=torch.zeros(3))

    def quick_decode(self, latents):
        self.seen += len(latents)
        self.most = max(self.most, len(latents))
        return decode(latents)


def packs(model=None):
    return Packs(SimpleNamespace(model=model or Counting()), lambda: decode)


def made(trace, run_id="id", model=None):
    [*found] = packs(model or Counting(trace.steps[0].x.shape[1] if trace.steps else 4)).show(
        Shown(run_id, len(trace.steps)), trace
    )
    return found


@pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES)
def test_every_lane_has_a_cell_for_each_step(trace):
    *_, value = made(trace)
    assert [lane["name"] for lane in value["lanes"]] == list(LANES)
    for lane in value["lanes"]:
        with Image.open(lane["sheet"]["path"]) as sheet:
            assert lane["columns"] * lane["rows"] >= value["steps"]
            assert sheet.width % lane["columns"] == sheet.height % lane["rows"] == 0
    columns = [
        value["sigma"],
        value["sigma_next"],
        value["timestep"],
        *(c["values"] for c in value["curves"]),
    ]
    assert {len(column) for column in columns} == {value["steps"]} == {len(trace.steps)}
    assert value["sigma"] == [step.sigma for step in trace.steps]
    assert value["curves"][2]["values"] == curves(trace, 0)["guidance"]


def test_the_first_lanes_come_at_once_and_everything_after():
    first, value = made(make_trace())
    assert [lane["name"] for lane in first["lanes"]] == list(DEFAULT_LANES) == first["show"]
    assert "parts" not in first
    assert set(value["parts"]) <= set(player.PARTS)
    assert value["lanes"][: len(DEFAULT_LANES)] == first["lanes"]


def test_a_cell_of_a_sheet_is_the_picture_of_its_step():
    trace = make_trace(steps=5)
    *_, value = made(trace)
    for name in ("x0", "eps"):
        lane = next(each for each in value["lanes"] if each["name"] == name)
        frames = player.frames(trace, name, decode, (8, 8) if lane["pixels"] else (64, 64))
        with Image.open(lane["sheet"]["path"]) as sheet:
            w, h = sheet.width // lane["columns"], sheet.height // lane["rows"]
            for i, frame in enumerate(frames):
                x, y = i % lane["columns"] * w, i // lane["columns"] * h
                cell = np.asarray(sheet.convert("RGB").crop((x, y, x + w, y + h)), int)
                assert np.abs(cell - np.asarray(frame, int)).mean() < (0.01 if lane["pixels"] else 4)


def test_nothing_is_decoded_twice():
    for trace, lanes in ((make_trace(steps=3), 4), (make_trace(steps=3, guided=False), 2)):
        model = Counting()
        made(trace, model=model)
        assert model.seen == 3 * lanes  # without guidance x0_cond is x0, and there is no x0_uncond


def test_a_run_that_was_shown_is_there_until_its_files_are_swept(tmp_path):
    model, trace, shown = Counting(), make_trace(), Shown("id", 4)
    kept = packs(model)
    *_, first = kept.show(shown, trace)
    seen = model.seen
    assert (list(kept.show(shown, trace)), model.seen) == ([first], seen)
    next(tmp_path.rglob("x_t-*.jpg")).unlink()
    *_, again = kept.show(shown, trace)
    assert (again["lanes"], model.seen) == (first["lanes"], 2 * seen)
    assert next(tmp_path.rglob("x_t-*.jpg")).exists()


def test_only_the_newest_packs_are_kept():
    model, trace = Counting(), make_trace(steps=1)
    kept = packs(model)
    for i in range(KEPT + 1):
        list(kept.show(Shown(str(i), 1), trace))
    seen = model.seen
    list(kept.show(Shown(str(KEPT), 1), trace))
    assert model.seen == seen
    list(kept.show(Shown("0", 1), trace))
    assert model.seen > seen


def test_a_run_that_goes_on_gets_files_of_its_own():
    kept, short, longer = packs(), make_trace(steps=2), make_trace(steps=4)
    *_, before = kept.show(Shown("id", 2), short)
    *_, after = kept.show(Shown("id", 4), longer)
    assert before["key"] == after["key"]
    ours, theirs = ({lane["sheet"]["path"] for lane in each["lanes"]} for each in (before, after))
    assert not ours & theirs


def test_a_long_run_is_drawn_smaller_and_in_pieces(monkeypatch):
    for module in ("ldm.player.pack", "ldm.views.layout"):
        monkeypatch.setattr(sys.modules[module], "SHEET_AREA", 64 * 64 * 40)
    model = Counting()
    *_, value = made(make_trace(steps=150), model=model)
    assert (value["steps"], value["width"]) == (150, 64)
    assert model.most <= 8
    lane = value["lanes"][0]
    with Image.open(lane["sheet"]["path"]) as sheet:
        assert sheet.width // lane["columns"] < 64


def test_noise_takes_less_than_the_quality_of_pictures_would():
    trace, sizes = make_trace(height=16, width=16), {}

    def put(name, content):
        sizes[name] = len(content)
        return {"url": name}

    noise = replace_prediction(trace)
    player.lanes_pack(noise, ["x_t", "x0_cond"], decode, Look(), put)
    assert sizes["x_t.jpg"] < 0.9 * sizes["x0_cond.jpg"]


def replace_prediction(trace):
    """A run whose prediction is as noisy as what goes in."""
    for step in trace.steps:
        step.prediction.x0_cond.copy_(step.x / (1 + step.sigma**2) ** 0.5)
    return trace


@pytest.mark.parametrize("decoder", [LINEAR_MAP, SMALL_DECODER, FULL_DECODER])
@pytest.mark.parametrize("name", LANES)
def test_a_lane_says_how_it_was_drawn(name, decoder):
    words = how_drawn(name, decoder)
    assert ("not decoded" in words) != words.endswith(f"decoded by {decoder}")


def test_a_run_without_steps_is_its_picture_and_a_sentence():
    trace = make_trace(steps=0, batch=2)
    [value] = packs().show(Shown("none", 0, picture=1), trace)
    assert (value["steps"], value["prompt"]) == (0, "a red circle")
    assert value["said"] == "No steps at strength 0: the picture went through the autoencoder and back."
    assert value["still"]["path"].endswith("a-red-circle-seed8.png")
    assert "seed 8," in value["facts"]


def test_the_addresses_of_files_do_not_give_the_runs_id_away():
    *_, value = made(make_trace(), "secret")
    assert value.pop("address") == "secret"  # of the page's own run, for its own address
    assert "secret" not in str(value)


def _variables(text, pattern):
    return dict(re.findall(pattern, text))


def _themes(dark):
    """Every variable as gradio's theme and the app's own stylesheet have it, down to a colour."""
    made = theme.theme()._get_theme_css()
    own = theme.STYLESHEET.read_text()
    values = {}
    for css in (made, own):
        for selector, block in re.findall(r"([^{}]*)\{([^{}]*)\}", css):
            if (":root" in selector or ".dark" in selector) and (dark or ".dark" not in selector):
                values |= _variables(block, r"--([a-z0-9-]+):\s*([^;]+);")
    return values


def _colour(values, name):
    """The value of a variable, of those that it stands for in the end."""
    found = re.fullmatch(r"var\(--([a-z0-9-]+)\)", values[name])
    return _colour(values, found[1]) if found else values[name]


@pytest.mark.parametrize("dark", [False, True])
def test_a_page_of_its_own_has_the_apps_colours(dark):
    css = player.assets.page_style()
    light, _, rest = css.partition("@media (prefers-color-scheme: dark)")
    scripted = set(SET_BY_SCRIPTS.findall(player.script()))
    used = set(re.findall(r"var\((--[a-z0-9-]+)", player.style() + player.script())) - scripted
    here = _variables(light, r"--([a-z0-9-]+): ([^;]+);")
    assert {name.removeprefix("--") for name in used} <= set(here)
    if dark:
        here |= _variables(rest.partition("\n  }\n")[0], r"--([a-z0-9-]+): ([^;]+);")
    theirs = _themes(dark)
    for name, value in here.items():
        if not name.startswith("font"):
            assert value == _colour(theirs, name), name


@pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES)
def test_a_lane_without_anything_says_why(trace):
    *_, value = made(trace)
    guided = any(step.prediction.x0_uncond is not None for step in trace.steps)
    empty = {lane["name"] for lane in value.get("lanes", []) if lane["why"]}
    assert empty == (set() if guided else {"x0_uncond", "guidance"})
