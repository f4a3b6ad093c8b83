"""What a person does with a run on the denoising tab, in a real browser."""

import pytest
from axe_playwright_python.base import AXE_FILE_PATH
from playwright.sync_api import expect

from .story import PROMPT
from .test_panels import AXE

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.fixture
def story(visit):
    with visit(viewport={"width": 1280, "height": 900}, color_scheme="dark") as made:
        made.open()
        yield made
        assert made.page.locator(".toast-wrap").all_inner_texts() in ([], [""])


def run(story, steps=12, seed=3, prompt=PROMPT, button="run"):
    """Ask for a run on the denoising tab; what is not asked for there comes from the first tab."""
    page = story.page
    page.locator("#steps input[type=number]").fill(str(steps))
    page.locator("#seed input").fill(str(seed))
    page.locator("#seed input").blur()
    page.wait_for_function("() => !document.querySelector('#fresh input').checked")
    story.tab("Denoising steps")
    page.locator("#steps-prompt textarea").fill(prompt)
    page.locator(f"#steps-{button}").click()


def shown(story, text):
    """Wait until the player stands at a step, everything of the run there."""
    story.page.locator("#ld-scrubber .where", has_text=text).wait_for()
    story.page.locator("#ld-scrubber .live").wait_for(state="hidden")


def buttons(story, enabled):
    """Wait until these, and no others, can be pressed."""
    for name in ("run", "pause", "step", "continue", "stop"):
        expect(story.page.locator(f"#steps-{name}")).to_be_enabled(enabled=name in enabled)


def go_to(story, index):
    """Move the scrubber to a step, counted from 0."""
    story.page.locator("#ld-scrubber .scrub").focus()
    story.press("Home")
    for _ in range(index):
        story.press("ArrowRight")


def branch(story):
    story.page.locator("#branch-go").click()
    story.page.locator("#ld-tree li li").first.wait_for()


def said(story, text):
    story.page.locator("#ld-scrubber .compared .said", has_text=text).wait_for()


def menu(story, index, choice):
    story.page.locator("#ld-tree .more").nth(index).click()
    story.page.locator("#ld-tree .menu button", has_text=choice).click()


def two_runs(story):
    """A run and then another one, which is in the player."""
    page = story.page
    run(story, steps=6)
    shown(story, "step 6 of 6")
    page.locator("#steps-prompt textarea").fill("a blue cup on a red background")
    page.locator("#steps-run").click()
    page.locator("#ld-tree .run").nth(1).wait_for()
    page.locator("#ld-scrubber .prompt", has_text="a blue cup").wait_for()


def test_a_run_comes_live_pauses_steps_goes_on_and_stops(story):
    page = story.page
    expect(page.locator("#steps-run")).to_be_hidden()
    page.locator("#batch_size input[type=number]").fill("8")  # so that it lasts
    page.locator("#width input[type=number]").fill("512")
    run(story, steps=60)
    page.locator("#ld-scrubber .coming img").first.wait_for()
    buttons(story, ["pause", "stop"])
    page.locator("#steps-pause").click()
    page.locator("#ld-scrubber .scrub[data-step]").wait_for()
    page.locator("#steps-continue:not([disabled])").wait_for()
    buttons(story, ["run", "step", "continue", "stop"])
    made = int(story.text("#ld-scrubber .where").split()[1])
    assert 1 <= made < 60
    story.mentions("#ld-tree .state", f"paused after step {made} of 60")
    page.locator("#steps-step").click()
    shown(story, f"step {made + 1} of 60")
    page.locator("#steps-step").click()
    shown(story, f"step {made + 2} of 60")
    page.locator("#steps-continue").click()
    page.locator("#steps-stop:not([disabled])").wait_for()
    page.locator("#ld-scrubber .live:not([hidden])").wait_for()
    page.locator("#steps-stop").click()
    page.locator("#ld-tree .state", has_text="stopped after step").wait_for()
    page.locator("#steps-run:not([disabled])").wait_for()
    buttons(story, ["run", "step"])
    expect(page.locator("#ld-tree .run")).to_have_count(1)


