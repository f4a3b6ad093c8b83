"""What a choice shows, hides and says."""

import gradio as gr
import pytest
from PIL import Image

from ldm.diffusion.guidance import CFG_SCHEDULES, METHODS
from ldm.diffusion.noise import NOISES
from ldm.diffusion.samplers import CFG_PP, SAMPLERS
from ldm.diffusion.spacing import DEFAULT_RHO, SPACING_NOTES, SPACINGS
from ldm.errors import LdmError
from ldm.settings import Settings
from ldm.ui import controls, pictures
from ldm.ui.controls.guidance import METHOD_NOTES, SCHEDULE_NOTES
from ldm.ui.controls.noise import NOISE_NOTES
from ldm.ui.controls.rules import OF_SAMPLERS
from ldm.ui.controls.sampler import NO_OPTIONS
from ldm.ui.controls.wiring import CHOICES, QUIET, Choosing, wire

from ..fakes import FakeModel
from .pages import holding, told

S = Settings("a dog")


@pytest.fixture(scope="module")
def choosing():
    model = FakeModel()
    with gr.Blocks():
        asks = controls.settings(model, controls.prompts(model))
    return Choosing(asks, model)


def chosen(choosing, picture=None, **choices):
    """What the page answers; it holds nothing that the event does not carry."""
    asks = choosing.asks
    held = holding(asks, S, **choices) | {asks.start.file: picture}
    carried = {asks.start.file, *(asks.of[name] for name in CHOICES)}
    return choosing.on_choice({widget: held[widget] for widget in carried})


def shown(choosing, updates):
    """Names of the widgets that updates show."""
    return {name for name in choosing.asks.of if told(choosing.asks, updates, name, "visible")}


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sampler_shows_what_it_can_be_told_and_nothing_else(choosing, sampler):
    entry, updates = SAMPLERS[sampler], chosen(choosing, sampler=sampler)
    expected = {"eta"} if entry.eta is not None else set()
    expected |= {"order"} if entry.orders else set()
    expected |= {"s_churn", "s_tmin", "s_tmax"} if entry.churns else set()
    expected |= {"s_noise"} if entry.churns or entry.fresh or entry.eta is not None else set()
    expected |= {"step_lr", "steps_per_level"} if sampler == "langevin" else set()
    assert shown(choosing, updates) == expected
    note = updates[choosing.asks.notes["options"]]["value"]
    assert note == ("" if expected else NO_OPTIONS)
    orders = told(choosing.asks, updates, "order", "choices")
    assert orders == [("its own", 0), *((str(n), n) for n in entry.orders)]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_line_under_the_samplers_says_what_it_is_and_what_a_step_costs(choosing, sampler):
    entry, updates = SAMPLERS[sampler], chosen(choosing, sampler=sampler)
    note = updates[choosing.asks.notes["sampler"]]["value"]
    assert entry.title in note and entry.note in note
    assert f"{entry.calls} network call" in note
    assert (f", {entry.first_calls} in the first" in note) == (entry.first_calls is not None)


def test_the_lines_under_some_samplers_word_for_word(choosing):
    def note(sampler):
        return chosen(choosing, sampler=sampler)[choosing.asks.notes["sampler"]]["value"]

    assert note("heun") == "**Heun**, 2 network calls a step. The average of the slopes at both ends."
    assert note("plms") == (
        "**PLMS**, 1 network call a step, 2 in the first. "
        "Latent diffusion's fast sampler; for evenly spaced timesteps."
    )


def test_another_sampler_starts_with_its_own_share_of_noise_and_order(choosing):
    asks = choosing.asks
    for sampler, eta in (("ddim", 0.0), ("euler_ancestral", 1.0), ("tcd", 0.3)):
        updates = choosing.on_sampler(holding(asks, S, sampler=sampler, eta=0.9, order=4))
        assert (told(asks, updates, "eta", "value"), told(asks, updates, "order", "value")) == (eta, 0)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_a_spacing_shows_its_rho_or_its_list_and_says_what_it_is(choosing, spacing):
    updates = chosen(choosing, spacing=spacing)
    expected = {"rho"} if spacing in DEFAULT_RHO else {"sigmas"} if spacing == "custom" else set()
    assert shown(choosing, updates) == expected
    note = updates[choosing.asks.notes["spacing"]]["value"]
    assert SPACING_NOTES[spacing][1:] in note
    assert ("own rho" in note) == (spacing in DEFAULT_RHO)


@pytest.mark.parametrize("method", METHODS)
def test_a_method_shows_its_weight_and_says_what_it_is(choosing, method):
    updates = chosen(choosing, cfg_method=method)
    expected = {"perpendicular": {"negative_scale"}, "two_scale": {"image_cfg_scale"}}.get(method, set())
    assert shown(choosing, updates) == expected
    assert updates[choosing.asks.notes["cfg_method"]]["value"] == METHOD_NOTES[method]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_sampler_that_cfg_pp_is_not_for_is_named(choosing, sampler):
    updates = chosen(choosing, sampler=sampler, cfg_method="cfg_pp")
    note = updates[choosing.asks.notes["cfg_method"]]["value"]
    refusal = f" **Not for {sampler}**; its samplers are {', '.join(sorted(CFG_PP))}."
    assert note == METHOD_NOTES["cfg_pp"] + ("" if sampler in CFG_PP else refusal)


