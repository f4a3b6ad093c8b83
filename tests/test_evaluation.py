import pytest
import torch

from ldm import Settings
from ldm.data.scenes import COMMON_OBJECTS, is_held_out
from ldm.evaluation import Judged, accuracies, judged
from ldm.training.judge import Judge, color_of

S = Settings("?", steps=1, width=32, height=32, cfg_scale=1.0)


def test_prompts_are_fixed_and_of_combinations_training_never_saw(model):
    judge = Judge(COMMON_OBJECTS)
    results = list(judged(model, judge, S, 6))
    again = list(judged(model, judge, S, 6))
    assert [r.prompt for r in results] == [r.prompt for r in again]
    assert [r.object for r in results] == [r.object for r in again]
    for seed, result in enumerate(results):
        labels = result.labels
        assert is_held_out(labels.objects[0], labels.colors[0], labels.background)
        assert result.trace.settings.seed == seed and result.trace.settings.prompt == result.prompt


def test_accuracies_count_right_answers(model):
    first = next(judged(model, Judge(COMMON_OBJECTS), S, 1))
    name, background = first.labels.objects[0], first.labels.background
    color = color_of(name, first.labels.colors[0])
    right = Judged(first.prompt, first.labels, first.trace, name, color, background)
    wrong = Judged(first.prompt, first.labels, first.trace, "no such thing", "no such colour", background)
    found = accuracies([right, wrong, wrong, right])
    assert found["object"] == 0.5 and found["background"] == 1.0


def test_an_object_s_own_colour_is_no_tint():
    assert color_of("apple", "red") == "natural" == color_of("apple", None)
    assert color_of("apple", "blue") == "blue"


@pytest.mark.parametrize("size", [32, 64, 256])
def test_the_judge_takes_pictures_of_any_size(size):
    scores = Judge(COMMON_OBJECTS)(torch.zeros(2, 3, size, size))
    assert [s.shape[0] for s in scores] == [2, 2, 2] and scores[0].shape[1] == len(COMMON_OBJECTS)
