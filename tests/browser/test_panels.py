"""What lies below the slider, and whether everybody can use it."""

import json

import pytest
from axe_playwright_python.base import AXE_FILE_PATH
from playwright.sync_api import expect

from ldm import run_file
from ldm.engine.weights import open_model
from ldm.views.decided import decided
from ldm.views.equations import equations
from ldm.views.predictions import lane
from ldm.views.schedule import schedule_columns

from .story import DRAWN

pytestmark = [pytest.mark.browser, pytest.mark.slow]
PANELS = ("curves", "guidance", "words", "when", "schedule", "equations", "lesson")


@pytest.fixture
def story(visit):
    with visit() as made:
        made.open()
        made.draw(steps=12, seed=3)
        made.see_the_steps()
        yield made


def opened(story, name):
    """A panel, once what it shows has arrived."""
    story.page.locator("#ld-scrubber .scrub[data-whole]").wait_for()
    tab = story.page.locator(f"#ld-scrubber [role=tab][data-name={name}]")
    tab.click()
    return story.page.locator(f"#ld-scrubber .panel.{name}")


def test_panels_say_what_the_run_file_says(story):
    panel = opened(story, "when")
    story.page.wait_for_function("document.querySelector('.panel.when .bars').dataset.values")
    shown = json.loads(panel.locator(".bars").get_attribute("data-values"))
    trace = run_file.load(story.save("#save-run"))
    quick = open_model(None, None, "cpu").quick_decode
    found = decided(lane(trace, "x0", quick))
    assert shown == found.histogram

    opened(story, "schedule")
    cells = story.page.locator(".panel.schedule tr:nth-child(5) td").all_text_contents()
    columns = schedule_columns(trace)
    assert cells[0] == "4"
    assert float(cells[2]) == pytest.approx(columns["sigma"][3], rel=1e-3)
    assert float(cells[4]) == pytest.approx(columns["alpha_bar"][3], rel=1e-3)

    opened(story, "equations")
    story.page.locator("#ld-scrubber .time").focus()
    story.press("Home")
    for _ in range(4):
        story.press("ArrowRight")
    numbers = story.page.locator(".panel.equations .values").all_text_contents()
    assert numbers == [each.numbers for each in equations(trace, 4)]
    target = story.page.locator(".panel.equations .foot a").last
    assert story.page.request.get(f"{story.address}/{target.get_attribute('href').lstrip('/')}").ok


def test_the_lesson_walks_through_the_run(story):
    opened(story, "lesson")
    story.page.get_by_role("button", name="Start the lesson").click()
    card = story.page.locator("#ld-scrubber .card")
    seen = []
    for _ in range(8):
        seen.append((card.locator("h3").inner_text(), story.text("#ld-scrubber .where")))
        story.press("Enter", on=card.locator("button").nth(1))
    assert len({title for title, _ in seen}) == 8
    assert seen[0][1] == "step 1 of 12"
    assert seen[-1][1] == "step 12 of 12"
    card.wait_for(state="hidden")


def test_a_flip_is_quick_and_asks_nobody(story):
    opened(story, "curves")
    asked = story.quiet()
    busy = story.page.evaluate(FLIPS)
    assert sorted(busy)[len(busy) // 2] < 8  # of the 16.7 ms that a frame has
    assert story.requests[asked:] == []


def test_keys_go_through_panels_and_steps_apart(story):
    opened(story, "curves")
    story.press("ArrowRight", on=story.page.locator("#ld-scrubber [role=tab][data-name=curves]"))
    expect(story.page.locator("#ld-scrubber .panel.guidance")).to_have_count(1)
    story.says("#ld-scrubber .where", "step 12 of 12")
    story.press("ArrowLeft", on=story.page.locator("#ld-scrubber .pin"))
    story.says("#ld-scrubber .where", "step 11 of 12")


def test_any_two_steps_can_be_told_apart(story):
    story.press("Home")
    story.page.locator("#ld-scrubber .pin").click()
    at_itself = story.pixels("difference")
    story.press("End")
    assert story.pixels("difference") != at_itself
    story.mentions("#ld-scrubber figure[data-name=difference]", "Difference of x0 from step 1")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(visit, scheme):
    with visit(color_scheme=scheme) as story:
        story.open()
        story.draw(steps=6, seed=3)
        story.see_the_steps()
        story.page.add_script_tag(content=AXE_FILE_PATH.read_text())
        for name in PANELS:
            opened(story, name)
            found = story.page.evaluate(AXE)
            assert found == [], f"{scheme}, {name}"


def test_a_lane_that_is_slow_comes_all_the_same(story):
    asked = []

    def late(route):  # the first answer is lost, the second one comes after the pack with everything
        asked.append(route.request.url)
        if asked.count(route.request.url) == 1:
            route.abort()
        else:
            route.continue_()

    story.page.route("**/x0-*.jpg", late)
    story.reload()
    story.page.locator("#ld-scrubber figure[data-name=x0] canvas").wait_for()
    story.page.wait_for_function(DRAWN)
    expect(story.page.locator("#ld-scrubber figure[data-loading]")).to_have_count(0)
    assert len(asked) >= 2
    story.complaints[:] = [each for each in story.complaints if "ERR_FAILED" not in each]


def test_the_focus_stays_where_keys_can_go_on(story):
    page = story.page
    page.locator("#steps-step").press("Enter")
    page.locator("#steps-stop:not([disabled])").wait_for()
    page.locator("#ld-tree .state", has_text="paused").wait_for()
    page.locator("#steps-stop").press("Enter")
    page.locator("#ld-tree .state", has_text="stopped").wait_for()
    expect(page.locator("#steps-run")).to_be_focused()
    expect(page.locator("#ld-tree .run")).to_have_count(2)
    page.locator("#ld-tree .more").first.press("Enter")
    for name in ("Delete", "Delete"):
        page.locator("#ld-tree .menu").get_by_role("button", name=name).press("Enter")
    expect(page.locator("#ld-tree .run")).to_have_count(1)
    expect(page.locator("#ld-tree .more")).to_be_focused()


def test_lanes_that_were_picked_stay_for_the_next_run(story):
    page = story.page
    page.locator("#ld-scrubber [data-lane=change]").click()
    page.locator("#steps-prompt textarea").fill("a cat " * 200)
    page.locator("#steps-run").click()
    page.locator("#ld-scrubber .rest:visible").wait_for()  # a long prompt is cut
    page.locator("#ld-scrubber .scrub[data-whole]").wait_for()
    expect(page.locator("#ld-scrubber figure[data-name=change]")).to_have_count(1)


FLIPS = """async () => {
  const busy = [], range = document.querySelector('#ld-scrubber .time');
  const frame = () => new Promise((done) => requestAnimationFrame(done));
  for (let i = 0; i < 60; i++) {
    range.value = i % 12;
    range.dispatchEvent(new Event('input'));
    const began = await frame();
    busy.push(performance.now() - began);
  }
  return busy;
}"""

AXE = """async () => {
  const { violations } = await axe.run(document, { resultTypes: ['violations'] });
  return violations.filter((each) => ['serious', 'critical'].includes(each.impact))
    .map((each) => `${each.id}: ${each.nodes.map((node) => node.html.slice(0, 160)).slice(0, 3)}`);
}"""
