"""The finer choices in a real browser: a picture to start from, a brush, samplers and noise levels."""

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from ldm import png
from ldm.settings import Settings
from ldm.ui.pictures import opened

from .story import PROMPT, photo

pytestmark = [pytest.mark.browser, pytest.mark.slow]
GROUPS = ("sampler-options", "levels", "guidance", "noise-group", "start")


@pytest.fixture
def story(visit, request):
    """A page; a test may ask for another size."""
    size = getattr(request, "param", {"width": 1280, "height": 720})
    with visit(viewport=size, color_scheme="dark") as made:
        made.open()
        yield made
        assert made.page.locator(".toast-wrap").all_inner_texts() in ([], [""])


def open_group(page, name):
    page.locator(f"#{name} > .label-wrap").click()


def choose(page, name, word):
    """Look for a choice by its letters, and take it."""
    page.locator(f"#{name} input").click()
    page.get_by_role("option", name=word, exact=True).click()


def paint(page, *points):
    """One stroke through points of the picture, each from 0 to 1."""
    canvas = page.locator("#ld-paint canvas")
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    spots = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in points]
    page.mouse.move(*spots[0])
    page.mouse.down()
    for spot in spots[1:]:
        page.mouse.move(*spot, steps=6)
    page.mouse.up()


def upload(story, path):
    page = story.page
    open_group(page, "start")
    page.locator("#start-picture input[type=file]").set_input_files(path)
    page.locator("#ld-paint canvas").wait_for()
    page.locator("#strength").wait_for()


def test_what_is_painted_is_drawn_anew_and_the_rest_stays(story, tmp_path):
    page, source = story.page, photo(tmp_path / "photo.png", (640, 470))
    upload(story, source)
    story.says("#ld-paint .said", "Nothing is painted: all of the picture is drawn anew.")
    paint(page, (0.3, 0.5), (0.7, 0.5))
    story.begins("#ld-paint .said", "What is painted is drawn anew")
    page.locator("#ld-paint .undo").click()
    story.begins("#ld-paint .said", "Nothing is painted")
    paint(page, (0.3, 0.4), (0.7, 0.4), (0.7, 0.6))
    story.draw(steps=20, seed=3)
    story.mentions("#ld-tray .line", "15 steps")  # strength 0.75
    settings, _ = png.read(path := story.save("#ld-tray figure a"))
    assert (settings.prompt, settings.strength) == (PROMPT, 0.75)
    with Image.open(path) as image:
        drawn = np.asarray(image.convert("RGB"))
    start = np.asarray(opened(source, 256, 256))
    changed = (drawn != start).any(axis=2)
    assert not changed[:60].any() and not changed[190:].any() and not changed[:, :50].any()
    assert changed[95:110, 90:160].mean() > 0.9

    # another run of it is asked for with the same picture and the same paint
    story.reload()
    page.locator("#ld-tray .tray[data-state=done]").wait_for()
    page.locator("#reuse").click()
    open_group(page, "start")
    page.locator("#ld-paint canvas").wait_for()
    page.wait_for_function(
        "() => document.querySelector('#ld-paint .said').textContent.startsWith('What is painted')"
    )
    story.draw()
    with Image.open(story.save("#ld-tray figure a")) as again:
        assert np.asarray(again.convert("RGB")).tobytes() == drawn.tobytes()

    # at strength 0 nothing is drawn, and everything shows it
    page.locator("#strength input[type=number]").fill("0")
    page.locator("#ld-paint .clear").click()
    page.locator("#generate").click()
    page.locator("#ld-tray .line", has_text="No steps at strength 0").wait_for()
    page.locator("#see-steps").click()
    page.locator("#ld-scrubber .still", has_text="No steps at strength 0").wait_for()


def test_a_choice_says_what_it_is_and_what_comes_of_it(story):
    page = story.page
    story.begins("#note-sampler", "DPM++ 2M, 1 network call a step.")
    page.locator("#sampler input").fill("heu")
    page.get_by_role("option", name="heun", exact=True).click()
    page.locator("#note-sampler", has_text="Heun, 2 network calls a step.").wait_for()
    open_group(page, "sampler-options")
    page.locator("#s_churn").wait_for()

    open_group(page, "levels")
    numbers = page.locator("#ld-levels .numbers")
    numbers.wait_for()
    assert numbers.inner_text().startswith("999, 949, 899, ")
    choose(page, "spacing", "karras")
    page.wait_for_function("() => !document.querySelector('#ld-levels .numbers').textContent.includes('949')")
    expect(page.locator("#ld-levels svg line.told")).to_have_count(20)
    page.locator("#rho textarea, #rho input").first.press_sequentially("x")
    page.locator("#ld-levels .said", has_text="rho must be a number, got 'x'.").wait_for()
    choose(page, "spacing", "custom")
    page.locator("#sigmas textarea, #sigmas input").first.fill("14.6, 7, 3.2, 1.4")
    page.locator("#ld-levels figcaption", has_text="4 steps").wait_for()
    expect(page.locator("#steps input[type=number]")).to_have_value("4")
    page.locator("#sigmas textarea, #sigmas input").first.press_sequentially(", x")
    said = "sigmas must be numbers such as 14.6, 7, 3.2; got 'x'."
    page.locator("#ld-levels .said", has_text=said).wait_for()


def test_settings_restored_behind_closed_doors_are_drawn_with(story, tmp_path):
    asked = Settings(
        PROMPT, steps=9, sampler="euler", spacing="karras", rho=5.5, cfg_scale=2.5, cfg_rescale=0.3,
        cfg_method="perpendicular", cfg_schedule="linear", cfg_start=0.1, cfg_stop=0.9, cfg_final=2.0,
        dynamic_threshold=0.9, negative_scale=2.0, s_churn=3.0, s_tmin=0.1, s_tmax=10.0, s_noise=1.01,
        noise="comfyui", seed=5, variation_seed=9, variation_strength=0.2,
    )  # fmt: skip
    png.save(Image.new("RGB", (8, 8)), tmp_path / "x.png", asked, "Latent Darkroom default")
    page = story.page
    page.locator("#settings-png input[type=file]").set_input_files(tmp_path / "x.png")
    page.wait_for_function("(p) => document.querySelector('#prompt textarea').value === p", arg=PROMPT)
    story.draw()
    story.begins("#ld-tray .line", "Seed 5, variation 9. 9 steps in ")
    assert png.read(story.save("#ld-tray figure a"))[0] == asked


@pytest.mark.parametrize("story", [{"width": 360, "height": 740}], indirect=True)
def test_all_groups_open_fit_a_phone(story, tmp_path):
    page = story.page
    for name in GROUPS[:-1]:
        open_group(page, name)
    upload(story, photo(tmp_path / "photo.png", (300, 200)))
    assert page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth") <= 0
    small = page.evaluate(
        """[...document.querySelectorAll('#ld-paint button, #settings .label-wrap')]
          .filter((one) => one.getBoundingClientRect().height < 24).length"""
    )
    assert small == 0
