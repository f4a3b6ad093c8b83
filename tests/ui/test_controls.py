"""The widgets and `Settings`: every field has one, and what is written is read again."""

from dataclasses import fields, replace

import gradio as gr
import pytest

from ldm.diffusion.samplers import SAMPLERS
from ldm.errors import SettingsError
from ldm.models.condition_config import SDXLTextConfig
from ldm.models.config import ModelConfig, UNetConfig
from ldm.settings import LIMITS, Settings
from ldm.ui import controls
from ldm.ui.controls.rules import HIDEABLE, LISTS, TYPED, numbers

from ..fakes import FakeModel
from .pages import holding, told

S = Settings("a dog", seed=99)
CHURNED = {"sampler": "euler", "s_churn": 40.0}
SAMPLES = {  # of each field a value that is not its default, beside what makes it mean something
    "prompt": {"prompt": "two dogs"},
    "negative_prompt": {"negative_prompt": "a cat"},
    "steps": {"steps": 33},
    "sampler": {"sampler": "unipc"},
    "spacing": {"spacing": "kl_optimal"},
    "final_sigma": {"final_sigma": "first_timestep"},
    "rho": {"spacing": "karras", "rho": 5.25},
    "sigmas": {"spacing": "custom", "steps": 3, "sigmas": (14.614642, 3.0, 0.1)},
    "cfg_scale": {"cfg_scale": 4.5},
    "cfg_scales": {"batch_size": 2, "cfg_scales": (7.5, 3.0)},
    "cfg_rescale": {"cfg_rescale": 0.25},
    "cfg_method": {"cfg_method": "cfg_pp"},
    "cfg_schedule": {"cfg_schedule": "interval"},
    "cfg_start": {"cfg_schedule": "interval", "cfg_start": 0.1},
    "cfg_stop": {"cfg_schedule": "interval", "cfg_stop": 0.9},
    "cfg_final": {"cfg_schedule": "cosine", "cfg_final": 5.0},
    "dynamic_threshold": {"dynamic_threshold": 0.995},
    "negative_scale": {"cfg_method": "perpendicular", "negative_scale": 2.0},
    "image_cfg_scale": {"cfg_method": "two_scale", "image_cfg_scale": 2.0},
    "eta": {"sampler": "ddim", "eta": 0.75},
    "s_churn": CHURNED,
    "s_tmin": {**CHURNED, "s_tmin": 0.05},
    "s_tmax": {**CHURNED, "s_tmax": 50.0},
    "s_noise": {"sampler": "ddpm", "s_noise": 1.003},
    "order": {"sampler": "lms", "order": 3},
    "step_lr": {"sampler": "langevin", "step_lr": 2e-5},
    "steps_per_level": {"sampler": "langevin", "steps_per_level": 9},
    "strength": {"strength": 0.4},
    "full_strength": {"strength": 1.0, "full_strength": "noise"},
    "noise": {"noise": "comfyui"},
    "seed": {"seed": 4},
    "variation_seed": {"variation_seed": 7, "variation_strength": 0.5},
    "variation_strength": {"variation_seed": 1, "variation_strength": 0.2},
    "batch_size": {"batch_size": 3},
    "width": {"width": 640},
    "height": {"height": 1024},
    "muted_tokens": {"muted_tokens": (2, 3)},
    "mute_start": {"muted_tokens": (2,), "mute_start": 0.25},
    "mute_stop": {"muted_tokens": (2,), "mute_stop": 0.5},
    "original_width": {"original_width": 640},
    "original_height": {"original_height": 480},
    "crop_left": {"crop_left": 16},
    "crop_top": {"crop_top": 8},
    "aesthetic_score": {"aesthetic_score": 7.5},
    "noise_level": {"noise_level": 120},
    "distilled_scale": {"distilled_scale": 4.0},
    "loras": {"loras": (("ink", 0.8), ("paper", 1.0), ("gold", -0.5))},
}
OF_A_PICTURE = ("strength", "full_strength")
OF_SOME_MODELS = (
    "original_width", "original_height", "crop_left", "crop_top", "aesthetic_score", "noise_level",
    "distilled_scale", "loras",
)  # fmt: skip


