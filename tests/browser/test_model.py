"""Drop a file in, see what it is and why, and use it: for every family, with tiny twins of its files."""

import re

import pytest
from axe_playwright_python.base import AXE_FILE_PATH
from PIL import Image
from playwright.sync_api import expect

from ..model_files import write
from .story import running_app

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """An app of its own: here the model is exchanged."""
    with running_app(tmp_path_factory.mktemp("app")) as found:
        yield found


# family -> (what the card says that it is, a line of why)
FAMILIES = {
    "sd1": ("Stable Diffusion 1", "averages of the U-Net's weights"),
    "sdxl": ("Stable Diffusion XL", "CLIP's and OpenCLIP's text towers"),
    "cin256": ("a model built like cin256", "told what to draw by 1"),
    "study": ("a model of the study", "taken to predict the noise"),
    "sd2": ("Stable Diffusion 2", "OpenCLIP's text tower"),
    "sd1-inpainting": ("Stable Diffusion 1, inpainting", "a mask and a picture with a hole"),
    "celeba256": ("a model built like celeba256", "told what to draw by nothing"),
    "bsr_sr": ("a model built like bsr_sr", "it also reads a small picture"),
    "labml": ("a model in pixel space", "the first stage is none: it draws pixels"),
}
ALWAYS = ("sd1", "cin256", "study")
CASES = [pytest.param(family, marks=() if family in ALWAYS else pytest.mark.long) for family in FAMILIES]


def at_the_model(story):
    story.tab("Model")
    story.page.locator("#ld-card .card:not([hidden])").wait_for()
    story.page.locator("#ld-opened .opened:not([hidden])").wait_for()


def start(story):
    """The first tab has no prompt to write where a model reads none."""
    story.page.goto(story.address)
    story.page.locator("#generate").wait_for()


def drop(story, *paths):
    story.page.locator("#model-drop input[type=file]").set_input_files([str(path) for path in paths])


def use(story, name):
    """Open what lies on the desk; the page loads itself again and is back at this tab."""
    before = len(story.complaints)
    button = story.page.locator("#model-open")
    expect(button).to_be_enabled()
    story.page.evaluate("() => { window.old = true; }")
    button.click()
    story.page.wait_for_function("() => !window.old")
    story.mentions("#ld-head", name)
    story.mentions("#ld-opened .name", name)
    expect(story.page.get_by_role("tab", name="Model")).to_have_attribute("aria-selected", "true")
    broken_off = ("AbortError", "errored out")  # its requests, when it loads itself again
    story.complaints[before:] = [
        c for c in story.complaints[before:] if not any(words in c for words in broken_off)
    ]


def fill(story, selector, value):
    """A field, where the model has it."""
    field = story.page.locator(selector)
    if field.count() and field.first.is_visible():
        field.first.fill(str(value))
        field.first.press("Tab")


def draw(story, family, folder):
    """As small and quick a picture as the model makes."""
    page = story.page
    story.tab("Prompt to image")
    page.locator("#generate").wait_for()
    fill(story, "#prompt textarea", "a castle")
    fill(story, "#steps input[type=number]", 2)
    if family.startswith(("sd", "study")):
        for side in ("width", "height"):
            fill(story, f"#{side} input[type=number]", 64)
    if family in ("sd1-inpainting", "bsr_sr"):
        picture = folder / "picture.png"
        Image.linear_gradient("L").convert("RGB").resize((64, 64)).save(picture)
        if not page.locator("#start input[type=file]").count():
            page.locator("#start button").first.click()
        page.locator("#start input[type=file]").first.set_input_files(picture)
    expect(page.locator("#generate")).to_be_enabled()
    page.locator("#generate").click()
    page.locator("#ld-tray .tray[data-state=done] figure a").first.wait_for()


@pytest.mark.parametrize("family", CASES)
def test_drop_the_file_see_what_it_is_use_it(story, tmp_path, family):
    title, why = FAMILIES[family]
    files = write(family, tmp_path / "dropped")
    start(story)
    at_the_model(story)
    drop(story, *files)
    story.mentions("#ld-card .name", files[0].name)
    story.mentions("#ld-card .title", re.compile(re.escape(title), re.IGNORECASE))
    story.mentions("#ld-card .why", re.compile(re.escape(why), re.IGNORECASE))
    story.mentions("#ld-card .verdict", "Loads")
    story.mentions("#ld-exam .short", "every weight has its place")
    use(story, files[0].stem)
    draw(story, family, tmp_path)
    story.tab("Round trip")
    story.page.locator("#ld-report .value").first.wait_for()


