import dataclasses
import io
import json
import zlib

import pytest
from PIL import Image, PngImagePlugin

from ldm import automatic1111, png
from ldm.diffusion.noise import NOISES
from ldm.diffusion.samplers import SAMPLERS
from ldm.diffusion.spacing import SPACINGS
from ldm.errors import ImageError, LdmError, SettingsError
from ldm.settings import Settings

from .test_images import chunk
from .traces import grey_ramp, with_a_small_disk

S = Settings("a café ☕, 猫\nNegative prompt: \\ \"'", "blurry", eta=0.3, cfg_scale=7.7, seed=2**32 - 1)
STRANGER = """a cat, sitting on a mat
in the sun
Negative prompt: dog, blurry
Steps: 28, Sampler: Euler a, Schedule type: Karras, CFG scale: 6.5, Seed: 1234567890, Size: 640x384, \
Model: "v1-5, pruned: \\"emaonly\\"", Lora hashes: "a: 1, Steps: 3", Version: v1.10.0"""


def strangers(tmp_path, text, key="parameters"):
    info = PngImagePlugin.PngInfo()
    info.add_text(key, text)
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png", pnginfo=info)
    return tmp_path / "x.png"


def refused(path, kind=SettingsError):
    with pytest.raises(kind) as error:
        png.read(path)
    return str(error.value)


def test_settings_and_pixels_come_back_as_they_were(tmp_path):
    path = tmp_path / "x.png"
    png.save(grey_ramp(), path, S, "tiny ☕", {"step": 7})
    assert png.read(path) == (S, "tiny ☕")
    with Image.open(path) as image:
        assert image.convert("RGB").tobytes() == grey_ramp().tobytes()
        assert json.loads(image.text["ldm"]) == {
            "extra": {"step": 7},
            "model": "tiny ☕",
            "settings": S.to_dict(),
            "version": 1,
        }


def test_the_last_image_of_the_last_batch_can_be_made_again(tmp_path):
    batch = Settings("a", seed=2**32 - 16, batch_size=16)
    png.save(grey_ramp(), tmp_path / "x.png", batch.of_picture(15), "tiny")
    assert png.read(tmp_path / "x.png")[0].seed == 2**32 - 1


def test_strangers_read_our_settings_in_their_words(tmp_path):
    path = tmp_path / "x.png"
    settings = Settings(
        "a cat", "a dog", steps=28, sampler="euler_ancestral", cfg_scale=6.5, seed=3, width=640
    )
    png.save(grey_ramp(), path, settings, "a, b")
    with Image.open(path) as image:
        assert image.info["parameters"] == (
            "a cat\nNegative prompt: a dog\n"
            "Steps: 28, Sampler: Euler a, Schedule type: trailing, CFG scale: 6.5, Seed: 3, "
            'Size: 640x256, Model: "a, b", RNG: CPU'
        )


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_what_we_write_for_strangers_can_be_read_back(tmp_path, sampler):
    settings = Settings("a cat: b, c", "x, y: z", sampler=sampler, spacing="linspace", cfg_rescale=0.0)
    png.save(grey_ramp(), tmp_path / "ours.png", settings, 'a, "b": c')
    with Image.open(tmp_path / "ours.png") as image:
        path = strangers(tmp_path, image.info["parameters"])
    back, model_name = png.read(path)
    assert (dataclasses.replace(back, spacing="linspace"), model_name) == (settings, 'a, "b": c')


def test_strangers_settings_are_read(tmp_path):
    assert png.read(strangers(tmp_path, STRANGER)) == (
        Settings(
            prompt="a cat, sitting on a mat\nin the sun",
            negative_prompt="dog, blurry",
            steps=28,
            sampler="euler_ancestral",
            spacing="karras",
            cfg_scale=6.5,
            cfg_rescale=0.0,
            noise="a1111_gpu",
            seed=1234567890,
            width=640,
            height=384,
        ),
        'v1-5, pruned: "emaonly"',
    )


