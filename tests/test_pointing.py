"""The pointing game finds nouns in captions, counts hits as it says, and the shipped model plays it well."""

from dataclasses import replace

import pytest
import torch

import ldm
from benchmarks.cause import compared
from benchmarks.pointing import (
    DEFINITIONS,
    Seen,
    Words,
    figure,
    mean_of,
    noun,
    questions,
    scores,
    seen,
    words_of,
)
from ldm.data.captions import Labels
from ldm.data.glyphs import emoji_font
from ldm.data.scenes import DEFAULT_OBJECTS, evaluation_prompts, is_held_out, render
from ldm.errors import LdmError
from ldm.trace import AttentionMaps
from ldm.views.attention import word_map
from tests.traces import make_trace


@pytest.fixture(scope="module")
def model():
    return ldm.load()


@pytest.fixture(scope="module")
def font():
    try:
        return emoji_font()
    except LdmError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def shown(model, font):
    return list(seen(model, seed=7, count=20, levels=(1.2,)))


def named(model, words, caption):
    """The nouns and colours that were found, as text."""
    strings = model.cond_stage_model.tokens(caption)
    return [["".join(strings[i] for i in one) for one in kind] for kind in (words.nouns, words.colors)]


@pytest.mark.parametrize(
    ("objects", "relation", "caption", "nouns", "colors"),
    [
        (
            ("orange", "car"),
            "right of",
            "a red orange to the right of an orange car on an orange background",
            ["orange", "car"],
            ["red", "orange"],
        ),
        (("house", "tent"), "left of", "inside a house, house and tent", ["house", "tent"], ["", ""]),
        (("ice cream", "grapes"), "above", "An ice cream cone over purple bunch of grapes.", None, None),
        (("star", "dog"), "below", "a star below a dog under the stars", ["star", "dog"], ["", ""]),
    ],
)
def test_nouns_are_found_by_the_grammar_and_not_by_their_letters(
    model, objects, relation, caption, nouns, colors
):
    labels = Labels(objects, (None, None), "white", relation=relation)
    words = words_of(model.cond_stage_model.tokenizer, labels, caption)
    nouns, colors = nouns or ["icecreamcone", "bunchofgrapes"], colors or ["", "purple"]
    assert named(model, words, caption) == [nouns, colors]
    assert model.cond_stage_model.tokens(caption)[words.end] == "<|endoftext|>"
    later = [words.nouns[0][0], words.nouns[1][0]]
    assert later == sorted(later) and not set(words.nouns[0]) & set(words.nouns[1])
    if objects[0] == "orange":
        assert model.cond_stage_model.tokens(caption)[words.nouns[0][0] - 1] == "red"


@pytest.mark.usefixtures("font")
def test_every_caption_of_a_held_out_pair_names_both(model):
    for caption, labels in evaluation_prompts(150, DEFAULT_OBJECTS, held_out=True, seed=3, level="pairs"):
        words = words_of(model.cond_stage_model.tokenizer, labels, caption)
        assert all(words.nouns) and max(max(tokens) for tokens in words.nouns) < words.end


def test_a_caption_without_the_pair_is_refused(model):
    labels = Labels(("dog", "cat"), (None, None), "white", relation="above")
    with pytest.raises(ValueError, match="No dog and cat"):
        words_of(model.cond_stage_model.tokenizer, labels, "a dog below a cat")


def planted(first, second):
    """Two objects, in the upper left and lower right quarter; each noun looks at one cell of 4 x 4."""
    masks = torch.zeros(2, 64, 64, dtype=torch.bool)
    masks[0, :32, :32] = masks[1, 32:, 32:] = True
    maps = torch.zeros(1, 4, 4, 4)
    maps[0, 1][first] = maps[0, 2][second] = 1.0
    return Seen(maps, Words(((1,), (2,)), ((), ()), 3), masks)


def test_a_hit_is_a_peak_on_the_own_object():
    [score] = scores([planted((0, 0), (3, 3))])
    assert (score.hit, score.other, score.chance) == (1, 0, 0.25)
    assert score.energy == pytest.approx(4)  # all of it in a quarter of the picture
    [score] = scores([planted((3, 3), (0, 0))])
    assert (score.hit, score.other) == (0, 1)
    assert score.energy == pytest.approx(0)
    [score] = scores([planted((0, 3), (3, 3))])
    assert (score.hit, score.other) == (0.5, 0)


def test_the_map_that_is_scored_is_the_one_that_is_shown():
    one = planted((0, 0), (3, 3))
    maps = torch.rand(1, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    trace = make_trace(steps=1)
    prediction = replace(trace.steps[0].prediction, attention=AttentionMaps((maps,)))
    trace = replace(trace, steps=(replace(trace.steps[0], prediction=prediction),))
    words = replace(one.words, nouns=((1, 2), (3,)))
    for which, tokens in enumerate(words.nouns):
        torch.testing.assert_close(noun(maps, words, which)[0], word_map(trace, tokens))


def test_the_table_has_a_row_for_each_level_and_for_their_mean():
    one = planted((0, 0), (3, 3))
    other = planted((0, 3), (0, 3))
    both = Seen(torch.cat([one.maps, other.maps]), one.words, one.masks)
    rows = list(figure([both], levels=(0.5, 2.0)))
    assert rows[2].startswith("| 0.5 | 1.000 |") and rows[3].startswith("| 2 | 0.000 |")
    assert rows[4].startswith("| all | 0.500 |") and rows[5].startswith("| the best, 0.5 | 1.000 |")


def test_a_nouns_attention_falls_on_its_object(shown):
    """Forty maps: 0.94 hit on 200 other scenes, 0.09 would by chance, so 0.75 is far from both."""
    score = mean_of(scores(shown))
    assert 0.05 < score.chance < 0.15
    assert score.hit > 0.75 and score.other < 0.1 and score.energy > 4


def test_the_noun_beats_the_token_after_it_and_the_end_mark(shown):
    by_noun = scores(shown, noun)[0].hit
    for name in ("the token after the noun", "the end mark"):
        assert scores(shown, DEFINITIONS[name])[0].hit < by_noun - 0.3, name


def test_layers_apart_have_the_recorded_map_as_their_mean(model, shown):
    apart = next(iter(seen(model, seed=7, count=1, levels=(1.2,), layers=True)))
    assert len(apart.maps) > 1
    torch.testing.assert_close(apart.maps.mean(0), shown[0].maps[0], rtol=0.05, atol=2e-3)


@pytest.mark.usefixtures("font")
def test_every_scene_has_a_combination_that_training_never_saw():
    for index in range(20):
        labels = render(7, index, "pairs", DEFAULT_OBJECTS, held_out=True).labels
        painted = zip(labels.objects, labels.colors, strict=True)
        assert any(is_held_out(name, color, labels.background) for name, color in painted)


@pytest.mark.usefixtures("font")
def test_muting_a_noun_moves_what_its_own_attention_lies_on(model):
    found = torch.stack([compared(model, asked, (1.2,)) for asked in questions(model, 7, 12, (1.2,))])
    own, other, caught, caught_by_other, on_object = found.mean((0, 1, 2)).tolist()
    assert own > other + 0.1 and own > 0.4
    assert caught > 0.25 > 0.15 > caught_by_other
    assert on_object > 2.5
