from dataclasses import replace

import pytest
import torch

from ldm.checkpoints import draft_config, draft_path, find, load, save
from ldm.engine import find_draft, required
from ldm.errors import CheckpointError, SettingsError
from ldm.models.config import AutoencoderConfig, RecommendedSettings, UNetConfig
from tests.conftest import tiny_config, tiny_model

QUICK = RecommendedSettings(steps=4, sampler="euler", cfg_scale=1.0, width=32, height=32)
EIGHT = {
    "autoencoder": AutoencoderConfig(
        ch=16, ch_mult=(1, 1, 2), num_res_blocks=1, num_groups=4, z_channels=8, embed_dim=8
    ),
    "unet": replace(tiny_config().unet, in_channels=8, out_channels=8),
}


@pytest.fixture
def place(tmp_path):
    """A folder with a model and its draft."""
    save(tiny_model(), tmp_path / "tiny.safetensors")
    save(tiny_model(seed=1, name="tiny draft", recommended=QUICK), tmp_path / "tiny-draft.safetensors")
    return tmp_path


def refused(call, *given, kind=CheckpointError):
    with pytest.raises(kind) as error:
        call(*given)
    return str(error.value)


def test_a_draft_is_not_listed_beside_its_model_but_is_without_it(place):
    assert [path.name for path in find(place)] == ["tiny.safetensors"]
    (place / "tiny.safetensors").unlink()
    assert [path.name for path in find(place)] == ["tiny-draft.safetensors"]


def test_a_draft_belongs_to_a_checkpoint_of_any_kind(tmp_path):
    for suffix in (".safetensors", ".ckpt"):
        assert draft_path(tmp_path / f"a.b{suffix}") == tmp_path / "a.b-draft.safetensors"


def test_its_config_is_read_without_opening_it(place):
    config = draft_config(tiny_model(), place / "tiny.safetensors")
    assert (config.name, config.recommended) == ("tiny draft", QUICK)


def test_without_a_draft_there_is_none(tmp_path):
    save(tiny_model(), tmp_path / "tiny.safetensors")
    assert draft_config(tiny_model(), tmp_path / "tiny.safetensors") is None
    assert find_draft(tiny_model(), tmp_path / "tiny.safetensors") is None
    assert refused(required, None, tiny_model(), kind=SettingsError) == "tiny has no draft."


def test_a_draft_of_other_latents_or_sizes_is_refused(place):
    save(tiny_model(name="tiny draft", recommended=QUICK, **EIGHT), place / "tiny-draft.safetensors")
    move = "Move it away, or give it the name of its own model."
    said = f"tiny-draft.safetensors has 8 latent channels, tiny has 4. {move}"
    assert refused(draft_config, tiny_model(), place / "tiny.safetensors") == said
    flat = UNetConfig(**vars(tiny_config().unet) | {"channel_mult": (1,), "attention_resolutions": (1,)})
    save(tiny_model(name="tiny draft", recommended=QUICK, unet=flat), place / "tiny-draft.safetensors")
    said = f"tiny-draft.safetensors has 4 pixels that sizes are multiples of, tiny has 8. {move}"
    assert refused(draft_config, tiny_model(), place / "tiny.safetensors") == said


def test_a_model_of_many_steps_is_no_draft(place):
    save(tiny_model(recommended=RecommendedSettings(steps=20)), place / "tiny-draft.safetensors")
    said = "tiny-draft.safetensors recommends 20 steps; a draft draws in 1 to 8."
    assert refused(draft_config, tiny_model(), place / "tiny.safetensors") == said


def test_a_file_of_another_kind_is_no_draft(place):
    torch.save({"a": torch.zeros(1)}, place / "tiny-draft.safetensors")
    said = "tiny-draft.safetensors is no model of this program; a draft must be one."
    assert refused(draft_config, tiny_model(), place / "tiny.safetensors") == said


def test_a_draft_is_opened_once_like_its_model_and_shares_its_small_decoder(place):
    model = load(place / "tiny.safetensors", "cpu", torch.float32)
    model.small_decoder = lambda z: z
    draft = find_draft(model, place / "tiny.safetensors")
    made = draft.open()
    assert draft.open() is made
    assert (made.name, made.device, made.dtype) == ("tiny draft", model.device, model.dtype)
    assert made.small_decoder is model.small_decoder
    assert draft.fixed == {
        "sampler": "euler", "spacing": "trailing", "final_sigma": "zero", "cfg_scale": 1.0,
        "cfg_rescale": 0.0, "eta": None, "cfg_method": "cfg", "cfg_schedule": "constant",
        "cfg_scales": None, "s_churn": 0.0,
    }  # fmt: skip
