"""Runs that memory has no room for lie on the disk, and come back as they were."""

import dataclasses
import stat
import threading
from pathlib import Path

import pytest
from PIL import Image

from ldm import generate, run, run_file
from ldm.engine import Limits
from ldm.engine.size import cost, size_of
from ldm.errors import LdmError
from ldm.generation import finish
from ldm.settings import Settings

from .conftest import tiny_config, tiny_model
from .fakes import Pace
from .test_engine import GONE, S, last, message
from .traces import make_trace


def trace_of(seed=0):
    """A run whose steps are much more than its picture, which stays in memory."""
    return make_trace(steps=40, seed=seed)


ONE = size_of(trace_of())
FEW = 3 * ONE // 2  # bytes that have room for one run and the pictures of others
PICTURE = Image.radial_gradient("L").resize((32, 32)).convert("RGB")


@pytest.fixture
def pace():
    return Pace()


def in_memory(engine):
    with engine._lock:
        jobs = engine._store._jobs.values()
        return sum(size_of(job.result) for job in jobs)


def files(engine):
    folder = engine._store._folder
    return [] if folder is None else sorted(folder.iterdir())


def test_20_runs_of_20_users_stay_within_the_budget_and_come_back_intact(make):
    engine = make(limits=Limits(keep_bytes=7 * ONE))
    traces = [trace_of(i) for i in range(20)]
    ids = []
    for i, trace in enumerate(traces):
        ids.append(engine.add(trace, f"user {i}"))
        assert in_memory(engine) <= 7 * ONE
    assert len(files(engine)) >= 13
    for run_id, trace in [*zip(ids, traces, strict=True), *zip(ids[::-1], traces[::-1], strict=True)]:
        back = engine.trace(run_id)
        assert run_file.equal(back, trace)
        assert in_memory(engine) <= 7 * ONE
    assert [len(engine.runs(f"user {i}")) for i in range(20)] == [1] * 20


def test_a_run_on_the_disk_is_listed_with_its_name_its_parent_and_its_pictures(make):
    engine = make(limits=Limits(keep_bytes=FEW))
    trace = dataclasses.replace(trace_of(), parent=("another run", 2))
    run_id = engine.add(trace, "me")
    engine.rename(run_id, "the first", "me")
    engine.add(trace_of(1), "you")
    [there] = engine.runs("me")
    assert (there.name, there.parent, there.status, there.step) == (
        "the first",
        ("another run", 2),
        "done",
        40,
    )
    assert (there.trace.steps, there.trace.images) == ((), trace.images)
    assert run_file.equal(last(engine, run_id).trace, trace)  # who follows it gets all of it


def test_who_looks_late_gets_all_of_a_run_that_went_to_the_disk_meanwhile(make):
    engine = make(limits=Limits(keep_bytes=FEW))
    run_id = engine.add(trace_of(), "me")
    seen = engine.follow(run_id)  # nothing of it was looked at yet
    engine.add(trace_of(1), "you")
    assert engine.runs("me")[0].trace.steps == ()
    assert run_file.equal(list(seen)[-1].trace, trace_of())


def test_many_who_ask_for_more_than_there_is_room_for_are_all_served(make):
    engine = make(limits=Limits(keep_bytes=FEW))
    ids = [engine.add(trace_of(i), "me") for i in range(4)]
    served = []

    def ask(run_id):
        for _ in range(5):
            served.append(len(engine.trace(run_id).steps))

    threads = [threading.Thread(target=ask, args=(run_id,), daemon=True) for run_id in ids]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert served == [40] * 20


def test_a_paused_run_goes_on_and_is_forked_from_the_disk(make):
    engine = make(limits=Limits(keep_bytes=ONE))
    ids = [engine.start(S, "me", until=k, group="a race") for k in (1, 2)]
    for run_id in ids:
        last(engine, run_id)
    engine.add(trace_of(), "you")
    assert [(there.status, there.trace.steps) for there in engine.runs("me")] == [("paused", ())] * 2
    fork = engine.fork(ids[0], 1, S, "me")
    engine.go_on(ids[1])
    for run_id in (fork, ids[1]):
        there = last(engine, run_id)
        assert (there.status, len(there.trace.steps)) == ("done", 4)
    assert last(engine, ids[1]).group == "a race"


def test_the_folder_is_private_and_goes_with_the_engine(make):
    engine = make(limits=Limits(keep_bytes=FEW))
    for i in range(3):
        engine.add(trace_of(i), "me")
    folder = engine._store._folder
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert all("latent-darkroom" in str(path) for path in files(engine))
    engine.close()
    assert not folder.exists()


def test_the_oldest_files_go_when_the_disk_is_full_and_their_runs_with_them(make):
    engine = make(limits=Limits(keep_bytes=FEW, spill_bytes=3 * ONE))
    ids = [engine.add(trace_of(i), "me") for i in range(6)]
    assert sum(path.stat().st_size for path in files(engine)) <= 3 * ONE
    gone = [run_id for run_id in ids if run_id not in [there.id for there in engine.runs("me")]]
    assert gone == ids[: len(gone)] and 0 < len(gone) < 5
    for run_id in gone:
        assert message(engine.trace, run_id) == GONE
    for run_id in ids[len(gone) :]:
        assert engine.trace(run_id).steps


