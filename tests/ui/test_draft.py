from dataclasses import asdict, replace

import gradio as gr
import pytest

from ldm.settings import Settings
from ldm.ui import controls
from ldm.ui.draft import box_for, switch_for

from ..fakes import FakeDraft, FakeModel

SLOW = Settings("a dog", "a cat", 33, "ddim", "linspace", "first_timestep", 4.5, 0.25, 0.75, seed=9)
QUICK = replace(
    SLOW, steps=4, sampler="euler", spacing="trailing", final_sigma="zero", cfg_scale=1.0, cfg_rescale=0.0,
    eta=None,
)  # fmt: skip
LOCKED = {"sampler", "spacing", "final_sigma", "cfg_scale", "cfg_rescale", "eta", "negative_prompt"}


@pytest.fixture(scope="module")
def switch():
    model, draft = FakeModel(), FakeDraft()
    with gr.Blocks():
        asks = controls.settings(model, controls.prompts(model))
        return switch_for(draft, box_for(draft), model.config.recommended, asks)


def page(switch, settings, on, before=None):
    """What the page holds."""
    values = asdict(settings) | {"eta": settings.eta or 0.0}
    given = {widget: values[name] for name, widget in switch.asks.of.items()}
    return {**given, switch.asks.fresh: False, switch.box: on, switch.before: before or {}}


def after(given, updates):
    """What the page holds once the updates have reached it."""
    new = {}
    for widget, update in updates.items():
        if not (isinstance(update, dict) and update.get("__type__") == "update"):
            new[widget] = update
        elif "value" in update:
            new[widget] = update["value"]
    return {**given, **new}


def locked(switch, updates):
    """Fields that cannot be moved, and those that can be again."""
    told = {name: updates[w].get("interactive") for name, w in switch.asks.of.items() if w in updates}
    return {n for n, told in told.items() if told is False}, {n for n, told in told.items() if told is True}


def test_without_a_draft_there_is_no_switch():
    assert box_for(None) is None
    assert switch_for(None, None, FakeModel().config.recommended, None) is None


def test_its_label_says_how_many_steps(switch):
    assert switch.box.label == "Draft, 4 steps" and switch.box.value is False


def test_switched_on_the_page_shows_what_the_draft_draws_with_and_holds_it(switch):
    given = page(switch, SLOW, on=True)
    updates = switch.turn(given)
    asked = switch.asks.read(after(given, updates))
    assert asked == QUICK
    switch.draft.check(asked)
    assert locked(switch, updates) == (LOCKED, set())
    assert updates[switch.asks.of["steps"]]["maximum"] == 8
    assert updates[switch.asks.of["eta"]]["visible"] is False


def test_switched_off_the_page_shows_what_was_there_before(switch):
    on = page(switch, SLOW, on=True)
    there = after(on, switch.turn(on)) | {switch.box: False}
    updates = switch.turn(there)
    assert switch.asks.read(after(there, updates)) == SLOW
    assert locked(switch, updates) == (set(), LOCKED)
    assert updates[switch.asks.of["steps"]]["maximum"] == 60
    assert updates[switch.asks.of["eta"]]["visible"] is True


def test_switched_off_where_nothing_was_before_it_is_what_the_model_recommends(switch):
    given = page(switch, QUICK, on=False)
    asked = switch.asks.read(after(given, switch.turn(given)))
    best = switch.plain
    assert (asked.steps, asked.sampler, asked.cfg_scale) == (best.steps, best.sampler, best.cfg_scale)
    assert (asked.spacing, asked.final_sigma, asked.prompt) == ("trailing", "zero", "a dog")


@pytest.mark.parametrize(("settings", "on"), [(QUICK, True), (SLOW, False)])
def test_the_settings_of_a_picture_set_the_switch(switch, settings, on):
    given = page(switch, SLOW, on=not on)
    updates = switch.write(settings, on)
    there = after(given, updates)
    assert there[switch.box] is on
    assert switch.asks.read(there) == settings
    assert locked(switch, updates) == ((LOCKED, set()) if on else (set(), LOCKED))


def test_more_steps_than_the_slider_has_make_it_longer(switch):
    steps = switch.asks.of["steps"]
    assert switch.write(replace(SLOW, steps=400), on=False)[steps]["maximum"] == 1000
    assert switch.write(SLOW, on=False)[steps]["maximum"] == 60
