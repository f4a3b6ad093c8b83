"""The row of the denoising tab: what each button does, what is followed, what an address finds."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import pytest
from PIL import Image

from ldm import run_file
from ldm.engine import Limits, Run
from ldm.errors import LdmError
from ldm.settings import Settings
from ldm.ui.tabs.denoising import branch, live
from ldm.ui.tabs.denoising.live import AGAIN, HEIGHT, Pressed, Strip
from ldm.ui.tabs.denoising.row import AS_THERE, MUCH, memory_note
from ldm.ui.tabs.denoising.run import GONE, Running

from .benches import bench_of, held

S = Settings("a red apple", steps=5, width=64, height=64, seed=3)
OWNER = "r" * 20


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))


@pytest.fixture(scope="module")
def running(engine):
    return Running(bench_of(engine, branch, "Branch").bench)


def after(running, values, told):
    """What the page holds and shows once it was told."""
    bench = running.bench
    for updates in told:
        for widget, update in updates.items():
            if not (isinstance(update, dict) and update.get("__type__") == "update"):
                values = {**values, widget: update}
            elif "interactive" in update:
                values = {**values, ("on", widget): update["interactive"]}
    on = {
        name for name in ("run", "pause", "step", "go_on", "stop") if values["on", getattr(bench.row, name)]
    }
    return values, on


def whole(pack):
    return json.loads(Path(pack["file"]["path"]).read_text()) if "file" in pack else pack


def test_a_run_comes_live_and_is_then_in_the_player(running):
    bench = running.bench
    told = list(running.run(held(bench, OWNER, S)))
    live = [each[bench.player] for each in told if (each.get(bench.player) or {}).get("live")]
    assert live[0]["keep"] is True
    assert live[0]["live"]["address"] == told[0][bench.app.run]
    values, on = after(running, {}, told)
    run = whole(values[bench.player]["run"])
    assert (run["steps"], run["address"], run["prompt"]) == (5, values[bench.app.run], S.prompt)
    assert values[bench.shown].steps == 5
    assert on == {"run", "step"}
    assert values[running.app.asks.of["seed"]] == 3


def test_it_pauses_makes_one_step_goes_on_and_is_the_same_run(running):
    bench, engine = running.bench, running.app.engine
    values, on = after(running, held(bench, OWNER, S), running.step(held(bench, OWNER, S)))
    assert (values[bench.shown].steps, on) == (1, {"run", "step", "go_on", "stop"})
    first = values[bench.app.run]
    values, _ = after(running, values, running.step(values))
    assert (values[bench.shown].steps, values[bench.app.run]) == (2, first)
    assert whole(values[bench.player]["run"])["steps"] == 2
    values, on = after(running, values, running.go_on(values))
    assert (values[bench.shown].steps, on, values[bench.app.run]) == (5, {"run", "step"}, first)
    straight, _ = after(running, {}, running.run(held(bench, OWNER, S)))
    a, b = (engine.trace(each[bench.app.run]) for each in (values, straight))
    assert run_file.equal(replace(a, seconds=0.0), replace(b, seconds=0.0))
    values, _ = after(running, values, running.step(values))  # it is over: another one begins
    assert values[bench.app.run] != first


def test_a_paused_run_can_be_ended_for_good(running):
    bench = running.bench
    values, _ = after(running, held(bench, OWNER, S), running.step(held(bench, OWNER, S)))
    values, on = after(running, values, running.stop(values))
    assert on == {"run", "step"}
    assert bench.run_of(values[bench.app.run]).status == "stopped"
    assert len(running.app.engine.trace(values[bench.app.run]).images) == 1
    with pytest.raises(LdmError, match="is over"):
        list(running.go_on(values))


def test_pausing_keeps_the_steps_so_far(running):
    bench = running.bench
    long = held(bench, OWNER, S, steps=400)
    following = running.run(long)
    values = {**long, **next(following)}
    values, on = after(running, values, running.pause(values))
    assert on == {"run", "step", "go_on", "stop"}
    run = bench.run_of(values[bench.app.run])
    assert run.status == "paused"
    assert values.get(bench.shown) is None or values[bench.shown].steps == run.step
    assert all("live" not in (each.get(bench.player) or {}) for each in following)  # it gave up its turn
    running.app.engine.stop(values[bench.app.run])


def test_a_mistake_is_a_sentence_and_changes_nothing(running):
    bench = running.bench
    before = len(running.app.engine.runs(OWNER))
    with pytest.raises(LdmError, match="prompt must say what to draw"):
        list(running.run({**held(bench, OWNER, S), bench.row.prompt: " "}))
    assert len(running.app.engine.runs(OWNER)) == before


def test_an_event_always_says_something(running):
    told = list(running.arrive(held(running.bench, OWNER, S)))
    assert [list(each) for each in told] == [[running.bench.player]]


def asked(query):
    return SimpleNamespace(query_params=query)


def test_an_address_finds_its_run_whoever_opens_it(running, monkeypatch):
    bench, said = running.bench, []
    monkeypatch.setattr(gr, "Warning", lambda text, title: said.append(text))
    values, _ = after(running, {}, running.run(held(bench, OWNER, S)))
    found = running.find(asked({"run": values[bench.app.run]}))
    assert found[bench.app.run] == values[bench.app.run]
    assert found[bench.app.tabs].selected == "denoising"
    assert found[bench.row.prompt] == S.prompt  # so that Run draws it again
    stranger = held(bench, "s" * 20, S) | {bench.app.run: found[bench.app.run]}
    seen, _ = after(running, stranger, running.arrive(stranger))
    assert whole(seen[bench.player]["run"])["steps"] == 5
    assert seen.get(bench.tree, {"roots": []})["roots"] == []
    assert (said, bench.app.run in running.find(asked({}))) == ([], False)
    for gone in ("x" * 22, "short", "y" * 80):
        assert bench.app.run not in running.find(asked({"run": gone}))
    assert said == [GONE]  # what is no id is not looked for


def test_a_long_run_says_what_it_takes(running):
    assert memory_note(MUCH, Limits()) == AS_THERE
    assert memory_note(3 * MUCH, Limits()).endswith(
        "take about 150 MB: kept in memory for 2 hours; when memory is short, on disk."
    )
    values = held(running.bench, OWNER, S)
    assert running.note(values) == AS_THERE
    assert "MB" in running.note(held(running.bench, OWNER, S, steps=1000, batch_size=16))
    assert running.note({**values, running.app.asks.of["rho"]: "x"}) == AS_THERE


def test_a_page_is_sent_what_is_new_and_a_little_of_what_is_not():
    picture, strip = Image.new("RGB", (256, 256), "red"), Strip("id")
    frames = tuple((k, (picture,)) for k in range(1, 9))
    settings = Settings("a dog", steps=20)
    first = strip.value(Run("id", settings, "running", step=6, frames=frames[:6]))
    assert [step for step, _ in first["live"]["frames"]] == [1, 2, 3, 4, 5, 6]
    then = strip.value(Run("id", settings, "running", step=8, frames=frames))
    assert [step for step, _ in then["live"]["frames"]] == [*range(7 - AGAIN, 9)]
    late = Strip("id").value(Run("id", settings, "running", step=8, frames=frames))
    assert len(late["live"]["frames"]) == 8
    assert late["live"]["key"] == then["live"]["key"]
    assert "id" not in late["live"]["key"]
    assert len(late["live"]["frames"][0][1]) < 6 * HEIGHT**2 // 10


def test_a_button_begins_one_run_at_a_time_on_each_page(monkeypatch):
    going, began, page = {"one"}, [], "page"
    monkeypatch.setattr(live, "session", lambda: page)
    pressed = Pressed(going.__contains__)

    def start(name):
        began.append(name)
        return name

    def twice(name):
        assert pressed.once("run", lambda: start("meanwhile")) is None  # while the first is being begun
        return start(name)

    assert pressed.once("run", lambda: twice("one")) == "one"
    assert pressed.once("run", lambda: start("two")) is None
    assert pressed.once("branch", lambda: start("three")) == "three"
    page = "another page"
    assert pressed.once("run", lambda: start("four")) == "four"
    page = "page"
    going.clear()  # it rests, though the player may still be drawing it
    with pytest.raises(LdmError, match="no room"):
        pressed.once("run", refused)
    assert pressed.once("run", lambda: start("five")) == "five"
    page = ""  # a program's own calls are its own affair
    assert [pressed.once("run", lambda: start("six")) for _ in range(2)] == ["six", "six"]
    assert began == ["one", "three", "four", "five", "six", "six"]


def refused():
    raise LdmError("no room")
