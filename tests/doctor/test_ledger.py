"""The ledger shows what the published tables show, and counts every weight once."""

import json
import os
from pathlib import Path

import pytest
import torch

from ldm.checkpoints.identify import identify
from ldm.doctor import ledger, render_ledger, totals
from ldm.doctor.ledger import FIRST_STAGE, TEXT, UNET
from ldm.errors import SettingsError
from ldm.models.condition_config import TextConfig
from ldm.models.config import ModelConfig, UNetConfig
from ldm.models.study_config import StudyAutoencoderConfig, StudyUNetConfig
from tests.conftest import tiny_model

STUDY = ModelConfig(
    unet=StudyUNetConfig(text_dim=512),
    autoencoder=StudyAutoencoderConfig(),
    text=TextConfig(hidden_size=512, num_attention_heads=8),
)


def rows(config, width, height, part):
    return [row for row in ledger(config, width, height) if row.part == part]


def test_the_study_s_table():
    """4 x 32 x 32 -> 256, 384, 512, 768 -> 512 in the middle -> 384, 256, 128 -> 4."""
    shapes = {row.name: (row.shape_in, row.shape_out) for row in rows(STUDY, 256, 256, UNET)}
    assert shapes["conv_in"] == ((4, 32, 32), (256, 32, 32))
    assert shapes["downs.0"] == ((256, 32, 32), (384, 16, 16))
    assert shapes["downs.1"] == ((384, 16, 16), (512, 8, 8))
    assert shapes["downs.2"] == ((512, 8, 8), (768, 4, 4))
    assert shapes["mids.0"] == ((768, 4, 4), (512, 4, 4))
    assert shapes["ups.0"] == ((512, 4, 4), (384, 8, 8))
    assert shapes["ups.1"] == ((384, 8, 8), (256, 16, 16))
    assert shapes["ups.2"] == ((256, 16, 16), (128, 32, 32))
    assert shapes["conv_out"] == ((128, 32, 32), (4, 32, 32))


def test_wikipedia_s_thousand_queries():
    """A latent of 128 channels at 32 x 32: 1024 positions ask, each of width 128."""
    unet = UNetConfig(model_channels=128, channel_mult=(1,), num_res_blocks=1, attention_resolutions=(1,))
    found = {row.name: row for row in rows(ModelConfig(unet=unet), 256, 256, UNET)}
    block = found["input_blocks.1"]
    assert (block.shape_in, block.shape_out, block.queries) == ((128, 32, 32), (128, 32, 32), (1024, 128))
    assert block.kind == "ResBlock + SpatialTransformer"


def test_stable_diffusion_s_published_counts():
    found = ledger(ModelConfig(), 512, 512)
    assert totals(found)[UNET] == 859_520_964
    assert totals(found)[FIRST_STAGE] == 83_653_863
    assert totals(found)[TEXT] == 123_060_480
    middle = next(row for row in found if row.name == "middle_block")
    assert (middle.shape_in, middle.queries) == ((1280, 8, 8), (64, 1280))
    layers = next(row for row in found if "layers" in row.name)
    assert layers.name.endswith("layers.0 to 11") and layers.shape_out == (77, 768)


def test_it_counts_every_weight_once_and_shows_what_runs():
    model = tiny_model()
    found = ledger(model, 64, 32)
    for part, module in (
        (UNET, model.model.diffusion_model),
        (FIRST_STAGE, model.first_stage_model),
        (TEXT, model.cond_stage_model),
    ):
        assert totals(found)[part] == sum(parameter.numel() for parameter in module.parameters())
    assert all(row.shape_in is not None and row.shape_out is not None for row in found)
    unet = [row for row in found if row.part == UNET]
    assert unet[-1].shape_out == (4, 8, 16)
    text = render_ledger(found)
    assert "8x16x4" in text and f"U-Net {totals(found)[UNET]:,}" in text
    assert len({len(line) for line in text.splitlines() if line.startswith("|")}) == 1


def test_what_a_hook_saw_is_what_happens():
    model = tiny_model()
    block = model.model.diffusion_model.input_blocks[1]
    seen = []
    handle = block.register_forward_hook(lambda _, args, output: seen.append((args[0].shape, output.shape)))
    model(torch.zeros(1, 4, 8, 8), torch.zeros(1), torch.zeros(1, 12, 32))
    handle.remove()
    row = next(row for row in ledger(model, 32, 32) if row.name == "input_blocks.1")
    assert [(tuple(a[1:]), tuple(b[1:])) for a, b in seen] == [(row.shape_in, row.shape_out)]


def test_a_size_that_does_not_fit_is_said():
    with pytest.raises(SettingsError, match=r"^width must be a multiple of 8 for tiny, got 36\.$"):
        ledger(tiny_model(), 36, 32)


KEYS = Path(os.environ.get("GOLDEN", Path(__file__).parents[3] / "shared" / "golden")) / "keys"
COUNTS = {"sdxl-base": 2_567_463_684, "sd-v2-base": 865_910_724, "sd-v1-inpainting": 859_535_364,
          "ldm-text2img-large-256": 872_300_484}  # fmt: skip


@pytest.mark.golden
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] * (name != "sd-v1-inpainting")) for name in COUNTS]
)
def test_the_published_counts_of_real_models(name, tmp_path):
    """From nothing but a header with the names and shapes of the real file."""
    if not KEYS.is_dir():
        pytest.skip(f"no key inventories at {KEYS}")
    inventory = json.loads((KEYS / f"{name}.json").read_text())
    path = tmp_path / f"{name}.safetensors"
    promise(inventory.get("keys", inventory), path)
    config = identify(path).config
    assert config is not None
    side = 8 * config.size_multiple
    found = ledger(config, side, side)
    assert totals(found)[UNET] == COUNTS[name]


def promise(inventory, path):
    """A file as large as the real one that takes no room on the disk: a header, and a hole behind it."""
    sizes = {"F16": 2, "BF16": 2, "F32": 4, "F64": 8, "I64": 8, "I32": 4, "U8": 1, "BOOL": 1}
    names = {"float16": "F16", "bfloat16": "BF16", "float32": "F32", "float64": "F64", "int64": "I64",
             "int32": "I32", "uint8": "U8", "bool": "BOOL"}  # fmt: skip
    header, end = {}, 0
    for name, entry in inventory.items():
        kind = names[str(entry["dtype"]).removeprefix("torch.")]
        count = sizes[kind]
        for side in entry["shape"]:
            count *= side
        header[name] = {"dtype": kind, "shape": entry["shape"], "data_offsets": [end, end + count]}
        end += count
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