def test_a_branch_with_something_changed_and_with_nothing(story):
    page = story.page
    run(story)
    shown(story, "step 12 of 12")
    go_to(story, 5)
    page.locator("#ld-from", has_text="Steps 1 to 5 stay as they are; 7 of 12 are made anew.").wait_for()
    page.locator("#branch-cfg_scale input").fill("7")
    branch(story)
    said(story, "They part at step 6: the guided prediction differs by up to")
    page.locator("#ld-scrubber .compared [data-name=moved] img").wait_for()
    story.says("#ld-tree li li .said", "from step 6: cfg_scale 3 → 7")
    page.locator("#branch-cfg_scale input").wait_for()
    page.wait_for_function("() => document.querySelector('#branch-cfg_scale input').value === '7'")
    go_to(story, 8)
    branch(story)
    said(story, "They never part: all 12 steps are the same, bit for bit.")
    story.says("#ld-tree li li li .said", "from step 9: nothing changed")

    # what cannot be done is a sentence, and the form stays as it was
    page.locator("#branch-steps input").fill("2")
    page.locator("#branch-go").click()
    page.locator(".toast-wrap", has_text="steps must be more than").wait_for()
    expect(page.locator("#branch-steps input")).to_have_value("2")
    page.locator(".toast-wrap button").first.click()
    page.locator(".toast-body").wait_for(state="detached")


def test_runs_are_named_compared_and_deleted(story):
    page = story.page
    two_runs(story)
    menu(story, 1, "Rename")
    page.locator("#ld-tree .menu input").fill("the <b>apple</b>")
    page.keyboard.press("Enter")
    page.locator("#ld-tree .title", has_text="the <b>apple</b>").wait_for()
    menu(story, 1, "Compare")
    said(story, "They part at step 1")
    assert page.locator("#ld-scrubber .compared figure b").all_inner_texts() == [
        "This run", "the <b>apple</b>", "Difference", "What moved",
    ]  # fmt: skip
    page.get_by_role("tab", name="Compare").click()
    page.locator("#compare-off:not([disabled])").click()
    page.locator("#ld-scrubber .compared").wait_for(state="detached")
    page.locator("#compare-with input").click()
    page.locator("[role=listbox] [role=option]").first.click()
    said(story, "They part at step 1")

    menu(story, 1, "Delete")
    page.locator("#ld-tree .menu button", has_text="Keep").click()
    expect(page.locator("#ld-tree .run")).to_have_count(2)
    menu(story, 1, "Delete")
    page.locator("#ld-tree .menu button.sure").click()
    page.locator("#ld-tree .run").nth(1).wait_for(state="detached")
    page.locator("#ld-scrubber .compared").wait_for(state="detached")
    menu(story, 0, "Delete")
    page.locator("#ld-tree .menu button.sure").click()
    page.locator("#ld-scrubber .empty").wait_for()
    page.wait_for_function("() => !location.search.includes('run=')")


def test_run_is_heard_while_the_last_one_is_still_being_drawn(story):
    page = story.page
    run(story, steps=30)
    shown(story, "step 30 of 30")
    page.locator("#steps-exact input").check()
    page.locator("#steps-prompt textarea").fill("a green dog on a white background")
    page.locator("#steps-run").click()
    page.locator("#ld-tree .run").nth(1).wait_for()
    page.locator("#ld-scrubber .live", has_text="with the autoencoder").wait_for()
    page.locator("#steps-prompt textarea").fill("a blue cup on a red background")
    page.locator("#steps-run").dblclick()
    page.locator("#ld-tree .run").nth(2).wait_for()
    page.locator("#ld-scrubber .prompt", has_text="a blue cup").wait_for()
    page.locator("#ld-scrubber .scrub[data-whole]").wait_for()
    expect(page.locator("#ld-tree .run")).to_have_count(3)  # a double click asks for one


def test_what_is_told_of_an_event_before_its_answer_is_there_is_shown(visit):
    with visit() as story:
        page = story.page
        page.add_init_script(LATE_ANSWERS)
        story.open()
        two_runs(story)
        page.locator("#ld-scrubber .scrub[data-whole]").wait_for()
        menu(story, 1, "Compare")
        said(story, "They part at step 1")
        page.wait_for_timeout(1000)  # nothing else is under way
        page.evaluate("window.late = 700")
        menu(story, 1, "Delete")
        page.locator("#ld-tree .menu button.sure").click()
        expect(page.locator("#ld-tree .run")).to_have_count(1)
        page.locator("#ld-scrubber .compared").wait_for(state="detached")


