import pytest

from ldm.ui.words import put

WORDS = {
    "fruit": ["apple", "banana", "pineapple"],
    "animal": ["dog", "owl", "guinea pig", "pig"],
    "color": ["red", "blue", "orange"],
    "background": ["beach", "night sky"],
}


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
    assert put("a castle", "dog", {}) == "a castle dog"
