import re

import pytest
from PIL import Image
from playwright.sync_api import expect

from ldm import png, run_file
from ldm.images import to_tensor
from ldm.training.judge import JUDGE, load_judge

from .story import PROMPT, photo

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def test_the_whole_story(story, tmp_path):
    page = story.page
    story.open()
    assert "default" in story.text("#ld-head").lower()
    story.says("#ld-head", re.compile("cpu|cuda"))

    # a prompt becomes a picture, and is watched on its way
    previews = story.draw(steps=30)
    assert len(previews) >= 2
    seed = story.seed_in_the_tray()
    expect(page.locator("#seed input")).to_have_value(str(seed))
    story.mentions("#ld-tray .line", "30 steps")

    # the picture carries its settings, and gives them back
    path = story.save("#ld-tray figure a")
    settings, _ = png.read(path)
    assert (settings.prompt, settings.seed, settings.steps) == (PROMPT, seed, 30)
    with Image.open(path) as drawn:  # and shows what it was asked for
        [seen] = load_judge(JUDGE).names(to_tensor([drawn.convert("RGB")]))
    assert (seen.object, seen.background, seen.count) == ("apple", "blue", 1)
    page.locator("#prompt textarea").fill("something else")
    page.locator("#settings-png input[type=file]").set_input_files(path)
    page.wait_for_function("(p) => document.querySelector('#prompt textarea').value === p", arg=PROMPT)
    expect(page.locator("#seed input")).to_have_value(str(seed))
    expect(page.locator("#fresh input")).not_to_be_checked()

    # the same seed gives the same picture
    story.draw(steps=30)
    again = story.save("#ld-tray figure a")
    with Image.open(path) as a, Image.open(again) as b:
        assert a.tobytes() == b.tobytes()

    # back through the steps, without a word to the server
    story.see_the_steps()
    story.says("#ld-scrubber .where", "step 30 of 30")
    asked = story.quiet()
    lanes = ("x_t", "x0", "eps")
    seen = [[story.pixels(lane) for lane in lanes]]
    for _ in range(12):
        story.press("ArrowLeft")
        seen.append([story.pixels(lane) for lane in lanes])
    story.says("#ld-scrubber .where", "step 18 of 30")
    for i in range(len(lanes)):
        assert len({row[i] for row in seen}) >= 11
    story.press("Home")
    story.says("#ld-scrubber .where", "step 1 of 30")
    story.press("End")
    assert [story.pixels(lane) for lane in lanes] == seen[0]
    page.locator("#ld-scrubber .play").click()
    page.locator("#ld-scrubber .scrub[data-step='29']").wait_for()
    assert story.requests[asked:] == []

    trace = run_file.load(story.save("#save-run"))
    assert (trace.settings, len(trace.steps)) == (settings, 30)
    with Image.open(story.save("#save-gif")) as animation:
        assert (animation.format, animation.n_frames) == ("GIF", 30)

    # a photo of one's own through the autoencoder
    story.round_trip(photo(tmp_path / "photo.png"))
    story.mentions("#ld-report .said", "331 x 247")
    numbers = story.text("#ld-report .numbers")
    assert "PSNR" in numbers
    assert "dB" in numbers
    assert "SSIM" in numbers
    assert page.locator("#trip-slider img").count() >= 2
    assert story.save("#trip-save").suffix == ".safetensors"

    # a refreshed page finds its run
    story.reload()
    page.locator("#ld-tray .tray[data-state=done]").wait_for()
    assert story.seed_in_the_tray() == seed
    expect(page.locator("#ld-sheet button")).to_have_count(2)


def test_a_run_in_progress_is_found_again_and_can_be_stopped(story):
    page = story.page
    story.open()
    page.locator("#prompt textarea").fill(PROMPT)
    page.locator("#batch_size input[type=number]").fill("16")
    page.locator("#width input[type=number]").fill("512")  # so that it lasts until the page is there again
    page.locator("#steps input[type=number]").fill("60")
    page.locator("#generate").click()
    page.locator("#ld-tray .tray[data-state=running] figure img").first.wait_for()
    story.reload()
    page.locator("#ld-tray .tray[data-state=running]").wait_for()
    page.locator("#stop:not([disabled])").click()
    page.locator("#ld-tray .tray[data-state=stopped] figure a").first.wait_for()
    story.begins("#ld-tray .line", "Stopped after step ")
    expect(page.locator("#ld-tray figure")).to_have_count(16)


def test_two_visitors_see_nothing_of_each_other(visit, address):
    with visit() as first:
        first.open()
        first.draw()
        other = first.page.context.browser.new_context().new_page()
        other.goto(address)
        other.locator("#ld-chips button").first.wait_for()
        other.wait_for_timeout(1500)
        expect(other.locator("#ld-tray .tray[data-state=empty]")).to_have_count(1)
        expect(other.locator("#ld-sheet button")).to_have_count(0)


def test_a_prompt_is_never_read_as_markup_or_code(story):
    story.open()
    hostile = "<img src=x onerror=window.broken=1> ${window.broken=1} {{value}} an apple"
    story.draw(hostile)
    story.see_the_steps()
    story.says("#ld-scrubber .prompt", hostile)
    assert story.page.evaluate("window.broken") is None


def test_a_mistake_is_told_in_a_sentence(story):
    story.open()
    story.page.locator("#generate").click()
    toast = story.page.locator(".toast-wrap")
    toast.get_by_text("prompt must say what to draw, got ''.").wait_for()
    expect(story.page.locator("#generate")).to_be_enabled()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_phone(visit, scheme):
    with visit(viewport={"width": 360, "height": 740}, color_scheme=scheme) as story:
        story.open()
        for name in ("Prompt to image", "Round trip", "Denoising steps"):
            story.tab(name)
            story.page.wait_for_timeout(500)
            assert story.too_wide() <= 0
