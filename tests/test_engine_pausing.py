"""Runs that are paused, taken up, stepped through and forked, by the engine with a real, tiny network."""

import dataclasses
import pickle

import pytest
from PIL import Image

from ldm import finish, resume, run, run_file
from ldm.checkpoints import save
from ldm.engine import Engine, Limits
from ldm.errors import LdmError, SettingsError
from ldm.generation import way_on
from ldm.settings import Settings

from .conftest import tiny_model
from .test_engine import last, message

S = Settings("a red circle above a blue square", steps=6, width=32, height=32)
PICTURE = Image.radial_gradient("L").resize((32, 32)).convert("RGB")
MASK = Image.new("L", (32, 32))
MASK.paste(255, (8, 4, 24, 20))
HOLE = {"init_image": PICTURE, "mask": MASK}


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save(tiny_model(), path)
    return path


@pytest.fixture(scope="module")
def engine(weights):
    made = Engine(weights, device="cpu", limits=Limits(per_owner=8))
    yield made
    made.close()


def timeless(trace):
    return dataclasses.replace(trace, seconds=0.0)


def same(a, b):
    """Everything but how long it took."""
    return run_file.equal(timeless(a), timeless(b))


SAMPLERS = ["dpmpp_2m", "euler_ancestral", "unipc", "restart"]


@pytest.mark.parametrize("given", [{}, HOLE], ids=["from noise", "from a picture with a mask"])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_run_that_was_paused_has_the_bits_of_an_unbroken_one(engine, sampler, given):
    settings = dataclasses.replace(S, sampler=sampler, strength=0.7, seed=3)
    whole = run(engine.model, settings, **given)
    run_id = engine.start(settings, "me", **given, until=1)
    for k in (1, 2):
        there = last(engine, run_id)
        assert (there.status, there.step, there.resting, there.over) == ("paused", k, True, False)
        assert (len(there.trace.steps), there.trace.images, there.trace.finished) == (k, (), False)
        engine.go_on(run_id, steps=1)
    assert last(engine, run_id).status == "paused"
    engine.go_on(run_id)
    there = last(engine, run_id)
    assert (there.status, there.step) == ("done", len(whole.steps))
    assert same(there.trace, whole)
    assert there.trace.seconds > 0


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_fork_is_what_resume_makes_however_often_it_is_paused(engine, sampler):
    parent = engine.start(S, "me")
    trace = last(engine, parent).trace
    changed = dataclasses.replace(S, prompt="a green apple", sampler=sampler, steps=9)
    at = 2
    steps = [*trace.steps[:at], *resume(engine.model, trace, at, changed)]
    told = {"parent": (parent, at), "sigmas": way_on(engine.model, trace, at, changed)}
    expected = finish(engine.model, changed, steps, 0.0, **told)
    fork = engine.fork(parent, at, changed, "me", until=at + 1, group="a race")
    there = last(engine, fork)
    assert (there.status, there.step, there.steps) == ("paused", 3, len(steps))
    assert (there.parent, there.group) == ((parent, at), "a race")
    engine.go_on(fork, steps=2)
    last(engine, fork)
    engine.go_on(fork)
    there = last(engine, fork)
    assert (there.status, there.step) == ("done", there.steps)
    assert same(there.trace, expected)
    again = engine.fork(fork, 4, changed, "me")
    assert last(engine, again).parent == (fork, 4)
    assert same(dataclasses.replace(engine.trace(again), parent=expected.parent), expected)


def test_a_fork_with_nothing_changed_has_the_bits_of_its_parent(engine):
    trace = last(engine, parent := engine.start(S, "me")).trace
    for at in (0, 3, 5):
        forked = last(engine, engine.fork(parent, at, S, "you")).trace
        assert forked.parent == (parent, at)
        assert same(dataclasses.replace(forked, parent=None, sigmas=None), trace)


def test_a_paused_run_can_be_forked_before_and_after_its_last_step(engine):
    whole = run(engine.model, S)
    paused = engine.start(S, "me", until=3)
    last(engine, paused)
    for at in (1, 3):
        forked = last(engine, engine.fork(paused, at, S, "me")).trace
        assert same(dataclasses.replace(forked, parent=None, sigmas=None), whole)
    said = message(engine.fork, paused, 4, S, "me", kind=SettingsError)
    assert said == "at must be between 0 and 3, the steps made; got 4."


def test_a_fork_with_a_mask_keeps_the_rest_of_the_picture_it_came_from(engine):
    trace = last(engine, parent := engine.start(S, "me")).trace
    fork = engine.fork(parent, 2, dataclasses.replace(S, seed=9), "me", mask=MASK, until=4)
    assert last(engine, fork).status == "paused"
    engine.go_on(fork)
    made = last(engine, fork).trace
    black = MASK.point(lambda value: 255 - value)
    nothing = Image.new("RGB", (32, 32))
    ours, theirs = (Image.composite(t.images[0], nothing, black) for t in (made, trace))
    assert ours.tobytes() == theirs.tobytes()
    assert made.images[0].tobytes() != trace.images[0].tobytes()
    assert made.init_image.tobytes() == trace.images[0].tobytes()
    rest = resume(engine.model, trace, 2, dataclasses.replace(S, seed=9), mask=MASK)
    assert same(made, dataclasses.replace(made, steps=(*trace.steps[:2], *rest)))


