import dataclasses
import json
import math

import pytest

from ldm.errors import SettingsError, check_choice
from ldm.settings import LIMITS, LISTS, MAX_PROMPT, OPTIONAL, WHOLE, Settings


def message(**change):
    with pytest.raises(SettingsError) as error:
        Settings(**{"prompt": "a", **change})
    return str(error.value)


def below(name):
    return LIMITS[name][0] - (1 if name in WHOLE else 0.001)


def above(name):
    return LIMITS[name][1] + (1 if name in WHOLE else 0.001)


@pytest.mark.parametrize("name", LIMITS)
def test_both_limits_are_allowed_and_kept(name):
    for value in LIMITS[name]:
        kept = getattr(Settings("a", **{"variation_seed": 1, name: value}), name)
        assert kept == value
        assert type(kept) is (int if name in WHOLE else float)


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("outside", [below, above])
def test_beyond_a_limit_is_refused(name, outside):
    assert message(**{name: outside(name)}).startswith(f"{name} must be between ")


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, -math.inf, 10**10, 10**400, -(10**5000)],
    ids=lambda v: f"{v:.0e}" if abs(v) < 1e300 else "vast",
)
def test_numbers_that_are_no_use_are_refused(name, value):
    assert message(**{name: value}).startswith(f"{name} must be between ")


@pytest.mark.parametrize("name", LIMITS)
@pytest.mark.parametrize("value", [True, "20", [20], {}, 1j, None])
def test_what_is_no_number_is_refused(name, value):
    if value is None and name in OPTIONAL:
        assert getattr(Settings("a", **{name: None}), name) is None
        return
    assert message(**{name: value}) == f"{name} must be a number, got {value!r}."


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"steps": 0}, "steps must be between 1 and 1000, got 0."),
        ({"steps": math.nan}, "steps must be between 1 and 1000, got nan."),
        ({"steps": 10**400}, "steps must be between 1 and 1000, got a number of 401 digits."),
        ({"steps": 20.5}, "steps must be a whole number, got 20.5."),
        ({"seed": 1234567.25}, "seed must be a whole number, got 1234567.25."),
        ({"seed": -1}, "seed must be between 0 and 4294967295, got -1."),
        ({"cfg_scale": 31}, "cfg_scale must be between -2 and 30, got 31."),
        ({"eta": 1.5}, "eta must be between 0 and 1, got 1.5."),
        ({"width": 2049.0}, "width must be between 16 and 2048, got 2049."),
        ({"prompt": None}, "prompt must be text, got None."),
        ({"sampler": 3}, "sampler must be text, got 3."),
        ({"prompt": " \n"}, "prompt must say what to draw, got ' \\n'."),
        ({"prompt": "x" * 2001}, "prompt must have at most 2000 characters, got 2001."),
        ({"negative_prompt": "x" * 2001}, "negative_prompt must have at most 2000 characters, got 2001."),
        ({"prompt": "a \ud83d"}, "prompt holds '\\ud83d', half of a character; type or paste it again."),
        ({"sigmas": []}, "sigmas must be a list of 1 to 1001 numbers, got []."),
        ({"sigmas": "3, 2"}, "sigmas must be a list of 1 to 1001 numbers, got '3, 2'."),
        ({"sigmas": [3, "2"]}, "sigmas[1] must be a number, got '2'."),
        ({"sigmas": [3.0, math.nan]}, "sigmas[1] must be between 0 and 1000000, got nan."),
        ({"cfg_scales": [1.0, 31.0]}, "cfg_scales[1] must be between -2 and 30, got 31."),
        ({"cfg_scales": [1.0, 3.0]}, "cfg_scales must have 1 numbers, one for each picture, got 2."),
        ({"muted_tokens": [2, 2.5]}, "muted_tokens[1] must be a whole number, got 2.5."),
        ({"muted_tokens": [-1]}, "muted_tokens[0] must be between 0 and 1000, got -1."),
        ({"mute_start": 0.6, "mute_stop": 0.5}, "mute_start must be at most mute_stop 0.5, got 0.6."),
        ({"full_strength": "loud"}, "Unknown full_strength 'loud'. Choose one of: picture, noise."),
        ({"sampler": "x" * 65}, "sampler must have at most 64 characters, got 65."),
        ({"s_tmin": 2, "s_tmax": 1.5}, "s_tmin must be at most s_tmax 1.5, got 2."),
        ({"variation_strength": 0.5}, "variation_strength 0.5 needs a variation_seed, it is None."),
        (
            {"variation_seed": 2**32 - 1, "variation_strength": 1, "batch_size": 2},
            "variation_seed must be at most 4294967294 for batch_size 2, got 4294967295.",
        ),
        (
            {"seed": 2**32 - 1, "batch_size": 16},
            "seed must be at most 4294967280 for batch_size 16, got 4294967295.",
        ),
    ],
)
def test_a_message_names_the_setting_its_value_and_what_is_allowed(change, sentence):
    assert message(**change) == sentence


