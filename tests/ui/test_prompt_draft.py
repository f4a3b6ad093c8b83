"""The prompt tab with a draft beside the model: who draws, and what a picture's settings bring back."""

import gradio as gr
import pytest

from ldm import png
from ldm.settings import Settings
from ldm.ui.shared import App
from ldm.ui.tabs import prompt

from .pages import holding

QUICK = Settings("a red apple", steps=4, sampler="euler", cfg_scale=1.0, cfg_rescale=0.0, width=64, height=64)
SLOW = Settings("a red apple", steps=3, width=64, height=64)


@pytest.fixture(scope="module")
def page(engine):
    """The tab as it is laid out, its events not wired."""
    found = []
    with pytest.MonkeyPatch.context() as patched, gr.Blocks() as blocks:
        patched.setattr(prompt, "wire", lambda page, *more: found.append(page))
        owner, run, saver = gr.BrowserState(None), gr.State(None), gr.HTML()
        with gr.Tabs() as tabs:
            prompt.build(App(engine, blocks, owner, run, saver, tabs))
    return found[0]


def asks(page, settings, draft):
    """What the page sends when Generate is pressed."""
    return {**holding(page.asks, settings), page.switch.box: draft, page.app.owner: "a" * 20}


def drawn(page, settings, draft):
    """Id of a run asked for on the page, once it is over."""
    told = list(page.draw(asks(page, settings, draft)))
    return told[0][page.app.run]


@pytest.mark.parametrize(("settings", "draft", "name"), [(QUICK, True, "tiny draft"), (SLOW, False, "tiny")])
def test_the_switch_says_who_draws_and_the_picture_brings_it_back(page, tmp_path, settings, draft, name):
    run_id = drawn(page, settings, draft)
    trace = page.app.engine.trace(run_id)
    assert (trace.model_name, trace.settings) == (name, settings)
    again = page.reuse_settings(run_id)
    assert again[page.switch.box] is draft
    assert again[page.asks.of["steps"]]["value"] == settings.steps
    path = tmp_path / "picture.png"
    png.save(trace.images[0], path, trace.settings, trace.model_name)
    assert page.restore(str(path)) == again


def test_both_are_asked_for_with_the_switch(page):
    assert page.switch.box in page.asked
    assert set(page.asks.inputs) < set(page.asked)


def test_where_there_is_no_draft_there_is_no_switch(page, monkeypatch):
    monkeypatch.setattr(page.app.engine, "draft", None)
    found = []
    monkeypatch.setattr(prompt, "wire", lambda page, *more: found.append(page))
    with gr.Blocks(), gr.Tabs():
        prompt.build(page.app)
    assert found[0].switch is None
    assert set(found[0].asked) == found[0].asks.inputs
