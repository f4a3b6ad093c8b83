"""Who may pause, take up, name and delete a run, and what the page sees: with runs that wait for the test."""

import contextlib
import dataclasses
import threading

import pytest
from PIL import Image

from ldm.engine import Limits
from ldm.engine.records import MOST_FRAMES, Job
from ldm.errors import LdmError, SettingsError

from .fakes import FakeDraft, Pace
from .test_engine import GONE, QUICK, WEAK, S, last, message, until
from .traces import make_trace

LONG = dataclasses.replace(S, steps=12)


@pytest.fixture
def pace():
    return Pace(open=False)


def stepped(engine, pace, count=1, owner="me"):
    """Let the newest run of an owner make some steps."""
    before = engine.runs(owner)[0].step
    pace.step(count)
    until(lambda: engine.runs(owner)[0].step == before + count)


def paused(engine, pace, settings=LONG, owner="me", **given):
    """A run that rests after its second step."""
    run_id = engine.start(settings, owner, **given)
    stepped(engine, pace, 1, owner)
    engine.pause(run_id)
    pace.step()
    assert last(engine, run_id).status == "paused"
    return run_id


def test_a_run_pauses_after_the_step_it_is_in_and_the_page_sees_that_step(make, pace):
    engine = make()
    run_id = engine.start(LONG, "me")
    followed = engine.follow(run_id)
    stepped(engine, pace)
    engine.pause(run_id)
    pace.step()
    seen = list(followed)
    assert (seen[-1].status, seen[-1].step, pace.made) == ("paused", 2, 2)
    assert [number for number, _ in seen[-1].frames] == [1, 2]  # however soon after the first one
    assert seen[-1].preview is seen[-1].frames[-1][1]
    assert seen[-1].preview[0].size == (64, 64)


def test_what_pauses_at_a_step_shows_that_step_too(make, pace):
    engine = make()
    pace.open = True
    there = last(engine, run_id := engine.start(LONG, "me", until=5))
    assert (there.status, there.step, there.frames[0][0], there.frames[-1][0]) == ("paused", 5, 1, 5)
    engine.go_on(run_id, steps=1)
    there = last(engine, run_id)
    assert (there.step, there.frames[-1][0]) == (6, 6)
    engine.go_on(run_id, steps=100)  # more than are left
    there = last(engine, run_id)
    assert (there.status, there.step, there.frames) == ("done", 12, ())


def test_while_a_run_is_paused_others_are_drawn_and_its_time_stands_still(make, pace):
    engine = make()
    run_id = paused(engine, pace)
    first = engine.runs("me")[0].seconds
    pace.open = True
    pace.step()
    assert last(engine, engine.start(S, "you")).status == "done"
    assert engine.runs("me")[0].seconds == first > 0
    engine.go_on(run_id)
    assert last(engine, run_id).seconds > first
    assert pace.at_once == 1


def test_a_run_that_goes_on_waits_for_its_turn(make, pace):
    engine = make()
    run_id = paused(engine, pace)
    other = engine.start(S, "you")
    until(lambda: engine.runs("you")[0].status == "running")
    engine.go_on(run_id)
    assert (engine.runs("me")[0].status, engine.runs("me")[0].ahead) == ("waiting", 1)
    assert len(engine.trace(run_id).steps) == 2
    engine.pause(run_id)
    assert (engine.runs("me")[0].status, len(engine.runs("me")[0].trace.steps)) == ("paused", 2)
    engine.go_on(run_id)
    engine.stop(run_id)  # its picture is made when its turn comes, and no step
    pace.step(4)
    there = last(engine, run_id)
    assert (there.status, there.step, len(there.trace.images)) == ("stopped", 2, 1)
    assert last(engine, other).status == "done"
    assert pace.made == 6


def test_going_on_before_the_step_is_over_takes_the_pause_back(make, pace):
    engine = make()
    run_id = engine.start(S, "me")
    stepped(engine, pace)
    engine.pause(run_id)
    engine.go_on(run_id)
    pace.step(3)
    assert last(engine, run_id).status == "done"
    run_id = engine.start(S, "me")
    stepped(engine, pace)
    engine.go_on(run_id, steps=2)
    pace.step(2)
    assert last(engine, run_id).step == 3


