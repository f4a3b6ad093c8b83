import base64
import hashlib
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import torch
from PIL import Image

from ldm import player, run_file
from ldm.errors import SettingsError
from ldm.player import Look
from ldm.player.page import as_json
from ldm.settings import Settings
from ldm.views.curves import curves
from ldm.views.equations import equations
from ldm.views.predictions import LANES, lane

from .traces import TRACES, decode, make_trace

LINEAR = (torch.zeros(4, 3, 8, 8), torch.zeros(3))
NESTED = re.compile(r"<(?!!doctype|/?[a-z][a-z0-9]*[\s>/])", re.IGNORECASE)


class Read(HTMLParser):
    """The elements of a page, and what stands in some of them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self.cells, self.texts, self._in = [], [], [], {}, []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self._in.append(tag)
        if tag == "script":
            self.scripts.append("")
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_endtag(self, tag):
        while self._in and self._in.pop() != tag:
            pass

    def handle_data(self, data):
        inside = self._in[-1] if self._in else ""
        self.texts[inside] = self.texts.get(inside, "") + data
        if inside == "script":
            self.scripts[-1] += data
        if inside in ("td", "th"):
            self.cells[-1] += data

    @property
    def run(self):
        return json.loads(self.scripts[0])

    def attributes(self, tag):
        return [given for name, given in self.tags if name == tag]


def made(trace, picture=0, **more):
    channels = trace.steps[0].x.shape[1] if trace.steps else 4
    linear = (torch.zeros(channels, 3, 8, 8), torch.zeros(3))
    return player.page(trace, decode, Look(picture, decoder="the linear map"), linear=linear, **more)


@pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES)
def test_its_numbers_are_those_of_the_run_file(trace, tmp_path):
    run_file.save(trace, tmp_path / "x.safetensors")
    saved = run_file.load(tmp_path / "x.safetensors")
    run = Read(made(trace)).run
    numbers = curves(saved, 0)
    assert run["sigma"] == [step.sigma for step in saved.steps]
    assert run["sigma_next"] == [step.sigma_next for step in saved.steps]
    assert run["timestep"] == [step.timestep for step in saved.steps]
    shown = [curve["values"] for curve in run["curves"]]
    assert shown == [numbers[name] for name in ("sigma", "relative_change", "guidance")]
    steps = run["parts"]["equations"]["steps"]
    assert len(steps) == len(saved.steps)
    for k, step in enumerate(steps):
        again = equations(saved, k, 0)
        assert [(e["title"], e["numbers"]) for e in step] == [(e.title, e.numbers) for e in again]


def test_its_lanes_are_drawn_from_the_run_file(tmp_path):
    trace = make_trace(steps=3)
    run_file.save(trace, tmp_path / "x.safetensors")
    saved = run_file.load(tmp_path / "x.safetensors")
    run = Read(made(trace)).run
    assert [each["name"] for each in run["lanes"]] == list(LANES)
    for each in run["lanes"]:
        kind, _, data = each["sheet"]["url"].partition(";base64,")
        assert kind == ("data:image/png" if each["pixels"] else "data:image/jpeg")
        with Image.open(io.BytesIO(base64.b64decode(data))) as sheet:
            size = (sheet.width // each["columns"], sheet.height // each["rows"])
            first = sheet.convert("RGB").crop((0, 0, *size))
        if each["pixels"]:
            [*wanted] = lane(saved, each["name"], decode, size=size)
            assert first.tobytes() == wanted[0].tobytes()


def test_nothing_in_it_is_fetched_from_anywhere():
    text = made(make_trace())
    read = Read(text)
    for _, given in read.tags:
        for name in ("src", "href", "srcset", "action", "poster", "data"):
            assert given.get(name, "data:").startswith("data:")
    style = read.texts["style"]
    assert "url(" not in style and "@import" not in style
    policy = next(g["content"] for g in read.attributes("meta") if "http-equiv" in g)
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert set(" ".join(rules.values()).split()) - {"'none'", "data:", "blob:", "'unsafe-inline'"} == {
        rules["script-src"]
    }
    digest = hashlib.sha256(read.scripts[1].encode()).digest()
    assert rules["script-src"] == f"'sha256-{base64.b64encode(digest).decode()}'"
    assert len(read.scripts) == 2


def test_a_prompt_is_never_read_as_markup_or_code():
    hostile = "</script><img src=x onerror=alert(1)><!-- ${x} $run {{y}} & \u2028 \u2029 </title></pre>"
    trace = make_trace()
    trace = replace(trace, settings=replace(trace.settings, prompt=hostile), model_name="<b>m</b>")
    read = Read(made(trace, run_file="<i>.safetensors"))
    plain = Read(made(make_trace()))
    assert [tag for tag, _ in read.tags] == [tag for tag, _ in plain.tags]
    assert read.run["prompt"] == hostile
    assert hostile in read.cells
    assert json.loads(read.texts["pre"])["prompt"] == hostile
    assert "\u2028" not in as_json(hostile) and "<" not in as_json(hostile)


def test_it_does_not_say_where_the_run_was():
    trace = replace(make_trace(), parent=("a-secret-id", 2))
    text = made(trace)
    assert "a-secret-id" not in text
    assert not {"address", "key"} & set(Read(text).run)


def test_its_settings_are_there_to_read_and_to_copy():
    trace = make_trace(steps=2, finished=False, batch=3)
    asked = replace(trace.settings, negative_prompt="fog", s_noise=0.5, cfg_scales=(1.0, 2.0, 3.5))
    read = Read(made(replace(trace, settings=asked), picture=2))
    rows = [tuple(read.cells[i : i + 3]) for i in range(3, len(read.cells), 3)]
    assert rows[0] == ("Model", "tiny", "")
    assert rows[1] == ("Prompt", "a red circle", "prompt")
    for row in (
        ("Negative prompt", "fog", "negative_prompt"),
        ("Seed", "9", "seed"),
        ("Steps made", "2, then it was stopped", ""),
        ("S noise", "0.5", "s_noise"),
        ("Cfg scales", "3.5", "cfg_scales"),
    ):
        assert row in rows
    assert "eta" not in [name for *_, name in rows]  # not changed
    assert Settings.from_dict(json.loads(read.texts["pre"])) == asked.of_picture(2)


def test_numbers_that_are_none_become_null():
    assert json.loads(as_json({"a": [float("nan"), float("inf"), 1.5, None, "NaN"], "b": (True, 2)})) == {
        "a": [None, None, 1.5, None, "NaN"],
        "b": [True, 2],
    }


def test_a_run_of_broken_numbers_is_a_page_too():
    trace = make_trace()
    trace.steps[1].prediction.x0.fill_(float("nan"))
    assert None in Read(made(trace)).run["curves"][1]["values"]


def test_a_pack_of_broken_numbers_is_json():
    trace = make_trace()
    broken = torch.full_like(trace.steps[1].x, float("nan"))
    step = replace(trace.steps[1], prediction=replace(trace.steps[1].prediction, x0=broken))
    trace = replace(trace, steps=(trace.steps[0], step, *trace.steps[2:]))

    def put(name, content):
        return {"name": name}

    x0 = player.x0_frames(trace, decode, Look())
    context = player.Context(Look(), decode, put, x0, LINEAR)
    whole = {**player.run_pack(trace, Look()), "parts": player.parts_pack(trace, context)}
    assert "null" in json.dumps(whole, allow_nan=False)


def test_a_run_without_steps_has_no_lanes():
    with pytest.raises(SettingsError, match="The run has no steps to draw"):
        player.x0_frames(replace(make_trace(), steps=()), decode, Look())


def test_a_run_without_steps_is_refused():
    with pytest.raises(SettingsError, match=r"The run has no steps to draw\."):
        made(make_trace(steps=0))


def test_the_picture_is_in_it_once_there_is_one():
    assert len(Read(made(make_trace())).attributes("img")) == 2  # and the player's own, empty
    assert len(Read(made(replace(make_trace(), images=()))).attributes("img")) == 1


def test_the_predicted_pictures_are_decoded_once():
    seen = []

    def counting(latents):
        seen.extend(latents)
        return decode(latents)

    trace = make_trace(steps=3, guided=False)
    linear = (torch.zeros(4, 3, 8, 8), torch.zeros(3))
    player.page(trace, counting, Look(), linear=linear, names=("x0", "x0_cond", "eps"))
    assert len(seen) == 3


def test_scripts_and_styles_cannot_end_their_elements():
    assert "</script" not in player.script().lower() and "<!--" not in player.script()
    assert "</style" not in player.style().lower()
