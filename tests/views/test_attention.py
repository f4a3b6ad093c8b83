import dataclasses

import pytest
import torch

from ldm.errors import SettingsError
from ldm.trace import AttentionMaps, Prediction
from ldm.views.attention import NOT_RECORDED, attention_grid, attention_map, attention_overlay, shown_tokens
from ldm.views.layout import blank

from ..traces import TOKENS, decode, make_trace, without_pictures


def planted(height=8, width=12):
    """Token 2 has all attention in the upper right corner, token 0 everywhere else.

    The negative half is even.
    """
    maps = torch.zeros(1, len(TOKENS), height, width)
    maps[:, 0] = 1.0
    maps[:, 0, : height // 4, -width // 4 :] = 0.0
    maps[:, 2, : height // 4, -width // 4 :] = 1.0
    trace = make_trace(steps=2, height=height, width=width)
    even = AttentionMaps((torch.full_like(maps, 1 / len(TOKENS)),))
    steps = [
        dataclasses.replace(
            s,
            prediction=dataclasses.replace(
                s.prediction, attention=AttentionMaps((maps,)), attention_uncond=even
            ),
        )
        for s in trace.steps
    ]
    return dataclasses.replace(trace, steps=tuple(steps))


def test_attention_of_all_tokens_sums_to_one_everywhere():
    trace = make_trace(batch=2, height=6, width=10)
    for step in (0, 3, None):
        for negative in (False, True):
            maps = [attention_map(trace, step, t, 1, negative=negative) for t in range(len(TOKENS))]
            torch.testing.assert_close(sum(maps), torch.ones(6, 10), rtol=0, atol=2e-3)  # stored in float16


def test_a_planted_token_is_found_where_it_was_planted():
    amount = attention_map(planted(), 0, 2)
    assert amount.shape == (8, 12)
    assert amount[:2, -3:].min() == 1
    assert amount[2:].max() == amount[:, :-3].max() == 0


def test_the_overlay_is_bright_there_and_grey_elsewhere():
    trace = planted()
    image = attention_overlay(trace, 0, 2)
    assert image.size == (96, 64)
    r, g, b = image.getpixel((92, 2))
    assert r > 180 > b
    r, g, b = image.getpixel((20, 40))
    assert r == g == b == round(0.6 * trace.images[0].convert("L").getpixel((20, 40)))


def test_sizes_are_averaged():
    small, large = torch.full((1, 1, 2, 2), 0.2), torch.full((1, 1, 4, 4), 0.6)
    trace = make_trace(steps=1, height=4, width=4)
    p = Prediction(trace.steps[0].x, trace.steps[0].x, attention=AttentionMaps((large, small)))
    trace = dataclasses.replace(trace, steps=(dataclasses.replace(trace.steps[0], prediction=p),))
    torch.testing.assert_close(attention_map(trace, 0, 0), torch.full((4, 4), 0.4))


def test_no_step_is_the_mean_of_all_steps():
    trace = make_trace(steps=3)
    each = [attention_map(trace, k, 1) for k in range(3)]
    torch.testing.assert_close(attention_map(trace, None, 1), sum(each) / 3)


def test_the_negative_half_is_another_map():
    trace = planted()
    assert attention_map(trace, 0, 2, negative=True).unique().tolist() == [1 / len(TOKENS)]


def test_the_result_has_the_size_asked_for():
    assert attention_overlay(make_trace(), 0, 1, size=(37, 91)).size == (37, 91)


def test_a_run_without_pictures_is_drawn_on_grey():
    image = attention_overlay(without_pictures(planted()), 0, 2)
    assert image.getpixel((20, 40)) == (77, 77, 77)


def test_attention_that_was_not_recorded_is_said_so():
    trace = make_trace(attention=False)
    assert attention_map(trace, 0, 0) is None
    expected = blank((64, 64), "Attention was not recorded in this run.")
    assert NOT_RECORDED == "Attention was not recorded in this run."
    assert attention_overlay(trace, 0, 0).tobytes() == expected.tobytes()
    assert attention_grid(trace, 0, decode).tobytes() == expected.tobytes()
    assert attention_map(make_trace(guided=False), 0, 0, negative=True) is None


@pytest.mark.parametrize(
    ("step", "token", "picture", "sentence"),
    [
        (0, 8, 0, "token must be between 0 and 7, got 8."),
        (0, -1, 0, "token must be between 0 and 7, got -1."),
        (4, 0, 0, "step must be between 0 and 3, got 4."),
        (None, 0, 1, "picture must be between 0 and 0, got 1."),
    ],
)
def test_what_is_not_there_is_named(step, token, picture, sentence):
    with pytest.raises(SettingsError) as error:
        attention_overlay(make_trace(), step, token, picture)
    assert str(error.value) == sentence


def test_padding_is_shown_once():
    assert shown_tokens(TOKENS) == [0, 1, 2, 3, 4, 5]
    assert shown_tokens(("a",)) == [0]
    assert shown_tokens(()) == []
    assert shown_tokens(("a", "a")) == [0]
    assert len(shown_tokens(tuple(map(str, range(77))))) == 24


def test_the_grid_has_a_tile_for_each_token():
    assert attention_grid(make_trace(), 0, decode).size == (6 * 160 + 5 * 4, 160 + 18)