def all_asks(monkeypatch, **config):
    """What is asked for a model of that config, with LoRAs in the folder."""
    monkeypatch.setattr("ldm.ui.controls.by_model.loras_there", lambda model: ["ink"])
    model = FakeModel()
    model.config = ModelConfig("tiny", **config)
    with gr.Blocks():
        return controls.settings(model, controls.prompts(model))


@pytest.fixture(scope="module")
def asks():
    """Of a model that every field means something to, but for a picture that only shows it something."""
    text, unet = SDXLTextConfig(clip=None, sizes=5), UNetConfig(time_cond_proj_dim=256)
    with pytest.MonkeyPatch.context() as patched:
        return all_asks(patched, text=text, unet=unet)


@pytest.fixture
def asks_for(asks, monkeypatch):
    """The same; for one field another."""
    upscaler = all_asks(monkeypatch, picture="upscale")
    return lambda name: upscaler if name == "noise_level" else asks


def picture_for(name):
    return "x.png" if name in OF_A_PICTURE else None


def test_there_is_a_widget_and_a_sample_for_every_field(asks):
    names = [field.name for field in fields(Settings)]
    assert list(asks.of) == names
    assert sorted(SAMPLES) == sorted(names)


@pytest.mark.parametrize("name", SAMPLES)
def test_what_is_written_is_read_again(asks_for, name):
    asks, settings = asks_for(name), replace(S, **SAMPLES[name])
    if settings.eta is None:  # its widget holds the sampler's own
        settings = replace(settings, eta=SAMPLERS[settings.sampler].eta)
    assert getattr(settings, name) != getattr(Settings("?"), name)
    assert asks.read(holding(asks, settings, picture_for(name))) == settings


@pytest.mark.parametrize("name", [name for name in SAMPLES if name in HIDEABLE])
def test_what_is_hidden_is_shown_when_it_is_written(asks, name):
    shown = asks.write(replace(S, **SAMPLES[name]), picture_for(name))
    assert told(asks, shown, name, "visible") is True
    assert told(asks, asks.write(S), name, "visible") is False


@pytest.mark.parametrize("name", [name for name in SAMPLES if name in HIDEABLE])
def test_what_is_hidden_is_not_asked_for(asks, name):
    left = SAMPLES[name][name]
    text = ", ".join(map(str, left)) if name in LISTS else str(left) if name in TYPED else left
    assert asks.read(holding(asks, S, **{name: text})) == S


@pytest.mark.parametrize("name", OF_SOME_MODELS)
def test_what_means_nothing_to_a_model_is_neither_shown_nor_asked_for(name):
    model = FakeModel()
    with gr.Blocks():
        plain = controls.settings(model, controls.prompts(model))
    assert plain.of[name].visible is False
    held = holding(plain, replace(S, **SAMPLES[name]))
    assert plain.read(held) == S


@pytest.mark.parametrize("name", OF_SOME_MODELS)
def test_what_means_something_to_a_model_is_shown(asks_for, name):
    assert asks_for(name).of[name].visible is True


def test_a_picture_that_goes_takes_its_strength_with_it(asks):
    weak = replace(S, strength=0.3)
    assert asks.read(holding(asks, weak, "x.png")).strength == 0.3
    held = holding(asks, weak, "x.png") | {asks.start.file: None}
    assert asks.read(held).strength == 1.0


def test_the_next_picture_is_not_drawn_over_altogether(asks):
    held = holding(asks, S) | {asks.start.file: "x.png"}
    assert asks.read(held).strength == 0.75


