"""Races: who runs, what they are measured against, what the page is told, and what is refused."""

from dataclasses import replace

import pytest
from PIL import Image

from ldm.engine import Limits
from ldm.errors import LdmError, SettingsError
from ldm.settings import Settings
from ldm.ui.tabs.denoising import race
from ldm.views.race import aligned
from ldm.views.race import race as measure

from .benches import bench_of, event, held, somebody

S = Settings("a red apple", steps=4, width=64, height=64, seed=3, batch_size=2, sampler="ddim", eta=0.5)
FINE = 40  # steps


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))
    monkeypatch.setattr(race, "FINE_STEPS", FINE)


@pytest.fixture
def tool(engine):
    return bench_of(engine, race, "Race")


def asked(tool, owner, samplers, spacings=(), steps=4, ran=(), **changes):
    values = held(tool.bench, owner, S, **changes)
    return {
        **values,
        tool.samplers: samplers,
        tool.spacings: list(spacings),
        tool.steps: steps,
        tool.ran: ran,
    }


def run_race(tool, owner, samplers, *given, **more):
    return list(tool.race(asked(tool, owner, samplers, *given, **more)))


def test_each_entrant_is_an_ordinary_run_from_the_same_noise(tool, engine):
    told = run_race(tool, owner := somebody(), ["dpmpp_2m", "heun", "euler_ancestral"])
    board = told[-1][tool.board]
    assert [run["name"] for run in board["runs"]] == ["dpmpp_2m", "heun", "euler_ancestral"]
    assert [run["calls"][-1] for run in board["runs"]] == [4, 7, 4]
    assert (board["said"], board["busy"]) == ("", False)
    assert board["note"] == (
        "euler_ancestral draws fresh noise on the way, and so does not aim at this picture."
    )
    runs = {run.id: run for run in engine.runs(owner)}
    assert set(runs) == {run["run"] for run in board["runs"]} == set(told[-1][tool.ran])
    for run in runs.values():
        assert (run.settings.seed, run.settings.batch_size, run.settings.spacing) == (3, 1, "trailing")
        assert run.settings.eta is None


def test_what_the_page_is_told_is_what_the_view_measures(tool, engine, monkeypatch):
    traces, kept = {}, engine.trace
    monkeypatch.setattr(engine, "trace", lambda run_id: traces.setdefault(run_id, kept(run_id)))
    board = run_race(tool, somebody(), ["euler", "heun"], ["trailing", "karras"])[-1][tool.board]
    fine, *others = traces.values()
    assert (fine.settings.sampler, fine.settings.spacing, len(fine.steps)) == ("dpmpp_2m", "karras", FINE)
    measured = measure(others, fine).runs
    names = ["euler, trailing", "euler, karras", "heun, trailing", "heun, karras"]
    for told, runner, name in zip(board["runs"], measured, names, strict=True):
        assert (told["x0_distance"], told["x_distance"]) == (runner.x0_distance, runner.x_distance)
        assert (told["final_distance"], told["name"]) == (runner.final_distance, name)
    for by in ("calls", "sigma"):
        assert [row[1] for row in board["rows"][by]] == [list(row) for row in aligned(others, by)]
    assert [row[0] for row in board["rows"]["calls"]] == [1, 2, 3, 4, 6, 7]
    levels = {step.sigma_next for trace in others for step in trace.steps}
    assert [row[0] for row in board["rows"]["sigma"]] == sorted(levels, reverse=True)


def test_sheets_hold_every_predicted_picture_small(tool):
    (told,) = run_race(tool, somebody(), ["euler"], steps=5)[-1][tool.board]["runs"]
    with Image.open(told["sheet"]["path"]) as sheet:
        assert (sheet.width // told["columns"], sheet.height // told["rows"]) == (
            told["width"],
            told["height"],
        )
    assert told["columns"] * told["rows"] >= told["steps"] == 5