def test_a_pause_asked_for_in_the_last_step_does_nothing(make, pace):
    engine = make()
    run_id = engine.start(S, "me")
    stepped(engine, pace, 3)
    engine.pause(run_id)
    pace.step()
    assert last(engine, run_id).status == "done"
    engine.pause(run_id)
    assert last(engine, run_id).status == "done"


def test_the_steps_of_a_running_run_can_be_looked_at_and_forked(make, pace):
    engine = make()
    run_id = engine.start(LONG, "me")
    stepped(engine, pace, 3)
    so_far = engine.trace(run_id)
    assert (len(so_far.steps), so_far.finished, so_far.images) == (3, False, ())
    fork = engine.fork(run_id, 2, LONG, "you")
    there = engine.runs("you")[0]
    assert (there.status, there.step, there.parent) == ("waiting", 2, (run_id, 2))
    assert [number for number, _ in there.frames] == [1]
    assert all(a is b for a, b in zip(engine.trace(fork).steps, so_far.steps[:2], strict=True))
    pace.step(9 + 10)
    assert last(engine, run_id).status == "done"
    assert last(engine, fork).step == 12


def test_a_paused_run_takes_no_place_and_going_on_and_forking_do(make, pace):
    engine = make(limits=Limits(per_owner=1, per_local=1))
    run_id = paused(engine, pace, visitor="8.8.8.8")
    other = engine.start(S, "me", visitor="8.8.8.8")
    said = "You have 1 runs waiting or running. Let one end, or stop it."
    assert message(engine.go_on, run_id) == said
    assert message(engine.go_on, run_id, visitor="8.8.8.8") == said
    assert message(engine.fork, run_id, 1, LONG, "a", visitor="8.8.8.8") == said
    assert last(engine, run_id).status == "paused"
    engine.go_on(run_id, visitor="9.9.9.9")
    assert message(engine.fork, run_id, 1, LONG, "b", visitor="9.9.9.9") == said
    pace.step(14)
    assert [last(engine, r).status for r in (other, run_id)] == ["done", "done"]


def test_too_much_work_is_refused_of_a_fork_too(make, pace):
    engine = make(limits=Limits(work=12 * 64 * 64))
    run_id = paused(engine, pace)
    said = message(engine.fork, run_id, 1, dataclasses.replace(LONG, steps=13), "me", kind=SettingsError)
    assert said == "steps times batch_size must be at most 12 at 64 x 64, got 13 x 1 = 13."


@pytest.mark.parametrize("count", [0, True, 1.5, "2"])
def test_a_number_of_steps_that_is_none_is_a_sentence(make, pace, count):
    engine = make()
    run_id = paused(engine, pace)
    said = f"must be a whole number of at least 1, got {count!r}."
    assert message(engine.go_on, run_id, count, kind=SettingsError) == f"steps {said}"
    assert message(engine.start, S, "me", until=count, kind=SettingsError) == f"until {said}"


def test_names_are_one_line_and_only_the_owner_gives_them(make, pace):
    engine = make()
    run_id = paused(engine, pace)
    engine.rename(run_id, "  the\nred \x00one\u202e ", "me")
    assert engine.runs("me")[0].name == "the red one"
    assert message(engine.rename, run_id, "mine", "you") == "This run is somebody else's."
    said = "name must have at most 80 letters, got 81."
    assert message(engine.rename, run_id, "a" * 81, "me", kind=SettingsError) == said
    assert message(engine.rename, run_id, None, "me", kind=SettingsError) == "name must be text, got None."
    assert last(engine, run_id).name == "the red one"
    engine.rename(run_id, "", "me")
    assert engine.runs("me")[0].name == ""


def test_only_the_owner_deletes_a_run_and_its_forks_stay_whole(make, pace):
    engine = make()
    run_id = paused(engine, pace)
    fork = engine.fork(run_id, 2, LONG, "you")
    assert message(engine.delete, run_id, "you") == "This run is somebody else's."
    engine.delete(run_id, "me")
    assert engine.runs("me") == []
    for call in (engine.trace, engine.follow, engine.pause, engine.go_on, engine.stop):
        assert message(call, run_id) == GONE
    pace.step(10)
    assert len(last(engine, fork).trace.steps) == 12
    assert engine.runs("you")[0].parent == (run_id, 2)


