import dataclasses

import pytest

from ldm import Settings, run
from ldm.models.tokenizer import Tokenizer
from ldm.views.prompt import Word, words

from ..traces import TRACES, make_trace

LENGTH = 24


def read(prompt, length=LENGTH, pad=None, negative=False):
    """A run whose prompt was read by CLIP's tokenizer."""
    tokens = tuple(Tokenizer.clip(length, pad).strings(prompt))
    trace = make_trace(attention=False)
    name = "negative_prompt" if negative else "prompt"
    settings = dataclasses.replace(trace.settings, **{name: prompt})
    values = {"negative_tokens" if negative else "tokens": tokens}
    return dataclasses.replace(trace, settings=settings, **values)


def check_whole(trace):
    """Each position is in one entry, in order, the marks are where they belong, and no entry is empty."""
    found = words(trace)
    assert [p for w in found for p in w.positions] == list(range(len(trace.recorded_tokens)))
    assert (found[0].text, found[0].positions, found[0].mark) == ("start", (0,), True)
    marks = [w.text for w in found if w.mark]
    assert marks in (["start", "end", "padding"], ["start", "end"])
    assert all(w.text for w in found)
    return [w for w in found if not w.mark]


def texts(prompt, **changes):
    return [w.text for w in check_whole(read(prompt, **changes))]


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a red circle", ["a", "red", "circle"]),
        ("A RED  Circle\n above", ["a", "red", "circle", "above"]),
        ("an axolotl, a chinchilla", ["an", "axolotl", ",", "a", "chinchilla"]),
        ("well-known", ["well", "-", "known"]),
        ("don't stop the girl's rock'n'roll", ["don't", "stop", "the", "girl's", "rock'n'roll"]),
        ("512 px, 4k", ["512", "px", ",", "4k"]),
        ("(very:1.2) _good_ art!!!", ["(", "very", ":", "1", ".", "2", ")", "_", "good", "_", "art", "!!!"]),
        ("crème brûlée", ["crème", "brûlée"]),
        ("“quoted” &amp; it’s", ['"', "quoted", '"', "&", "it's"]),
        ("'test' it", ["'test", "'", "it"]),  # CLIP reads 't and est
        ("a \x07bell", ["a", "bell"]),
    ],
)
def test_pieces_are_grouped_into_the_words_of_the_prompt(prompt, expected):
    assert texts(prompt) == expected
    assert texts(prompt, pad=0) == expected  # open_clip's padding, which reads "!"


def test_a_word_of_several_pieces_has_all_their_positions():
    trace = read("an axolotl sleeps")
    pieces = {w.text: "".join(trace.tokens[p] for p in w.positions) for w in words(trace) if not w.mark}
    assert pieces == {"an": "an", "axolotl": "axolotl", "sleeps": "sleeps"}
    assert len(next(w for w in words(trace) if w.text == "axolotl").positions) > 1


@pytest.mark.parametrize(
    ("prompt", "expected"),
    [
        ("a 猫 on 日本 soil", ["a", "猫", "on", "日本", "soil"]),
        ("猫 犬", ["猫 犬"]),
        ("paint 🎨🎨, please", ["paint", "🎨🎨,", "please"]),
        ("ends in 🎨", ["ends", "in", "🎨"]),
        ("a ﬁsh in", ["a", "ﬁsh", "in"]),
        ("ｗｉｄｅ cat", ["ｗｉｄｅ", "cat"]),
    ],
)
def test_letters_that_are_no_whole_pieces_are_found_by_what_is_around_them(prompt, expected):
    assert texts(prompt) == expected


def test_a_prompt_that_does_not_fit_ends_where_the_encoder_stops():
    found = words(read("a red circle above an axolotl", length=8))
    assert [w.text for w in found] == ["start", "a", "red", "circle", "above", "an", "ax", "end"]
    assert texts("one two three 猫日本語 four five", length=6) == ["one", "two", "three", "猫日本語"]


@pytest.mark.parametrize("length", range(3, 20))
def test_marks_are_told_from_words_at_every_length(length):
    for pad in (None, 0):
        found = check_whole(read("a cat!!! and a dog! !", length=length, pad=pad))
        assert [w.text for w in found] == ["a", "cat", "!!!", "and", "a", "dog", "!", "!"][: length - 2]


def test_marks_have_readable_names():
    assert words(make_trace()) == [
        Word("start", (0,), True),
        Word("a", (1,)),
        Word("red", (2,)),
        Word("circle", (3,)),
        Word("end", (4,), True),
        Word("padding", (5, 6, 7), True),
    ]


def test_the_negative_prompt_has_words_of_its_own():
    assert [w.text for w in words(read("blurry axolotl", negative=True), negative=True)] == [
        "start",
        "blurry",
        "axolotl",
        "end",
        "padding",
    ]
    assert words(make_trace(guided=False), negative=True) == []


@pytest.mark.parametrize("pad", [None, 0])
def test_an_empty_prompt_is_marks_only(pad):
    found = words(read("", pad=pad, negative=True), negative=True)
    assert [w.text for w in found] == ["start", "end", "padding"]
    assert found[1].positions == (1,)


@pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES)
def test_every_run_has_words(trace):
    assert [w.text for w in check_whole(trace)] == ["a", "red", "circle"]


def test_the_words_of_a_recorded_run_cover_its_maps(model):
    settings = Settings("a red circle", negative_prompt="blue", steps=2, width=32, height=32, seed=1)
    trace = run(model, settings)
    for negative in (False, True):
        p = trace.steps[0].prediction
        maps = (p.attention_uncond if negative else p.attention).maps[0]
        found = words(trace, negative=negative)
        assert [i for w in found for i in w.positions] == list(range(maps.shape[1]))
        expected = ["blue"] if negative else ["a", "red", "circle"]
        assert [w.text for w in found] == ["start", *expected, "end", "padding"]
