"""The panels Guidance and Words: their arithmetic against Python's, and the panels on the default model."""

import base64

import numpy as np
import pytest
import torch
from playwright.sync_api import expect

from ldm import player
from ldm.diffusion.denoiser import guide
from ldm.diffusion.guidance import Guidance
from ldm.player.assets import FOLDER
from ldm.player.parts.guidance import AT_1, guidance
from ldm.player.parts.words import heads_pack, words
from ldm.views.attention import NOT_RECORDED, word_map

from ..parts import made_part
from ..test_player_guidance import guided_trace
from ..test_player_words import Layer
from ..traces import decode, make_trace
from .story import PROMPT

pytestmark = [pytest.mark.browser, pytest.mark.slow]
AROUND = "const register = () => {}, overlays = [];"  # what these files expect of those before them


@pytest.fixture
def blank(browser):
    """An empty page that knows the arithmetic of both panels."""
    page = browser.new_page()
    for text in (AROUND, *((FOLDER / name).read_text() for name in ("guidance.js", "attention.js"))):
        page.add_script_tag(content=text)
    yield page
    page.close()


MIXED = """({step, tensors, levels, scale, rescale}) => {
  const weights = guiding.weights(step, scale, rescale), size = tensors[0].length;
  const stored = guiding.unpacked(Int16Array.from(levels), 0, step, size);
  return [tensors, stored].map((each) => [...guiding.mixed(weights, each, new Float64Array(size))]);
}"""


def test_the_page_guides_as_the_denoiser_does(blank):
    for kind in ("eps", "v", "x0"):
        for sigma, scale, rescale in [
            (4096.0, 7.5, 0.7),
            (2.0, 30.0, 1.0),
            (0.1, -2.0, 0.3),
            (2.0, 1.0, 0.7),
        ]:
            trace = guided_trace(kind, sigma)
            part, files = made_part(trace, guidance)
            step, p = trace.steps[0], trace.steps[0].prediction
            given = {
                "step": part["steps"][0],
                "tensors": [t[0].flatten().tolist() for t in (p.x0_uncond, p.x0_cond, step.x)],
                "levels": np.frombuffer(files[part["files"][0]["url"]], "<i2").tolist(),
                "scale": scale,
                "rescale": rescale,
            }
            exact, stored = (
                torch.tensor(values, dtype=torch.float64) for values in blank.evaluate(MIXED, given)
            )
            asked = Guidance(scale, rescale=rescale)
            want = guide(step.x.double(), sigma, p.x0_cond.double(), p.x0_uncond.double(), None, asked, kind)
            # an eps model's x0 is as large as its x
            away = [
                (got - want.flatten()).abs().max() / ((1 + sigma**2) ** 0.5 if kind == "eps" else 1)
                for got in (exact, stored)
            ]
            assert away[0] < 1e-5, (kind, sigma, scale)
            assert away[1] < 2e-3 * max(1, abs(scale) / 7.5), (kind, sigma, scale)


def test_the_page_decodes_by_the_linear_map(blank):
    trace = make_trace(height=6, width=10)
    part, files = made_part(trace, guidance)
    numbers = np.frombuffer(files[part["map"]["url"]], "<f4").copy()
    weight, bias = torch.tensor(numbers[:-3]).reshape(4, 3, 4, 4), torch.tensor(numbers[-3:])
    latents = trace.steps[1].prediction.x0_cond
    got = blank.evaluate(
        "({latents, map, part}) => [...guiding.decoded(latents, Float32Array.from(map), part)]",
        {"latents": latents[0].flatten().tolist(), "map": weight.flatten().tolist(), "part": part},
    )
    want = torch.nn.functional.conv_transpose2d(latents, weight, bias, stride=4)[0].permute(1, 2, 0)
    torch.testing.assert_close(torch.tensor(got).reshape(24, 40, 3) + bias, want, atol=1e-5, rtol=0)


def test_the_page_averages_maps_as_the_views_do(blank):
    trace = make_trace(height=6, width=10)
    part, files = made_part(trace, words)
    given = {"part": part, "bytes": list(files[part["file"]["url"]]), "slots": [1, 3], "sizes": [0, 1]}
    got = blank.evaluate(
        """({part, bytes, slots, sizes}) => {
          const all = Uint8Array.from(bytes), half = part.halves[0];
          return half.words.map((_, w) => [...attending.map(part, all, half, w, slots, sizes).values]);
        }""",
        given,
    )
    for values, word in zip(got, part["halves"][0]["words"], strict=True):
        want = word_map(trace, word["positions"], [1, 3]) * len(word["positions"])
        torch.testing.assert_close(torch.tensor(values).reshape(6, 10), want, atol=4e-3, rtol=0)
    shares = torch.tensor(got).sum(0)
    torch.testing.assert_close(shares, torch.ones_like(shares), atol=0.02, rtol=0)