@pytest.mark.parametrize(
    ("theirs", "sampler", "spacing"),
    [
        ("DPM++ 2M Karras", "dpmpp_2m", "karras"),
        ("DPM++ 2M, Schedule type: SGM Uniform", "dpmpp_2m", "sgm_uniform"),
        ("DPM++ 2M SDE Heun, Schedule type: Automatic", "dpmpp_2m_sde_heun", "exponential"),
        ("Euler a, Schedule type: Automatic", "euler_ancestral", "linspace"),
        ("LMS, Schedule type: Turbo", "lms", "linspace"),
        ("DDIM", "ddim", "leading"),
        ("DPM adaptive", "DPM adaptive", "linspace"),  # refused by its own name when it is used
    ],
)
def test_strangers_samplers_have_our_names(tmp_path, theirs, sampler, spacing):
    settings, _ = png.read(strangers(tmp_path, f"a\nSteps: 5, Sampler: {theirs}"))
    assert (settings.sampler, settings.spacing) == (sampler, spacing)


def test_every_name_that_is_translated_to_exists():
    assert set(automatic1111.SAMPLER_NAMES.values()) <= set(SAMPLERS)
    assert set(automatic1111.SPACING_NAMES.values()) <= set(SPACINGS)
    assert set(automatic1111.NOISE_NAMES.values()) <= set(NOISES)
    assert set(automatic1111.AUTOMATIC) <= set(automatic1111.SAMPLER_NAMES)
    assert set(automatic1111.AUTOMATIC.values()) <= set(automatic1111.SPACING_NAMES)


def test_their_finer_numbers_are_ours(tmp_path):
    more = (
        "Denoising strength: 0.55, Variation seed: 77, Variation seed strength: 0.2, Eta: 0.8, "
        "Sigma churn: 4, Sigma tmin: 0.1, Sigma noise: 1.01, RNG: CPU"
    )
    settings, _ = png.read(strangers(tmp_path, f"a\nSteps: 5, Sampler: Euler a, Seed: 9, {more}"))
    assert (settings.strength, settings.eta, settings.noise, settings.seed) == (0.55, 0.8, "per_picture", 9)
    assert (settings.variation_seed, settings.variation_strength) == (77, 0.2)
    assert (settings.s_churn, settings.s_tmin, settings.s_tmax, settings.s_noise) == (4.0, 0.1, None, 1.01)
    endless, _ = png.read(strangers(tmp_path, "a\nSteps: 5, Sampler: Euler, Sigma tmax: inf"))
    assert endless.s_tmax is None
    path = strangers(tmp_path, "a\nSteps: 5, Variation seed strength: much")
    assert "variation_strength must be a number, got 'much'." in refused(path)


def test_finer_numbers_that_we_write_for_strangers_come_back(tmp_path):
    settings = Settings(
        "a", sampler="ddim", spacing="karras", eta=0.4, variation_seed=3, variation_strength=0.25,
        noise="a1111_gpu", strength=0.7, cfg_rescale=0.0,
    )  # fmt: skip
    text = automatic1111.write(settings, "m")
    assert "Eta DDIM: 0.4" in text and "RNG: NV" in text
    assert png.read(strangers(tmp_path, text)) == (settings, "m")


def test_our_own_settings_win_over_the_courtesy(tmp_path):
    info = PngImagePlugin.PngInfo()
    info.add_text("parameters", STRANGER)
    info.add_itxt("ldm", json.dumps({"model": "m", "settings": {"prompt": "ours"}}))
    grey_ramp().save(tmp_path / "x.png", pnginfo=info)
    assert png.read(tmp_path / "x.png") == (Settings("ours"), "m")


def test_settings_behind_the_pixels_are_found(tmp_path):
    buffer = io.BytesIO()
    grey_ramp().save(buffer, "PNG")
    data, text = buffer.getvalue(), b"parameters\0" + STRANGER.encode()
    (tmp_path / "x.png").write_bytes(data[:-12] + chunk(b"tEXt", text) + data[-12:])
    assert png.read(tmp_path / "x.png")[0].steps == 28