def test_deleting_a_run_that_waits_or_runs_stops_it(make, pace):
    engine = make()
    ids = [engine.start(S, "me") for _ in range(3)]
    until(lambda: engine.runs("me")[-1].status == "running")
    followed = [engine.follow(run_id) for run_id in ids[:2]]
    assert [next(f).status for f in followed] == ["running", "waiting"]
    engine.delete(ids[0], "me")
    engine.delete(ids[1], "me")
    assert [run.id for run in engine.runs("me")] == ids[2:]
    pace.step(5)
    ends = [list(f)[-1] for f in followed]
    assert [(end.status, end.trace) for end in ends] == [("stopped", None)] * 2
    assert last(engine, ids[2]).status == "done"
    assert pace.made == 5


def test_the_draft_takes_up_and_forks_its_own_runs(make, pace):
    engine = make(draft=FakeDraft())
    run_id = paused(engine, pace, QUICK, draft=True)
    fork = engine.fork(run_id, 1, QUICK, "me")
    engine.go_on(run_id)
    pace.step(5)
    assert [last(engine, r).trace.model_name for r in (run_id, fork)] == ["tiny draft"] * 2
    assert [last(engine, r).draft for r in (run_id, fork)] == [True, True]
    assert pace.models == ["tiny draft"] * 3


def test_a_run_from_a_picture_is_taken_up_with_its_own(make, pace):
    engine = make()
    photo = Image.new("RGB", (640, 480), "red")
    run_id = paused(engine, pace, dataclasses.replace(WEAK, steps=12), init_image=photo)
    assert engine.runs("me")[0].steps == 6
    engine.go_on(run_id)
    pace.step(4)
    there = last(engine, run_id)
    assert (there.status, there.step, there.from_picture) == ("done", 6, True)
    assert (there.trace.init_image.size, pace.pictures[-1]) == ((64, 64), (None, None))


def test_an_error_in_a_later_turn_reaches_the_follower(make, pace):
    engine = make()
    run_id = paused(engine, pace)
    pace.fails = ZeroDivisionError("by zero")
    engine.go_on(run_id)
    pace.step()
    assert message(list, engine.follow(run_id)) == "The run broke off: ZeroDivisionError: by zero"
    assert message(engine.go_on, run_id) == "This run is over and does not go on; branch off it instead."


def test_a_run_that_is_stopped_in_the_step_it_should_pause_after_is_stopped(make, pace):
    engine = make()
    run_id = engine.start(LONG, "me", until=2)
    stepped(engine, pace)
    engine.stop(run_id)
    pace.step()
    there = last(engine, run_id)
    assert (there.status, len(there.trace.steps), len(there.trace.images)) == ("stopped", 2, 1)


def test_pausing_and_going_on_at_any_moment_loses_no_step(make, pace):
    engine = make()
    pace.open = True
    settings = dataclasses.replace(S, steps=300)
    run_id, over = engine.start(settings, "me"), threading.Event()

    def nervous():
        while not over.is_set():
            engine.pause(run_id)
            with contextlib.suppress(LdmError):  # it is over
                engine.go_on(run_id)

    thread = threading.Thread(target=nervous)
    thread.start()
    turns = 0
    while (there := last(engine, run_id)).status != "done":
        turns += 1
    over.set()
    thread.join(20)
    assert [step.index for step in there.trace.steps] == list(range(300))
    assert pace.made == 300


def test_of_many_previews_every_other_one_is_let_go():
    job = Job("me", S, len)
    image = (Image.new("RGB", (8, 8)),)
    for step in make_trace(steps=500, attention=False).steps:
        job.add(step)
        job.show(image, "the linear map")
        numbers = [number for number, _ in job.frames]
        assert (numbers[0], numbers[-1]) == (1, job.step)
        assert len(numbers) <= MOST_FRAMES
    assert len(numbers) >= MOST_FRAMES / 2
