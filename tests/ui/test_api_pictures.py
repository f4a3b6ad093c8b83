"""/generate with everything that `Settings` knows, from a picture, and with a LoRA."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from gradio_client import handle_file
from PIL import Image
from safetensors.torch import save_file

from ldm import png, run_file
from ldm.diffusion.samplers import SAMPLERS
from ldm.engine.weights import equip
from ldm.settings import Settings
from ldm.ui.api import generate

from .conftest import refused
from .test_controls import SAMPLES

PROMPT = "a red apple on a blue background"
BEST = Settings(PROMPT, steps=3, cfg_scale=3.0, cfg_rescale=0.7, width=64, height=64)


def noise(width=64, height=64):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture
def photo(tmp_path):
    noise().save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def mask(tmp_path):
    """White in the middle."""
    drawn = Image.new("L", (64, 64))
    drawn.paste(255, (20, 24, 44, 40))
    drawn.save(tmp_path / "mask.png")
    return tmp_path / "mask.png"


def drawn(client, **given):
    pictures, _, run_id, _ = client.predict(prompt=PROMPT, **given, api_name="/generate")
    return [np.asarray(Image.open(path).convert("RGB")) for path in pictures], run_id


def test_what_is_not_painted_is_the_picture_byte_for_byte(client, photo, mask):
    given = {"init_image": handle_file(photo), "mask": handle_file(mask), "strength": 0.8}
    [picture], run_id = drawn(client, **given)
    kept = np.asarray(Image.open(mask)) == 0
    original = np.asarray(noise())
    assert (picture[kept] == original[kept]).all()
    assert (picture[~kept] != original[~kept]).any(axis=1).mean() > 0.9
    path, frames = client.predict(run_id=run_id, api_name="/steps")
    trace = run_file.load(path)
    assert trace.init_image.tobytes() == noise().tobytes()
    assert trace.mask.getextrema() == (0, 255)
    assert len(frames) == len(trace.steps) == 2  # of 3


def test_a_picture_of_another_size_is_cut_to_the_proportions_and_scaled(client, tmp_path):
    stripes = Image.new("RGB", (256, 128), "red")  # red at the sides, blue in the middle
    stripes.paste("blue", (64, 0, 192, 128))
    stripes.save(tmp_path / "x.png")
    black = Image.new("L", (256, 128))
    black.putpixel((128, 64), 255)
    black.save(tmp_path / "m.png")
    given = {"init_image": handle_file(tmp_path / "x.png"), "mask": handle_file(tmp_path / "m.png")}
    [picture], _ = drawn(client, **given)
    assert picture.shape == (64, 64, 3)
    assert (picture[5, 3:-3] == (0, 0, 255)).all()


def test_strength_0_is_the_round_trip(client, photo):
    pictures, _, run_id, _ = client.predict(
        prompt=PROMPT, init_image=handle_file(photo), strength=0, batch_size=2, api_name="/generate"
    )
    assert len(pictures) == 2
    assert png.read(pictures[1])[0] == replace(BEST, strength=0, seed=1)
    path, frames = client.predict(run_id=run_id, api_name="/steps")
    assert frames == []
    assert len(run_file.load(path).steps) == 0


def test_a_draft_may_start_from_a_picture(client, photo):
    given = {"init_image": handle_file(photo), "strength": 0.5, "draft": True}
    _, run_id = drawn(client, **given)
    trace = run_file.load(client.predict(run_id=run_id, api_name="/steps")[0])
    assert (trace.model_name, len(trace.steps)) == ("tiny draft", 2)


def jsonable(values):
    return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}


@pytest.mark.parametrize("name", [n for n in SAMPLES if n not in ("image_cfg_scale", "loras")])
def test_every_field_is_obeyed_and_written_into_the_picture(client, photo, name):
    asked = {**SAMPLES[name]}
    for side in ("width", "height"):
        asked |= {side: 32} if side in asked else {}
    asked |= {"steps": min(asked.get("steps", 3), 5)} | {"init_image": handle_file(photo)}
    path = client.predict(**{"prompt": PROMPT} | jsonable(asked), api_name="/generate")[0][0]
    del asked["init_image"]
    assert png.read(path)[0] == replace(BEST, **asked).of_picture(0)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"sampler": "heun", "cfg_method": "cfg_pp"}, "cfg_method 'cfg_pp' is not for the sampler 'heun'; "),
        ({"sampler": "ddim", "s_churn": 1}, "s_churn is not for the sampler 'ddim'; choose one of: euler"),
        ({"sampler": "deis", "order": 4}, "The sampler 'deis' has no order 4; it has: 1, 2, 3."),
        ({"sigmas": [3, 2, 1]}, "A list of noise levels needs the spacing 'custom', got 'trailing'."),
        ({"sigmas": "3, 2, 1"}, "sigmas must be a list of 1 to 1001 numbers, got '3, 2, 1'."),
        ({"sigmas": [3, "two"]}, "sigmas[1] must be a number, got 'two'."),
        ({"cfg_scales": [3, 2]}, "cfg_scales must have 1 numbers, one for each picture, got 2."),
        ({"cfg_schedule": "sine"}, "Unknown guidance schedule 'sine'. "),
        ({"cfg_start": 0.9, "cfg_stop": 0.1}, "Guidance start must be at most its stop 0.1, got 0.9."),
        ({"noise": "comfy"}, "Unknown noise 'comfy'. Did you mean 'comfyui'?"),
        ({"variation_strength": 0.5}, "variation_strength 0.5 needs a variation_seed, it is None."),
        ({"strength": 1.5}, "strength must be between 0 and 1, got 1.5."),
        ({"full_strength": "full"}, "Unknown full_strength 'full'. "),
        ({"rho": "steep", "spacing": "karras"}, "rho must be a number, got 'steep'."),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_a_sentence(client, given, said):
    assert refused(client, prompt=PROMPT, **given).startswith(said)


def test_a_mask_without_a_picture_is_a_sentence(client, mask):
    said = refused(client, prompt=PROMPT, mask=handle_file(mask))
    assert said == "A mask needs a picture to start from, and there is none."


@pytest.mark.parametrize("name", ["init_image", "mask"])
def test_a_file_that_is_no_picture_is_a_sentence(client, tmp_path, photo, name):
    (tmp_path / "x.png").write_text("no picture")
    given = {"init_image": handle_file(photo)} | {name: handle_file(tmp_path / "x.png")}
    said = refused(client, prompt=PROMPT, **given)
    assert said == "x.png is not a picture; use one of: PNG, JPEG, WEBP, GIF, BMP, TIFF."


@pytest.fixture
def ink(engine, tmp_path, monkeypatch):
    """A LoRA of that name in the weights folder, of the U-Net's middle."""
    layer = "middle_block_1_transformer_blocks_0_attn2_to_v"
    unet = engine.model.model.diffusion_model
    rows, columns = unet.get_parameter("middle_block.1.transformer_blocks.0.attn2.to_v.weight").shape
    generator = torch.Generator().manual_seed(1)
    (tmp_path / "loras").mkdir()
    save_file(
        {
            f"lora_unet_{layer}.lora_up.weight": torch.randn(rows, 2, generator=generator),
            f"lora_unet_{layer}.lora_down.weight": torch.randn(2, columns, generator=generator),
            f"lora_unet_{layer}.alpha": torch.tensor(2.0),
        },
        tmp_path / "loras" / "ink.safetensors",
    )
    monkeypatch.setattr(engine.model, "adapter", engine.model.adapter)  # put back when the test ends
    equip(engine.model, tmp_path)
    yield
    engine.model.adapt(())


