"""A run saved from the app as a page, opened from a disk with the network off."""

import json

import pytest
from playwright.sync_api import expect

from ldm import run_file

from .story import told

pytestmark = [pytest.mark.browser, pytest.mark.slow]
PROMPT = "a <b>red</b> apple </script> & ${x} on a blue background"
HASH = """(name) => {
  const canvas = document.querySelector(`figure[data-name="${name}"] canvas`);
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  let hash = 0;
  for (let i = 0; i < data.length; i += 7) hash = (hash * 31 + data[i]) | 0;
  return hash;
}"""
WIDE = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
FRAME = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


@pytest.fixture(scope="module")
def saved(browser, address, tmp_path_factory):
    """(page, run file) of one run, as the app saves them."""
    with told(browser, address, tmp_path_factory.mktemp("saved")) as story:
        story.open()
        story.draw(PROMPT, steps=12, seed=3)
        story.see_the_steps()
        story.page.get_by_role("tab", name="Keep").click()
        yield story.save("#save-page"), story.save("#save-run")


@pytest.fixture(params=[(1280, "light"), (360, "dark")], ids=["desk", "phone"])
def opened(browser, saved, request):
    """(page, complaints, addresses asked for)."""
    width, scheme = request.param
    context = browser.new_context(offline=True, color_scheme=scheme, viewport={"width": width, "height": 800})
    page, complaints, asked = context.new_page(), [], []
    page.on("console", lambda m: complaints.append(m.text) if m.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    page.goto(saved[0].as_uri())
    page.locator(".scrub[data-step]").wait_for()
    yield page, complaints, asked
    assert complaints == []
    assert {url.partition(":")[0] for url in asked} <= {"file", "data", "blob"}
    assert [url for url in asked if url.startswith("file:")] == [saved[0].as_uri()]
    context.close()


def test_the_saved_page_works_from_a_disk_without_a_network(opened):
    page, *_ = opened
    where = page.locator(".where")
    expect(where).to_have_text("step 12 of 12", use_inner_text=True)
    page.wait_for_function(f"() => ({HASH})('x0') !== 0")
    seen = set()
    for _ in range(11):
        seen.add(tuple(page.evaluate(HASH, name) for name in ("x_t", "x0", "eps")))
        page.keyboard.press("ArrowLeft")
        page.evaluate(FRAME)
    expect(where).to_have_text("step 1 of 12", use_inner_text=True)
    assert len(seen) == 11

    pick = page.locator(".pick button")
    for i in range(pick.count()):
        if pick.nth(i).get_attribute("aria-pressed") == "false":
            pick.nth(i).click()
    assert page.locator(".lanes figure").count() == pick.count() == 7
    page.wait_for_function(f"() => ({HASH})('change') !== 0 && ({HASH})('x0_uncond') !== 0")
    pick.nth(0).click()
    expect(page.locator(".lanes figure")).to_have_count(6)

    tabs = page.locator(".panels [role=tab]")
    assert tabs.count() >= 5
    for i in range(tabs.count()):
        tabs.nth(i).click()
        body = page.locator(".bodies [role=tabpanel]")
        expect(body).to_have_count(1)
        page.evaluate(FRAME)
        assert "Still being worked out" not in body.inner_text()
        assert page.evaluate(WIDE) <= 0
    expect(page.locator(".panels a[href]:visible")).to_have_count(0)  # there is no server to go to


def test_the_saved_page_says_what_was_asked(opened, saved):
    page, *_ = opened
    trace = run_file.load(saved[1])
    assert page.title() == f"{PROMPT} - Latent Darkroom"
    expect(page.locator(".prompt")).to_have_text(PROMPT, use_inner_text=True)
    assert trace.settings.prompt == PROMPT
    assert page.get_by_role("row", name="Prompt").get_by_role("cell").first.inner_text() == PROMPT
    page.get_by_text("All settings as JSON").click()
    assert json.loads(page.locator("#settings").inner_text()) == trace.settings.to_dict()
    run = json.loads(page.locator("#run").text_content())
    assert run["sigma"] == [step.sigma for step in trace.steps]
    assert saved[1].name in page.locator("footer").inner_text()
    assert page.evaluate(WIDE) <= 0


def test_the_page_may_not_go_to_the_network(opened):
    page, complaints, asked = opened
    said = page.evaluate(
        """async () => {
          try { await fetch('https://example.com/'); return 'fetched'; }
          catch (error) { return 'refused'; }
        }"""
    )
    assert said == "refused"
    refused = [text for text in complaints if "Content Security Policy" in text]
    assert refused
    for text in [*complaints]:
        complaints.remove(text)
    assert not [url for url in asked if "example.com" in url]
