import pytest

from ldm.models.config import ModelConfig
from ldm.training.config import DEFAULT
from ldm.training.export import model_config
from ldm.ui.words import chips, put, replace

WORDS = ModelConfig(
    vocabulary={
        "fruit": ["apple", "banana", "pineapple"],
        "animal": ["dog", "owl", "guinea pig", "pig"],
        "color": ["red", "blue", "orange"],
        "background": ["beach", "night sky"],
    }
)
FULL = model_config(DEFAULT)


@pytest.mark.parametrize(
    ("prompt", "word", "after"),
    [
        ("", "dog", "a dog"),
        ("", "apple", "an apple"),
        ("a red apple on a blue background", "banana", "a red banana on a blue background"),
        ("a red apple on a blue background", "dog", "a red dog on a blue background"),
        ("a red apple on a blue background", "orange", "an orange apple on a blue background"),
        ("an apple", "dog", "a dog"),
        ("a dog", "owl", "an owl"),
        ("a dog", "red", "a red dog"),
        ("a guinea pig", "dog", "a dog"),
        ("a pineapple at the beach", "night sky", "a pineapple at the night sky"),
        ("a castle", "dog", "a castle dog"),
        ("two Dogs and a dog", "owl", "two Dogs and an owl"),
    ],
)
def test_a_word_takes_the_place_of_one_of_its_kind(prompt, word, after):
    assert put(prompt, word, WORDS) == after


def test_a_model_without_a_vocabulary_gets_the_word_at_the_end():
    assert put("a castle", "dog", ModelConfig()) == "a castle dog"


@pytest.mark.parametrize(
    ("prompt", "word", "after"),
    [
        # counts
        ("a dog on the grass", "two", "two dogs on the grass"),
        ("a red dog", "two", "two red dogs"),
        ("a puppy", "three", "three puppies"),
        ("two dogs", "five", "five dogs"),
        ("a pair of dogs", "five", "five dogs"),
        ("two dogs", "snowman", "two snowmen"),
        ("two", "dog", "two dogs"),
        ("", "two", "two"),
        ("an astronaut", "two", "two astronaut"),
        # sizes and colours
        ("a dog", "small", "a small dog"),
        ("a red dog", "big", "a big red dog"),
        ("a tiny dog", "red", "a tiny red dog"),
        ("a tiny dog", "big", "a big dog"),
        ("two dogs", "red", "two red dogs"),
        ("an apple on a blue background", "red", "a red apple on a blue background"),
        ("", "red", "a red"),
        ("a red", "blue", "a blue"),
        ("a red", "apple", "a red apple"),
        ("an astronaut", "red", "a red astronaut"),
        ("on the grass", "red", "a red on the grass"),
        # things
        ("a puppy", "owl", "an owl"),
        ("a red apple", "grapes", "red grapes"),
        ("", "grapes", "grapes"),
        ("a bunch of grapes", "apple", "an apple"),
        ("grapes", "apple", "apple"),
        ("a dog", "umbrella", "an umbrella"),
        ("on the grass", "owl", "an owl on the grass"),
        ("a teddy-bear", "dog", "a dog"),
        # positions, relations
        ("a dog on the grass", "on the left", "a dog on the left on the grass"),
        ("a dog in the upper left corner", "on the right", "a dog on the right"),
        ("a dog, at night", "on the left", "a dog on the left, at night"),
        ("a dog on the grass", "above", "a dog above on the grass"),
        ("a dog above on the grass", "owl", "a dog above an owl on the grass"),
        ("a dog above", "cat", "a dog above a cat"),
        ("a dog next to a cat", "below", "a dog below a cat"),
        ("a dog and a cat", "above", "a dog above a cat"),
        ("a dog above a cat", "owl", "an owl above a cat"),
        # where and when
        ("a dog", "on the grass", "a dog on the grass"),
        ("a dog.", "on the grass", "a dog on the grass"),
        ("a dog in a meadow", "in the snow", "a dog in the snow"),
        ("a dog on a blue background", "in the snow", "a dog in the snow"),
        ("a dog, grey background", "in the snow", "a dog, in the snow"),
        ("a dog in the snow", "on a red background", "a dog on a red background"),
        ("a dog at night", "on the grass", "a dog on the grass at night"),
        ("a dog on the grass", "at night", "a dog on the grass at night"),
        ("a dog on the grass at dusk", "at night", "a dog on the grass at night"),
        ("", "at night", "at night"),
    ],
)
def test_a_word_goes_where_captions_have_it(prompt, word, after):
    assert put(prompt, word, FULL) == after


@pytest.mark.parametrize(
    ("prompt", "kind", "after"),
    [
        ("a red apple", "color", "an orange apple"),
        ("a red apple", "food", "a red orange"),
        ("an orange on the grass", "food", "an orange on the grass"),
        ("an orange owl", "food", "an orange orange"),
        ("a red apple", "nonsense", "a red orange"),
    ],
)
def test_a_word_of_two_kinds_is_the_one_that_was_clicked(prompt, kind, after):
    assert put(prompt, "orange", FULL, kind) == after


@pytest.mark.parametrize(("word", "after"), [("red", "a red orange in space"), ("dog", "a dog in space")])
def test_an_orange_is_a_thing_unless_a_thing_follows(word, after):
    assert put("an orange in space", word, FULL) == after


def test_every_word_of_the_list_can_be_put_anywhere():
    prompts = ("", "two", "an orange above", "the sea, at night.", "(dog:1.2) <b>")
    for kind, words in FULL.vocabulary.items():
        for word in words:
            for prompt in prompts:
                assert word in put(prompt, word, FULL, kind) or FULL.plurals[word] in put(prompt, word, FULL)


@pytest.mark.parametrize(
    ("prompt", "word", "by", "after"),
    [
        ("an astronaut on a horse", "astronaut", "robot", "a robot on a horse"),
        ("A Bear and a teddy bear and a bear", "bear", "panda", "A panda and a teddy bear and a panda"),
        ("two astronauts", "astronauts", "rockets", "two rockets"),
        ("a cherry", "cherry", "cherries", "cherries"),
        ("a lake", "lake", "ocean", "an ocean"),
        ("one apple", "one", "a", "an apple"),
        ("a dog riding a cat", "riding", "on top of", "a dog on top of a cat"),
        ("a dog", "bear", "panda", "a dog"),
        ("a bear's den", "bear's", "panda", "a panda den"),
    ],
)
def test_an_unknown_word_is_exchanged_for_a_known_one(prompt, word, by, after):
    assert replace(prompt, word, by, FULL) == after


def test_the_chips_are_counted():
    shown = chips(FULL)
    assert shown["summary"] == "80 objects, 12 colors"
    assert shown["vocabulary"] == FULL.vocabulary
    assert shown["examples"] == list(FULL.examples)
    assert chips(WORDS)["summary"] == "7 objects, 3 colors"
    assert chips(ModelConfig()) == {"examples": [], "vocabulary": {}, "summary": ""}