def test_the_line_says_which_run_is_drawn_and_how_far_all_are(tool):
    told = [each[tool.board] for each in run_race(tool, somebody(), ["euler", "heun"]) if tool.board in each]
    lines = [board["said"] for board in told]
    assert any(line.startswith(f"The run of {FINE} steps: step ") for line in lines)
    assert any(line.startswith("heun, 2 of 2: ") for line in lines)
    shares = [board["fraction"] for board in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert [len(board["runs"]) for board in told][-3:] != [0, 0, 0]


def test_an_entrant_that_cannot_be_drawn_is_named_and_the_others_go_on(tool, engine, monkeypatch):
    start = engine.start

    def picky(settings, *given, **more):
        if settings.sampler == "euler":
            raise SettingsError("euler does not like this.")
        return start(settings, *given, **more)

    monkeypatch.setattr(engine, "start", picky)
    board = run_race(tool, somebody(), ["euler", "heun"])[-1][tool.board]
    assert [run["name"] for run in board["runs"]] == ["heun"]
    assert board["said"] == "euler could not be drawn: euler does not like this."


def test_the_fine_run_is_kept_by_nobody_and_must_be_drawn(tool, engine, monkeypatch):
    run_race(tool, owner := somebody(), ["euler"])
    assert [run.steps for run in engine.runs(owner)] == [4]
    monkeypatch.setattr(engine, "start", lambda *given, **more: (_ for _ in ()).throw(LdmError("Full.")))
    with pytest.raises(LdmError, match="Full"):
        run_race(tool, owner, ["euler"])


def test_another_race_lets_go_of_the_last_one_but_for_what_is_used(tool, engine):
    owner = somebody()
    first = run_race(tool, owner, ["euler", "heun", "ddim", "dpmpp_2m"])[-1][tool.ran]
    engine.rename(first[0], "the one", owner)
    branch = engine.fork(first[1], 2, replace(engine.trace(first[1]).settings, cfg_scale=5.0), owner)
    list(engine.follow(branch))
    values = asked(tool, owner, ["euler"], ran=first) | {tool.bench.app.run: first[2]}
    second = list(tool.race(values))[-1][tool.ran]
    assert {run.id for run in engine.runs(owner)} == {*first[:3], branch, *second}


def test_stop_ends_a_race_and_keeps_what_is_there(tool, engine):
    owner = somebody()
    racing = tool.race(asked(tool, owner, ["euler", "heun", "ddim"], steps=6))
    for told in racing:
        if told.get(tool.board, {"runs": []})["runs"]:
            break
    tool.stop(owner, told[tool.ran])
    board = list(racing)[-1][tool.board]
    assert [run["name"] for run in board["runs"]] == ["euler"]
    assert board["said"] == "Stopped after 1 of 3."
    assert [run.settings.sampler for run in engine.runs(owner)] == ["euler"]


def test_an_entrant_is_shown_in_the_player(tool):
    owner = somebody()
    (run_id,) = run_race(tool, owner, ["euler"])[-1][tool.ran]
    told = list(tool.bench.look(owner, None, None, 0, False, event(run=run_id)))
    shown = next(each[tool.bench.shown] for each in told if tool.bench.shown in each)
    assert (shown.run_id, shown.steps) == (run_id, 4)


@pytest.mark.parametrize(
    ("samplers", "spacings", "steps", "said"),
    [
        ([], [], 4, "A race needs a sampler; choose at least one."),
        (["euler", "heun", "ddim"], ["karras", "trailing", "linspace"], 4,
         "A race has at most 8 runs; 3 samplers with 3 spacings are 9."),
        (["euler", "heun", "ddim", "dpmpp_2m", "unipc", "deis", "dpm_2"], [], 4,
         "A race has at most 6 samplers, got 7."),
        (["euler"], ["karras", "trailing", "linspace", "leading"], 4,
         "A race has at most 3 spacings, got 4."),
        ("euler", [], 4, "samplers must be a list of names, got 'euler'."),
        (["euler"], [], 61, "steps must be a whole number from 1 to 60, got 61."),
    ],
)  # fmt: skip
def test_what_cannot_be_raced_is_said_before_anything_is_begun(tool, engine, samplers, spacings, steps, said):
    with pytest.raises(SettingsError) as error:
        run_race(tool, owner := somebody(), samplers, spacings, steps=steps)
    assert str(error.value) == said
    assert engine.runs(owner) == []


def test_an_unknown_sampler_is_refused(tool):
    with pytest.raises(SettingsError, match="Unknown sampler 'eular'"):
        run_race(tool, somebody(), ["eular"])


def test_the_fine_run_has_three_times_the_steps_or_there_is_no_race():
    settings = Settings("a", steps=30, width=1024, height=1024)
    assert race.fine_run(replace(settings, steps=13), Limits()).steps == FINE
    with pytest.raises(SettingsError) as error:
        race.fine_run(settings, Limits(work=20 * 1024 * 1024))
    assert str(error.value) == (
        "steps must be at most 6 for a race at 1024 x 1024, got 30: the run to measure against may have 20 "
        "and needs 3 times as many."
    )
