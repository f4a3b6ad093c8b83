import dataclasses
import pickle
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ldm.checkpoints import save
from ldm.checkpoints.preview import load_preview, save_preview
from ldm.engine import LOCAL, Engine, Limits, choose
from ldm.engine.size import size_of
from ldm.errors import CheckpointError, LdmError, SettingsError
from ldm.images import to_images
from ldm.models.preview import PreviewConfig, PreviewDecoder
from ldm.settings import Settings

from .conftest import tiny_model
from .fakes import FakeDraft, Pace
from .traces import make_trace

S = Settings("an apple", steps=4, width=64, height=64)
GONE = (
    "This run is not kept any more. Runs are kept for 2 hours after they were last looked at, "
    "and the oldest go first when memory is short."
)


@pytest.fixture
def pace():
    return Pace()


def until(condition):
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.005)


def last(engine, run_id):
    return list(engine.follow(run_id))[-1]


def message(call, *args, kind=LdmError, **kwargs):
    with pytest.raises(kind) as error:
        call(*args, **kwargs)
    return str(error.value)


def test_the_last_snapshot_carries_the_trace(make):
    engine = make()
    run = last(engine, engine.start(S, "me"))
    assert (run.status, run.step, run.over) == ("done", 4, True)
    assert run.trace is engine.trace(run.id)
    assert run.trace.settings is S
    assert len(run.trace.steps) == 4


def test_the_first_step_is_shown_at_once_and_the_others_at_most_ten_times_a_second(make, pace):
    pace.open = False
    engine = make()
    followed = engine.follow(engine.start(S, "me"))
    pace.step()
    while not (run := next(followed)).preview:
        assert run.step <= 1  # made, and being decoded
    assert run.step == 1
    assert run.preview[0].size == (64, 64)
    began = time.monotonic()
    pace.step(3)
    rest = list(followed)
    assert [r.step for r in rest][-1] == 4
    assert len(rest) <= 2 + (time.monotonic() - began) / 0.1


def test_previews_that_take_long_come_less_often(make, pace, monkeypatch):
    monkeypatch.setattr("ldm.engine.turn.PREVIEW_SHARE", 1e-6)
    pace.open = False
    engine = make()
    followed = engine.follow(engine.start(S, "me"))
    pace.step()
    while not next(followed).preview:
        pass
    time.sleep(0.15)
    pace.step(3)
    rest = list(followed)
    assert [run.step for run in rest] == [4]


