"""From names in settings to LoRAs that act."""

import gc
import weakref

import pytest
import torch
from safetensors.torch import save_file

from ldm import lora
from ldm.errors import SettingsError

from . import twins
from .test_applying import bits, pointers
from .test_layouts import assert_merged


@pytest.fixture
def folder(model, tmp_path):
    for name, seed in (("cat", 1), ("dog", 2)):
        save_file(twins.kohya(twins.changes_of(model, seed=seed)), tmp_path / f"{name}.safetensors")
    return tmp_path


def adapter_of(model, folder):
    return lora.Adapter(model, lambda: lora.find_loras(folder))


def test_loras_are_found_by_what_is_in_them(model, folder):
    changes = twins.changes_of(model)
    twins.peft_folder(folder / "style", changes[:3])
    (folder / "more").mkdir()
    torch.save(twins.kohya(changes), folder / "more" / "bird.pt")
    save_file({"model.diffusion_model.out.2.weight": torch.ones(2)}, folder / "model.safetensors")
    (folder / "notes.txt").write_text("a cat")
    (folder / "empty.safetensors").write_bytes(b"")
    found = lora.find_loras(folder)
    assert sorted(found) == ["bird", "cat", "dog", "style"]
    assert found["style"] == folder / "style"
    assert lora.find_loras(folder / "nowhere") == {}


def test_what_settings_name_acts(model, folder):
    adapter, before = adapter_of(model, folder), bits(model)
    adapter((("cat", 0.8), ("dog", -0.5)))
    assert_merged(model, (twins.changes_of(model, seed=1), 0.8), (twins.changes_of(model, seed=2), -0.5))
    adapter((("dog", 1.0),))
    assert_merged(model, (twins.changes_of(model, seed=2), 1.0))
    adapter(())
    assert all(torch.equal(tensor, before[name]) for name, tensor in bits(model).items())


def test_the_same_again_does_nothing(model, folder):
    adapter = adapter_of(model, folder)
    adapter((("cat", 0.8),))
    before = pointers(model)
    adapter((("cat", 0.8),))
    assert pointers(model) == before


def test_a_file_that_was_written_anew_is_read_anew(model, folder):
    adapter = adapter_of(model, folder)
    adapter((("cat", 1.0),))
    changes = twins.changes_of(model, seed=77)
    save_file(twins.kohya(changes), folder / "cat.safetensors")
    import os

    os.utime(folder / "cat.safetensors", ns=(1, 1))
    adapter((("cat", 1.0),))
    assert_merged(model, (changes, 1.0))


def test_an_unknown_name_is_refused_with_the_nearest(model, folder):
    adapter = adapter_of(model, folder)
    adapter((("cat", 1.0),))
    before = pointers(model)
    with pytest.raises(
        SettingsError, match=r"^Unknown LoRA 'cats'\. Did you mean 'cat'\? Choose one of: cat, dog\.$"
    ):
        adapter((("cats", 1.0),))
    assert pointers(model) == before
    with pytest.raises(SettingsError, match=r"^There is no LoRA 'cat': no file of one was found\.$"):
        lora.Adapter(model, dict)((("cat", 1.0),))


def test_another_family_s_is_refused(models, folder):
    with pytest.raises(
        SettingsError, match=r"^cat is a LoRA for a model whose context has 32 channels, and small is"
    ):
        adapter_of(models["sdxl"], folder)((("cat", 1.0),))


def test_an_adapter_does_not_keep_its_model():
    model = twins.model_of(twins.sd1())
    model.adapter = lora.Adapter(model, dict)
    gone = weakref.ref(model)
    del model
    gc.collect()
    assert gone() is None


def test_a_model_that_gives_its_memory_back_lets_go_of_what_stands_by(folder):
    model = twins.model_of(twins.sd1())
    adapter_of(model, folder)((("cat", 1.0),))
    kept = weakref.ref(next(iter(lora.state.state(model).originals.values())))
    assert kept() is not None
    lora.forget(model)
    assert kept() is None
    assert lora.applied(model) == ()
