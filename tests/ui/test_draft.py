from dataclasses import replace

import gradio as gr
import pytest

from ldm.errors import SettingsError
from ldm.settings import Settings
from ldm.ui import controls
from ldm.ui.draft import box_for, switch_for

from ..fakes import FakeDraft, FakeModel
from .pages import after, holding

SLOW = Settings(
    "a dog", "a cat", 33, "ddim", "karras", "first_timestep", rho=5.0, cfg_scale=4.5, cfg_scales=(2.0,),
    cfg_rescale=0.25, cfg_method="perpendicular", cfg_schedule="linear", cfg_final=2.0, negative_scale=2.0,
    eta=0.75, s_noise=1.01, seed=9, noise="comfyui", variation_seed=3, variation_strength=0.5,
)  # fmt: skip
QUICK = replace(
    SLOW, steps=4, sampler="euler", spacing="trailing", final_sigma="zero", rho=None, cfg_scale=1.0,
    cfg_scales=None, cfg_rescale=0.0, cfg_method="cfg", cfg_schedule="constant", cfg_final=1.0,
    negative_scale=1.0, eta=None,
)  # fmt: skip
LOCKED = {
    "sampler", "spacing", "final_sigma", "cfg_scale", "cfg_scales", "cfg_rescale", "cfg_method",
    "cfg_schedule", "eta", "s_churn", "negative_prompt",
}  # fmt: skip


@pytest.fixture(scope="module")
def switch():
    model, draft = FakeModel(), FakeDraft()
    with gr.Blocks():
        asks = controls.settings(model, controls.prompts(model))
        return switch_for(draft, box_for(draft), model.config.recommended, asks)


def page(switch, settings, on, before=None):
    """What the page holds."""
    return {**holding(switch.asks, settings), switch.box: on, switch.before: before or {}}


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
    shown = {name for name, w in switch.asks.of.items() if updates.get(w, {}).get("visible")}
    assert shown == {"s_churn", "s_tmin", "s_tmax", "s_noise", "variation_seed"}


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
    updates = switch.hold(switch.asks.write(settings), settings, on)
    there = after(given, updates)
    assert there[switch.box] is on
    assert switch.asks.read(there) == settings
    assert locked(switch, updates) == ((LOCKED, set()) if on else (set(), LOCKED))


def test_more_steps_than_the_slider_has_make_it_longer(switch):
    steps, long = switch.asks.of["steps"], replace(SLOW, steps=400)
    assert switch.hold(switch.asks.write(long), long, on=False)[steps]["maximum"] == 1000
    assert switch.hold(switch.asks.write(SLOW), SLOW, on=False)[steps]["maximum"] == 60


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"cfg_method": "cfg_pp"},
            "cfg_method must be cfg for a draft, which was distilled for it, got cfg_pp.",
        ),
        (
            {"cfg_schedule": "linear"},
            "cfg_schedule must be constant for a draft, which was distilled for it, got linear.",
        ),
        ({"s_churn": 4}, "s_churn must be 0 for a draft, which was distilled for it, got 4."),
        (
            {"cfg_scales": (2.0,)},
            "cfg_scales must be None for a draft, which was distilled for it, got (2.0,).",
        ),
    ],
)
def test_a_draft_takes_no_guidance_and_no_noise_of_ones_own(switch, changes, said):
    with pytest.raises(SettingsError) as error:
        switch.draft.check(replace(QUICK, **changes))
    assert str(error.value) == said