def test_a_slider_grows_for_a_value_beyond_its_ends(asks):
    def write(**changes):
        return asks.write(replace(S, **changes))

    assert told(asks, write(steps=400), "steps", "maximum") == 1000
    assert told(asks, write(sampler="ddpm", s_noise=0.5), "s_noise", "minimum") == 0.0
    assert told(asks, write(cfg_scale=4), "cfg_scale", "maximum") is None


def test_every_slider_lies_within_the_limits_of_its_field(asks):
    sliders = {name: w for name, w in asks.of.items() if isinstance(w, gr.Slider)}
    assert len(sliders) > 15
    for name, widget in sliders.items():
        low, high = LIMITS[name]
        assert low <= widget.minimum <= widget.value <= widget.maximum <= high, name


def test_sizes_go_in_steps_that_the_model_can_draw(asks):
    multiple = FakeModel().config.size_multiple
    assert [asks.of[name].step for name in ("width", "height")] == [multiple] * 2


def test_a_new_seed_is_drawn_only_when_asked_for(asks):
    held = holding(asks, S)
    assert asks.read(held).seed == 99
    seeds = {asks.read(held | {asks.fresh: True}).seed for _ in range(5)}
    assert len(seeds) == 5
    assert max(seeds) < 2**31


def test_restored_settings_keep_their_seed_and_start_from_noise(asks):
    updates = asks.write(S)
    assert updates[asks.fresh]["value"] is False
    assert updates[asks.start.file]["value"] is None


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("prompt", "", "prompt must say what to draw, got ''."),
        ("cfg_scales", "7.5, hot", "cfg_scales must be numbers such as 7.5, 3, 1; got 'hot'."),
        ("cfg_scales", "7.5, 3", "cfg_scales must have 1 numbers, one for each picture, got 2."),
        ("cfg_scales", "99", "cfg_scales[0] must be between -2 and 30, got 99."),
        ("sigmas", "14.6, seven", "sigmas must be numbers such as 14.6, 7, 3.2; got 'seven'."),
        ("sigmas", "nan", "sigmas[0] must be between 0 and 1000000, got nan."),
        ("rho", "steep", "rho must be a number, got 'steep'."),
        ("rho", "0", "rho must be between 0.1 and 100, got 0."),
        ("s_tmax", "1, 2", "s_tmax must be a number, got '1, 2'."),
        (
            "loras",
            "ink:strong",
            "loras must be names with weights such as name:0.8, other; got 'ink:strong'.",
        ),
        ("loras", "ink, ink:2", "loras[1] names 'ink' again; give each LoRA one weight."),
        ("original_width", "wide", "original_width must be a number, got 'wide'."),
        ("step_lr", "x" * 99, "step_lr must be a number, got 'xxxxxxxxxxxx...xxxxxxxxxxxxx'."),
    ],
)
def test_what_was_typed_wrong_is_a_sentence(asks, name, text, said):
    rest = {"rho": "karras", "sigmas": "custom"}
    sampler = {"s_tmax": "euler", "step_lr": "langevin"}.get(name, S.sampler)
    held = holding(asks, S, spacing=rest.get(name, "trailing"), sampler=sampler) | {asks.of[name]: text}
    with pytest.raises(SettingsError) as error:
        asks.read(held)
    assert str(error.value) == said


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("14.6, 7, 3.2", (14.6, 7.0, 3.2)),
        ("  14.6;7\n3.2 , ", (14.6, 7.0, 3.2)),
        ("1e-3", (0.001,)),
        ("", None),
        (" , ", None),
        (None, None),
    ],
)
def test_a_list_is_numbers_with_anything_between_them(text, found):
    assert numbers("sigmas", text) == found


def test_numbers_left_out_are_the_fields_default(asks):
    left = holding(asks, replace(S, **CHURNED), s_tmin="", s_tmax=" ")
    assert (asks.read(left).s_tmin, asks.read(left).s_tmax) == (0.0, None)
