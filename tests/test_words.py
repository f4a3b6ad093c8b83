import time
from dataclasses import replace

import pytest

from ldm.models.config import ModelConfig
from ldm.training.config import DEFAULT
from ldm.training.export import model_config
from ldm.words import Piece, Span, Unknown, notice, pieces, sentence, spans, unknown_words
from ldm.words.table import read

FULL = model_config(DEFAULT)


def unknown(prompt, config=FULL):
    return [word.word for word in unknown_words(prompt, config)]


def nearest(word, config=FULL):
    [found] = unknown_words(word, config)
    return found.nearest


@pytest.mark.parametrize(
    "prompt",
    [
        "",
        "   \n",
        "a red apple on a blue background",
        "A RED Apple, on a Blue background!",
        "two dogs next to three mice's"[:8],
        "a puppy and a kitten",
        "the dog's house, the dogs' tent",
        "a teddy bear", "TEDDY  BEARS", "a teddy-bear and an ice-cream", "a t-rex", "a jack-o’-lantern",
        "my dog is in the mountains",
        "2 cats", "5 ice creams",
        "blue-green (car)", "[dog], {cat}; <owl>",
        "pine forests", "suns, oceans and seas",
        "a ｄｏｇ",
    ],
)  # fmt: skip
def test_a_prompt_of_known_words_is_not_spoken_of(prompt):
    assert unknown(prompt) == []
    assert notice(prompt, prompt, FULL) == ""


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ("an astronaut riding a horse", ["astronaut", "riding"]),
        ("Astronaut, astronaut and ASTRONAUT", ["Astronaut"]),
        ("astronaut's dog", ["astronaut's"]),
        ("a bear beside a teddy bear", ["bear"]),
        ("ice, cream", ["ice", "cream"]),
        ("cream in the snow", ["cream"]),
        ("7 dogs, 25 cats, 1.5 cars", ["7", "25", "1.5"]),
        ("(dog:1.2)", ["1.2"]),
        ("a 4k photo", ["4k"]),
        ("a dog without a leash", ["without", "leash"]),
        ("a 🐶 on grass 👩‍🚀!", ["🐶", "👩‍🚀"]),
        ("кот на траве", ["кот", "на", "траве"]),
        ("हाथी", ["हाथी"]),
        ("photo-realistic", ["realistic"]),
        ("don't", ["don't"]),
        ("<script>alert('x')</script>", ["script", "alert", "x"]),
    ],
)
def test_a_word_that_captions_never_held_is_named(prompt, words):
    assert unknown(prompt) == words


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("astronaut", ("rocket", "robot")),
        ("astronauts", ("rockets", "robots")),
        ("wolves", ("foxes", "dogs")),
        ("bear", ("teddy bear", "panda")),
        ("lake", ("sea", "ocean", "water")),
        ("cherry", ("cherries",)),
        ("grape", ("grapes",)),
        ("elefant", ("elephant",)),
        ("strawbery", ("strawberry",)),
        ("icecream", ("ice cream",)),
        ("dinasaurs", ("dinosaurs",)),
        ("astronout", ("rocket", "robot")),
        ("7", ("five", "four", "three")),
        ("1", ("a",)),
        ("riding", ("on top of",)),
        ("crescent", ("moon",)),
        ("blurry", ()),
        ("quantum", ()),
        ("without", ()),
        ("x" * 2000, ()),
    ],
)
def test_the_nearest_is_found_by_form_by_meaning_or_by_spelling(word, near):
    assert nearest(word) == near


def test_what_is_offered_is_known_whatever_the_model_learned():
    few = model_config(replace(DEFAULT, objects=("cat", "rocket")))
    assert nearest("astronaut", few) == ("rocket",)
    assert nearest("bear", few) == ()
    assert nearest("tiger", few) == ("cat",)
    for config in (FULL, few):
        for word in read():
            for found in unknown_words(word, config):
                assert len(found.nearest) <= 3
                assert all(unknown(near, config) == [] for near in found.nearest), word


def test_most_words_of_the_table_have_something_near():
    helped = [bool(found.nearest) for word in read() for found in unknown_words(word, FULL)]
    assert len(helped) > 400 and sum(helped) > 0.97 * len(helped)


def test_a_model_that_does_not_say_what_it_learned_knows_every_word():
    for config in (ModelConfig(), replace(FULL, words=())):
        assert unknown_words("an astronaut, zorg", config) == []
        assert list(spans("an astronaut", config)) == []
        assert notice("an astronaut", "zorg", config) == ""


def test_names_of_several_words_are_one_span():
    assert list(spans("a teddy bear, zorg", FULL)) == [
        Span(0, 1, True),
        Span(2, 12, True),
        Span(14, 18, False),
    ]


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("a dog", ""),
        (
            "an astronaut",
            '"astronaut" is not among the words this model learned; the nearest it knows: rocket, robot.',
        ),
        (
            "zorg",
            '"zorg" is not among the words this model learned. '
            "It can draw 80 objects; its list of words names them.",
        ),
        (
            "an astronaut riding a zorg",
            '"astronaut", "riding" and "zorg" are not among the words this model learned; '
            'the nearest it knows: rocket, robot for "astronaut"; on top of for "riding".',
        ),
        (
            "zorg elefant quux tiger foo",
            '"zorg", "elefant", "quux" and 2 more are not among the words this model learned; '
            'the nearest it knows: elephant for "elefant".',
        ),
        (
            "x" * 40,
            f'"{"x" * 29}…" is not among the words this model learned. '
            "It can draw 80 objects; its list of words names them.",
        ),
    ],
)
def test_the_sentence_word_for_word(prompt, said):
    assert sentence(unknown_words(prompt, FULL), FULL) == said


def test_a_model_with_words_and_no_list_is_told_apart():
    bare = ModelConfig(words=("dog",))
    assert notice("cat", "", bare) == '"cat" is not among the words this model learned.'


def test_the_negative_prompt_has_its_own_sentence():
    assert notice("a dog", "blurry", FULL) == (
        'In the negative prompt, "blurry" is not among the words this model learned. '
        "It can draw 80 objects; its list of words names them."
    )
    both = notice("an elefant", "tigers", FULL)
    assert both.startswith('"elefant" is') and 'elephant. In the negative prompt, "tigers" is' in both


def test_the_parts_of_a_sentence_say_what_a_click_exchanges():
    made = pieces(unknown_words("an Astronaut", FULL), FULL)
    assert [piece for piece in made if piece.replaces] == [
        Piece("rocket", "Astronaut"),
        Piece("robot", "Astronaut"),
    ]
    assert pieces([], FULL) == []
    assert pieces([Unknown("a", ())], ModelConfig(), "In b")[0].text.startswith('In b, "a" is')


@pytest.mark.parametrize(
    "prompt",
    [
        " ".join(f"{a}{b}uvwxyz" for a in "bcdfghjklmnp" for b in "aeiouaeiouae"),
        "a " * 1000, "teddy " * 333, "ice cream " * 200, "x" * 2000, "'a" * 1000, "a-" * 1000, "1.1." * 500,
        "🐶" * 2000, "é́" * 1000, "\u200d" * 2000, "<" * 2000,
    ],
)  # fmt: skip
def test_the_longest_prompt_costs_little(prompt):
    unknown_words("warm up elefant", FULL)
    seconds = []
    for _ in range(3):
        start = time.process_time()
        unknown_words(prompt[:2000], FULL)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.1