@pytest.mark.parametrize("schedule", CFG_SCHEDULES)
def test_a_schedule_shows_what_it_needs_and_says_what_it_is(choosing, schedule):
    updates = chosen(choosing, cfg_schedule=schedule)
    expected = set() if schedule == "constant" else {"cfg_start", "cfg_stop"}
    expected |= {"cfg_final"} if schedule in ("linear", "cosine") else set()
    assert shown(choosing, updates) == expected
    assert updates[choosing.asks.notes["cfg_schedule"]]["value"] == SCHEDULE_NOTES[schedule]


@pytest.mark.parametrize("noise", NOISES)
def test_a_convention_says_whose_it_is(choosing, noise):
    updates = chosen(choosing, noise=noise)
    assert updates[choosing.asks.notes["noise"]]["value"] == NOISE_NOTES[noise]


@pytest.mark.parametrize(
    ("picture", "choices", "expected"),
    [
        (None, {"variation_strength": 0}, set()),
        (None, {"variation_strength": 0.1}, {"variation_seed"}),
        (None, {"strength": 1}, set()),
        ("x.png", {"strength": 0.5}, {"strength"}),
        ("x.png", {"strength": 1}, {"strength", "full_strength"}),
        ({"path": "x.png"}, {"strength": 0}, {"strength"}),
    ],
)
def test_what_depends_on_a_number_or_a_picture(choosing, picture, choices, expected):
    assert shown(choosing, chosen(choosing, picture, **choices)) == expected


@pytest.mark.parametrize("sent", [None, "", "no such", 7, ["a"], {"a": 1}, float("nan")])
def test_whatever_a_browser_sends_is_answered(choosing, sent):
    choices = dict.fromkeys(CHOICES, sent)
    assert shown(choosing, chosen(choosing, **choices)) <= set(choosing.asks.of)


def test_every_option_of_a_sampler_is_some_samplers(choosing):
    seen = set().union(*(shown(choosing, chosen(choosing, sampler=sampler)) for sampler in SAMPLERS))
    assert seen == set(OF_SAMPLERS)


def picked(choosing, path, width=48, height=32):
    """What the page answers to a picture, and the error if there is one."""
    asks = choosing.asks
    held = holding(asks, S, width=width, height=height) | {asks.start.file: path}
    answers = []
    try:
        answers.extend(choosing.on_picture(held))
    except LdmError as error:
        return answers, str(error)
    return answers, None


def test_a_picture_is_laid_out_at_the_size_of_the_run(choosing, tmp_path):
    Image.new("RGB", (640, 480), "red").save(tmp_path / "x.png")
    [updates], error = picked(choosing, str(tmp_path / "x.png"))
    plate = updates[choosing.asks.start.paint]
    assert error is None
    assert (plate["width"], plate["height"], plate["mask"]) == (48, 32, None)
    assert "strength" in shown(choosing, updates)


def test_without_a_picture_there_is_nothing_to_paint_on(choosing):
    [updates], error = picked(choosing, None)
    assert error is None
    assert updates[choosing.asks.start.paint] is None
    assert "strength" not in shown(choosing, updates)


def test_what_is_no_picture_does_not_stay(choosing, tmp_path):
    (tmp_path / "x.png").write_text("no picture")
    [updates], error = picked(choosing, str(tmp_path / "x.png"))
    assert error == "x.png is not a picture; use one of: PNG, JPEG, WEBP, GIF, BMP, TIFF."
    assert updates[choosing.asks.start.file] is None
    assert updates[choosing.asks.start.paint] is None


def resized(choosing, path, width, height, mask=None):
    asks = choosing.asks
    held = holding(asks, S, width=width, height=height)
    given = None if path is None else {"path": str(path)}
    return choosing.on_size({**held, asks.start.file: given, asks.start.paint: {"mask": mask}})


def test_another_size_cuts_the_picture_anew_and_keeps_what_is_painted(choosing, tmp_path):
    Image.new("RGB", (640, 480), "red").save(tmp_path / "x.png")
    mask = pictures.plate(Image.new("RGB", (48, 32)), Image.new("L", (48, 32), 255))["mask"]
    plate = resized(choosing, tmp_path / "x.png", 64, 64, mask)
    assert (plate["width"], plate["height"]) == (64, 64)
    painted = pictures.painted(plate, 64, 64)
    assert painted.getextrema() == (255, 255)


@pytest.mark.parametrize("size", [(None, 64), ("", 64), (64, 10**9), (8, 8), (64.5, 64), ([64], 64)])
def test_a_size_that_is_typed_half_changes_nothing(choosing, tmp_path, size):
    Image.new("RGB", (64, 64)).save(tmp_path / "x.png")
    assert resized(choosing, tmp_path / "x.png", *size) == gr.skip()
    assert resized(choosing, None, 64, 64) == gr.skip()


def test_the_events_of_choosing_are_private_quiet_and_take_what_is_typed_half():
    model = FakeModel()
    with gr.Blocks() as page:
        asks = controls.settings(model, controls.prompts(model))
        before = set(page.fns)
        wire(asks, model)
    fns = [page.fns[key] for key in page.fns.keys() - before]
    assert len(fns) == 6
    for fn in fns:
        assert fn.api_visibility == "private"
        assert fn.show_progress == "hidden"
        assert fn.preprocess is False or fn.name == "on_picture"
    assert QUIET["trigger_mode"] == "always_last"
    levels = next(fn for fn in fns if fn.name == "on_levels")
    assert {event for _, event in levels.targets} == {"change", "expand"}