def test_a_step_without_maps_is_not_given_those_of_another(blank):
    slot = "(index) => attending.slot({steps: [0, 4, 8]}, APART, index)"
    assert [blank.evaluate(slot.replace("APART", "4"), k) for k in (0, 3, 8, 11, 12)] == [0, 1, 2, 2, None]
    assert [blank.evaluate(slot.replace("APART", "1"), k) for k in (0, 3, 4)] == [0, None, 1]


@pytest.fixture
def story(visit):
    with visit(viewport={"width": 1280, "height": 1500}) as made:
        yield made


def panel(story, name):
    story.page.locator(f"#ld-scrubber [role=tab][data-name={name}]").click()
    story.page.locator(f"#ld-scrubber .panel.{name}:not(:has(.why))").wait_for()


DRAG = """async ([dial, values]) => {
  const slider = document.querySelector(`#ld-scrubber input[type=range][data-dial=${dial}]`);
  const canvas = document.querySelector('#ld-scrubber .anatomy [data-name=guided] canvas');
  const seen = [];
  for (const value of values) {
    slider.value = value;
    slider.dispatchEvent(new Event('input', { bubbles: true }));
    await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height);
    seen.push([canvas.dataset[dial], data.reduce((hash, level) => (hash * 31 + level) | 0, 0)]);
  }
  return seen;
}"""


def test_dragging_the_guidance_draws_and_asks_no_server(story):
    page = story.page
    story.open()
    story.draw(PROMPT, steps=8, seed=3)
    story.see_the_steps()
    page.wait_for_function("() => document.querySelector('#ld-scrubber .pick').children.length === 7")
    panel(story, "guidance")
    drawn = "#ld-scrubber .anatomy [data-name=guided] canvas[data-index='7']"
    page.locator(drawn).wait_for()
    before = story.quiet()
    seen = page.evaluate(DRAG, ["scale", [-2, 3, 12.5, 30, 3]])
    assert [value for value, _ in seen] == ["-2", "3", "12.5", "30", "3"]
    assert len({pixels for _, pixels in seen}) == 4
    assert seen[1] == seen[4]
    story.mentions("#ld-scrubber .guidebox .note", "guidance 3, rescale 0.7")
    assert len({pixels for _, pixels in page.evaluate(DRAG, ["rescale", [0, 0.5, 1]])}) == 3
    page.get_by_role("button", name="As in the run").click()
    page.wait_for_function(f"() => document.querySelector(\"{drawn}\").dataset.scale === '3'")
    assert story.requests[before:] == []


def test_words_are_laid_over_the_picture_and_a_place_says_what_it_listened_to(story):
    page = story.page
    story.open()
    story.draw(PROMPT, steps=8, seed=3)
    story.see_the_steps()
    page.wait_for_function("() => document.querySelector('#ld-scrubber .pick').children.length === 7")
    plain = story.pixels("x0")
    panel(story, "words")
    page.locator("#ld-scrubber .shares div").first.wait_for()
    before, veiled = story.quiet(), story.pixels("x0")
    assert veiled != plain
    chip = page.locator("#ld-scrubber .word[data-word=blue]").first
    chip.click()
    expect(chip).to_have_attribute("aria-pressed", "true")
    story.press("Shift")
    two = story.pixels("x0")
    assert two not in (plain, veiled)
    # the middle listened to the apple, the corner to its ground; marks are not counted among the words
    rows = {}
    for name, x, y in (("middle", 0.5, 0.55), ("corner", 0.05, 0.05)):
        canvas = page.locator("#ld-scrubber figure[data-name=x0] canvas")
        box = canvas.bounding_box()
        canvas.click(position={"x": x * box["width"], "y": y * box["height"]})
        story.press("Shift")
        assert float(page.locator("#ld-scrubber .listened").get_attribute("data-sum")) == pytest.approx(
            1, abs=0.02
        )
        rows[name] = page.locator("#ld-scrubber .shares div:not(.mark) span").all_inner_texts()
    assert rows["middle"].index("apple") < rows["middle"].index("blue")
    assert rows["corner"].index("blue") < rows["corner"].index("apple")
    page.get_by_role("button", name="Let go").click()
    page.get_by_role("button", name="DAAM").click()
    story.press("Shift")
    expect(page.locator("#ld-scrubber .word[aria-pressed=true]")).to_have_count(1)
    assert story.requests[before:] == []
    panel(story, "guidance")
    story.press("Shift")
    assert story.pixels("x0") == plain


HOST = """(value) => {
  window.triggered = [];
  const props = { value };
  const watch = (_, then) => { window.give = (more) => { Object.assign(props.value, more); then(); }; };
  const trigger = (name, data) => window.triggered.push([name, data]);
  new Function('element', 'props', 'watch', 'trigger', window.script)(document.body, props, watch, trigger);
}"""