def test_two_followers_see_the_same_run(make):
    engine = make()
    run_id = engine.start(S, "me")
    seen = []
    threads = [threading.Thread(target=lambda: seen.append(last(engine, run_id))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert [run.trace for run in seen] == [engine.trace(run_id)] * 2


def test_a_run_goes_on_when_its_follower_leaves(make, pace):
    pace.open = False
    engine = make()
    run_id = engine.start(S, "me")
    followed = engine.follow(run_id)
    next(followed)
    followed.close()
    pace.step(4)
    assert last(engine, run_id).status == "done"


def test_time_left_is_measured_on_the_run_itself(make, pace):
    pace.open = False
    engine = make()
    run_id = engine.start(S, "me")
    pace.step()
    until(lambda: engine.runs("me")[0].step == 1)
    assert engine.runs("me")[0].seconds_left is None
    time.sleep(0.1)
    pace.step()
    until(lambda: engine.runs("me")[0].step == 2)
    assert 0.15 < engine.runs("me")[0].seconds_left < 30
    pace.step(2)
    assert last(engine, run_id).seconds_left is None


def test_stop_ends_within_one_step_and_keeps_what_there_is(make, pace):
    pace.open = False
    engine = make()
    run_id = engine.start(S, "me")
    pace.step()
    until(lambda: engine.runs("me")[0].step == 1)
    engine.stop(run_id)
    pace.step(3)
    run = last(engine, run_id)
    assert (run.status, pace.made) == ("stopped", 2)
    assert (len(run.trace.steps), run.trace.finished, len(run.trace.images)) == (2, False, 1)


def test_a_waiting_run_that_is_stopped_never_begins(make, pace):
    pace.open = False
    engine = make()
    first, second = engine.start(S, "me"), engine.start(S, "me")
    engine.stop(second)
    assert last(engine, second).status == "stopped"
    assert message(engine.trace, second) == "This run has no steps to show."
    pace.step(4)
    assert last(engine, first).status == "done"
    assert pace.made == 4


def test_stopping_a_run_that_is_over_changes_nothing(make):
    engine = make()
    run_id = engine.start(S, "me")
    assert last(engine, run_id).status == "done"
    engine.stop(run_id)
    assert last(engine, run_id).status == "done"


def test_never_two_runs_on_the_device_even_when_the_first_is_stopped(make, pace):
    pace.open = False
    engine = make(limits=Limits(per_owner=10))
    runs = [engine.start(S, "me") for _ in range(3)]
    until(lambda: engine.runs("me")[-1].status == "running")
    engine.stop(runs[0])
    time.sleep(0.05)
    assert engine.runs("me")[1].status == "waiting"
    pace.step(9)
    assert [last(engine, run).status for run in runs] == ["stopped", "done", "done"]
    assert pace.at_once == 1


def test_a_waiting_run_says_how_many_are_before_it(make, pace):
    pace.open = False
    engine = make()
    first, second = engine.start(S, "me"), engine.start(S, "you")
    until(lambda: engine.runs("me")[0].status == "running")
    assert engine.runs("you")[0].ahead == 1
    pace.step(8)
    assert last(engine, second).ahead == 0
    assert last(engine, first).status == "done"


def test_a_full_queue_says_so(make, pace):
    pace.open = False
    engine = make(limits=Limits(waiting=1))
    engine.start(S, "a")
    until(lambda: engine.runs("a")[0].status == "running")
    engine.start(S, "b")
    assert message(engine.start, S, "c") == "The queue is full: 1 runs are waiting. Try again in a minute."


def test_one_owner_cannot_fill_the_queue(make, pace):
    pace.open = False
    engine = make(limits=Limits(per_owner=2))
    engine.start(S, "me")
    engine.start(S, "me")
    said = message(engine.start, S, "me")
    assert said == "You have 2 runs waiting or running. Let one end, or stop it."
    engine.start(S, "you")


def test_too_much_work_is_refused_with_what_is_allowed(make):
    engine = make(limits=Limits(work=100 * 64 * 64))
    settings = Settings("an apple", steps=51, batch_size=2, width=64, height=64)
    assert message(engine.start, settings, "me", kind=SettingsError) == (
        "steps times batch_size must be at most 100 at 64 x 64, got 51 x 2 = 102."
    )
    engine.start(Settings("an apple", steps=50, batch_size=2, width=64, height=64), "me")


def test_what_the_model_cannot_draw_is_refused_before_it_waits(make):
    settings = Settings("an apple", width=72, height=64)
    assert message(make().start, settings, "me", kind=SettingsError) == (
        "width must be a multiple of 32 for tiny, got 72."
    )


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (SettingsError("eta is wrong."), "eta is wrong."),
        (ZeroDivisionError("by zero"), "The run broke off: ZeroDivisionError: by zero"),
        (torch.OutOfMemoryError("CUDA"), "Memory ran out. Use a smaller picture or a smaller batch."),
        (
            RuntimeError("not enough memory: 9 GB"),
            "Memory ran out. Use a smaller picture or a smaller batch.",
        ),
    ],
)
def test_an_error_in_the_worker_reaches_the_follower_and_the_worker_goes_on(make, pace, error, said):
    engine = make()
    pace.fails = error
    run_id = engine.start(S, "me")
    assert message(list, engine.follow(run_id)) == said
    pace.fails = None
    assert last(engine, engine.start(S, "me")).status == "done"


def test_runs_are_listed_to_their_owner_only_newest_first(make):
    engine = make()
    mine = [engine.start(S, "me") for _ in range(2)]
    yours = engine.start(S, "you")
    assert [run.id for run in engine.runs("me")] == mine[::-1]
    assert [run.id for run in engine.runs("you")] == [yours]
    assert engine.runs("nobody") == []


