import dataclasses

import pytest
import torch

from ldm.checkpoints.preview import load_preview
from ldm.errors import LdmError
from ldm.training.basis import basis_of
from ldm.training.config import PREVIEW
from ldm.training.preview import (
    PreviewTraining,
    decoder_for,
    export_preview,
    lesson,
    loss_of,
    predicted,
    train_preview,
)
from ldm.training.state import generator_for, load_state
from tests.checkpoints.models import default_config, random_model

CONFIG = PreviewTraining(
    ("apple", "car"), channels=(32, 8), blocks=(1, 1), steps=6, pictures=2, crops=2, crop=64, warmup=2
)


@pytest.fixture(scope="module")
def model():
    made = random_model(default_config(), preview=True)
    made.preview.weight.copy_(
        torch.linalg.qr(made.preview.weight.flatten(1).T)[0].T.view_as(made.preview.weight)
    )
    return made


def test_a_lesson_is_a_function_of_its_step(model):
    first, again, other = (lesson(CONFIG, model, step) for step in (3, 3, 4))
    assert torch.equal(first.z, again.z) and torch.equal(first.images, again.images)
    assert not torch.equal(first.images, other.images)
    assert (first.z.shape, first.images.shape) == ((4, 16, 4, 4), (4, 3, 64, 64))
    assert float(first.images.abs().max()) <= 1


def test_pictures_are_learned_from_their_own_latents_and_predictions_from_the_full_decoder(model):
    bare = dataclasses.replace(CONFIG, noise=0.0)
    given = lesson(bare, model, 2)  # the first of its two pictures is the predicted one
    decoded = model.autoencoder_decode(given.z).clamp(-1, 1)
    torch.testing.assert_close(given.images[:2], decoded[:2], rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(basis_of(model).encode(given.images[2:]), given.z[2:])


def test_at_little_noise_the_prediction_is_the_latents_themselves(model, monkeypatch):
    z = torch.randn(1, 16, 8, 8)
    monkeypatch.setattr(torch, "randint", lambda *_, **__: torch.tensor(0))
    found = predicted(model, z, "an apple", generator_for(0))
    assert 0 < float((found - z).abs().max()) < 0.3


def test_it_starts_as_the_linear_map_and_learns(model, tmp_path, monkeypatch):
    given = lesson(CONFIG, model, 99)
    decoder = decoder_for(CONFIG, model)
    with torch.no_grad():
        torch.testing.assert_close(decoder(given.z), model.preview_decode(given.z), rtol=1e-4, atol=1e-4)
        before = float(loss_of(decoder, given))
    monkeypatch.setattr("ldm.training.preview.lesson", lambda *_: given)
    longer = dataclasses.replace(CONFIG, steps=16)
    assert [step.step for step in train_preview(longer, model, tmp_path)] == list(range(1, 17))
    export_preview(longer, model, tmp_path, tmp_path / "x-preview.safetensors")
    made = load_preview(tmp_path / "x-preview.safetensors")
    assert made.config.model == model.name
    assert made.config.training == {"samples": 16 * 4, "steps": 16}
    with torch.no_grad():
        assert float(loss_of(made, given)) < 0.97 * before


def test_a_training_that_was_cut_off_ends_with_the_same_bits(model, tmp_path):
    assert len(list(train_preview(CONFIG, model, tmp_path / "whole"))) == 6
    training = train_preview(CONFIG, model, tmp_path / "cut", save_every=0.0)
    assert [next(training).step for _ in range(3)] == [1, 2, 3]
    training.close()
    assert [s.step for s in train_preview(CONFIG, model, tmp_path / "cut")] == [4, 5, 6]
    whole, cut = (load_state(tmp_path / name / "preview.safetensors")[0] for name in ("whole", "cut"))
    assert whole.keys() == cut.keys() and all(torch.equal(whole[key], cut[key]) for key in whole)


def test_a_model_without_a_linear_map_is_refused():
    with pytest.raises(LdmError, match=r"^tiny carries no linear preview, from which"):
        decoder_for(PREVIEW, random_model(default_config()))
