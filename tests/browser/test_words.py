import re

import pytest
from playwright.sync_api import expect

from ldm.checkpoints import save
from ldm.training.config import DEFAULT
from ldm.training.export import model_config
from tests.conftest import tiny_model

from .story import running_app

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """An app whose model says what it learned."""
    folder = tmp_path_factory.mktemp("app")
    known = model_config(DEFAULT)
    fields = {
        name: getattr(known, name) for name in ("vocabulary", "synonyms", "plurals", "words", "examples")
    }
    save(tiny_model(**fields), folder / "tiny.safetensors")
    with running_app(folder, "--weights", str(folder / "tiny.safetensors")) as found:
        yield found


@pytest.fixture
def story(visit):
    with visit() as made:
        made.open()
        yield made


def until_prompt(story, text):
    story.page.wait_for_function(
        "(text) => document.querySelector('#prompt textarea').value === text", arg=text
    )


def test_an_unknown_word_is_named_and_a_click_takes_a_known_one(story):
    page, line = story.page, story.page.locator("#ld-unknown-prompt p")
    before = len(story.requests)
    page.locator("#prompt textarea").press_sequentially("an astronaut on a horse", delay=30)
    line.locator("button").first.wait_for()
    assert line.inner_text() == (
        '"astronaut" is not among the words this model learned; the nearest it knows: rocket, robot. '
        'The model does not read the end of the prompt, from "t on a horse" on.'  # of 12 tokens it reads 10
    )
    # the server is asked when there is a pause, not about each letter
    assert len(story.requests) - before < len("an astronaut on a horse") / 3
    line.get_by_role("button", name="robot").focus()
    story.press("Enter")
    until_prompt(story, "a robot on a horse")
    assert page.evaluate("document.activeElement === document.querySelector('#prompt textarea')")
    page.wait_for_function(
        "() => !document.querySelector('#ld-unknown-prompt p').textContent.includes('learned')"
    )


def test_an_unknown_word_is_never_read_as_markup_or_code(story):
    page = story.page
    for box in ("prompt", "negative_prompt"):
        hostile = "<img src=x onerror=window.broken=1> ${window.broken=1} {{value}} <b>apple</b>"
        page.locator(f"#{box} textarea").fill(hostile)
        page.wait_for_function(f"() => document.querySelector('#ld-unknown-{box} p').textContent.length > 20")
        expect(page.locator(f"#ld-unknown-{box} p :not(button)")).to_have_count(0)
    assert page.evaluate("window.broken") is None
    story.begins("#ld-unknown-negative_prompt p", 'In the negative prompt, "img", "src"')


def test_the_list_of_words_is_used_without_a_mouse(story):
    page, whole = story.page, story.page.locator("#ld-chips .all > summary")
    expect(whole).to_have_text("What this model can draw 80 objects, 12 colors", use_inner_text=True)
    whole.focus()
    story.press("Enter")
    story.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Animal 28"
    story.press("Enter")
    story.press("Tab")
    story.press("Enter")
    until_prompt(story, "a dog")
    for kind, word, after in (
        ("Color 12", "orange", "an orange dog"),
        ("Count 4", "two", "two orange dogs"),
        ("Position 9", "on the left", "two orange dogs on the left"),
        ("Background 12", "in the snow", "two orange dogs on the left in the snow"),
    ):
        group = page.locator("#ld-chips .kinds details").filter(
            has=page.locator("summary", has_text=re.compile(f"^{kind}$"))
        )
        group.locator("summary").click()
        group.get_by_role("button", name=word, exact=True).click()
        until_prompt(story, after)


@pytest.mark.parametrize("width", [1280, 360])
def test_all_kinds_open_fit_the_page(visit, width):
    with visit(viewport={"width": width, "height": 800}) as story:
        story.open()
        story.page.evaluate(
            "document.querySelectorAll('#ld-chips details').forEach((one) => { one.open = true; })"
        )
        story.page.locator("#prompt textarea").fill("pneumonoultramicroscopicsilicovolcanoconiosis " * 3)
        story.page.wait_for_function(
            "() => document.querySelector('#ld-unknown-prompt p').textContent !== ''"
        )
        assert story.too_wide() <= 0
        small = story.page.evaluate(
            """[...document.querySelectorAll('#ld-chips button, #ld-chips summary')]
              .filter((one) => one.getBoundingClientRect().height < 24).length"""
        )
        assert small == 0
