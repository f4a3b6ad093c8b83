"""Names and shapes of what reads prompts, beside those of the real checkpoints."""

import json
from fnmatch import fnmatchcase

import pytest
import torch

from ldm.models.build import build_conditioner
from ldm.models.condition_config import (
    BERTConfig,
    ClassConfig,
    NoConditionConfig,
    OpenCLIPConfig,
    SDXLTextConfig,
    TextConfig,
)
from ldm.models.tokenizer import Tokenizer
from tests.golden_cases import _roots

REFINER = SDXLTextConfig(clip=None, sizes=5, zero_empty=False)
TEXT2IMG256 = BERTConfig(dim=640)
LAYOUT = BERTConfig(vocab_size=8192, dim=512, depth=16, length=92, layout=True)
PALETTE = NoConditionConfig(rescaler_channels=182)
FAMILIES = {
    "labml-latent-diffusion": TextConfig(),
    "sd-v1": TextConfig(),
    "sd-v1-full-ema": TextConfig(),
    "sd-v1-inpainting": TextConfig(),
    "sd-v1-instruct-pix2pix": TextConfig(),
    "sd-v2-base": OpenCLIPConfig(),
    "sd-v2.1-v": OpenCLIPConfig(),
    "sd-v2-inpainting": OpenCLIPConfig(),
    "sd-v2-x4-upscaler": OpenCLIPConfig(),
    "sdxl-base": SDXLTextConfig(),
    "sdxl-refiner": REFINER,
    "ldm-text2img-large-256": BERTConfig(),
    "ldm-text2img256": TEXT2IMG256,
    "ldm-layout2img-openimages256": LAYOUT,
    "ldm-cin256": ClassConfig(n_classes=1000, null=None),
    "ldm-cin256-v2": ClassConfig(),
    "ldm-semantic-synthesis256": PALETTE,
    "ldm-semantic-synthesis512": PALETTE,
    "ldm-celebahq-256": NoConditionConfig(),
}
LEFT_OVER = {
    **dict.fromkeys([name for name in FAMILIES if name.startswith(("labml", "sd-v1"))], 1),  # position_ids
    **dict.fromkeys([name for name in FAMILIES if name.startswith("sd-v2")], 1),  # logit_scale
    "sdxl-base": 2,
    "sdxl-refiner": 1,
    "ldm-text2img-large-256": 2,  # to_logits
    "ldm-text2img256": 2,
    "ldm-layout2img-openimages256": 2,
}


def inventory(name: str) -> dict[str, tuple[int, ...]]:
    for root in _roots():
        path = root / "keys" / f"{name}.json"
        if path.exists():
            return {k: tuple(v["shape"]) for k, v in json.loads(path.read_text()).items()}
    pytest.skip(f"the inventory {name} is not here; set GOLDEN to the folder that holds it.")


@pytest.mark.golden
@pytest.mark.parametrize("name", FAMILIES)
def test_every_name_of_the_files_has_its_place_and_every_weight_its_name(name):
    prefixes = ("cond_stage_model.", "conditioner.")
    theirs = {
        key.removeprefix(prefix): shape
        for key, shape in inventory(name).items()
        for prefix in prefixes
        if key.startswith(prefix)
    }
    with torch.device("meta"):
        net = build_conditioner(FAMILIES[name], Tokenizer.clip())
    ours = {key: tuple(tensor.shape) for key, tensor in net.state_dict().items()}
    left = {key for key in theirs if key not in ours}
    assert len(left) == LEFT_OVER.get(name, 0)
    assert all(any(fnmatchcase(key, pattern) for pattern in net.leftovers) for key in left)
    assert {key: shape for key, shape in theirs.items() if key not in left} == ours
