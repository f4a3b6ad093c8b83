"""What a file does not say about its network, the network is asked."""

from dataclasses import replace

import pytest

from ldm import checkpoints
from ldm.checkpoints import believe

from ..conftest import tiny_model


@pytest.fixture(scope="module")
def trained():
    return checkpoints.load(checkpoints.weights_folder() / "default.safetensors", device="cpu")


@pytest.mark.parametrize("assumed", ["eps", "v", "x0"])
def test_a_trained_network_tells_what_it_predicts_whatever_was_assumed(trained, assumed):
    own = trained.config
    try:
        trained.config = replace(own, prediction_type=assumed)
        trained.assumed = ("prediction_type", "schedule")
        believe(trained)
        assert trained.prediction_type == own.prediction_type
        assert trained.assumed == ("schedule",)
    finally:
        trained.config, trained.assumed = own, ()


def test_an_untrained_network_is_taken_for_what_was_assumed():
    model = tiny_model(prediction_type="v")
    model.assumed = ("prediction_type",)
    believe(model)
    assert model.prediction_type == "v" and model.assumed == ("prediction_type",)


def test_a_file_that_says_nothing_is_asked_when_it_is_opened(monkeypatch):
    asked, read = [], checkpoints.read
    monkeypatch.setattr(checkpoints, "believe", lambda model: asked.append(model.name))
    path = checkpoints.weights_folder() / "default.safetensors"
    checkpoints.load(path, device="cpu")
    assert asked == []
    monkeypatch.setattr(
        checkpoints, "read", lambda *a, **k: replace(read(*a, **k), assumed=("prediction_type",))
    )
    checkpoints.load(path, device="cpu")
    assert len(asked) == 1
