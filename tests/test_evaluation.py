import dataclasses

import numpy as np
import pytest
import torch

import ldm
from ldm import Settings
from ldm.data.captions import Labels
from ldm.data.scenes import COMMON_OBJECTS, DEFAULT_OBJECTS, is_held_out, scene
from ldm.evaluation import HEADER, Judged, accuracies, draw, judged, row
from ldm.images import to_tensor
from ldm.training.judge import JUDGE, Judge, Seen, color_of, load_judge, views_of

S = Settings("?", steps=1, width=32, height=32, cfg_scale=1.0)


@pytest.fixture(scope="module")
def judge():
    return load_judge(JUDGE)


def test_prompts_are_fixed_and_of_combinations_training_never_saw(model):
    judge = Judge(COMMON_OBJECTS)
    results = list(judged(model, judge, S, 6))
    again = list(judged(model, judge, S, 6))
    assert [r.prompt for r in results] == [r.prompt for r in again]
    assert [r.seen for r in results] == [r.seen for r in again]
    for result in results:
        labels = result.labels
        assert is_held_out(labels.objects[0], labels.colors[0], labels.background)


@pytest.mark.parametrize("cfg_scale", [1.0, 3.0])
def test_a_batch_of_prompts_is_what_each_of_them_gives_alone(model, cfg_scale):
    settings = dataclasses.replace(S, steps=3, cfg_scale=cfg_scale)
    prompts = ["a red apple", "two cats on the beach", "a dog"]
    for seed, image in enumerate(draw(model, prompts, dataclasses.replace(settings, seed=5)), start=5):
        [alone] = ldm.run(model, dataclasses.replace(settings, prompt=prompts[seed - 5], seed=seed)).images
        torch.testing.assert_close(image[None], to_tensor([alone]), atol=0.02, rtol=0)


def test_accuracies_count_right_answers(model):
    first = next(judged(model, Judge(COMMON_OBJECTS), S, 1))
    labels = first.labels
    color = color_of(labels.objects[0], labels.colors[0])
    right = dataclasses.replace(first, seen=(Seen(labels.objects[0], color, labels.background, 1),))
    wrong = dataclasses.replace(first, seen=(Seen("nothing", "no colour", labels.background, 2),))
    found = accuracies([right, wrong, wrong, right])
    assert found["object"] == found["count"] == 0.5 and found["background"] == 1.0


def test_a_pair_is_right_when_both_are_in_their_places():
    labels = Labels(("apple", "dog"), (None, None), "grass day", relation="left of")
    apple, dog = (Seen(name, "natural", "grass day", 1) for name in ("apple", "dog"))
    image = np.zeros((256, 256, 3), np.uint8)
    assert Judged("", labels, image, (apple, dog)).object_right
    assert not Judged("", labels, image, (dog, apple)).object_right
    assert not Judged("", labels, image, (apple, apple)).object_right


def test_a_row_judges_every_level_and_prints_a_share_each(model):
    line = row(model, Judge(COMMON_OBJECTS), S, 4).markdown()
    assert line.count("|") == HEADER.splitlines()[0].count("|") and line.startswith("| 1 | 1.0 | dpmpp_2m |")


def test_an_object_s_own_colour_is_no_tint():
    assert color_of("apple", "red") == "natural" == color_of("apple", None)
    assert color_of("apple", "blue") == "blue"


@pytest.mark.parametrize("size", [32, 64, 256])
def test_the_judge_takes_pictures_of_any_size(size):
    scores = Judge(COMMON_OBJECTS)(torch.zeros(2, 3, size, size))
    assert [s.shape[0] for s in scores] == [2, 2, 2, 2] and scores[0].shape[1] == len(COMMON_OBJECTS)


def test_the_judge_that_ships_knows_every_object_and_tells_places_apart(judge):
    assert judge.objects == DEFAULT_OBJECTS
    labels = Labels(("car", "tree"), (None, "purple"), "blue", relation="above")
    drawn = scene(labels, np.random.default_rng(1))
    image = torch.from_numpy(drawn.pixels.copy()).permute(2, 0, 1)[None] / 127.5 - 1
    assert [view.shape[-1] for view in views_of(image, labels)] == [128, 128]
    seen = judge.look(image, labels)
    assert [(s.object, s.color) for s in seen] == [("car", "natural"), ("tree", "purple")]


def test_the_judge_that_ships_counts(judge):
    for count in (2, 3, 4, 5):
        drawn = scene(Labels(("apple",), (None,), "blue", count=count), np.random.default_rng(count))
        image = torch.from_numpy(drawn.pixels.copy()).permute(2, 0, 1)[None] / 127.5 - 1
        [seen] = judge.look(image, drawn.labels)
        assert (seen.object, seen.count) == ("apple", count)
