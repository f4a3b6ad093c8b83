"""Looking ahead at many seeds: what is begun, what goes on, what is forgotten."""

import gradio as gr
import pytest
import torch

from ldm.diffusion.denoiser import Denoiser
from ldm.engine import LOCAL
from ldm.errors import LdmError, SettingsError
from ldm.generation import run
from ldm.settings import Settings
from ldm.ui.tabs.denoising import family, seeds
from ldm.ui.tabs.denoising.seeds import Looked
from ldm.ui.tray import sheet_value

from .benches import bench_of, event, held, somebody

S = Settings("a red apple", steps=5, width=64, height=64, seed=3, batch_size=2)


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))


@pytest.fixture
def tool(engine):
    return bench_of(engine, seeds, "Seeds")


def look(tool, owner, count=3, steps=2, looked=None, **changes):
    """The page's values, and what it is told while it looks ahead."""
    values = held(tool.bench, owner, S, **changes)
    values |= {tool.count: count, tool.steps: steps, tool.looked: looked or Looked()}
    return list(tool.look(values))


def looked_at(tool, told):
    return [each[tool.looked] for each in told if tool.looked in each][-1]


def test_every_seed_makes_its_first_steps_alone_and_pauses(tool, engine):
    told = look(tool, owner := somebody())
    board = told[-1][tool.board]
    assert [tile["seed"] for tile in board["tiles"]] == ["3", "4", "5"]
    assert {tile["state"] for tile in board["tiles"]} == {"paused"}
    assert board["said"] == "3 seeds. Choose those that are to go on."
    for seed, run_id in zip((3, 4, 5), looked_at(tool, told).runs, strict=True):
        trace = engine.trace(run_id)
        assert (len(trace.steps), trace.settings.seed, trace.settings.batch_size) == (2, seed, 1)
    lines = [each[tool.board]["said"] for each in told if tool.board in each]
    assert any(line.startswith("Seed 2 of 3: ") for line in lines)
    assert [run.status for run in engine.runs(owner)] == ["paused"] * 3


def test_a_tile_comes_as_soon_as_its_seed_is_there(tool):
    told = look(tool, somebody())
    there = [
        sum(bool(tile["src"]) for tile in each[tool.board]["tiles"]) for each in told if tool.board in each
    ]
    assert set(there) >= {1, 2, 3}
    assert all(len(each[tool.board]["tiles"]) == 3 for each in told if tool.board in each)


def test_what_is_chosen_goes_on_with_no_step_made_twice_to_the_bits_of_a_plain_run(tool, engine, monkeypatch):
    owner = somebody()
    looked = looked_at(tool, look(tool, owner))
    calls, ask = [], Denoiser.__call__
    monkeypatch.setattr(Denoiser, "__call__", lambda *given: calls.append(1) or ask(*given))
    chosen = [looked.runs[2], looked.runs[0]]
    told = list(tool.go_on(owner, looked, None, None, event(runs=chosen)))
    assert len(calls) == 2 * (5 - 2)
    states = [tile["state"] for tile in told[-2][tool.board]["tiles"]]
    assert states == ["done", "paused", "done"]
    monkeypatch.undo()
    for seed, run_id in ((3, looked.runs[0]), (5, looked.runs[2])):
        plain = run(engine.model, Settings("a red apple", steps=5, width=64, height=64, seed=seed))
        trace = engine.trace(run_id)
        assert torch.equal(trace.steps[-1].x_next, plain.steps[-1].x_next)
        assert trace.images[0].tobytes() == plain.images[0].tobytes()


def test_what_was_not_chosen_is_listed_nowhere_and_forgotten_at_the_next_look(tool, engine):
    owner = somebody()
    looked = looked_at(tool, look(tool, owner))
    list(tool.go_on(owner, looked, None, None, event(runs=[looked.runs[1]])))
    runs = engine.runs(owner)
    listed = [tile["run"] for tile in family.tree(runs, None, None)["roots"]]
    assert listed == [tile["run"] for tile in sheet_value(runs)] == [looked.runs[1]]
    in_player = family.tree(runs, looked.runs[0], None)["roots"]
    assert {tile["run"] for tile in in_player} == {looked.runs[0], looked.runs[1]}
    look(tool, owner, count=2, looked=looked)
    there = {run.id for run in engine.runs(owner)}
    assert len(there) == 3
    assert there & set(looked.runs) == {looked.runs[1]}


