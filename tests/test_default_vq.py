"""The first stage that ships."""

import pytest
import torch

from ldm.checkpoints import weights_folder
from ldm.checkpoints.first_stage import find_first_stages, load_first_stage
from ldm.training.config import VQ
from ldm.training.vq import quality

PATH = weights_folder() / "default-vq.safetensors"


@pytest.fixture(scope="module")
def stage():
    return load_first_stage(PATH, "cpu", torch.bfloat16)


def test_it_is_small_and_found():
    assert PATH.stat().st_size < 6 * 2**20
    assert PATH in find_first_stages(weights_folder())


def test_it_is_what_its_training_makes(stage):
    assert stage.config.vq == VQ.model
    assert stage.name == VQ.name
    made = stage.config.training
    assert (made["steps"], made["samples"]) == (VQ.steps, VQ.steps * VQ.crops)
    assert made["psnr"] > 27
    assert made["used"] > 0.5


@pytest.mark.slow
def test_it_is_as_good_as_it_says(stage):
    found = quality(stage, VQ.objects)
    for name, tolerance in {"psnr": 0.1, "ssim": 0.005, "used": 0.02, "perplexity": 10}.items():
        assert found[name] == pytest.approx(stage.config.training[name], abs=tolerance)
