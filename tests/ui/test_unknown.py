import gradio as gr
import pytest

from ldm.models.config import ModelConfig
from ldm.ui import controls, unknown

from ..fakes import FakeModel
from .conftest import TINY

HOSTILE = "<img src=x onerror=alert(1)> ${alert(1)} {{value}} <b>dog</b>"


def text(line):
    return "".join(piece["text"] for piece in line)


def page_for(config):
    model = FakeModel()
    model.config = config
    with gr.Blocks() as page:
        controls.prompts(model)
    return page


def test_the_line_offers_words_that_a_click_can_take():
    line = unknown.found("a hat on an aple", TINY)
    assert text(line) == (
        '"hat" and "aple" are not among the words this model learned; the nearest it knows: apple for "aple".'
    )
    assert [piece for piece in line if piece["replaces"]] == [{"text": "apple", "replaces": "aple"}]
    assert unknown.found("a dog", TINY) == []


@pytest.mark.parametrize("prompt", [None, 5, "", ["a"], {"a": 1}, "x" * 10**6])
def test_whatever_the_page_sends_is_answered(prompt):
    assert len(text(unknown.found(prompt, TINY))) < 400


def test_markup_in_a_prompt_leaves_only_its_words():
    said = text(unknown.found(HOSTILE, TINY))
    assert said.startswith('"img", "src", "x" and 5 more are not')
    assert not set(said) & set("<>{}$&")


def test_a_model_that_does_not_say_what_it_learned_has_no_line():
    assert [b for b in page_for(ModelConfig()).blocks.values() if isinstance(b, gr.HTML)] == []
    lines = [b for b in page_for(TINY).blocks.values() if isinstance(b, gr.HTML)]
    assert [line.elem_id for line in lines] == ["ld-unknown-prompt", "ld-unknown-negative_prompt"]


def test_asking_while_somebody_types_waits_for_nobody():
    events = list(page_for(TINY).fns.values())
    assert sum(f.fn is None for f in events) == 2  # a change is first of all told to the line, in the browser
    asked = [f for f in events if any(event == "ask" for _, event in f.targets)]
    assert len(asked) == 2
    for event in asked:
        assert (event.queue, event.trigger_mode, event.show_progress) == (False, "always_last", "hidden")