def test_ids_cannot_be_guessed(make):
    engine = make()
    ids = {engine.start(S, f"owner {i}") for i in range(5)}
    assert len(ids) == 5
    assert min(map(len, ids)) >= 22  # 128 bits


def test_an_unknown_run_is_a_sentence(make):
    engine = make()
    for call in (engine.follow, engine.stop, engine.trace):
        assert message(call, "no such id") == GONE
    assert message(engine.trace, ["not", "even", "text"]) == GONE


def test_old_runs_are_forgotten(make):
    engine = make(limits=Limits(keep_seconds=0.05))
    first = engine.start(S, "me")
    last(engine, first)
    second = engine.start(S, "me")
    last(engine, second)
    time.sleep(0.1)
    assert message(engine.trace, first).startswith("This run is not kept any more.")
    assert engine.trace(second)  # the newest one stays


def test_the_oldest_runs_go_when_memory_and_disk_are_full(make):
    one = size_of(make_trace())
    engine = make(limits=Limits(keep_bytes=2 * one + 1, spill_bytes=0))
    ids = [engine.add(make_trace(seed=i), "me") for i in range(2)]
    engine.trace(ids[0])  # used last, so the other one goes
    ids.append(engine.add(make_trace(seed=2), "me"))
    assert message(engine.trace, ids[1]) == GONE
    assert engine.trace(ids[0])
    assert engine.trace(ids[2])


def test_the_size_of_a_trace_counts_every_tensor_once():
    trace = make_trace(steps=3, guided=False, attention=False)
    one = 4 * 8 * 8 * 4
    assert (
        size_of(trace) == one * (4 + 3) + 3 * 64 * 64
    )  # and its picture; x of 3 steps and the last x_next; x0, which is x0_cond
    assert size_of("no trace") == 0


def test_a_run_made_elsewhere_can_be_kept(make):
    engine = make()
    trace = make_trace(finished=False)
    run = last(engine, engine.add(trace, "me"))
    assert (run.trace, run.status, run.step) == (trace, "stopped", 4)
    assert [r.id for r in engine.runs("me")] == [run.id]


def test_other_work_waits_for_its_turn_and_gives_its_result(make, pace):
    pace.open = False
    engine = make()
    run_id = engine.start(S, "me")
    found = []
    caller = threading.Thread(target=lambda: found.append(engine.call(lambda model: model.name, "me")))
    caller.start()
    time.sleep(0.05)
    assert found == []
    pace.step(4)
    caller.join(20)
    assert found == ["tiny"]
    assert [run.id for run in engine.runs("me")] == [run_id]


def test_errors_of_other_work_are_raised(make):
    def work(model):
        raise SettingsError("no.")

    assert message(make().call, work, "me") == "no."


def test_a_warm_up_is_nobodys_run(make, pace):
    engine = make()
    engine.warm_up()
    until(lambda: pace.made == 2)
    assert engine.runs("") == []


def test_closing_stops_the_run_refuses_the_rest_and_joins(make, pace):
    pace.open = False
    engine = make()
    first, second = engine.start(S, "me"), engine.start(S, "me")
    until(lambda: engine.runs("me")[1].status == "running")
    pace.step(2)
    closing = threading.Thread(target=engine.close)
    closing.start()
    assert message(list, engine.follow(second)) == "The program is closing; this run was not made."
    pace.step(4)
    closing.join(20)
    assert last(engine, first).status == "stopped"
    assert not engine._worker.thread.is_alive()
    assert message(engine.start, S, "me") == "The program is closing and starts nothing new."


def test_everything_on_the_device_goes_through_the_decorator(make):
    decorated = []

    def on_device(function):
        decorated.append(function.__name__)
        return function

    make(on_device=on_device)
    assert decorated == ["_draw_on_device", "_perform_on_device"]


