import json
import re
import subprocess
import sys

import numpy as np
import pytest

from ldm.data.backgrounds import BACKGROUNDS, GRADIENTS, SIZE, background, variants_of
from ldm.data.captions import COUNT_WORDS, POSITION_WORDS, RELATIONS, SIZE_WORDS, caption
from ldm.data.compose import clashes
from ldm.data.glyphs import FONT_VARIABLE, cutout, emoji_font, tint
from ldm.data.layout import pair_box
from ldm.data.scenes import (
    COMMON_OBJECTS,
    DEFAULT_OBJECTS,
    LEVELS,
    OBJECTS,
    SHAPES,
    Labels,
    evaluation_prompts,
    examples,
    is_held_out,
    render,
    scene,
    written,
)
from ldm.data.vocabulary import COLOR_WORDS, COLORS, THINGS, article, plural
from ldm.errors import LdmError

HELD_OUT_ON_GRASS = ["cow", "rabbit", "tulip", "orange", "bus", "robot", "circle"]


@pytest.fixture(autouse=True, scope="module")
def _needs_the_font():
    try:
        emoji_font()
    except LdmError as error:
        pytest.skip(str(error))


def says(sentence, words):
    """Whether the sentence holds one of `words` as whole words."""
    return any(re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", sentence.lower()) for word in words)


def names_of(labels, name):
    thing = THINGS[name]
    bare = [word.removeprefix("an ").removeprefix("a ") for word in thing.names]
    return [plural(word) for word in bare] if labels.count > 1 else bare


@pytest.mark.parametrize("level", LEVELS)
def test_a_picture_is_a_function_of_seed_and_index(level):
    for index in range(8):
        first, again = render(3, index, level), render(3, index, level)
        assert (first.caption, first.labels) == (again.caption, again.labels)
        np.testing.assert_array_equal(first.pixels, again.pixels)
        np.testing.assert_array_equal(first.mask, again.mask)


def test_a_picture_is_the_same_in_another_process():
    show = "import zlib; from ldm.data.scenes import render; s = render(5, 11, 'many'); "
    show += "print(s.caption, zlib.crc32(s.pixels.tobytes()))"
    outputs = {subprocess.run([sys.executable, "-c", show], capture_output=True, text=True, check=True).stdout
               for _ in range(2)}  # fmt: skip
    assert len(outputs) == 1


def test_other_indices_and_seeds_give_other_pictures():
    captions = [render(seed, index).caption for seed in (0, 1) for index in range(20)]
    assert len(set(captions)) > 30


@pytest.mark.parametrize("level", LEVELS)
def test_pictures_and_masks_have_the_promised_form(level):
    for index in range(20):
        made = render(0, index, level)
        assert made.pixels.shape == (SIZE, SIZE, 3)
        assert made.mask.shape == (SIZE, SIZE)
        assert made.pixels.dtype == made.mask.dtype == np.uint8
        assert set(np.unique(made.mask)) == {0, 255}


def test_the_mask_covers_the_object_and_nothing_else():
    for index in range(40):
        made = render(1, index)
        labels = made.labels
        if labels.background not in COLORS:
            continue
        changed = (made.pixels != background(labels.background)).any(axis=2)
        assert changed[made.mask > 0].mean() > 0.6
        grown = made.mask > 0
        for _ in range(6):  # faint glows and antialiased edges reach a little further
            grown = (
                grown
                | np.roll(grown, 1, 0)
                | np.roll(grown, -1, 0)
                | np.roll(grown, 1, 1)
                | np.roll(grown, -1, 1)
            )
        assert not changed[~grown].any(), made.caption


def test_easy_objects_are_large_and_in_the_middle():
    for index in range(40):
        made = render(2, index)
        assert (made.labels.count, made.labels.size, made.labels.position) == (1, None, None)
        rows, columns = np.nonzero(made.mask)
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert 125 <= max(height, width) <= 180
        assert abs(rows.min() + height / 2 - SIZE / 2) < 12
        assert abs(columns.min() + width / 2 - SIZE / 2) < 12


@pytest.mark.parametrize(("size", "least", "most"), [("small", 60, 100), (None, 130, 175), ("big", 180, 225)])
def test_a_size_word_is_what_changes_the_size(size, least, most):
    for i, name in enumerate(("car", "apple", "square")):
        color = "red" if name == "square" else None
        made = scene(Labels((name,), (color,), "green", size=size), np.random.default_rng(i))
        rows, columns = np.nonzero(made.mask)
        assert least <= max(np.ptp(rows), np.ptp(columns)) <= most


@pytest.mark.parametrize("position", POSITION_WORDS)
def test_a_position_word_says_where_the_object_is(position):
    made = scene(
        Labels(("apple",), (None,), "blue", size="small", position=position), np.random.default_rng(0)
    )
    rows, columns = np.nonzero(made.mask)
    x, y = columns.mean() - SIZE / 2, rows.mean() - SIZE / 2
    words = position.split()
    assert np.sign(round(x / 40)) == ("right" in words) - ("left" in words)
    assert np.sign(round(y / 40)) == ("bottom" in words) - ("top" in words)


@pytest.mark.parametrize("relation", RELATIONS)
def test_a_pair_stands_in_its_relation(relation):
    made = scene(
        Labels(("square", "circle"), ("red", "blue"), "white", relation=relation), np.random.default_rng(0)
    )
    red = np.argwhere((made.pixels == COLORS["red"]).all(axis=2)).mean(axis=0)
    blue = np.argwhere((made.pixels == COLORS["blue"]).all(axis=2)).mean(axis=0)
    down, right = red - blue
    expected = {"left of": right < -80, "right of": right > 80, "above": down < -80, "below": down > 80}
    assert expected[relation]


@pytest.mark.parametrize("count", COUNT_WORDS)
def test_as_many_objects_are_drawn_as_counted(count):
    made = scene(Labels(("circle",), ("red",), "white", count=count), np.random.default_rng(0))
    one = scene(Labels(("circle",), ("red",), "white"), np.random.default_rng(0))
    diameter = np.ptp(np.nonzero(one.mask)[0]) + 1
    area_share = (one.mask > 0).sum() / diameter**2
    seen = np.nonzero((made.mask > 0).any(axis=0))[0]
    runs = 1 + (np.diff(seen) > 1).sum()
    assert runs == {2: 2, 3: 3, 4: 2, 5: 3}[count] or count == 5
    rows = np.nonzero((made.mask > 0).any(axis=1))[0]
    each = rows.size / (2 if count > 3 else 1)
    assert (made.mask > 0).sum() / (area_share * each**2) == pytest.approx(count, abs=0.4)


@pytest.mark.parametrize("level", LEVELS)
def test_captions_name_what_the_labels_say(level):
    for index in range(150):
        made = render(4, index, level, OBJECTS)
        labels, text = made.labels, made.caption
        for name, color in zip(labels.objects, labels.colors, strict=True):
            assert says(text, names_of(labels, name)), (text, labels)
            assert color is None or says(text, COLOR_WORDS[color]), (text, labels)
        if labels.count > 1:
            # people drop the article at the start: "pair of cats"
            assert says(text, [word.removeprefix("a ") for word in COUNT_WORDS[labels.count]]), text
        if labels.size:
            assert says(text, SIZE_WORDS[labels.size])
        if labels.position:
            assert says(text, POSITION_WORDS[labels.position])
        if labels.relation:
            assert says(text, RELATIONS[labels.relation])
        if labels.background in COLORS and labels.background != "white":
            assert says(text, COLOR_WORDS[labels.background])
        if labels.background in GRADIENTS:
            assert all(says(text, [color]) for color in labels.background.split(" to "))
        assert not re.search(r"\ba [aeio]|\ban [^aeiouh]|  | ,|\{|\}", text.lower()), text


def test_only_white_is_left_unsaid_and_seldom():
    plain = re.compile(r"(background|wall|\b(on|against) \w+)")
    unsaid = [
        made
        for made in (render(6, index) for index in range(400))
        if made.labels.background in COLORS and not plain.search(made.caption)
    ]
    assert {made.labels.background for made in unsaid} == {"white"}
    assert 0.03 < len(unsaid) / 400 < 0.14


@pytest.mark.parametrize("held_out", [True, False])
def test_singles_come_from_their_side_of_the_split_only(held_out):
    for index in range(60):
        labels = render(7, index, "easy", held_out=held_out).labels
        assert is_held_out(labels.objects[0], labels.colors[0], labels.background) is held_out


def test_about_a_tenth_is_held_out():
    combinations = [
        (name, color, behind) for name in COMMON_OBJECTS for color in COLORS for behind in BACKGROUNDS
    ]
    assert np.mean([is_held_out(*each) for each in combinations]) == pytest.approx(0.1, abs=0.01)


def test_a_named_natural_colour_is_the_same_combination_and_the_same_picture():
    assert all(is_held_out("apple", "red", each) == is_held_out("apple", None, each) for each in BACKGROUNDS)
    natural, named = cutout("apple", None, 150), cutout("apple", "red", 150)
    assert natural.tobytes() == named.tobytes()


def test_the_split_never_moves():
    held = [name for name in COMMON_OBJECTS if is_held_out(name, None, "grass day")]
    assert held == HELD_OUT_ON_GRASS


def test_no_glyph_is_the_box_of_a_missing_character():
    missing = {cutout(name, None, 136).tobytes() for name in OBJECTS if name not in SHAPES}
    assert len(missing) == len(OBJECTS) - len(SHAPES)
    for name in OBJECTS:
        picture = np.asarray(cutout(name, None, 136).convert("RGBA"))
        assert max(picture.shape[:2]) >= 100, name
        assert (picture[..., 3] > 200).mean() > 0.1, name
        if name not in SHAPES:
            assert len(np.unique(picture[picture[..., 3] > 200], axis=0)) > 8, name


@pytest.mark.parametrize("color", COLORS)
def test_a_tint_is_nearest_to_its_own_colour(color):
    for name in ("elephant", "car", "house", "pizza"):
        rgba = np.asarray(cutout(name, None, 136).convert("RGBA"))
        kept = rgba.copy()
        painted = tint(rgba, color)
        middle = np.median(painted[painted[..., 3] > 200][:, :3], axis=0)
        gaps = {other: np.abs(middle - paint).sum() for other, paint in COLORS.items()}
        assert min(gaps, key=gaps.get) == color, name
        np.testing.assert_array_equal(rgba, kept)


@pytest.mark.parametrize("name", BACKGROUNDS)
def test_backgrounds_keep_their_look(name):
    first, other = background(name, 0), background(name, variants_of(name) - 1)
    assert first.shape == (SIZE, SIZE, 3)
    assert not first.flags.writeable
    assert np.abs(first.astype(int) - other).mean() < 20


def test_things_do_not_vanish_on_their_own_colour():
    assert clashes("square", "red", "red")
    assert clashes("swan", None, "white")
    assert clashes("star", None, "yellow")
    assert not clashes("star", None, "blue")
    assert not any(clashes(name, None, "green") for name in ("car", "dog", "cat", "banana"))


def test_grammar_of_articles_and_plurals():
    assert [article(word) for word in ("apple", "unicorn", "ufo", "hourglass", "dog")] == [
        "an apple", "a unicorn", "a ufo", "an hourglass", "a dog",
    ]  # fmt: skip
    assert [plural(word) for word in ("cherry blossom", "puppy", "bus", "cup of coffee", "fish", "key")] == [
        "cherry blossoms", "puppies", "buses", "cups of coffee", "fish", "keys",
    ]  # fmt: skip


def test_no_name_stands_for_two_objects():
    names = [name for thing in THINGS.values() for name in thing.names]
    assert len(names) == len(set(names))


def test_the_vocabulary_is_large_and_plain_data():
    by_kind = examples()
    kinds = {"animal", "plant", "food", "vehicle", "place", "nature", "thing", "shape", "color"}
    assert set(json.loads(json.dumps(by_kind))) == kinds
    assert len(OBJECTS) >= 120
    assert set(COMMON_OBJECTS) <= set(OBJECTS)
    assert len(set(COMMON_OBJECTS)) == len(COMMON_OBJECTS) >= 40


def test_evaluation_prompts_are_fixed_plain_singles():
    prompts = evaluation_prompts(50)
    assert prompts == evaluation_prompts(50)
    assert prompts[:20] == evaluation_prompts(20)
    assert [labels.objects[0] for _, labels in prompts[:43]] == list(COMMON_OBJECTS)
    for _, labels in prompts:
        assert (labels.count, labels.relation, labels.size, labels.position) == (1, None, None, None)
        assert is_held_out(labels.objects[0], labels.colors[0], labels.background)


def test_evaluation_prompts_of_counts_and_pairs_never_show_what_training_saw():
    for level, counts in (("to three", {2, 3}), ("to five", {4, 5}), ("pairs", {1})):
        prompts = evaluation_prompts(40, DEFAULT_OBJECTS, level=level)
        assert prompts[:10] == evaluation_prompts(10, DEFAULT_OBJECTS, level=level)
        assert {labels.count for _, labels in prompts} == counts
        for _, labels in prompts:
            assert (labels.relation is not None) == (level == "pairs")
            painted = zip(labels.objects, labels.colors, strict=True)
            assert any(is_held_out(name, color, labels.background) for name, color in painted)


def test_no_training_picture_shows_a_held_out_combination():
    for level in LEVELS:
        for index in range(150):
            labels = render(5, index, level, DEFAULT_OBJECTS).labels
            painted = zip(labels.objects, labels.colors, strict=True)
            assert not any(is_held_out(name, color, labels.background) for name, color in painted)


@pytest.mark.parametrize("relation", RELATIONS)
def test_the_squares_of_a_pair_hold_one_object_each(relation):
    labels = Labels(("apple", "dog"), (None, None), "blue", relation=relation)
    mask = scene(labels, np.random.default_rng(3)).mask > 0
    boxes = [pair_box(relation, which) for which in (0, 1)]
    inside = [mask[top:bottom, left:right].sum() for left, top, right, bottom in boxes]
    assert sum(inside) > 0.98 * mask.sum() and min(inside) > 2000


def test_a_given_caption_is_kept_and_the_rng_words_the_others():
    labels = Labels(("car",), ("blue",), "beach sunset")
    assert scene(labels, np.random.default_rng(0), "my words").caption == "my words"
    assert len({caption(labels, np.random.default_rng(i)) for i in range(20)}) > 8


def test_unknown_labels_and_levels_are_named():
    rng = np.random.default_rng(0)
    with pytest.raises(LdmError, match="No object 'wug' in the rendered pictures"):
        scene(Labels(("wug",), (None,), "red"), rng)
    with pytest.raises(LdmError, match="No background 'mars'"):
        scene(Labels(("dog",), (None,), "mars"), rng)
    with pytest.raises(LdmError, match="No level 'hard'; there are easy, free, many"):
        render(0, 0, "hard")
    with pytest.raises(LdmError, match="No object 'wug' in the vocabulary"):
        render(0, 0, objects=("wug",))


def test_a_missing_font_names_the_package_and_the_variable(monkeypatch):
    monkeypatch.setenv(FONT_VARIABLE, "/nowhere/font.ttf")
    with pytest.raises(LdmError) as caught:
        emoji_font()
    assert str(caught.value) == (
        "No colour emoji font at /nowhere/font.ttf. Install Debian's fonts-noto-color-emoji, "
        "or set LDM_EMOJI_FONT to the path of NotoColorEmoji.ttf."
    )


@pytest.mark.parametrize("level", ["easy", "free", "many"])
def test_a_caption_can_be_had_without_its_picture(level):
    assert all(written(3, i, level) == render(3, i, level).caption for i in range(12))
