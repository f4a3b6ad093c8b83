"""A branch: what is changed from which step on, what stays the same bits, what is refused."""

from dataclasses import replace

import pytest
from PIL import Image

from ldm import run_file
from ldm.errors import SettingsError
from ldm.settings import Settings
from ldm.ui import pictures
from ldm.ui.scrubber import Shown
from ldm.ui.tabs.denoising import branch
from ldm.ui.tabs.denoising.branch import FIELDS, as_held, meant
from ldm.ui.tabs.denoising.muting import asked_by_player

from .benches import bench_of, event
from .test_denoising_run import whole

S = Settings("a red apple", steps=5, width=64, height=64, seed=3, sampler="euler_ancestral")
OWNER = "q" * 20


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))


@pytest.fixture(scope="module")
def tool(engine):
    return bench_of(engine, branch, "Branch")


@pytest.fixture(scope="module")
def parent(engine):
    return list(engine.follow(engine.start(S, OWNER)))[-1]


def go(tool, run, at, plate=None, **changes):
    """The branch, and what the page was told of it."""
    given = [(as_held(run.settings) | changes)[name] for name in FIELDS]
    looks = (OWNER, Shown(run.id, len(run.trace.steps)), None, 0, False)
    told = list(tool.go_on(at, *given, plate, *looks))
    run_id = next(each[tool.bench.app.run] for each in told if tool.bench.app.run in each)
    return tool.engine.trace(run_id), told


def test_nothing_changed_is_the_same_bits(tool, parent):
    made, _ = go(tool, parent, 2)
    assert made.settings == parent.settings
    alone = replace(made, parent=None, sigmas=None, seconds=0.0)  # what tells it from its parent
    assert run_file.equal(alone, replace(parent.trace, seconds=0.0))
    assert made.parent == (parent.id, 2)


def test_what_is_changed_changes_the_steps_from_there_on(tool, parent):
    made, told = go(tool, parent, 2, cfg_scale=7.0, prompt="a blue dog")
    assert made.settings == replace(S, cfg_scale=7.0, prompt="a blue dog")
    same = [torch_equal(a, b) for a, b in zip(made.steps, parent.trace.steps, strict=True)]
    assert same[:2] == [True, True]
    assert not same[2]
    shown = [each for each in told if (each.get(tool.bench.player) or {}).get("other")]
    other = whole(shown[-1][tool.bench.player]["other"])
    assert other["address"] == parent.id
    assert other["title"] == "The run it branched off"
    assert other["parts_at"].startswith("They part at step 3: the prediction with the prompt differs by")
    assert other["moved"]["mean"] > 0


def torch_equal(a, b):
    return bool((a.prediction.x0 == b.prediction.x0).all())


def test_only_the_painted_part_is_made_anew(tool, parent):
    mask = Image.new("L", (64, 64))
    mask.paste(255, (0, 0, 32, 64))
    plate = pictures.plate(parent.trace.images[0], mask)
    made, _ = go(tool, parent, 1, plate, prompt="a blue dog")
    right = (40, 0, 64, 64)
    assert made.images[0].crop(right).tobytes() == parent.trace.images[0].crop(right).tobytes()
    left = (0, 0, 24, 64)
    assert made.images[0].crop(left).tobytes() != parent.trace.images[0].crop(left).tobytes()


@pytest.mark.parametrize(
    ("at", "changes", "sentence"),
    [
        (2, {"prompt": " "}, "prompt must say what to draw"),
        (2, {"steps": 2}, "steps must be more than"),
        (99, {}, "at must be between 0 and 5"),
        (None, {}, "must be a whole number, got None"),
        (2, {"cfg_scale": float("nan")}, "cfg_scale must be between"),
        (2, {"sampler": "nothing"}, "sampler"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(tool, parent, at, changes, sentence):
    before = len(tool.engine.runs(OWNER))
    with pytest.raises(SettingsError, match=sentence):
        go(tool, parent, at, **changes)
    assert len(tool.engine.runs(OWNER)) == before


def test_without_a_run_there_is_nothing_to_go_on_from(tool):
    with pytest.raises(SettingsError, match="no run in the player"):
        list(tool.go_on(0, *as_held(S).values(), None, OWNER, None, None, 0, False))


def test_the_fields_are_filled_from_the_run_in_the_player(tool, parent):
    told = tool.fill(Shown(parent.id, 5))
    assert told[tool.of["prompt"]]["value"] == S.prompt
    assert told[tool.of["eta"]]["value"] == 1.0
    assert told[tool.where] == {"steps": 5}
    assert told[tool.paint]["width"] == 64
    assert tool.fill(None)[tool.where] is None


def test_another_sampler_comes_with_its_own_share_of_noise():
    held = as_held(replace(S, eta=None, order=None))
    assert meant(S, held | {"sampler": "ddim", "eta": 0.0}) == replace(S, sampler="ddim")
    assert meant(S, held | {"sampler": "ddim", "eta": 0.5}) == replace(S, sampler="ddim", eta=0.5)


def muting(trace, **asked):
    given = event(at=1, settings=asked)
    return asked_by_player(given, trace, 1000)[1]


def test_muted_steps_become_the_part_of_the_way_between_their_neighbours(parent):
    trace = parent.trace
    way = [1 - step.timestep / 999 for step in trace.steps]
    made = muting(trace, muted_tokens=[2], mute_from_step=1, mute_to_step=3)
    assert made.muted_tokens == (2,)
    assert way[0] < made.mute_start < way[1]
    assert way[3] < made.mute_stop < way[4]
    all_of_it = muting(trace, muted_tokens=[1, 2], mute_from_step=0, mute_to_step=4)
    assert (all_of_it.mute_start, all_of_it.mute_stop) == (0.0, 1.0)
    assert muting(trace, muted_tokens=[]).muted_tokens is None


@pytest.mark.parametrize(
    "data",
    [
        {},
        {"at": 1},
        {"at": "1", "settings": {}},
        {"at": True, "settings": {}},
        {"at": 6, "settings": {}},
        {"at": 1, "settings": {"prompt": "x"}},
        {"at": 1, "settings": {"cfg_scale": "7"}},
        {"at": 1, "settings": {"muted_tokens": "all"}},
        {"at": 1, "settings": {"muted_tokens": [999]}},
        {"at": 1, "settings": {"muted_tokens": [1] * 999}},
        {"at": 1, "settings": {"muted_tokens": [1], "mute_from_step": 3, "mute_to_step": 2}},
        {"at": 1, "settings": {"muted_tokens": [1], "mute_to_step": 1e9}},
    ],
)
def test_nothing_a_browser_sends_is_believed(parent, data):
    with pytest.raises(SettingsError):
        asked_by_player(event(**data), parent.trace, 1000)


def test_a_panel_of_the_player_branches_off(tool, parent):
    looks = (Shown(parent.id, 5), None, 0, False)
    told = list(
        tool.from_player(OWNER, *looks, event(at=1, settings={"muted_tokens": [2], "mute_from_step": 1}))
    )
    run_id = next(each[tool.bench.app.run] for each in told if tool.bench.app.run in each)
    made = tool.engine.trace(run_id)
    assert (made.parent, made.settings.muted_tokens) == ((parent.id, 1), (2,))
    assert not torch_equal(made.steps[1], parent.trace.steps[1])