CANNOT = "The settings in x.png cannot be used: "


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", CANNOT + "they are not valid JSON."),
        ("[" * 50_000, CANNOT + "they are not valid JSON."),
        ('{"settings": {"prompt": "a", "seed": ' + "9" * 5000 + "}}", CANNOT + "they are not valid JSON."),
        ("[]", CANNOT + "they are not a record of settings."),
        ('{"settings": ["prompt"]}', CANNOT + "they are not a record of settings."),
        ('{"settings": {}}', CANNOT + "The settings name no prompt."),
        (
            '{"settings": {"prompt": "a", "steps": NaN}}',
            CANNOT + "steps must be between 1 and 1000, got nan.",
        ),
        (
            '{"settings": {"prompt": "a", "steps": "20"}}',
            CANNOT + "steps must be a number, got '20'.",
        ),
        (" " * 100_001, "The settings in x.png have 100001 characters; at most 100000 are read."),
    ],
)
def test_broken_settings_are_explained(tmp_path, text, sentence):
    assert refused(strangers(tmp_path, text, "ldm")) == sentence


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a cat", CANNOT + "their last line does not start with 'Steps: '."),
        ("", CANNOT + "their last line does not start with 'Steps: '."),
        ("Steps: 20, Seed: 1", CANNOT + "prompt must say what to draw, got ''."),
        ("a\nSteps: many", CANNOT + "Steps must be a whole number, got 'many'."),
        ("a\nSteps: 20, CFG scale: 1e9", CANNOT + "CFG scale must be a number, got '1e9'."),
        ("a\nSteps: 20, Size: 512", CANNOT + "Size must be a whole number, got ''."),
        ("a\nSteps: 20, Size: 9999x512", CANNOT + "width must be between 16 and 2048, got 9999."),
        ("a\nSteps: 20, Seed: -1", CANNOT + "Seed must be a whole number, got '-1'."),
    ],
)
def test_broken_settings_of_strangers_are_explained(tmp_path, text, sentence):
    assert refused(strangers(tmp_path, text)) == sentence


def test_long_text_of_strangers_takes_no_time(tmp_path):
    line = "Steps: 2, " + 'x: "' * 24_000
    assert png.read(strangers(tmp_path, f"a\n{line}"))[0].steps == 2


def test_a_picture_without_settings_says_which_have_them(tmp_path):
    grey_ramp().save(tmp_path / "x.png")
    assert refused(tmp_path / "x.png") == (
        "x.png carries no settings; PNGs saved by this app or by AUTOMATIC1111's web UI do."
    )


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "PPM"])
def test_only_a_png_carries_settings(tmp_path, kind):
    grey_ramp().save(tmp_path / "x.png", kind)
    assert refused(tmp_path / "x.png", ImageError) == "x.png is not a PNG; only PNGs carry settings."


def test_a_missing_file_is_named(tmp_path):
    assert refused(tmp_path / "x.png", ImageError) == "There is no picture x.png."


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt"])
def test_a_bomb_of_text_is_refused(tmp_path, kind):
    buffer = io.BytesIO()
    grey_ramp().save(buffer, "PNG")
    start = b"ldm\0\0" if kind == b"zTXt" else b"ldm\0\1\0\0\0"
    packed = chunk(kind, start + zlib.compress(b" " * 2**27, 9))
    (tmp_path / "x.png").write_bytes(buffer.getvalue()[:33] + packed + buffer.getvalue()[33:])
    assert refused(tmp_path / "x.png", ImageError) == "x.png is damaged and cannot be read as a PNG."


def test_a_chunk_that_lies_about_its_size_is_refused(tmp_path):
    buffer = io.BytesIO()
    grey_ramp().save(buffer, "PNG")
    (tmp_path / "x.png").write_bytes(buffer.getvalue()[:33] + b"\x7f\xff\xff\xfftEXtldm\0{}")
    assert refused(tmp_path / "x.png", ImageError) == "x.png is damaged and cannot be read as a PNG."


def test_a_file_too_large_for_a_picture_is_not_read(tmp_path):
    with (tmp_path / "x.png").open("wb") as file:
        file.truncate(png.MAX_BYTES + 1)
    assert refused(tmp_path / "x.png", ImageError) == "x.png is larger than 256 MB, too large for a picture."


def test_a_full_disk_is_an_error_that_names_the_file_and_keeps_the_old_one(tmp_path):
    (tmp_path / "x.png").write_bytes(b"what was there")
    said = with_a_small_disk(
        "from ldm import png",
        "png.save(Image.effect_noise((256, 256), 90), sys.argv[1], Settings('a'), 'tiny')",
        tmp_path / "x.png",
    )
    assert said == "LdmError x.png could not be written: File too large.\n"
    assert [p.name for p in tmp_path.iterdir()] == ["x.png"]
    assert (tmp_path / "x.png").read_bytes() == b"what was there"


def test_a_missing_folder_is_an_error_that_names_the_file(tmp_path):
    with pytest.raises(LdmError) as error:
        png.save(grey_ramp(), tmp_path / "none" / "x.png", S, "tiny")
    assert str(error.value) == "x.png could not be written: No such file or directory."