@pytest.mark.parametrize("given", [{}, {"init_image": PICTURE}], ids=["noise", "picture"])
def test_a_run_paused_before_its_first_step_starts_from_its_settings(engine, given):
    busy = engine.start(dataclasses.replace(S, steps=40), "me")
    run_id = engine.start(S, "me", **given)
    engine.pause(run_id)
    engine.stop(busy)
    there = last(engine, run_id)
    assert (there.status, there.step, there.trace) == ("paused", 0, None)
    assert message(engine.trace, run_id) == "This run has no steps to show."
    engine.go_on(run_id)
    assert same(last(engine, run_id).trace, run(engine.model, S, **given))


def test_a_fork_paused_before_its_own_first_step_has_its_parents_steps(engine):
    whole = last(engine, parent := engine.start(S, "me")).trace
    busy = engine.start(dataclasses.replace(S, steps=40), "me")
    forks = [engine.fork(parent, at, S, "me") for at in (0, 2)]
    for fork in forks:
        engine.pause(fork)
    engine.stop(busy)
    none, two = (last(engine, fork) for fork in forks)
    assert (none.status, none.step, none.trace) == ("paused", 0, None)
    assert (two.status, two.step, len(two.trace.steps)) == ("paused", 2, 2)
    engine.delete(parent, "me")
    for fork in forks:
        engine.go_on(fork)
        made = dataclasses.replace(last(engine, fork).trace, parent=None, sigmas=None)
        assert same(made, whole)


def test_a_paused_run_that_is_stopped_keeps_its_steps_and_gets_a_picture(engine):
    run_id = engine.start(S, "me", until=3)
    last(engine, run_id)
    engine.stop(run_id)
    there = last(engine, run_id)
    assert (there.status, there.step, there.trace.finished) == ("stopped", 3, False)
    steps = list(run(engine.model, S).steps[:3])
    assert same(there.trace, finish(engine.model, S, steps, 0.0, finished=False))
    said = message(engine.go_on, run_id)
    assert said == "This run is over and does not go on; branch off it instead."
    whole = last(engine, engine.fork(run_id, 3, S, "me")).trace
    assert same(dataclasses.replace(whole, parent=None, sigmas=None), run(engine.model, S))


def test_in_another_process_the_rest_of_a_run_and_a_fork_have_the_same_bits(weights):
    def on_device(function):
        def away(*given):
            return function(*pickle.loads(pickle.dumps(given)))

        return away

    engine = Engine(weights, device="cpu", on_device=on_device)
    try:
        settings = dataclasses.replace(S, sampler="dpmpp_2m")
        whole = run(engine.model, settings, **HOLE)
        run_id = engine.start(settings, "me", **HOLE, until=2)
        last(engine, run_id)
        fork = engine.fork(run_id, 1, settings, "me")
        engine.go_on(run_id)
        assert same(last(engine, run_id).trace, whole)
        forked = dataclasses.replace(last(engine, fork).trace, parent=None, sigmas=None)
        assert same(forked, whole)
        stopped = engine.fork(run_id, 1, settings, "me", until=2)
        last(engine, stopped)
        engine.stop(stopped)
        assert len(last(engine, stopped).trace.images) == 1
    finally:
        engine.close()


def test_a_run_without_steps_is_not_paused(engine):
    run_id = engine.start(dataclasses.replace(S, strength=0), "me", PICTURE, until=1)
    engine.pause(run_id)
    there = last(engine, run_id)
    assert (there.status, len(there.trace.images)) == ("done", 1)


def test_what_cannot_be_forked_is_said_before_it_waits(engine):
    trace = last(engine, parent := engine.start(S, "me")).trace
    for changes, given, said in (
        ({"width": 64}, {}, "width must stay 32 when a run is taken up again, got 64."),
        ({"steps": 2}, {}, "steps must be more than 2, the steps already made; got 2."),
        ({}, {"until": 2}, "until must be a whole number of at least 3, got 2."),
        ({}, {"init_image": PICTURE}, "A run that is taken up keeps a part of a picture: "),
    ):
        settings = dataclasses.replace(S, **changes)
        refused = message(engine.fork, parent, 2, settings, "nobody", kind=SettingsError, **given)
        assert refused.startswith(said)
    assert engine.runs("nobody") == []
    empty = engine.add(dataclasses.replace(trace, steps=()), "me")
    assert message(engine.fork, empty, 0, S, "me") == (
        "The run made no step, so there is none to take it up at."
    )
    for call in (engine.pause, engine.go_on):
        with pytest.raises(LdmError, match="not kept any more"):
            call("no such id")


def test_a_run_from_a_file_can_be_forked_where_it_was_paused(engine, tmp_path):
    last(engine, paused := engine.start(S, "me", until=2))
    run_file.save(engine.trace(paused), tmp_path / "run.safetensors")
    there = engine.add(run_file.load(tmp_path / "run.safetensors"), "me")
    made = last(engine, engine.fork(there, 2, S, "me")).trace
    assert same(dataclasses.replace(made, parent=None, sigmas=None), run(engine.model, S))
