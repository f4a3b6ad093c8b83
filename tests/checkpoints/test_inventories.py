"""Every key of every real checkpoint has its place, and every weight of its model a key."""

import json

import pytest

from ldm.checkpoints.inventory import account, accounts, as_markdown, read_inventory
from ldm.errors import CheckpointError

from ..golden_cases import _roots

COUNTS = {  # of parameters, counted in the originals
    "sd-v1": {"U-Net": 859_520_964, "autoencoder": 83_653_863},
    "labml-latent-diffusion": {"U-Net": 859_520_964, "autoencoder": 83_653_863},
    "sd-v1-inpainting": {"U-Net": 859_535_364},
    "sd-v2-base": {"U-Net": 865_910_724},
    "sd-v2.1-v": {"U-Net": 865_910_724},
    "sdxl-base": {"U-Net": 2_567_463_684, "autoencoder": 83_653_863},
    "sdxl-refiner": {"U-Net": 2_259_526_660},
    "ldm-text2img-large-256": {"U-Net": 872_300_484},
}
TITLES = {
    "labml-latent-diffusion": "Stable Diffusion 1",
    "ldm-bsr-sr": "bsr_sr",
    "ldm-celebahq-256": "celeba256, ffhq256 or lsun_beds256",
    "ldm-cin256": "cin256",
    "ldm-cin256-v2": "cin256-v2",
    "ldm-ffhq-256": "celeba256, ffhq256 or lsun_beds256",
    "ldm-inpainting-big": "inpainting_big",
    "ldm-layout2img-openimages256": "layout2img-openimages256",
    "ldm-lsun-beds-256": "celeba256, ffhq256 or lsun_beds256",
    "ldm-lsun-churches-256": "lsun_churches256",
    "ldm-rdm-768": "rdm768",
    "ldm-semantic-synthesis256": "semantic_synthesis256 or semantic_synthesis512",
    "ldm-semantic-synthesis512": "semantic_synthesis256 or semantic_synthesis512",
    "ldm-text2img-large-256": "text2img-large",
    "ldm-text2img256": "text2img256",
    "sd-v1": "Stable Diffusion 1",
    "sd-v1-full-ema": "Stable Diffusion 1",
    "sd-v1-inpainting": "Stable Diffusion 1, inpainting",
    "sd-v1-instruct-pix2pix": "Stable Diffusion 1 InstructPix2Pix",
    "sd-v2-base": "Stable Diffusion 2",
    "sd-v2-inpainting": "Stable Diffusion 2, inpainting",
    "sd-v2-x4-upscaler": "Stable Diffusion 2 x4 upscaler",
    "sd-v2.1-v": "Stable Diffusion 2",
    "sdxl-base": "Stable Diffusion XL",
    "sdxl-refiner": "the refiner of Stable Diffusion XL",
}


def folder():
    for root in _roots():
        if (root / "keys" / "sd-v1.json").is_file():
            return root / "keys"
    pytest.skip("the inventories of keys are not here; set GOLDEN to the folder of cases.")


@pytest.mark.golden
@pytest.mark.parametrize("name", TITLES)
def test_every_key_of_a_single_file_has_its_place(name):
    found = account(name, read_inventory(folder() / f"{name}.json"))
    assert (found.refusal, found.unclaimed, found.unfed, found.misshapen) == ("", (), (), ())
    assert found.is_strict
    assert found.title == TITLES[name]
    assert found.claimed + sum(found.ignored.values()) == found.keys
    for part, count in COUNTS.get(name, {}).items():
        assert found.of_part[part] == count


@pytest.mark.golden
@pytest.mark.long
def test_every_inventory_there_is_accounted_for():
    found = {one.name: one for one in accounts(folder())}
    assert set(TITLES) < set(found)
    refused = [name for name, one in found.items() if one.refusal]
    assert refused == ["diffusers-controlnet-sd15"]
    assert all(one.is_strict for name, one in found.items() if name not in refused)
    assert found["first-stage-kl-f8"].parameters == 83_653_863
    assert found["diffusers-sdxl-base"].of_part["U-Net"] == 2_567_463_684


@pytest.mark.golden
def test_averages_and_tables_of_noise_are_let_go_by_name():
    found = account("x", read_inventory(folder() / "sd-v1-full-ema.json"))
    assert found.ignored["model_ema.*"] == 688
    assert found.ignored["betas"] == 1
    assert found.keys == 1831


@pytest.mark.golden
@pytest.mark.parametrize(
    ("change", "field", "key"),
    [
        ("more", "unclaimed", "model.diffusion_model.odd.weight"),
        ("less", "unfed", "model.diffusion_model.out.0.bias"),
        ("other", "misshapen", "model.diffusion_model.out.0.bias"),
    ],
)
def test_a_key_too_many_too_few_or_too_long_is_seen(change, field, key):
    shapes = read_inventory(folder() / "sd-v1.json")
    if change == "more":
        shapes[key] = (3,)
    elif change == "less":
        del shapes[key]
    else:
        shapes[key] = (321,)
    found = account("x", shapes)
    assert getattr(found, field) == (key,)
    assert not found.is_strict


def test_the_table_shows_what_is_refused(tmp_path):
    (tmp_path / "x.json").write_text(json.dumps({"double_blocks.0.img_attn.qkv.weight": {"shape": [3, 3]}}))
    (tmp_path / "patterns.json").write_text(json.dumps({"_about": "none"}))
    found = list(accounts(tmp_path))
    assert [(one.name, one.refusal) for one in found] == [("x", "is Flux")]
    assert as_markdown(found).splitlines()[-1] == "| x | refused: Flux | 1 | | | | | | |"


def test_what_is_no_inventory_is_an_error(tmp_path):
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"x\.json is no inventory"):
        list(accounts(tmp_path))
