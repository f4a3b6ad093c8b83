"""The draft that ships beside the default model: its file, and that it draws what the model does."""

import dataclasses

import pytest
import torch

import ldm
from ldm.checkpoints import draft_path, weights_folder
from ldm.engine import find_draft
from ldm.images import to_tensor
from ldm.metrics import psnr

MODEL = weights_folder() / "default.safetensors"
PATH = draft_path(MODEL)
PROMPTS = (
    "a red apple on a blue background",
    "a cat on the grass",
    "two yellow birds",
    "a fish left of a car",
)


@pytest.fixture(scope="module")
def model():
    return ldm.load(MODEL)


@pytest.fixture(scope="module")
def draft(model):
    return find_draft(model, MODEL).open()


def test_the_file_is_small_enough_for_a_repository():
    assert PATH.stat().st_size <= 30e6


def test_it_draws_in_four_calls_without_guidance(draft):
    best = draft.config.recommended
    assert (best.steps, best.sampler, best.cfg_scale) == (4, "euler", 1.0)
    assert draft.config.training["draft"]["samples"] > 20_000


def test_it_is_the_draft_of_the_model_that_ships(model, draft):
    assert draft.name == f"{model.name} draft"
    assert draft.config.vocabulary == model.config.vocabulary
    ours, theirs = draft.state_dict(), model.state_dict()
    for name in ours:
        if name.startswith(("first_stage_model.", "cond_stage_model.", "preview.")):
            assert torch.equal(ours[name], theirs[name]), name


def test_its_pictures_are_those_of_the_model_from_the_same_seeds(model, draft):
    """Closer to the model's twenty guided steps than the model's own four steps without guidance."""
    quick = ldm.Settings("?", **vars(draft.config.recommended))
    slow = ldm.Settings("?", **vars(model.config.recommended))

    def likeness(who, settings):
        found = []
        for seed, prompt in enumerate(PROMPTS):
            pictures = [
                to_tensor(ldm.run(m, dataclasses.replace(s, prompt=prompt, seed=seed)).images)
                for m, s in ((who, settings), (model, slow))
            ]
            found.append(psnr(*pictures))
        return sum(found) / len(found)

    mine = likeness(draft, quick)
    assert mine > 26 and mine > likeness(model, quick) + 2