def test_a_file_that_cannot_be_read_is_a_sentence_and_its_run_is_not_kept(make):
    engine = make(limits=Limits(keep_bytes=FEW))
    ids = [engine.add(trace_of(i), "me") for i in range(3)]
    broken, missing = files(engine)
    broken.write_bytes(b"no run")
    missing.unlink()
    for run_id in ids[:2]:
        said = message(engine.trace, run_id)
        assert said == "This run was put on the disk when memory was short, and cannot be read back."
        assert message(engine.trace, run_id) == GONE
    assert engine.trace(ids[2])
    assert files(engine) == []


def test_a_run_that_cannot_be_written_is_dropped(make, monkeypatch):
    engine = make(limits=Limits(keep_bytes=FEW))

    def save(trace, path):
        raise LdmError("the disk is full.")

    monkeypatch.setattr("ldm.run_file.save", save)
    ids = [engine.add(trace_of(i), "me") for i in range(2)]
    assert message(engine.trace, ids[0]) == GONE
    assert engine.trace(ids[1])


def test_deleting_a_run_removes_its_file(make):
    engine = make(limits=Limits(keep_bytes=FEW))
    ids = [engine.add(trace_of(i), "me") for i in range(3)]
    assert len(files(engine)) == 2
    engine.delete(ids[0], "me")
    assert len(files(engine)) == 1
    engine.delete(ids[2], "me")
    assert engine.trace(ids[1])


def test_reading_a_run_back_keeps_nobody_waiting(make, monkeypatch):
    engine = make(limits=Limits(keep_bytes=FEW))
    first, _ = (engine.add(trace_of(i), "me") for i in range(2))
    reads, may = threading.Event(), threading.Event()
    load = run_file.load

    def slow(path):
        reads.set()
        assert may.wait(20)
        return load(path)

    monkeypatch.setattr("ldm.run_file.load", slow)
    found = []
    reader = threading.Thread(target=lambda: found.append(engine.trace(first)))
    reader.start()
    assert reads.wait(20)
    assert last(engine, engine.start(S, "you")).status == "done"
    assert len(engine.runs("me")) == 2
    assert found == []
    may.set()
    reader.join(20)
    assert run_file.equal(found[0], trace_of(0))


COSTS = {
    "guided": {},
    "not guided": {"cfg_scale": 1.0},
    "a batch": {"batch_size": 3, "negative_prompt": "a green apple on a white background"},
    "churned": {"sampler": "heun", "s_churn": 20.0},
    "perpendicular": {"cfg_method": "perpendicular", "negative_prompt": "a green apple"},
    "an interval": {"cfg_schedule": "interval", "cfg_start": 0.3, "cfg_stop": 0.6},
    "not square": {"width": 64, "height": 96},
    "restart": {"sampler": "restart"},
    "a long prompt": {"prompt": "a red circle above a blue square " * 9},
}


@pytest.mark.parametrize("changes", COSTS.values(), ids=COSTS)
def test_what_a_run_costs_is_foretold(model, changes):
    settings = dataclasses.replace(Settings("a red circle", steps=12, width=64, height=64), **changes)
    real = size_of(run(model, settings))
    assert 0.95 * real <= cost(model, settings) <= 1.15 * real


def test_what_a_run_from_a_picture_costs_is_foretold(model):
    settings = Settings("a red circle", steps=12, width=64, height=64, strength=0.5)
    steps = list(generate(model, settings, init_image=PICTURE))
    real = size_of(finish(model, settings, steps, 0.0, init_image=PICTURE))
    assert 0.95 * real <= cost(model, settings, from_picture=True) <= 1.15 * real
    assert cost(model, settings) > 1.5 * real


@pytest.mark.parametrize(
    "changes",
    [{"attention_resolutions": (1,)}, {"attention_resolutions": (), "transformer_depth_middle": 2}],
)
def test_attention_is_counted_where_the_network_has_it(changes):
    other = tiny_model(unet=dataclasses.replace(tiny_config().unet, **changes))
    settings = Settings("a red circle", steps=3, width=64, height=64)
    real = size_of(run(other, settings))
    assert 0.95 * real <= cost(other, settings) <= 1.15 * real


def test_maps_that_are_made_smaller_cost_less(model, monkeypatch):
    settings = Settings("a red circle", steps=3, width=64, height=64)
    whole = cost(model, settings)
    for module in ("ldm.engine.size", "ldm.generation.record"):
        monkeypatch.setattr(f"{module}.MAX_MAP", 200)
    real = size_of(run(model, settings))
    assert 0.95 * real <= cost(model, settings) <= 1.15 * real < whole


def test_the_engine_says_what_a_run_costs_and_refuses_what_cannot_be_drawn(make, model):
    engine = make()
    engine.model = model
    assert engine.cost(Settings("a red circle", steps=4, width=64, height=64)) > 0
    assert message(engine.cost, Settings("a red circle", width=72, height=64)).startswith("width must be")


def test_files_are_named_by_nothing_that_opens_a_run(make):
    engine = make(limits=Limits(keep_bytes=FEW))
    ids = [engine.add(trace_of(i), "me") for i in range(3)]
    assert [Path(path).suffix for path in files(engine)] == [".safetensors"] * 2
    assert not any(run_id in path.name for run_id in ids for path in files(engine))
