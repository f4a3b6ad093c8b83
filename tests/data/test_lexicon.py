import re

import pytest

from ldm.data.lexicon import lexicon
from ldm.data.scenes import DEFAULT_OBJECTS, LEVELS, OBJECTS, written
from ldm.models.config import ModelConfig
from ldm.words import unknown_words

ALL = lexicon(DEFAULT_OBJECTS, LEVELS)
OF_SEVERAL = re.compile("|".join(sorted((w for w in ALL.words if " " in w), key=len, reverse=True)))


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_every_word_of_the_captions_of_a_training_is_in_it(seed):
    known, config = set(ALL.words), ModelConfig(words=ALL.words)
    levels = ("easy", "free", "many")
    seen = set()
    for i in range(10_000):
        text = written(seed, i, levels[i % 3], DEFAULT_OBJECTS)
        seen.add(text)
        single = OF_SEVERAL.sub(" ", text.lower().rstrip("."))
        assert set(single.replace(",", " ").split()) <= known, text
    assert [text for text in seen if unknown_words(text, config)] == []


def test_it_names_nothing_that_captions_never_say():
    known, said = set(ALL.words), set()
    levels = ("free", "many")
    for i in range(3000):
        words = written(3, i, levels[i % 2], DEFAULT_OBJECTS, held_out=None).lower().rstrip(".").split()
        said |= {" ".join(words[j : j + n]).strip(",") for n in (1, 2, 3) for j in range(len(words))}
    assert len(known & said) > 0.9 * len(known)


def test_parts_of_names_do_not_stand_alone():
    known = set(ALL.words)
    assert {"teddy bear", "ice creams", "t-rex", "dog", "puppies", "mountains", "5"} <= known
    assert not {"bear", "cream", "soccer", "box", "tiger", "tigers", ""} & known
    assert list(ALL.words) == sorted(known)
    assert all(word == word.lower().strip() for word in known)


def test_the_vocabulary_has_one_wording_for_each_thing():
    assert {kind: len(words) for kind, words in ALL.vocabulary.items()} == {
        "animal": 28, "plant": 8, "food": 15, "vehicle": 7, "place": 3, "nature": 4, "thing": 12, "shape": 3,
        "color": 12, "size": 2, "count": 4, "position": 9, "relation": 4,
        "background": 12, "time": 3, "plain background": 18,
    }  # fmt: skip
    words = [word for words in ALL.vocabulary.values() for word in words]
    assert sorted(w for w in set(words) if words.count(w) > 1) == ["orange"]
    assert set(ALL.synonyms.values()) <= set(words)
    assert not set(ALL.synonyms) & set(words)
    assert not unknown_words(". ".join(words), ModelConfig(words=ALL.words))


def test_other_wordings_and_plurals():
    assert ALL.synonyms["puppy"] == "dog"
    assert ALL.synonyms["grey"] == "gray"
    assert ALL.synonyms["against a teal background"] == "on a turquoise background"
    assert ALL.synonyms["in a meadow"] == "on the grass"
    assert ALL.synonyms["a pair of"] == "two"
    assert "and" not in ALL.synonyms
    assert (ALL.plurals["snowman"], ALL.plurals["puppy"]) == ("snowmen", "puppies")
    assert not {"grapes", "cherries"} & set(ALL.plurals)


def test_what_no_level_shows_is_not_learned():
    easy = lexicon(("dog", "cat"), ["easy"])
    assert list(easy.vocabulary) == ["animal", "color", "background", "time", "plain background"]
    assert easy.plurals == {}
    assert not {"two", "small", "beneath", "corner", "dogs"} & set(easy.words)
    assert {"puppy", "violet"} <= set(easy.words)


def test_every_object_can_be_in_it():
    everything = lexicon(OBJECTS, LEVELS)
    assert sum(map(len, everything.vocabulary.values())) == len(OBJECTS) + 64
    assert set(ALL.words) <= set(everything.words)
