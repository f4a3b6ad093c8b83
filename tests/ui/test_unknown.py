import gradio as gr
import pytest

from ldm.errors import SettingsError
from ldm.models.config import ModelConfig
from ldm.ui import controls, unknown

from ..fakes import FakeModel
from .conftest import TINY

HOSTILE = "<img src=x onerror=alert(1)> ${alert(1)} {{value}} <b>dog</b>"


def text(line):
    return "".join(piece["text"] for piece in line)


def page_for(config):
    with gr.Blocks() as page:
        controls.prompts(model_of(config))
    return page


def model_of(config):
    model = FakeModel()
    model.config = config
    return model


def test_the_line_offers_words_that_a_click_can_take():
    line = unknown.found("a hat on an aple", model_of(TINY))
    assert text(line) == (
        '"hat" and "aple" are not among the words this model learned; the nearest it knows: apple for "aple".'
    )
    assert [piece for piece in line if piece["replaces"]] == [{"text": "apple", "replaces": "aple"}]
    assert unknown.found("a dog", model_of(TINY)) == []


@pytest.mark.parametrize("prompt", [None, 5, "", ["a"], {"a": 1}, "x" * 10**6])
def test_whatever_the_page_sends_is_answered(prompt):
    assert len(text(unknown.found(prompt, model_of(TINY)))) < 400


def test_markup_in_a_prompt_leaves_only_its_words():
    said = text(unknown.found(HOSTILE, model_of(TINY)))
    assert said.startswith('"img", "src", "x" and 5 more are not')
    assert not set(said) & set("<>{}$&")


@pytest.mark.parametrize("config", [TINY, ModelConfig()])
def test_both_prompts_have_a_line(config):
    lines = [b for b in page_for(config).blocks.values() if isinstance(b, gr.HTML)]
    assert [line.elem_id for line in lines] == ["ld-unknown-prompt", "ld-unknown-negative_prompt"]


def test_a_model_that_does_not_say_what_it_learned_offers_no_words():
    assert unknown.found("a zorg", model_of(ModelConfig())) == []
    events = page_for(ModelConfig()).fns.values()
    assert not any(event == "replace" for f in events for _, event in f.targets)


def test_the_end_of_a_long_prompt_is_named():
    model = model_of(TINY)
    model.conditioner.unread = lambda prompt: (
        " and a dog on a very long and winding road" if "dog" in prompt else ""
    )
    end = 'The model does not read the end of the {}, from "and a dog on a very long and …" on.'
    assert text(unknown.found("a dog", model)) == end.format("prompt")
    assert text(unknown.found("a dog", model, "In the negative prompt")) == end.format("negative prompt")
    assert text(unknown.found("a dogg", model)).endswith(end.format("prompt"))
    assert unknown.found("an apple", model) == []


def test_a_prompt_that_cannot_be_read_says_why():
    model = model_of(TINY)

    def check(prompt):
        raise SettingsError("There is no such class.")

    model.conditioner.check = check
    assert unknown.found("a hat", model) == [{"text": "There is no such class.", "replaces": None}]
    assert unknown.found(" ", model) == []


def test_asking_while_somebody_types_waits_for_nobody():
    events = list(page_for(TINY).fns.values())
    assert sum(f.fn is None for f in events) == 2  # a change is first of all told to the line, in the browser
    asked = [f for f in events if any(event == "ask" for _, event in f.targets)]
    assert len(asked) == 2
    for event in asked:
        assert (event.queue, event.trigger_mode, event.show_progress) == (False, "always_last", "hidden")