def test_the_seed_in_the_player_is_not_forgotten(tool, engine):
    owner = somebody()
    looked = looked_at(tool, look(tool, owner, count=2))
    values = held(tool.bench, owner, S) | {tool.bench.app.run: looked.runs[1]}
    list(tool.look({**values, tool.count: 2, tool.steps: 1, tool.looked: looked}))
    assert looked.runs[1] in {run.id for run in engine.runs(owner)}
    assert looked.runs[0] not in {run.id for run in engine.runs(owner)}


def test_stop_keeps_the_tiles_there_are_and_begins_no_more(tool, engine):
    owner = somebody()
    values = held(tool.bench, owner, S) | {tool.count: 4, tool.steps: 2, tool.looked: Looked()}
    looking, looked = tool.look(values), Looked()
    for told in looking:
        looked = told.get(tool.looked, looked)
        if len(looked.runs) == 2 and tool.board in told:
            break
    tool.stop(owner, looked)
    board = list(looking)[-1][tool.board]
    assert 1 <= len(board["tiles"]) <= 2
    assert board["said"].startswith(f"{len(board['tiles'])} of 4 seeds.")
    assert {run.id for run in engine.runs(owner)} <= set(looked.runs)
    assert all(run.resting for run in engine.runs(owner))


def test_another_look_takes_over_from_the_one_before(tool, engine):
    owner = somebody()
    values = held(tool.bench, owner, S) | {tool.count: 2, tool.steps: 1, tool.looked: Looked()}
    first = tool.look(values)
    for told in first:
        if tool.board in told:
            break
    last = list(tool.look(values))[-1]
    assert list(first) == []
    assert [tile["state"] for tile in last[tool.board]["tiles"]] == ["paused", "paused"]


def test_steps_ahead_of_the_whole_run_are_the_whole_run(tool):
    board = look(tool, somebody(), count=2, steps=9)[-1][tool.board]
    assert [tile["state"] for tile in board["tiles"]] == ["done", "done"]
    assert board["said"] == "2 seeds, 2 drawn to the end."


def test_a_seed_is_shown_in_the_player(tool):
    owner = somebody()
    looked = looked_at(tool, look(tool, owner, count=2))
    told = list(tool.bench.look(owner, None, None, 0, False, event(run=looked.runs[1])))
    shown = next(each[tool.bench.shown] for each in told if tool.bench.shown in each)
    assert (shown.run_id, shown.steps) == (looked.runs[1], 2)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"count": 17}, "The number of seeds must be a whole number from 2 to 16, got 17."),
        ({"count": 1}, "The number of seeds must be a whole number from 2 to 16, got 1."),
        ({"steps": 11}, "The number of steps to look ahead must be a whole number from 1 to 10, got 11."),
        ({"steps": 0.5}, "The number of steps to look ahead must be a whole number from 1 to 10, got 0.5."),
        ({"seed": 2**32 - 2}, "seed must be at most 4294967293 to look at 3 seeds, got 4294967294."),
    ],
)
def test_what_cannot_be_looked_at_is_said_before_anything_is_begun(tool, engine, given, said):
    with pytest.raises(SettingsError) as error:
        look(tool, owner := somebody(), **given)
    assert str(error.value) == said
    assert engine.runs(owner) == []


@pytest.mark.parametrize("data", [None, {}, {"runs": []}, {"runs": "x"}, {"runs": [None, {}, "gone"]}])
def test_going_on_with_nothing_is_refused(tool, data):
    asked = gr.EventData(None, data)
    with pytest.raises(SettingsError, match="Choose a seed first: click on its picture"):
        list(tool.go_on(somebody(), Looked(("1",), 2, 1.0, ("a",)), None, None, asked))


def test_a_run_that_cannot_be_begun_leaves_the_tiles_there_are(tool, engine, monkeypatch):
    start, begun = engine.start, []

    def only_two(*given, **more):
        begun.append(more["visitor"])
        if len(begun) > 2:
            raise LdmError("The queue is full.")
        return start(*given, **more)

    monkeypatch.setattr(engine, "start", only_two)
    told = []
    with pytest.raises(LdmError, match="The queue is full"):
        for each in tool.look(
            held(tool.bench, somebody(), S) | {tool.count: 4, tool.steps: 1, tool.looked: Looked()}
        ):
            told.append(each)
    assert [tile["state"] for tile in told[-1][tool.board]["tiles"]] == ["paused", "paused"]
    assert told[-1][tool.halt]["interactive"] is False
    assert begun == [LOCAL] * 3