def inline(name, content):
    return {"url": f"data:application/octet-stream;base64,{base64.b64encode(content).decode()}"}


@pytest.fixture
def player_page(browser):
    """A function that shows a trace in the player without a server; gives the page."""
    page = browser.new_page()
    wrong = []
    page.on("pageerror", lambda error: wrong.append(str(error)))

    def show(trace, **more):
        page.set_content(f"<style>{player.style()}</style>{player.template()}")
        page.evaluate("(text) => { window.script = text; }", player.script())
        generator = torch.Generator().manual_seed(3)
        linear = torch.randn(4, 3, 8, 8, generator=generator) / 4, torch.zeros(3)
        frames = player.x0_frames(trace, decode, player.Look())
        context = player.Context(player.Look(), decode, inline, frames, linear)
        parts = {"guidance": guidance(trace, context), "words": words(trace, context)}
        run = player.pack(trace, decode, player.Look(), inline)
        page.evaluate(HOST, {"run": {**run, "key": "one", "parts": parts}, **more})
        return page

    yield show
    page.close()
    assert wrong == []


def test_going_on_asks_for_the_step_the_strength_and_the_words_chosen(player_page):
    page = player_page(make_trace())
    page.locator("[role=tab][data-name=guidance]").click()
    branch = page.get_by_role("button", name="Go on from here with this")
    expect(branch).to_be_disabled()  # as it is already
    page.locator(".dial input[type=number]").first.fill("5.5")
    branch.click()
    page.locator("[role=tab][data-name=words]").click()
    page.locator(".word[data-word=red]").first.click()
    expect(page.locator(".mute")).to_be_hidden()  # two words
    page.locator(".word[data-word=circle]").first.click()
    page.locator(".mute input").first.fill("2")
    page.locator(".mute input").last.fill("3")
    page.get_by_role("button", name="Mute it").click()
    assert page.evaluate("window.triggered") == [
        ["branch", {"at": 3, "settings": {"cfg_scale": 5.5, "cfg_rescale": 0}}],
        ["branch", {"at": 1, "settings": {"muted_tokens": [2], "mute_from_step": 1, "mute_to_step": 2}}],
    ]


def test_offline_there_is_nothing_to_go_on_with(player_page):
    page = player_page(make_trace(), offline=True)
    page.locator("[role=tab][data-name=guidance]").click()
    page.locator(".anatomy [data-name=guided] canvas[data-index='3']").wait_for()
    expect(page.get_by_role("button", name="Go on from here with this")).to_be_hidden()
    page.locator("[role=tab][data-name=words]").click()
    page.locator(".shares div").first.wait_for()
    expect(page.get_by_role("button", name="Mute it")).to_be_hidden()
    expect(page.get_by_role("button", name="Layers and heads of this step")).to_be_hidden()


def test_heads_are_asked_for_and_drawn_for_the_word_that_is_chosen(player_page):
    page = player_page(make_trace())
    page.locator("[role=tab][data-name=words]").click()
    page.get_by_role("button", name="Layers and heads of this step").click()
    assert page.evaluate("window.triggered") == [["heads", {"at": 3}]]
    maps = torch.zeros(2, 8, 4, 4)
    maps[0, 3, 1, 2] = maps[1, 2, 3, 0] = 0.5  # a head for the circle, one for its colour
    page.evaluate(
        "(heads) => window.give({ heads })", {"at": 3, "layers": heads_pack([Layer("first", maps)], inline)}
    )
    brightest = """() => [...document.querySelectorAll('.layers canvas')].map((canvas) => {
      const { data } = canvas.getContext('2d').getImageData(0, 0, 4, 4);
      const sums = Array.from({ length: 16 }, (_, i) => data[4 * i] + data[4 * i + 1]);
      return Math.max(...sums) > 300 ? sums.indexOf(Math.max(...sums)) : null;
    })"""
    page.locator(".layers canvas").first.wait_for()
    assert page.evaluate(brightest) == [6, None]
    page.locator(".word[data-word=red]").first.click()
    page.wait_for_function("() => document.querySelector('.headsbox h3').textContent.includes('red')")
    assert page.evaluate(brightest) == [None, 12]


@pytest.mark.parametrize(
    ("trace", "panel", "why"),
    [(make_trace(guided=False), "guidance", AT_1), (make_trace(attention=False), "words", NOT_RECORDED)],
    ids=["guidance", "words"],
)
def test_what_was_not_recorded_is_said(player_page, trace, panel, why):
    page = player_page(trace)
    page.locator(f"[role=tab][data-name={panel}]").click()
    expect(page.locator(".panel .why")).to_have_text(why, use_inner_text=True)
