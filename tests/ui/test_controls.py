from dataclasses import asdict, fields

import gradio as gr
import pytest

from ldm.diffusion.samplers import DEFAULT_ETA, SAMPLERS, USES_ETA
from ldm.errors import SettingsError
from ldm.settings import Settings
from ldm.ui import controls

from ..fakes import FakeModel

EVERYTHING = Settings(
    "a dog", "a cat", 33, "ddim", "linspace", "first_timestep", 4.5, 0.25, 0.75,
    seed=99, batch_size=3, width=512, height=1024,
)  # fmt: skip


@pytest.fixture(scope="module")
def asks():
    with gr.Blocks():
        return controls.settings(FakeModel(), controls.prompts(FakeModel()))


def values(asks, settings, fresh=False):
    given = {widget: asdict(settings)[name] for name, widget in asks.of.items()}
    return {**given, asks.fresh: fresh}


def test_there_is_a_widget_for_every_field_but_strength(asks):
    assert list(asks.of) == [f.name for f in fields(Settings) if f.name != "strength"]


def test_what_is_written_is_read_again(asks):
    updates = asks.write(EVERYTHING)
    given = {widget: update["value"] for widget, update in updates.items()}
    assert asks.read(given) == EVERYTHING


def test_a_slider_grows_for_a_value_beyond_its_end(asks):
    long = Settings("a dog", steps=400)
    assert asks.write(long)[asks.of["steps"]]["maximum"] == 1000
    assert "maximum" not in asks.write(EVERYTHING)[asks.of["cfg_scale"]]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_eta_is_shown_and_sent_only_where_the_sampler_uses_it(asks, sampler):
    settings = Settings("a dog", sampler=sampler, eta=0.5)
    read = asks.read(values(asks, settings))
    assert read.eta == (0.5 if sampler in USES_ETA else None)
    assert asks.write(settings)[asks.of["eta"]]["visible"] == (sampler in USES_ETA)
    assert controls.on_sampler(sampler)["value"] == DEFAULT_ETA[sampler]


def test_a_new_seed_is_drawn_only_when_asked_for(asks):
    assert asks.read(values(asks, EVERYTHING)).seed == 99
    seeds = {asks.read(values(asks, EVERYTHING, fresh=True)).seed for _ in range(5)}
    assert len(seeds) == 5
    assert max(seeds) < 2**31


def test_restored_settings_keep_their_seed(asks):
    assert asks.write(EVERYTHING)[asks.fresh]["value"] is False


def test_an_empty_prompt_is_a_sentence(asks):
    with pytest.raises(SettingsError, match="prompt must say what to draw"):
        asks.read({**values(asks, EVERYTHING), asks.of["prompt"]: ""})
