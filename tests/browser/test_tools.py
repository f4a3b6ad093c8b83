"""Seeds, race and one's own picture in a real browser, with the model that ships."""

import re

import pytest
from playwright.sync_api import expect

from .story import PROMPT, photo

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
def story(visit):
    with visit(reduced_motion="reduce") as made:
        yield made


def at_the_tool(story, name, steps=8, prompt=PROMPT):
    """The tab with a prompt, and a tool of it opened."""
    page = story.page
    story.open()
    page.locator("#steps input[type=number]").first.fill(str(steps))
    page.locator("#steps input[type=number]").first.blur()
    story.tab("Denoising steps")
    page.locator("#steps-prompt textarea").fill(prompt)
    page.get_by_role("tab", name=name, exact=True).click()


def set_number(story, what, value):
    field = story.page.locator(f"{what} input[type=number]")
    field.fill(str(value))
    field.blur()


def test_seeds_are_looked_at_and_those_that_are_chosen_go_on(story):
    page = story.page
    at_the_tool(story, "Seeds")
    set_number(story, "#seeds-count", 4)
    page.locator("#seeds-look").click()
    tiles = page.locator("#ld-atlas figure")
    page.locator("#ld-atlas figure[data-state=paused]").nth(3).wait_for()
    page.locator("#seeds-stop[disabled]").wait_for()
    expect(tiles).to_have_count(4)
    expect(page.locator("#ld-tree .run")).to_have_count(0)
    expect(page.locator("#ld-atlas .proceed")).to_be_disabled()
    guesses = [tiles.nth(i).locator("img").get_attribute("src") for i in range(4)]
    assert len(set(guesses)) == 4

    tiles.nth(1).locator(".tile").click()
    page.keyboard.press("Tab")  # to its "open", then to the next picture
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    story.says("#ld-atlas .proceed", "Go on with the 2 chosen")
    page.locator("#ld-atlas .proceed").click()
    page.locator("#ld-atlas figure[data-state=done]").nth(1).wait_for()
    page.locator("#ld-tree .run").nth(1).wait_for()
    states = [tiles.nth(i).get_attribute("data-state") for i in range(4)]
    assert states == ["paused", "done", "done", "paused"]
    expect(tiles.nth(0).locator("img")).to_have_attribute("src", guesses[0])
    story.says("#ld-atlas .said", "4 seeds, 2 drawn to the end. Choose those that are to go on.")

    tiles.nth(2).locator(".open").click()
    page.locator("#ld-scrubber .scrub[data-step='7']").wait_for()
    seed = tiles.nth(2).locator(".seed").inner_text()
    story.mentions("#ld-scrubber .facts", f"seed {seed},")


def test_samplers_are_raced_and_stand_beside_each_other(story):
    page = story.page
    at_the_tool(story, "Race")
    set_number(story, "#race-steps", 6)
    page.locator("#race-go").click()
    page.locator("#ld-race .fine img").wait_for()
    page.locator("#ld-race figure[data-run]").nth(3).wait_for()
    page.locator("#race-stop[disabled]").wait_for()
    names = [page.locator("#ld-race td .name").nth(i).inner_text() for i in range(4)]
    assert names == ["dpmpp_2m", "euler", "heun", "euler_ancestral"]
    said = story.text("#ld-race .note")
    assert said == "euler_ancestral draws fresh noise on the way, and so does not aim at this picture."
    expect(page.locator("#ld-race .plots path")).to_have_count(8)

    figures = page.locator("#ld-race figure[data-run]")
    assert [figures.nth(i).get_attribute("data-step") for i in range(4)] == ["5"] * 4
    page.locator("#ld-race .ask input").focus()
    page.keyboard.press("Home")
    story.says("#ld-race output", "1 network call")
    steps = [figures.nth(i).get_attribute("data-step") for i in range(4)]
    assert steps == ["0"] * 4
    page.keyboard.press("ArrowRight")
    story.says("#ld-race output", "2 network calls")
    steps = [figures.nth(i).get_attribute("data-step") for i in range(4)]
    assert steps == ["1", "1", "0", "1"]  # a step of Heun's takes two calls
    page.locator("#ld-race input[value=sigma]").check()
    page.locator("#ld-race .ask input").focus()
    page.keyboard.press("Home")
    assert [figures.nth(i).get_attribute("data-step") for i in range(4)] == ["0"] * 4
    story.says("#ld-race output", re.compile(r"^down to sigma [\d.]+$"))

    figures.nth(2).locator(".name").click()
    page.locator("#ld-scrubber .scrub[data-step='5']").wait_for()
    story.mentions("#ld-scrubber .facts", "heun")


def test_a_picture_of_one_s_own_goes_under_the_noise_and_comes_back(story, tmp_path):
    page = story.page
    at_the_tool(story, "Your picture")
    page.locator("#forward-picture input[type=file]").set_input_files(photo(tmp_path / "photo.png"))
    page.locator("#forward-picture").get_by_text("photo.png").wait_for()
    set_number(story, "#forward-steps", 10)
    set_number(story, "#forward-strength", 0.5)
    page.locator("#forward-go").click()
    page.locator("#ld-scrubber .scrub[data-step='-5']").wait_for()
    story.says("#ld-scrubber .where", "noising 1 of 5")
    page.locator("#steps-noised input").wait_for()
    expect(page.locator("#steps-noised input")).to_be_checked()
    seen = set()
    for _ in range(5):
        seen.add(story.pixels("x_t"))
        story.press("ArrowRight")
    assert len(seen) == 5
    story.says("#ld-scrubber .where", "step 1 of 5")
    expect(page.locator("#ld-scrubber .scrub")).to_have_attribute("data-step", "0")
    page.get_by_role("tab", name="Guidance").click()
    story.says("#ld-scrubber .bodies", "Switch the noising off to see this.")

    # the branch tool goes on from the run's own steps
    story.press("Home")
    page.get_by_role("tab", name="Branch").click()
    story.begins("#ld-from .from", "From step 1 on")

    page.locator("#steps-noised input").uncheck()
    page.locator("#ld-scrubber .scrub[data-step='4']").wait_for()
    story.says("#ld-scrubber .where", "step 5 of 5")
    page.get_by_role("tab", name="Guidance").click()
    page.wait_for_function(
        "() => !document.querySelector('#ld-scrubber .bodies').innerText.startsWith('Switch')"
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_tools_fit_a_phone(visit, scheme):
    with visit(viewport={"width": 360, "height": 740}, color_scheme=scheme) as story:
        page = story.page
        at_the_tool(story, "Seeds")
        for name in ("Seeds", "Race", "Your picture"):
            page.get_by_role("tab", name=name, exact=True).click()
            page.wait_for_timeout(200)
            assert story.too_wide() <= 0, name
