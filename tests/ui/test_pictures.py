import base64
import io

import numpy as np
import pytest
from PIL import Image

from ldm.errors import ImageError, SettingsError
from ldm.generation.start import fitted
from ldm.settings import Settings
from ldm.ui import pictures
from ldm.ui.pictures import PREFIX


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path / "gradio"))


def noise(width, height):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def url(image):
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return PREFIX + base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.parametrize("size", [(96, 64), (100, 60), (640, 480)])
def test_a_file_is_opened_as_a_run_takes_it(tmp_path, size):
    noise(*size).save(tmp_path / "x.png")
    taken = fitted(Settings("?", width=96, height=64), noise(*size), None)
    assert pictures.opened(tmp_path / "x.png", 96, 64).tobytes() == taken.image.tobytes()


def test_a_size_that_no_run_has_is_a_sentence(tmp_path):
    noise(64, 64).save(tmp_path / "x.png")
    with pytest.raises(SettingsError, match="width must be a number, got ''"):
        pictures.opened(tmp_path / "x.png", "", 64)


def test_what_is_painted_on_is_small_and_has_the_runs_proportions():
    plate = pictures.plate(noise(1024, 512))
    assert (plate["width"], plate["height"], plate["mask"]) == (512, 256, None)
    assert plate["picture"].startswith("data:image/jpeg;base64,")
    assert (pictures.plate(noise(64, 48))["width"], pictures.plate(noise(64, 48))["height"]) == (64, 48)
    assert pictures.plate(noise(2048, 16))["height"] == 4


def test_what_was_painted_comes_back():
    mask = Image.new("L", (64, 48))
    mask.paste(255, (10, 10, 30, 20))
    plate = pictures.plate(noise(64, 48), mask)
    assert pictures.painted(plate, 64, 48).tobytes() == mask.tobytes()


def test_a_mask_of_a_large_run_grows_and_stays_black_where_nothing_was_painted():
    mask = Image.new("L", (512, 512))
    mask.paste(255, (100, 100, 200, 200))
    grown = pictures.painted({"mask": url(mask)}, 1024, 1024)
    assert grown.size == (1024, 1024)
    assert grown.getpixel((300, 300)) == 255
    assert grown.crop((0, 0, 1024, 198)).getextrema() == (0, 0)


BLACK = url(Image.new("L", (8, 8)))


@pytest.mark.parametrize("value", [None, {}, {"mask": None}, [], "x", 7, {"mask": BLACK}])
def test_nothing_painted_is_no_mask(value):
    assert pictures.painted(value, 8, 8) is None


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (7, "The mask is no PNG; paint it again."),
        ("data:text/html;base64,AAAA", "The mask is no PNG; paint it again."),
        ("http://example.com/a.png", "The mask is no PNG; paint it again."),
        (PREFIX + "not base64!", "The mask is no PNG; paint it again."),
        (PREFIX + "é", "The mask is no PNG; paint it again."),
        (
            PREFIX + base64.b64encode(b"no picture").decode(),
            "mask.png is not a picture; use one of: PNG, JPEG, WEBP, GIF, BMP, TIFF.",
        ),
    ],
)
def test_a_mask_that_is_none_is_a_sentence_and_leaves_nothing(tmp_path, sent, said):
    with pytest.raises(ImageError) as error:
        pictures.painted({"mask": sent}, 8, 8)
    assert str(error.value) == said
    assert list((tmp_path / "gradio").glob("*")) == []