def test_what_cannot_be_opened_is_said_and_the_model_stays(story, tmp_path):
    start(story)
    at_the_model(story)
    here = story.text("#ld-opened .name")
    path = tmp_path / "broken.safetensors"
    path.write_bytes(b"\x10\0\0\0\0\0\0\0nothing at all")
    drop(story, path)
    story.mentions("#ld-card .verdict", "Cannot be opened")
    story.mentions("#ld-card .said", "broken.safetensors")
    expect(story.page.locator("#model-open")).to_be_hidden()
    story.page.locator("#model-name input, #model-name textarea").first.fill(str(tmp_path / "none"))
    story.page.locator("#model-look").click()
    story.page.locator(".toast-wrap").get_by_text("There is no file or folder").wait_for()
    story.says("#ld-opened .name", here)


def test_the_model_is_examined_asked_and_walked_through(story):
    start(story)
    at_the_model(story)
    page = story.page
    page.locator("#ld-shelf button[title='default.safetensors']").click()
    story.mentions("#ld-card .name", "default.safetensors")
    story.mentions("#ld-exam .short", "every weight has its place")
    page.locator("#model-full").click()
    story.mentions("#ld-exam .facts", "AutoV2")
    story.mentions("#ld-exam .facts", "every value is a number")
    if "default" not in story.text("#ld-opened .name"):
        use(story, "default")
    page.locator("#model-ask").click()
    story.mentions("#ld-behaviour .said", "It predicts the velocity (v).")
    expect(page.locator("#ld-behaviour .scores li")).to_have_count(3)
    expect(page.locator("#ld-behaviour .wrong")).to_be_hidden()
    tools = page.locator("#model-tools")
    tools.get_by_role("tab", name="Shapes").click()
    page.locator("#model-walk").click()
    story.mentions("#ld-ledger", "9,065,776 numbers")
    story.mentions("#ld-ledger", "16 x 16 x 16")
    tools.get_by_role("tab", name="LoRAs and words").click()
    story.mentions("#ld-additions", "There are none yet.")


def test_another_page_that_was_open_before_loads_itself_again(visit, address):
    with visit() as first, visit() as second:
        for story in (first, second):
            start(story)
        at_the_model(first)
        first.page.locator("#ld-shelf button[title='default.safetensors']").click()
        first.mentions("#ld-card .name", "default.safetensors")
        use(first, "default")
        second.page.evaluate("() => { window.old = true; }")
        second.tab("Model")
        second.page.wait_for_function("() => !window.old")
        at_the_model(second)
        expect(second.page.locator("#ld-opened .name")).to_contain_text("default")
        assert second.text("#ld-opened .name") == first.text("#ld-opened .name")
        told = ("409", "AbortError", "errored out", "Conflict")
        second.complaints[:] = [c for c in second.complaints if not any(words in c for words in told)]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 390)])
def test_axe_finds_nothing_serious_and_it_fits_a_phone(visit, scheme, width):
    with visit(color_scheme=scheme, viewport={"width": width, "height": 900}) as story:
        start(story)
        at_the_model(story)
        page = story.page
        page.locator("#ld-shelf button[title='default-vq.safetensors']").click()
        story.mentions("#ld-card .verdict", "No model by itself")
        page.locator("#ld-shelf button[title='default.safetensors']").click()
        story.mentions("#ld-exam .short", "every weight has its place")
        page.locator("#model-tools").get_by_role("tab", name="Shapes").click()
        page.locator("#model-walk").click()
        page.locator("#ld-ledger details").first.wait_for()
        assert story.too_wide() <= 0
        page.add_script_tag(path=str(AXE_FILE_PATH))
        found = page.evaluate(AXE)
        assert [v for v in found if v["impact"] in ("serious", "critical")] == []


AXE = """async () => {
  const { violations } = await axe.run(document, { resultTypes: ['violations'] });
  return violations.map(({ id, impact, nodes }) => ({ id, impact, nodes: nodes.map((node) => node.html) }));
}"""
