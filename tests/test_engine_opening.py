"""Another model in place of the one that is open."""

import gc
import weakref

import pytest

from ldm import checkpoints
from ldm.engine import Engine, Limits, Opened
from ldm.errors import CheckpointError, LdmError
from ldm.settings import Settings

from .conftest import tiny_model

S = Settings("a red circle", steps=4, width=32, height=32)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Two models of the same sizes and other weights."""
    folder = tmp_path_factory.mktemp("weights")
    for seed, name in enumerate(("first", "second")):
        checkpoints.save(tiny_model(seed, name=name), folder / f"{name}.safetensors")
    return folder


@pytest.fixture
def engine(files):
    made = Engine(files / "first.safetensors", device="cpu")
    yield made
    made.close()


def drawn(engine, settings=S):
    *_, last = engine.follow(engine.start(settings, "me"))
    return last.trace


def test_another_model_draws_from_then_on_and_the_first_one_again(engine, files):
    before = drawn(engine)
    engine.open(Opened(files / "second.safetensors"))
    other = drawn(engine)
    assert (before.model_name, other.model_name, engine.model.name) == ("first", "second", "second")
    assert before.images[0].tobytes() != other.images[0].tobytes()
    engine.open(Opened(files / "first.safetensors"))
    assert drawn(engine).images[0].tobytes() == before.images[0].tobytes()


def test_what_cannot_be_opened_changes_nothing(engine, files, tmp_path):
    before = drawn(engine)
    (tmp_path / "broken.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{")
    for path in (tmp_path / "broken.safetensors", tmp_path / "missing.safetensors"):
        with pytest.raises(CheckpointError, match=path.name):
            engine.open(Opened(path))
        assert engine.opened.path == files / "first.safetensors"
        assert drawn(engine).images[0].tobytes() == before.images[0].tobytes()


def test_the_memory_of_the_old_model_is_given_back(engine, files):
    old = engine.model
    weight = weakref.ref(old.model.diffusion_model.out[2].weight)
    numbers = sum(p.numel() for p in old.parameters())
    engine.open(Opened(files / "second.safetensors"))
    gc.collect()
    assert numbers > 1000
    assert sum(p.numel() for p in old.model.parameters()) == 0  # though somebody holds the model still
    assert weight() is None or weight().numel() == 0


def test_a_paused_run_waits_for_its_own_model(engine, files):
    run_id = engine.start(S, "me", until=2)
    list(engine.follow(run_id))
    engine.open(Opened(files / "second.safetensors"))
    with pytest.raises(LdmError, match=r"^This run was begun with first, and second is open now\."):
        engine.go_on(run_id)
    assert engine.trace(run_id).model_name == "first"
    engine.open(Opened(files / "first.safetensors"))
    engine.go_on(run_id)
    *_, last = engine.follow(run_id)
    assert last.status == "done" and last.trace.images[0].tobytes() == drawn(engine).images[0].tobytes()


def test_a_run_of_another_model_can_be_taken_up_by_this_one(engine, files):
    run_id = engine.start(S, "me")
    list(engine.follow(run_id))
    engine.open(Opened(files / "second.safetensors"))
    *_, last = engine.follow(engine.fork(run_id, 2, S, "me"))
    assert last.trace.model_name == "second" and len(last.trace.steps) == 4


def test_a_server_may_keep_its_model(files):
    engine = Engine(files / "first.safetensors", device="cpu", limits=Limits(switching=False))
    try:
        with pytest.raises(
            LdmError, match=r"^This server keeps first; start your own to open another model\.$"
        ):
            engine.open(Opened(files / "second.safetensors"))
    finally:
        engine.close()


def test_a_type_that_is_none_is_refused(engine, files):
    with pytest.raises(LdmError, match="dtype"):
        engine.open(Opened(files / "second.safetensors", dtype="float8"))
    engine.open(Opened(files / "second.safetensors", dtype="float32"))
    assert str(engine.model.dtype) == "torch.float32"


def test_a_paused_run_that_is_stopped_after_another_model_came_keeps_its_steps(engine, files):
    run_id = engine.start(S, "me", until=2)
    list(engine.follow(run_id))
    engine.open(Opened(files / "second.safetensors"))
    engine.stop(run_id)
    *_, last = engine.follow(run_id)
    assert last.status == "stopped"
    trace = engine.trace(run_id)
    assert (trace.model_name, len(trace.steps), trace.images) == ("first", 2, ())


def test_weights_of_the_same_name_are_not_taken_for_those_a_run_was_begun_with(tmp_path):
    for seed, folder in enumerate(("a", "b")):
        (tmp_path / folder).mkdir()
        checkpoints.save(tiny_model(seed, name="same"), tmp_path / folder / "same.safetensors")
    engine = Engine(tmp_path / "a" / "same.safetensors", device="cpu")
    try:
        run_id = engine.start(S, "me", until=2)
        list(engine.follow(run_id))
        for other in (
            Opened(tmp_path / "b" / "same.safetensors"),
            Opened(tmp_path / "a" / "same.safetensors", dtype="float32"),
        ):
            engine.open(other)
            with pytest.raises(
                LdmError, match=r"^This run was begun with other weights that are called same too"
            ):
                engine.go_on(run_id)
        engine.open(Opened(tmp_path / "a" / "same.safetensors"))
        engine.go_on(run_id)
        *_, last = engine.follow(run_id)
        assert last.status == "done"
    finally:
        engine.close()