def test_a_folder_without_a_checkpoint_is_a_sentence(tmp_path):
    assert message(choose, tmp_path, kind=CheckpointError) == (
        f"There is no checkpoint in {tmp_path}. "
        "Put one there, name one with --weights, or train one: make train."
    )


def test_ldm_weights_may_name_a_file(monkeypatch, tmp_path):
    monkeypatch.setenv("LDM_WEIGHTS", str(tmp_path / "mine.safetensors"))
    assert choose() == tmp_path / "mine.safetensors"


@pytest.mark.parametrize("problem", [RuntimeError, AssertionError])
def test_a_device_that_is_not_there_is_a_sentence(monkeypatch, tmp_path, problem):
    def load(path, device):
        raise problem("Torch not compiled with CUDA enabled\nmore")

    monkeypatch.setattr("ldm.engine.weights.checkpoints.load", load)
    assert message(Engine, tmp_path / "x.safetensors", device="cuda") == (
        "Device 'cuda' cannot be used here: Torch not compiled with CUDA enabled"
    )


def test_a_missing_weights_file_is_a_sentence(tmp_path):
    said = message(Engine, Path(tmp_path / "none.safetensors"), kind=CheckpointError)
    assert said.startswith(f"There is no checkpoint {tmp_path / 'none.safetensors'}.")


def test_a_visitor_is_limited_under_any_owner_and_this_computer_less(make, pace):
    pace.open = False
    engine = make(limits=Limits(per_owner=1, per_local=2))
    engine.start(S, "a", visitor="8.8.8.8")
    assert message(engine.start, S, "b", visitor="8.8.8.8").startswith("You have 1 runs waiting")
    engine.start(S, "a", visitor=LOCAL)
    engine.start(S, "b", visitor=LOCAL)
    assert message(engine.start, S, "c", visitor=LOCAL).startswith("You have 2 runs waiting")
    assert [len(engine.runs(owner)) for owner in "abc"] == [2, 1, 0]


def test_so_many_may_follow_and_who_leaves_makes_room(make, pace):
    pace.open = False
    engine = make(limits=Limits(followers=2))
    run_id = engine.start(S, "me")
    there = [engine.follow(run_id) for _ in range(3)]
    next(there[0]), next(there[1])
    assert message(next, there[2]) == "2 visitors are watching runs already. Try again in a minute."
    there[0].close()
    next(engine.follow(run_id))


def test_the_small_decoder_beside_a_checkpoint_draws_the_previews(tmp_path):
    save(tiny_model(), tmp_path / "tiny.safetensors")
    sizes = {"latent_channels": 4, "downsampling_factor": 4, "channels": (16, 8), "blocks": (1, 1)}
    decoder = PreviewDecoder(PreviewConfig("tiny", **sizes)).eval().requires_grad_(False)
    save_preview(decoder, tmp_path / "tiny-preview.safetensors", {})
    engine = Engine(tmp_path / "tiny.safetensors", device="cpu")
    try:
        seen = list(engine.follow(engine.start(Settings("a red circle", steps=4, width=64, height=64), "me")))
    finally:
        engine.close()
    assert {run.decoder for run in seen if run.preview} == {"the small decoder"}
    first = next(run for run in seen if run.preview)
    x0 = seen[-1].trace.steps[first.step - 1].prediction.x0
    drawn = to_images(load_preview(tmp_path / "tiny-preview.safetensors")(x0))
    assert np.abs(np.asarray(first.preview[0], int) - np.asarray(drawn[0], int)).max() <= 1


def test_a_small_decoder_of_another_model_is_a_sentence(tmp_path):
    save(tiny_model(), tmp_path / "tiny.safetensors")
    other = PreviewDecoder(PreviewConfig("another", 8, 4, (8,), (1,)))
    save_preview(other, tmp_path / "tiny-preview.safetensors", {})
    said = message(Engine, tmp_path / "tiny.safetensors", device="cpu", kind=CheckpointError)
    assert said.startswith("tiny-preview.safetensors belongs to another: it decodes 8 latent channels to 4")


def test_a_run_that_is_over_keeps_no_preview(make):
    engine = make()
    assert last(engine, engine.start(S, "me")).preview == ()


