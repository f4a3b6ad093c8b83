import io

import numpy as np
import pytest
from PIL import Image

from ldm.views import layout
from ldm.views.layout import (
    GAP,
    HOLD_MS,
    LABEL_HEIGHT,
    PAPER,
    SHEET_SIDE,
    atlas,
    blank,
    enlarge,
    film_strip,
    gif,
    grid,
    webp,
)

COLOURS = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0), (0, 200, 200), (200, 0, 200)]


def tiles(count=6, size=(32, 16)):
    return [Image.new("RGB", size, COLOURS[i % 6]) for i in range(count)]


def test_a_grid_is_filled_row_by_row():
    image = grid(tiles(5), 2)
    assert image.size == (2 * 32 + GAP, 3 * 16 + 2 * GAP)
    found = [image.getpixel((i % 2 * (32 + GAP) + 1, i // 2 * (16 + GAP) + 1)) for i in range(6)]
    assert found == [*COLOURS[:5], PAPER]


def test_labels_stand_above_and_do_not_run_into_the_next_cell():
    long = "a label that is far too long for its cell"
    image = grid(tiles(2, (60, 20)), 2, [long, ""])
    assert image.size == (2 * 60 + GAP, 20 + LABEL_HEIGHT)
    pixels = np.asarray(image)[:LABEL_HEIGHT]
    assert (pixels[:, :60] != PAPER).any()
    assert (pixels[:, 60:] == PAPER).all()
    assert image.getpixel((30, LABEL_HEIGHT)) == COLOURS[0]


@pytest.mark.parametrize("label", ["猫 ☕\nline", "", "\0", "x" * 10**6, "\u202eright to left"])
def test_any_text_can_be_a_label(label):
    assert grid(tiles(1), 1, [label]).height == 16 + LABEL_HEIGHT


def test_narrow_cells_have_no_label():
    assert (np.asarray(grid(tiles(1, (4, 4)), 1, ["label"]))[:LABEL_HEIGHT] == PAPER).all()


def test_a_film_strip_is_one_row():
    assert film_strip(tiles(6), list("abcdef")).size == (6 * 32 + 5 * GAP, 16 + LABEL_HEIGHT)


def test_nothing_is_no_grid():
    with pytest.raises(ValueError, match="a grid needs at least one picture"):
        film_strip([])


@pytest.mark.parametrize("animation", [gif, webp])
def test_an_animation_rests_on_its_last_picture(animation):
    with Image.open(io.BytesIO(animation(tiles(3), 80))) as image:
        assert (image.n_frames, image.size) == (3, (32, 16))
        durations, colours = [], []
        for k in range(image.n_frames):
            image.seek(k)
            image.load()
            durations.append(image.info["duration"])
            colours.append(image.convert("RGB").getpixel((5, 5)))
        assert image.info["loop"] == 0
    assert durations == [80, 80, HOLD_MS]
    assert np.abs(np.subtract(colours, COLOURS[:3])).max() <= 4


@pytest.mark.parametrize("animation", [gif, webp])
def test_one_picture_is_an_animation_too(animation):
    with Image.open(io.BytesIO(animation(tiles(1)))) as image:
        assert image.format == animation.__name__.upper()


def test_a_sheet_can_have_a_colour_for_each_pixel():
    stripes = np.zeros((16, 32, 3), np.uint8)
    stripes[:, ::2], stripes[:, 1::2] = (220, 0, 0), (0, 0, 220)
    picture = Image.fromarray(stripes)

    def error(**asked):
        with Image.open(io.BytesIO(atlas([[picture]], 95, **asked)[0])) as sheet:
            return np.abs(np.asarray(sheet.convert("RGB"), int) - stripes).mean()

    assert error(all_colours=True) < 8 < 40 < error()


def cell(sheet, i, columns, rows):
    """The picture in cell i, found as a page finds it: from the sheet's size."""
    width, height = sheet.width // columns, sheet.height // rows
    x, y = i % columns * width, i // columns * height
    return np.asarray(sheet.crop((x, y, x + width, y + height)), dtype=int)


@pytest.mark.parametrize(("lanes", "steps", "size"), [(3, 5, (64, 32)), (1, 1, (48, 48)), (2, 700, (32, 32))])
def test_every_picture_of_a_sheet_is_where_it_belongs(lanes, steps, size):
    images = [
        [Image.new("RGB", size, COLOURS[(3 * row + k) % 6]) for k in range(steps)] for row in range(lanes)
    ]
    data, columns, rows = atlas(images, 90)
    with Image.open(io.BytesIO(data)) as sheet:
        assert sheet.format == "JPEG"
        assert (sheet.width, sheet.height) == (columns * size[0], rows * size[1])
        assert max(sheet.size) <= SHEET_SIDE
        for i in {0, steps - 1, lanes * steps - 1, lanes * steps // 2}:
            row, k = divmod(i, steps)
            inside = cell(sheet, i, columns, rows)[1:-1, 1:-1]
            assert np.abs(inside - COLOURS[(3 * row + k) % 6]).max() < 8


def test_pictures_beside_each_other_do_not_mix():
    white, black = (Image.new("RGB", (32, 32), c) for c in ("white", "black"))
    data, columns, rows = atlas([[white, black] * 3] * 2)
    with Image.open(io.BytesIO(data)) as sheet:
        for i in range(12):
            expected = 0 if i % 2 else 255
            assert np.abs(cell(sheet, i, columns, rows) - expected).max() <= 2


@pytest.mark.parametrize(("count", "size"), [(7, (192, 96)), (30, (80, 80)), (2, (496, 16))])
def test_a_sheet_of_large_pictures_is_scaled_to_what_browsers_draw(monkeypatch, count, size):
    monkeypatch.setattr(layout, "SHEET_SIDE", 512)
    monkeypatch.setattr(layout, "SHEET_AREA", 2**16)
    data, columns, rows = atlas([tiles(1, size) * count] * 3)
    with Image.open(io.BytesIO(data)) as sheet:
        assert sheet.width * sheet.height <= 2**16
        assert max(sheet.size) <= 512
        assert columns * rows >= 3 * count
        ratio = (sheet.width / columns) / (sheet.height / rows)
        assert ratio == pytest.approx(size[0] / size[1], rel=0.35)  # whole blocks of 16 pixels


def test_lanes_of_different_lengths_are_a_bug():
    with pytest.raises(ValueError, match="lanes of one length"):
        atlas([tiles(2), tiles(3)])
    with pytest.raises(ValueError, match="at least one picture"):
        atlas([[]])


def test_growing_makes_blocks():
    image = Image.new("RGB", (2, 1))
    image.putpixel((1, 0), (255, 0, 0))
    grown = enlarge(image, (8, 4))
    assert grown.getpixel((3, 3)) == (0, 0, 0)
    assert grown.getpixel((4, 0)) == (255, 0, 0)
    assert enlarge(image, (2, 1)) is image


def test_a_blank_says_why():
    image = blank((200, 100), "There is nothing to see in this run, and this sentence needs two lines.")
    rows = np.flatnonzero((np.asarray(image) != PAPER).any((1, 2)))
    assert 18 < rows.max() < 60
    assert blank((3, 3), "too small for a word").size == (3, 3)