def test_its_address_finds_it_again(story, browser):
    page = story.page
    run(story, steps=4)
    shown(story, "step 4 of 4")
    link = page.url
    assert "?run=" in link
    expect(page.locator("#ld-scrubber .link")).to_be_visible()

    # another browser, a refresh, and the tab left and opened again
    context = browser.new_context()
    other = context.new_page()
    other.goto(link)
    other.locator("#ld-scrubber .where", has_text="step 4 of 4").wait_for()
    expect(other.locator("#ld-tree .run")).to_have_count(0)
    context.close()
    story.reload()
    shown(story, "step 4 of 4")
    page.locator("#ld-tree .run").wait_for()
    story.tab("Prompt to image")
    page.wait_for_function("() => !location.search.includes('run=')")
    page.locator("#ld-tray .tray[data-state=done]").wait_for()
    story.tab("Denoising steps")
    page.wait_for_function("(link) => location.href === link", arg=link)

    # one in progress goes on, and can be stopped from where it was found
    page.locator("#steps-prompt textarea").fill("a blue cup on a red background")
    story.tab("Prompt to image")
    page.locator("#batch_size input[type=number]").fill("16")  # so that it lasts until another page is there
    page.locator("#width input[type=number]").fill("512")
    run(story, steps=60, prompt="a blue cup on a red background")
    page.locator("#ld-scrubber .coming img").first.wait_for()
    page.wait_for_function("(link) => location.href !== link", arg=link)
    second = page.context.new_page()
    second.goto(page.url)
    second.locator("#ld-scrubber .coming img").first.wait_for()
    second.locator("#steps-stop").click()
    second.locator("#ld-tree .state", has_text="stopped after step").wait_for()
    second.close()
    page.locator("#ld-scrubber .prompt", has_text="a blue cup").wait_for()


def test_a_run_that_is_gone_is_a_sentence(visit, address):
    with visit() as lost:
        lost.page.goto(f"{address}/?run={'x' * 22}")
        lost.page.locator(".toast-wrap", has_text="is not kept any more").wait_for()
        lost.page.wait_for_function("() => !location.search.includes('run=')")
        expect(lost.page.locator("#ld-tray .tray")).to_have_attribute("data-state", "empty")
        lost.draw(steps=4)  # the page works all the same
        lost.mentions("#ld-tray .line", "4 steps")
        expect(lost.page.locator("#ld-sheet button")).to_have_count(1)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious_and_it_fits_a_phone(visit, scheme):
    with visit(viewport={"width": 360, "height": 740}, color_scheme=scheme) as story:
        story.open()
        run(story, steps=4)
        shown(story, "step 4 of 4")
        branch(story)
        said(story, "They never part")
        page = story.page
        page.locator("#ld-tree .more").first.click()
        page.locator("#branch-here > .label-wrap").click()
        page.locator("#ld-branch-paint canvas").wait_for()
        assert story.too_wide() <= 0
        page.add_script_tag(content=AXE_FILE_PATH.read_text())
        for name in ("Branch", "Compare"):
            story.tool(name)
            assert page.evaluate(AXE) == []


def test_a_word_is_looked_into_muted_and_what_moved_is_shown(story):
    page = story.page
    run(story)
    page.locator("#ld-scrubber .scrub[data-whole]").wait_for()
    page.locator("#ld-scrubber [role=tab][data-name=words]").click()
    word = page.locator("#ld-scrubber .word[data-word=apple]")
    if word.get_attribute("aria-pressed") != "true":
        word.click()
    page.get_by_role("button", name="Layers and heads of this step").click()
    page.locator("#ld-scrubber .layers canvas").first.wait_for()
    assert page.locator("#ld-scrubber .layers figure").count() >= 2
    page.get_by_role("button", name="Mute it").click()
    page.locator("#ld-tree li li").first.wait_for()
    said(story, "They part at step 1")
    story.mentions("#ld-tree li li .said", "without “apple”")
    page.locator("#ld-scrubber .compared [data-name=moved] img").wait_for()


# a network on which answers take their time, and the stream does not
LATE_ANSWERS = """(() => {
  const plain = window.fetch;
  window.fetch = async (...asked) => {
    const answer = await plain(...asked);
    if (String(asked[0].url || asked[0]).includes('/queue/join')) {
      await new Promise((done) => setTimeout(done, window.late || 0));
    }
    return answer;
  };
})()"""
