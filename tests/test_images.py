"""Pictures of strangers, made here: every mode, damaged ones, and ones that are none."""

import io
import random
import struct
import threading
import time
import tracemalloc
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from ldm import images
from ldm.errors import ImageError, LdmError, SettingsError
from ldm.images import fit_multiple, open_image, to_images, to_rgb, to_tensor

from .traces import grey_ramp

RED, GREEN, WHITE = (255, 0, 0), (0, 128, 0), (255, 255, 255)


def refused(path):
    with pytest.raises(ImageError) as error:
        open_image(path)
    return str(error.value)


def saved(path, image, **options):
    image.save(path, **options)
    return path


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def bomb(width, height):
    """A PNG of one bit a pixel, all black, in a few kilobytes."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    packer = zlib.compressobj(9)
    row = b"\0" * ((width + 7) // 8 + 1)
    data = b"".join(packer.compress(row * 100) for _ in range(height // 100)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def test_every_grey_level_survives_the_way_through_a_tensor():
    image = grey_ramp()
    x = to_tensor([image])
    assert (x.shape, x.dtype, x.min(), x.max()) == ((1, 3, 16, 16), torch.float32, -1, 1)
    assert to_images(x)[0].tobytes() == image.tobytes()


def test_a_tensor_has_the_picture_upright():
    x = to_tensor([Image.new("RGB", (5, 3), RED)])
    assert x.shape == (1, 3, 3, 5)
    assert x[0, :, 0, 0].tolist() == [1, -1, -1]


def test_values_are_rounded_and_clipped_and_nan_is_black():
    levels = [-2.0, -1.0, -1 + 0.6 / 127.5, 0.0, 1.0, 7.0, float("nan"), float("inf"), -float("inf")]
    image = to_images(torch.tensor(levels).expand(1, 3, 1, -1))[0]
    assert [image.getpixel((i, 0))[0] for i in range(9)] == [0, 0, 1, 128, 255, 255, 0, 255, 0]


def test_half_precision_and_gradients_are_no_hindrance():
    x = torch.zeros(2, 3, 4, 4, dtype=torch.bfloat16, requires_grad=True)
    assert [i.getpixel((0, 0)) for i in to_images(x)] == [(128, 128, 128)] * 2


def test_exif_rotation_is_applied(tmp_path):
    image = Image.new("RGB", (20, 10), WHITE)
    image.paste(RED, (0, 0, 10, 10))  # left half; a camera held on its side saw it above
    exif = Image.Exif()
    exif[0x0112] = 6
    found = open_image(saved(tmp_path / "x.png", image, exif=exif))
    assert found.size == (10, 20)
    assert (found.getpixel((5, 2)), found.getpixel((5, 17))) == (RED, WHITE)


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage, not a TIFF", b"Exif\0\0II*\0\x08\0\0\0\xff\xff\x12\x01"])
def test_unreadable_exif_does_not_cost_the_picture(tmp_path, exif):
    for name in ("x.png", "x.jpg"):
        path = saved(tmp_path / name, Image.new("RGB", (8, 8), WHITE), exif=exif)
        assert open_image(path).getpixel((0, 0)) == WHITE


def half_clear(mode):
    """8 x 8, left half green, right half clear."""
    image = Image.new("RGBA", (8, 8), (*GREEN, 255))
    image.paste((0, 0, 0, 0), (4, 0, 8, 8))
    if mode == "P":
        return image.quantize(4)
    return image.convert(mode)


@pytest.mark.parametrize("mode", ["RGBA", "P"])
def test_transparency_is_laid_on_white(tmp_path, mode):
    found = open_image(saved(tmp_path / "x.png", half_clear(mode)))
    assert (found.mode, found.getpixel((1, 1)), found.getpixel((6, 1))) == ("RGB", GREEN, WHITE)


def test_grey_with_transparency_is_laid_on_white(tmp_path):
    image = Image.new("LA", (8, 8), (100, 255))
    image.paste((0, 0), (4, 0, 8, 8))
    found = open_image(saved(tmp_path / "x.png", image))
    assert (found.getpixel((1, 1)), found.getpixel((6, 1))) == ((100, 100, 100), WHITE)


def test_half_transparency_is_mixed_with_white():
    assert to_rgb(Image.new("RGBA", (1, 1), (0, 0, 0, 128))).getpixel((0, 0)) == (127, 127, 127)


@pytest.mark.parametrize(("mode", "clear"), [("L", 7), ("RGB", (7, 7, 7)), ("1", 0)])
def test_a_colour_declared_transparent_is_white(tmp_path, mode, clear):
    path = saved(tmp_path / "x.png", Image.new(mode, (4, 4), clear), transparency=clear)
    assert open_image(path).getpixel((0, 0)) == WHITE


@pytest.mark.parametrize("top", [65535, 255, 40])
def test_16_bit_grey_is_scaled_not_clipped(tmp_path, top):
    values = np.linspace(0, top, 256).astype(np.uint16).reshape(16, 16)
    found = open_image(saved(tmp_path / "x.png", Image.fromarray(values)))
    assert np.array_equal(np.asarray(found)[..., 0], (values / 257).round().astype(np.uint8))


@pytest.mark.parametrize("top", [1.0, 255.0, 65535.0])
def test_floats_are_scaled_by_what_they_reach(tmp_path, top):
    values = np.array([[0, top / 2, top, np.nan, -top]], dtype=np.float32)
    found = open_image(saved(tmp_path / "x.tiff", Image.fromarray(values)))
    assert [found.getpixel((i, 0))[0] for i in range(5)] == [0, 128, 255, 0, 0]


@pytest.mark.parametrize("name", ["x.jpg", "x.tiff"])
def test_cmyk_becomes_rgb(tmp_path, name):
    found = open_image(saved(tmp_path / name, Image.new("CMYK", (8, 8), (0, 255, 255, 0))))
    assert found.mode == "RGB"
    assert np.abs(np.subtract(found.getpixel((4, 4)), RED)).max() < 4


@pytest.mark.parametrize(
    "mode", ["1", "L", "P", "RGB", "YCbCr", "LAB", "HSV", "I", "F", "I;16", "I;16B", "PA", "RGBa"]
)
def test_every_mode_becomes_rgb(mode):
    assert to_rgb(Image.new(mode, (3, 2))).mode == "RGB"


def test_of_an_animation_the_first_frame_is_taken(tmp_path):
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, GREEN)]
    for name in ("x.gif", "x.png", "x.webp"):
        path = saved(tmp_path / name, frames[0], save_all=True, append_images=frames[1:], lossless=True)
        assert open_image(path).getpixel((0, 0)) == RED


def test_the_smallest_picture_is_read(tmp_path):
    assert open_image(saved(tmp_path / "x.bmp", Image.new("RGB", (1, 1), RED))).getpixel((0, 0)) == RED


def test_the_caller_keeps_his_picture():
    image = Image.new("RGB", (4, 4), RED)
    assert to_rgb(image) is not image


def test_what_is_no_picture_is_named(tmp_path):
    path = tmp_path / "notes.png"
    path.write_text("not a picture")
    sentence = "notes.png is not a picture; use one of: PNG, JPEG, WEBP, GIF, BMP, TIFF."
    assert refused(path) == sentence
    path.write_bytes(b"")
    assert refused(path) == sentence
    saved(path, Image.new("RGB", (4, 4)), format="PPM")  # a format that Pillow has and we do not offer
    assert refused(path) == sentence


def test_a_missing_picture_is_named(tmp_path):
    assert refused(tmp_path / "x.png") == "There is no picture x.png."


def test_a_folder_is_no_picture(tmp_path):
    assert refused(tmp_path) == f"{tmp_path.name} is damaged and cannot be read as a picture."


def test_a_truncated_picture_is_named(tmp_path):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    path = saved(tmp_path / "x.png", noise)
    path.write_bytes(path.read_bytes()[:5000])
    assert refused(path) == "x.png is damaged and cannot be read as a picture."


def test_a_bomb_is_refused_before_its_pixels_are_decoded(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(bomb(30000, 30000))
    assert path.stat().st_size < 200_000
    assert refused(path) == "x.png has too many pixels; at most 25 million are read."


@pytest.mark.parametrize("size", [(8000, 8000), (10000, 10000)])
def test_a_picture_over_the_limit_is_refused_with_its_size(tmp_path, size):
    path = tmp_path / "x.png"
    path.write_bytes(bomb(*size))
    assert refused(path) == f"x.png has {size[0]} x {size[1]} pixels; at most 25 million are read."


def test_a_bomb_in_a_text_chunk_is_refused(tmp_path):
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PNG")
    data = buffer.getvalue()
    packed = chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"\0" * 2**26, 9))
    path = tmp_path / "x.png"
    path.write_bytes(data[:33] + packed + data[33:])
    assert refused(path) == "x.png is damaged and cannot be read as a picture."


def test_damaged_files_are_an_error_a_user_can_read(tmp_path):
    """Bytes of real files changed at random: a picture or a sentence, never a traceback."""
    rng = random.Random(0)
    image = Image.effect_noise((24, 24), 50).convert("RGB")
    path = tmp_path / "x"
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"):
        buffer = io.BytesIO()
        image.save(buffer, kind)
        for _ in range(60):
            data = bytearray(buffer.getvalue())
            for _ in range(rng.randint(1, 8)):
                data[rng.randrange(min(len(data), 300))] = rng.randrange(256)
            path.write_bytes(data)
            try:
                assert open_image(path).mode == "RGB"
            except LdmError as error:
                assert str(error).startswith("x ")


def test_a_multiple_is_reached_by_repeating_the_edge():
    fitted = fit_multiple(grey_ramp().crop((0, 0, 13, 9)), 8)
    assert fitted.size == (16, 16)
    pixels = np.asarray(fitted)[..., 0]
    assert (pixels[:9, 13:] == pixels[:9, 12:13]).all()
    assert (pixels[9:] == pixels[8]).all()


def test_a_multiple_is_reached_by_cutting_out_the_centre():
    image = grey_ramp()
    fitted = fit_multiple(image.crop((0, 0, 14, 11)), 8, "crop")
    assert fitted.tobytes() == image.crop((3, 1, 11, 9)).tobytes()


def test_cutting_pads_a_side_that_is_too_short():
    fitted = fit_multiple(grey_ramp().crop((0, 0, 13, 3)), 8, "crop")
    assert fitted.size == (8, 8)
    assert np.asarray(fitted)[0, 0, 0] == 2
    assert fit_multiple(Image.new("RGB", (1, 1)), 32, "crop").size == (32, 32)


@pytest.mark.parametrize("policy", ["pad", "crop"])
def test_a_picture_that_fits_stays_as_it_is(policy):
    image = grey_ramp()
    assert fit_multiple(image, 16, policy) is image


def test_an_unknown_policy_is_refused():
    with pytest.raises(SettingsError) as error:
        fit_multiple(grey_ramp(), 7, "stretch")
    assert str(error.value) == "Unknown policy 'stretch'. Choose one of: pad, crop."


def test_a_vast_file_is_refused_unread(tmp_path):
    path = tmp_path / "x.png"
    with path.open("wb") as file:
        file.truncate(images.MAX_BYTES + 1)
    assert refused(path) == "x.png is larger than 64 MB, too large for a picture."


def test_deep_grey_of_many_rows_takes_little_memory_and_is_right():
    values = np.tile(np.arange(0, 65536, 64, dtype=np.uint16), (3000, 1))
    tracemalloc.start()
    found = to_rgb(Image.fromarray(values))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * values.size  # of which 2 the picture, 2 its array, 1 the grey; float64 took 32
    assert np.array_equal(np.asarray(found)[..., 0], (values / 257).round().astype(np.uint8))


def test_one_picture_is_decoded_at_a_time(tmp_path, monkeypatch):
    path = saved(tmp_path / "x.png", Image.new("RGB", (8, 8), RED))
    inside, most = [], []

    def slow(image):
        inside.append(1)
        most.append(len(inside))
        time.sleep(0.02)
        inside.pop()
        return image.convert("RGB")

    monkeypatch.setattr(images, "to_rgb", slow)
    threads = [threading.Thread(target=open_image, args=(path,)) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1] * 5
