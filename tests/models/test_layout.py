"""Boxes as a prompt."""

import pytest

from ldm.models.bert import BERTEmbedder
from ldm.models.condition_config import BERTConfig
from ldm.models.layout import layout_tokens, read_boxes

from .conditioners import told

LAYOUT = BERTConfig(vocab_size=8192, dim=8, depth=1, heads=1, head_dim=8, length=92, layout=True)


def test_boxes_become_the_tokens_that_layout2img_was_trained_on():
    net = BERTEmbedder(LAYOUT)
    net.remember_names(["cat", "traffic light"])
    prompt = "traffic light 0.1 0.2 0.5 0.6; 17 0, 0, 1, 1\n"
    (ids,) = net.ids([prompt]).tolist()
    # 90 cells along each side: round(0.1 * 89) = 9 and so on
    assert ids[:6] == [1, 18 * 90 + 9, 53 * 90 + 44, 17, 0, 90 * 90 - 1]
    assert ids[6:90] == [8191] * 84
    assert ids[90:] == [0, 90 * 90 - 1]
    assert len(ids) == net.length == 92
    assert net.tokens(prompt)[:7] == ["traffic light", "0.1 0.2", "0.5 0.6", "17", "0 0", "1 1", "-"]
    assert net.tokens(prompt)[90:] == ["crop 0 0", "crop 1 1"]
    assert (net.used(prompt), net.unread(prompt), net.guides) == (6, "", False)
    assert net.condition([prompt, ""]).context.shape == (2, 92, 8)


def test_a_crop_says_which_part_is_drawn():
    boxes = read_boxes("crop 0.25 0 0.75 1; 3 0 0 0.5 0.5", 15)
    tokens = layout_tokens(boxes, 16, 8)
    assert tokens == [3, 0, 2 * 4 + 2, 15, 15, 15, 1, 3 * 4 + 2]


def test_boxes_that_are_too_many_are_unread():
    net = BERTEmbedder(LAYOUT)
    prompt = ";".join(f"{i} 0 0 1 1" for i in range(32))
    net.check(prompt)
    assert net.used(prompt) == 90
    assert net.unread(prompt) == "30 0 0 1 1; 31 0 0 1 1"
    assert len(net.tokens(prompt)) == len(net.ids([prompt])[0]) == 92


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ("dog 0.1 0.2", "Box 1, 'dog 0.1 0.2', must be a class and four numbers: left, top, right, bottom."),
        ("0 0 1 1", "Box 1, '0 0 1 1', must be a class and four numbers: left, top, right, bottom."),
        ("3 0 0 1 1; 4 0 0 1 1.5", "Box 2, '4 0 0 1 1.5', must lie between 0 and 1."),
        ("3 0 0 nan 1", "Box 1, '3 0 0 nan 1', must lie between 0 and 1."),
        ("3 0.5 0 0.5 1", "Box 1, '3 0.5 0 0.5 1', must have its left before its right, its top above."),
        ("9999 0 0 1 1", "The class of box 1 must be between 0 and 8190, got 9999."),
        ("dgo 0 0 1 1", "Unknown class of box 1 'dgo'. Did you mean 'dog (1)'? "),
        ("crop 0 0 1 1; crop 0 0 1 1", "A layout has one crop at most, this one has more."),
    ],
)
def test_a_box_that_is_none_is_an_error(prompt, message):
    net = BERTEmbedder(LAYOUT)
    net.remember_names(["cat", "dog"])
    assert told(net.check, prompt).startswith(message)
    assert told(net.condition, [prompt]).startswith(message)
