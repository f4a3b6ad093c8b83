"""What the network is told, beside the menu of noise levels."""

from types import SimpleNamespace

import gradio as gr
import pytest

from ldm.diffusion.samplers import SAMPLERS, stretches
from ldm.diffusion.spacing import SPACINGS
from ldm.generation import levels_of
from ldm.models.config import ModelConfig
from ldm.settings import Settings
from ldm.ui import controls
from ldm.ui.controls.levels import TOLD_BY, levels_value, steps_of_list, written
from ldm.ui.controls.rules import as_shown
from ldm.ui.controls.wiring import CHOICES, Choosing

from ..fakes import FakeModel
from .pages import holding

MODEL = FakeModel()
S = Settings("a dog", steps=4)


def value(from_picture=False, **given):
    return levels_value(MODEL, {**as_shown(S), **given}, from_picture)


def test_the_timesteps_of_an_even_spacing_word_for_word():
    shown = value(steps=5)
    assert shown["line"] == "999, 799, 599, 399, 199"
    assert shown["told"] == [999, 799, 599, 399, 199]
    assert (shown["said"], shown["passed"], shown["last"]) == ("", [], 999)


def test_fractions_have_one_decimal():
    shown = value(spacing="karras")
    assert shown["line"] == "999, 687.2, 145.9, 0"
    assert shown["told"][1] != round(shown["told"][1], 1)


@pytest.mark.parametrize("steps", [1, 7, 40])
@pytest.mark.parametrize("spacing", [name for name in SPACINGS if name != "custom"])
@pytest.mark.parametrize("sampler", ["dpmpp_2m", "restart", "langevin"])
def test_it_is_what_a_run_would_tell_the_network(sampler, spacing, steps):
    settings = Settings("a dog", steps=steps, sampler=sampler, spacing=spacing)
    sigmas = [sigma for sigma, *_ in stretches(levels_of(MODEL, settings).tolist())]
    shown = value(steps=steps, sampler=sampler, spacing=spacing)
    assert shown["told"] == [MODEL.schedule.timestep(sigma) for sigma in sigmas]
    assert len(shown["told"]) == steps


def test_steps_at_one_level_are_counted():
    assert value(sampler="langevin", steps=12)["line"] == "5 × 999, 5 × 666, 2 × 332"
    assert value(sampler="langevin", steps=4, steps_per_level=1)["line"] == "999, 749, 499, 249"


def test_of_many_steps_the_first_and_the_last_are_written():
    shown = value(steps=100)
    assert len(shown["told"]) == 100
    assert shown["line"].startswith("999, 989, 979, ")
    assert shown["line"].endswith(" 859 … 78 more … 69, 59, 49, 39, 29, 19, 9")
    assert "more" not in value(steps=24)["line"]


def test_a_picture_to_start_from_leaves_steps_out():
    assert value(True, strength=0.5, steps=10)["line"] == "499, 399, 299, 199, 99"
    assert value(True, strength=0.5, steps=10)["passed"] == [999, 899, 799, 699, 599]
    assert value(False, strength=0.5, steps=10)["passed"] == []


def test_at_strength_0_it_is_told_nothing():
    shown = value(True, strength=0)
    assert shown["told"] == []
    assert shown["said"] == "Nothing: at strength 0 the picture only goes through the autoencoder and back."


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"steps": None}, "steps must be a number, got None."),
        ({"steps": 0}, "steps must be between 1 and 1000, got 0."),
        ({"steps": 2.5}, "steps must be a whole number, got 2.5."),
        ({"spacing": None}, "spacing must be text, got None."),
        ({"spacing": "karras", "rho": "-"}, "rho must be a number, got '-'."),
        ({"spacing": "custom", "sigmas": ""}, "The spacing 'custom' needs a list of noise levels."),
        (
            {"spacing": "custom", "sigmas": "14.6, se"},
            "sigmas must be numbers such as 14.6, 7, 3.2; got 'se'.",
        ),
        ({"spacing": "custom", "sigmas": "1, 2, 3, 4"}, "Noise levels must fall, but 1 is followed by 2."),
        (
            {"spacing": "custom", "sigmas": "3, 2"},
            "steps must be 2, the number of noise levels above 0, got 4.",
        ),
        (
            {"spacing": "custom", "sigmas": "4, 3, 2, 1", "sampler": "restart"},
            "The sampler 'restart' lays out noise levels itself; 'custom' is not for it.",
        ),
    ],
)
def test_what_cannot_be_shown_is_a_quiet_sentence(given, said):
    assert value(**given) == {"said": said, "told": [], "passed": [], "line": "", "last": 999}


@pytest.mark.parametrize("sent", [None, "", [1], {"a": 1}, float("nan"), 10**400, True])
@pytest.mark.parametrize("name", TOLD_BY)
def test_whatever_a_browser_sends_it_is_no_error(name, sent):
    for spacing in ("karras", "custom"):
        for sampler in ("langevin", "euler"):
            shown = value(True, **{"spacing": spacing, "sampler": sampler, name: sent})
            assert bool(shown["said"]) != bool(shown["told"])


def test_a_model_of_fewer_timesteps_refuses_more_steps():
    small = SimpleNamespace(
        name="small", n_steps=3, schedule=MODEL.schedule, config=ModelConfig("small"), downsampling_factor=8
    )
    shown = levels_value(small, as_shown(S), False)
    assert shown["said"] == "steps must be between 1 and 3, the model's training timesteps; got 4."


def test_the_page_asks_with_what_it_holds():
    with gr.Blocks():
        asks = controls.settings(MODEL, controls.prompts(MODEL))
    held = holding(asks, S)
    carried = {asks.start.file, *(asks.of[name] for name in {*CHOICES, *TOLD_BY})}
    shown = Choosing(asks, MODEL).on_levels({widget: held[widget] for widget in carried})
    assert shown == value()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_has_something_to_show(sampler):
    assert len(value(sampler=sampler, steps=9)["told"]) == 9


@pytest.mark.parametrize(
    ("text", "steps"),
    [("14.6, 7, 3.2", 3), ("14.6, 7, 0", 2), ("5", 1), ("", None), ("0", None), ("1, x", None), (None, None)],
)
def test_a_list_says_how_many_steps_there_are(text, steps):
    assert steps_of_list(text) == (gr.skip() if steps is None else gr.update(value=steps))


def test_numbers_are_written_short():
    assert written([999.0, 998.96, 12.34, 0.04, 0.0]) == "2 × 999, 12.3, 2 × 0"
    assert written([]) == ""
