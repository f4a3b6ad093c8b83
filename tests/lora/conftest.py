"""One small model of each family for all tests here; whoever applies a LoRA takes it out again."""

import pytest
import torch

from ldm import lora

from . import twins


@pytest.fixture(autouse=True)
def without_gradients():
    with torch.no_grad():
        yield


@pytest.fixture(scope="session")
def built():
    with torch.no_grad():
        return {name: twins.model_of(getattr(twins, name)()) for name in ("sd1", "sd2", "sdxl")}


@pytest.fixture
def models(built):
    yield built
    for model in built.values():
        lora.remove(model)


@pytest.fixture
def model(models):
    return models["sd1"]