def test_a_lora_acts_as_much_as_it_is_asked_to(client, ink):
    def with_loras(*loras):
        return client.predict(prompt=PROMPT, loras=list(loras), api_name="/generate")[0][0]

    plain, none, half, full = (
        with_loras(*loras) for loras in ((), (["ink", 0.0],), (["ink", 0.5],), (["ink", 1.0],))
    )
    pixels = [np.asarray(Image.open(path)).astype(int) for path in (plain, none, half, full, with_loras())]
    assert (pixels[1] == pixels[0]).all()
    assert 0 < abs(pixels[2] - pixels[0]).mean() < abs(pixels[3] - pixels[0]).mean()
    assert (pixels[4] == pixels[0]).all()  # it is taken out again
    assert png.read(half)[0] == replace(BEST, loras=(("ink", 0.5),))


def test_a_lora_that_is_not_there_is_a_sentence(client, ink):
    said = refused(client, prompt=PROMPT, loras=[["inc", 1.0]])
    assert said == "Unknown LoRA 'inc'. Did you mean 'ink'? Choose one of: ink."
    assert refused(client, prompt=PROMPT, loras=[["ink", "much"]]).startswith("loras[0] ")


def test_the_description_names_every_parameter_on_a_line_and_every_choice():
    lines = generate.DESCRIPTION.split("Args:\n")[1].split("\n\n")[0].splitlines()
    assert [line.strip().partition(":")[0] for line in lines] == list(generate.ORDER)
    assert {field.name for field in fields(Settings)} < set(generate.ORDER)
    described = generate._endpoint(None, dict.fromkeys(generate.ORDER)).__doc__
    for name in SAMPLERS:
        assert name in described
    assert "{" not in described
    assert max(map(len, generate.DESCRIPTION.splitlines())) <= 110