QUICK = Settings("an apple", steps=4, sampler="euler", cfg_scale=1.0, cfg_rescale=0.0, width=64, height=64)


def test_a_run_of_the_draft_is_drawn_shown_and_named_by_it(make, pace):
    draft = FakeDraft()
    engine = make(draft=draft)
    runs = [engine.start(S, "me"), engine.start(QUICK, "me", draft=True)]
    first, second = (last(engine, run_id) for run_id in runs)
    assert pace.models == ["tiny", "tiny draft"]
    assert (first.draft, second.draft) == (False, True)
    assert (first.trace.model_name, second.trace.model_name) == ("tiny", "tiny draft")
    assert engine.is_by_draft("tiny draft") and not engine.is_by_draft("tiny")


def test_a_draft_is_opened_by_the_first_run_that_asks_for_it(make):
    draft = FakeDraft()
    engine = make(draft=draft)
    last(engine, engine.start(S, "me"))
    assert draft.opened == 0
    last(engine, engine.start(QUICK, "me", draft=True))
    assert draft.opened > 0


def test_where_work_is_done_in_another_process_the_draft_is_opened_before(make):
    draft = FakeDraft()
    make(draft=draft, on_device=lambda function: function)
    assert draft.opened == 1


def test_a_stopped_run_of_the_draft_is_finished_by_it(make, pace):
    pace.open = False
    engine = make(draft=FakeDraft())
    run_id = engine.start(QUICK, "me", draft=True)
    pace.step()
    until(lambda: engine.runs("me")[0].step == 1)
    engine.stop(run_id)
    pace.step(3)
    run = last(engine, run_id)
    assert (run.status, run.trace.model_name) == ("stopped", "tiny draft")


def test_other_work_may_ask_for_the_draft(make):
    engine = make(draft=FakeDraft())
    assert engine.call(lambda model: model.name, "me", draft=True) == "tiny draft"
    assert engine.call(lambda model: model.name, "me") == "tiny"


def test_a_run_of_the_draft_made_elsewhere_is_known_as_its(make):
    engine = make(draft=FakeDraft())
    theirs = dataclasses.replace(make_trace(), model_name="tiny draft")
    assert [last(engine, engine.add(t, "me")).draft for t in (make_trace(), theirs)] == [False, True]


def test_without_a_draft_asking_for_it_is_a_sentence(make):
    assert message(make().start, QUICK, "me", draft=True, kind=SettingsError) == "tiny has no draft."
    assert message(make().call, len, "me", draft=True) == "tiny has no draft."


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"steps": 9}, "steps must be between 1 and 8 for a draft, got 9."),
        ({"cfg_scale": 3.0}, "cfg_scale must be 1 for a draft, which was distilled for it, got 3."),
        ({"sampler": "heun"}, "sampler must be euler for a draft, which was distilled for it, got heun."),
        (
            {"spacing": "linspace"},
            "spacing must be trailing for a draft, which was distilled for it, got linspace.",
        ),
    ],
)
def test_a_draft_draws_only_what_it_was_distilled_for(make, changes, said):
    settings = dataclasses.replace(QUICK, **changes)
    assert message(make(draft=FakeDraft()).start, settings, "me", draft=True, kind=SettingsError) == said


@pytest.mark.parametrize("steps", [1, 4, 8])
def test_a_draft_draws_in_one_to_eight_steps(make, steps):
    engine = make(draft=FakeDraft())
    run = last(engine, engine.start(dataclasses.replace(QUICK, steps=steps), "me", draft=True))
    assert (run.status, run.step) == ("done", steps)


def test_the_limits_hold_for_a_draft(make):
    engine = make(draft=FakeDraft(), limits=Limits(work=3 * 64 * 64))
    said = message(engine.start, QUICK, "me", draft=True, kind=SettingsError)
    assert said == "steps times batch_size must be at most 3 at 64 x 64, got 4 x 1 = 4."


WEAK = dataclasses.replace(S, strength=0.5, batch_size=2)
PHOTO, MASK = Image.new("RGB", (640, 480), "red"), Image.new("L", (640, 480), 255)


