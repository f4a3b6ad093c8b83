"""Models that are told something else than words, in a browser: a class, boxes, painted class numbers."""

import os

# before gradio is imported, as app.py does
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", "1000000")

import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import expect

from ldm import checkpoints, run_file
from ldm.engine import Engine
from ldm.models.layout import read_boxes

from ..ui.twins import twin
from .story import told

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def address_of(tmp_path_factory):
    """Where an app answers that draws with the twin of a kind, started once.

    All in this process: each one of its own would import everything anew.
    """
    from ldm.ui import build_app, launch

    folder, found = tmp_path_factory.mktemp("twins"), {}

    def address(kind):
        if kind not in found:
            path = folder / f"{kind}.safetensors"
            checkpoints.save(twin(kind), path)
            engine = Engine(path, device="cpu")
            engine.model.graphs.enabled = False  # tracing takes longer than a few steps
            page = build_app(engine)
            launch(page, engine, prevent_thread_lock=True, quiet=True)
            found[kind] = (page, engine)
        return found[kind][0].local_url.rstrip("/")

    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        yield address
        for page, engine in found.values():
            page.close(verbose=False)
            engine.close()


@pytest.fixture
def visit_of(browser, address_of, tmp_path):
    """A function: a page of the app that draws with the twin of a kind."""

    def visit(kind, **options):
        return told(browser, address_of(kind), tmp_path, **options)

    return visit


def opened(story):
    story.page.goto(story.address)
    story.page.locator("#generate").wait_for()
    return story.page


def drawn(story):
    """The trace of what the page asks for."""
    story.page.locator("#generate").click()
    story.page.locator("#ld-tray .tray[data-state=done] figure a").first.wait_for()
    story.see_the_steps()
    return run_file.load(story.save("#save-run"))


def drag(page, place, start, end):
    """Across `place`, from and to shares of its sides."""
    place.scroll_into_view_if_needed()
    box = place.bounding_box()
    spots = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in (start, end)]
    page.mouse.move(*spots[0])
    page.mouse.down()
    page.mouse.move(*spots[1], steps=6)
    page.mouse.up()


def test_a_class_is_looked_for_by_its_letters(visit_of):
    with visit_of("class") as story:
        page = opened(story)
        expect(page.locator("#prompt input")).to_have_value("golden retriever (207)")
        expect(page.locator("#negative_prompt")).to_have_count(0)
        page.locator("#prompt input").click()
        page.locator("#prompt input").press("Control+A")
        page.locator("#prompt input").press_sequentially("tabb")
        expect(page.get_by_role("option")).to_have_count(1)
        page.locator("#prompt input").press("Enter")
        expect(page.locator("#prompt input")).to_have_value("tabby (281)")
        assert drawn(story).settings.prompt == "tabby (281)"
        expect(page.locator("#steps-prompt input")).to_have_value("tabby (281)")


def test_boxes_are_a_prompt_and_a_prompt_is_boxes(visit_of, tmp_path):
    with visit_of("boxes", viewport={"width": 1280, "height": 900}) as story:
        page = opened(story)
        square, prompt = page.locator("#ld-boxes .square"), page.locator("#prompt").locator("textarea, input")
        drag(page, square, (0.1, 0.1), (0.6, 0.7))
        page.locator("#ld-boxes .which").fill("17")
        page.locator("#ld-boxes .which").press("Enter")
        drag(page, square, (0.5, 0.3), (0.9, 0.9))
        expect(page.locator("#ld-boxes .box")).to_have_count(2)
        page.wait_for_function(
            "() => document.querySelector('#prompt textarea, #prompt input').value.includes('17')"
        )
        boxes = read_boxes(prompt.input_value(), 81)
        assert [box.label for box in boxes] == [0, 17]
        ends = [(box.left, box.top, box.right, box.bottom) for box in boxes]
        assert np.allclose(ends, [(0.1, 0.1, 0.6, 0.7), (0.5, 0.3, 0.9, 0.9)], atol=0.01)

        prompt.press("End")
        prompt.press_sequentially("; 5 0 0 0.3 0.2; 6 1")
        expect(page.locator("#ld-boxes .box")).to_have_count(3)
        story.mentions("#ld-unknown-prompt p", "Box 4, '6 1', must be a class and four numbers")
        for _ in "; 6 1":
            prompt.press("Backspace")
        expect(page.locator("#ld-unknown-prompt p")).to_be_empty()

        (tmp_path / "names.txt").write_text("person\n17 dog")
        page.locator("#class-names > .label-wrap").click()
        (tmp_path / "names.txt").write_text("0 person\n17 dog")
        page.locator("#names-file input[type=file]").set_input_files(tmp_path / "names.txt")
        expect(page.locator("#ld-boxes .box span").nth(1)).to_have_text("dog (17)")
        page.get_by_role("button", name="Remove person (0)").click()
        expect(page.locator("#ld-boxes .box")).to_have_count(2)
        page.wait_for_function(
            "() => document.querySelector('#prompt textarea, #prompt input').value.startsWith('17')"
        )
        trace = drawn(story)
        assert [box.label for box in read_boxes(trace.settings.prompt, 81)] == [17, 5]


def test_class_numbers_are_painted_and_come_back(visit_of, tmp_path):
    with visit_of("palette", viewport={"width": 1280, "height": 900}) as story:
        page = opened(story)
        canvas = page.locator("#ld-paint canvas")
        story.begins("#ld-paint .said", "Nothing is painted yet")
        page.locator("#ld-paint .which").fill("4")
        page.locator("#ld-paint .which").press("Enter")
        page.locator("#ld-paint .fill").click()
        drag(page, canvas, (0.5, 0.5), (0.5, 0.5))
        expect(page.locator("#ld-paint .legend button")).to_have_text(["4100 %"])
        page.locator("#ld-paint .fill").click()
        page.locator("#ld-paint .which").fill("2")
        page.locator("#ld-paint .which").press("Enter")
        drag(page, canvas, (0.0, 0.25), (1.0, 0.25))
        expect(page.locator("#ld-paint .legend button")).to_have_count(2)
        trace = drawn(story)
        numbers = np.asarray(trace.init_image)
        assert (trace.init_image.mode, numbers.shape) == ("L", (32, 32))
        assert set(np.unique(numbers)) == {2, 4}
        assert (numbers[8] == 2).all() and (numbers[20] == 4).all()

        # what was painted is there again, and a picture takes its place
        page.get_by_role("tab", name="Prompt to image").click()
        page.locator("#ld-paint .clear").click()
        page.locator("#reuse").click()
        expect(page.locator("#ld-paint .legend button")).to_have_count(2)
        Image.fromarray(np.tile(np.arange(32, dtype=np.uint8) // 8, (32, 1))).save(tmp_path / "x.png")
        page.locator("#start-picture button[aria-label='Clear']").or_(
            page.locator("#start-picture .icon-button")
        ).first.click()
        story.begins("#ld-paint .said", "Nothing is painted yet")
        page.locator("#start-picture input[type=file]").set_input_files(tmp_path / "x.png")
        expect(page.locator("#ld-paint .legend button")).to_have_count(4)
        assert np.array_equal(np.unique(np.asarray(drawn(story).init_image)), [0, 1, 2, 3])