def test_a_long_wrong_value_does_not_fill_the_page():
    assert len(message(prompt=["x" * 10**6])) < 100
    assert len(message(steps="x" * 10**6)) < 100


def test_the_longest_prompt_is_allowed():
    assert len(Settings("x" * MAX_PROMPT).prompt) == MAX_PROMPT


def test_whole_floats_become_whole_numbers():
    assert repr(Settings("a", steps=20.0).steps) == "20"


def test_the_last_picture_of_a_batch_has_the_largest_seed():
    assert Settings("a", seed=2**32 - 16, batch_size=16).seed == 4294967280


def test_settings_survive_json_and_unknown_keys_are_ignored():
    settings = Settings(
        "a café ☕", eta=0.1, cfg_scale=7.7, seed=2**32 - 1, sigmas=(3, 2.5, 0), cfg_scales=[4], rho=5,
        muted_tokens=[2.0, 3],
    )  # fmt: skip
    assert repr(settings.muted_tokens) == "(2, 3)"
    assert settings.sigmas == (3.0, 2.5, 0.0) and settings.cfg_scales == (4.0,)
    values = json.loads(json.dumps({**settings.to_dict(), "invented_later": [1]}))
    assert Settings.from_dict(values) == settings


@pytest.mark.parametrize("name", LISTS)
def test_a_list_is_not_too_long(name):
    most = LISTS[name][2]
    assert message(**{name: [1.0] * (most + 1)}).startswith(f"{name} must be a list of 1 to {most} numbers")


def test_one_picture_of_a_batch_is_asked_for_alone():
    batch = Settings("a", seed=40, batch_size=3, cfg_scales=(1, 2, 3))
    assert batch.of_picture(2) == Settings("a", seed=42, cfg_scales=(3,))
    varied = dataclasses.replace(batch, variation_seed=7, variation_strength=0.5)
    alone = varied.of_picture(1)
    assert (alone.seed, alone.variation_seed, alone.cfg_scales) == (40, 8, (2.0,))
    assert dataclasses.replace(varied, seed=2**32 - 1).seed == 2**32 - 1  # which is not counted up then


@pytest.mark.parametrize(
    ("change", "guided"),
    [
        ({"cfg_scale": 3}, True),
        ({"cfg_scale": 1}, False),
        ({"cfg_scale": 1, "cfg_schedule": "interval"}, False),
        ({"cfg_scale": 1, "cfg_schedule": "linear", "cfg_final": 4}, True),
        ({"cfg_scale": 1, "cfg_schedule": "cosine"}, False),
        ({"cfg_scale": 1, "cfg_method": "cfg_pp"}, True),
        ({"cfg_scale": 1, "cfg_scales": [2]}, True),
    ],
)
def test_guidance_is_known_to_be_off(change, guided):
    assert Settings("a", **change).guided == guided


def test_missing_keys_are_the_defaults():
    assert Settings.from_dict({"prompt": "a"}) == Settings("a")


@pytest.mark.parametrize("junk", [None, 5, "prompt", ["prompt"]])
def test_what_is_no_record_is_refused(junk):
    with pytest.raises(SettingsError, match="Settings must be a record of names and values, got "):
        Settings.from_dict(junk)


def test_one_picture_of_another_program_s_batch_cannot_be_asked_for_alone():
    batch = Settings("a", seed=40, batch_size=3, noise="diffusers")
    assert batch.of_picture(2) == batch


def test_settings_without_a_prompt_say_so():
    with pytest.raises(SettingsError) as error:
        Settings.from_dict({"steps": 3})
    assert str(error.value) == "The settings name no prompt."


def test_settings_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings("a").steps = 3


def test_a_wrong_choice_is_answered_with_the_nearest_one():
    with pytest.raises(SettingsError) as error:
        check_choice("sampler", "dimm", ["ddim", "heun"])
    assert str(error.value) == "Unknown sampler 'dimm'. Did you mean 'ddim'? Choose one of: ddim, heun."
    check_choice("sampler", "heun", ["ddim", "heun"])