def test_a_run_from_a_picture_makes_the_steps_that_are_left_and_knows_how_many(make, pace):
    engine = make()
    run = last(engine, engine.start(WEAK, "me", PHOTO, mask=MASK))
    assert (run.status, run.step, run.steps, run.from_picture) == ("done", 2, 2, True)
    [(image, mask)] = pace.pictures
    assert (image.size, mask.size) == ((64, 64), (64, 64))  # what waits is as small as what is drawn
    assert (run.trace.init_image, run.trace.mask) == (image, mask)
    assert [r.steps for r in engine.runs("me")] == [2]


def test_a_run_without_a_picture_makes_all_its_steps_whatever_its_strength(make, pace):
    run = last(engine := make(), engine.start(WEAK, "me"))
    assert (run.step, run.steps, run.from_picture, run.trace.init_image) == (4, 4, False, None)
    assert pace.pictures == [(None, None)]


def test_a_run_that_makes_no_step_ends_with_a_picture_and_leaves_the_pace_alone(make, pace):
    engine = make()
    run = last(engine, engine.start(dataclasses.replace(S, strength=0), "me", PHOTO))
    assert (run.status, run.step, run.steps, len(run.trace.images)) == ("done", 0, 0, 1)
    assert engine.trace(run.id).steps == ()
    assert engine._worker.decode_seconds < 20
    engine.stop(run.id)
    assert last(engine, run.id).status == "done"


def test_a_mask_without_a_picture_is_a_sentence_before_it_waits(make):
    said = message(make().start, S, "me", mask=MASK, kind=SettingsError)
    assert said == "A mask needs a picture to start from, and there is none."


def test_a_stopped_run_from_a_picture_is_finished_with_it(make, pace):
    pace.open = False
    engine = make()
    run_id = engine.start(WEAK, "me", PHOTO, mask=MASK)
    pace.step()
    until(lambda: engine.runs("me")[0].step == 1)
    engine.stop(run_id)
    pace.step()
    run = last(engine, run_id)
    assert len(run.trace.steps) == 2  # the step it was in was the last one
    assert (run.status, run.trace.finished) == ("done", True)
    assert run.trace.mask.size == (64, 64)


def test_a_run_from_a_picture_can_be_drawn_in_another_process(make, pace):
    def on_device(function):
        return lambda *given: function(*pickle.loads(pickle.dumps(given)))

    pace.open = False
    engine = make(on_device=on_device)
    run_id = engine.start(dataclasses.replace(WEAK, steps=8), "me", PHOTO, mask=MASK)
    pace.step()
    until(lambda: engine.runs("me")[0].step == 1)
    engine.stop(run_id)
    pace.step()
    run = last(engine, run_id)
    assert (run.status, run.trace.init_image.size) == ("stopped", (64, 64))


def test_a_run_from_a_picture_made_elsewhere_is_known_as_one(make):
    taken = PHOTO.resize((WEAK.width, WEAK.height))  # as a run has it
    trace = dataclasses.replace(make_trace(steps=0), settings=WEAK, init_image=taken)
    engine = make()
    run = last(engine, engine.add(trace, "me"))
    assert (run.status, run.step, run.from_picture) == ("done", 0, True)


def test_the_size_of_a_trace_counts_where_it_started_and_all_that_was_predicted():
    trace = make_trace(steps=2, attention=False)
    more = dataclasses.replace(trace, init_image=Image.new("RGB", (64, 64)), mask=Image.new("L", (64, 64)))
    assert size_of(more) == size_of(trace) + 4 * 64 * 64
    step = trace.steps[0]
    third = dataclasses.replace(step.prediction, x0_third=torch.zeros(1, 4, 8, 8))
    asked = dataclasses.replace(step, prediction=third, x_asked=torch.zeros(1, 4, 8, 8))
    more = dataclasses.replace(trace, steps=(asked, trace.steps[1]))
    assert size_of(more) == size_of(trace) + 2 * 4 * 8 * 8 * 4
