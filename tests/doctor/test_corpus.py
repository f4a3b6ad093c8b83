"""Whatever a file is, opening it gives a model or one clear sentence, and runs nothing."""

import json
import os
import sys

import pytest
import torch

from ldm.checkpoints import identify, load
from ldm.doctor import examine, render
from ldm.errors import CheckpointError
from tests.conftest import tiny_model

from .corpus import CASES, Place


@pytest.fixture(scope="module")
def in_use():
    """A model that was loaded before, and what it draws."""
    model = tiny_model()
    inputs = torch.ones(1, 4, 8, 8), torch.tensor([10.0]), torch.ones(1, 12, 32)
    return model, inputs, model(*inputs)


@pytest.fixture
def place(tmp_path):
    (tmp_path / "files").mkdir()
    return Place(tmp_path / "files", tmp_path / "canary")


def test_there_are_enough():
    assert len(CASES) >= 60


@pytest.mark.parametrize("name", CASES)
def test_a_file_opens_or_is_refused_in_one_sentence(name, place, in_use):
    case = CASES[name]
    path = case.make(place)
    before = set(sys.modules)
    refusal = ""
    try:
        load(path, device="cpu", dtype=torch.float32)
    except CheckpointError as error:
        refusal = str(error)
    if os.path.lexists(path) and not path.exists():
        assert not case.opens
    else:
        report = examine(path, weights=True)
        shown = render(report)
        json.dumps(report.to_dict())
        assert case.says in shown
        assert report.loads == (not report.problem)
        assert identify(path).refusal == "" or report.problem
    assert bool(refusal) != case.opens, refusal
    if refusal:
        assert len(refusal) < 400
        assert "\n" not in refusal
        assert refusal.isprintable()
        assert case.says in refusal
    assert not place.canary.exists()
    assert not {"antigravity", "this"} & (set(sys.modules) - before)
    model, inputs, drawn = in_use
    assert torch.equal(model(*inputs), drawn)
