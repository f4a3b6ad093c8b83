import math

import numpy as np
import torch
from PIL import Image

from ldm.views.latents import channel_maps, colours, diverging, error_map, heat
from ldm.views.layout import LABEL_HEIGHT

from ..traces import grey_ramp, pixels


def lightness(rgb):
    """CIE L* of (..., 3) 8-bit colours."""
    linear = (np.asarray(rgb) / 255.0) ** 2.2
    y = linear @ [0.2126, 0.7152, 0.0722]
    return 116 * np.cbrt(np.maximum(y, 1e-6)) - 16


def seen_without_green(rgb):
    """What people without green cones see; Machado et al. 2009, severity 1."""
    matrix = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.01182, 0.04294, 0.968881]]
    return ((np.asarray(rgb) / 255.0) ** 2.2 @ np.transpose(matrix)).clip(0, 1)


def test_more_heat_is_always_lighter_and_evenly_so():
    light = lightness(heat(torch.linspace(0, 1, 65)[None]))[0]
    steps = np.diff(light[::8])
    assert (np.diff(light) > 0).all()
    assert steps.min() > 0.5 * steps.mean()
    assert light[-1] - light[0] > 90


def test_signs_are_told_apart_without_green_and_zero_is_lightest():
    row = np.asarray(diverging(torch.linspace(-1, 1, 65)[None]))[0]
    light = lightness(row)
    assert light.argmax() == 32
    assert (np.diff(light[:33]) > 0).all()
    assert (np.diff(light[32:]) < 0).all()
    seen = seen_without_green(row)
    distances = np.linalg.norm(seen[:24] - seen[:40:-1], axis=1)
    assert distances.min() > 0.1


def test_values_beyond_the_range_and_nan_have_the_end_colours():
    values = torch.tensor([[-math.inf, -1, 1, math.inf, math.nan]])
    for paint, low in ((heat, 0.0), (diverging, -1.0)):
        row = np.asarray(paint(values.clamp(min=low) if low == 0 else values))[0]
        assert (row[0] == row[1]).all()
        assert (row[2] == row[3]).all()
        assert (row[4] == row[1]).all()


def test_channels_share_one_symmetric_scale():
    latents = torch.zeros(2, 2, 4, 4)
    latents[1, 0], latents[1, 1] = 2.0, -1.0
    image = channel_maps(latents, 1)
    assert image.size == (2 * 128 + 4, 128 + LABEL_HEIGHT)
    ends = [diverging(torch.tensor([[v]])).getpixel((0, 0)) for v in (1.0, -0.5, 0.0)]
    assert [image.getpixel((x, 100)) for x in (60, 190)] == ends[:2]
    assert channel_maps(latents, 0).getpixel((60, 100)) == ends[2]


def test_channel_maps_keep_the_shape_of_latents_that_are_not_square():
    latents = torch.zeros(1, 16, 6, 10)
    latents[0, 0, 5, 9] = 1.0
    image = channel_maps(latents)
    assert image.size == (4 * 120 + 12, 4 * (72 + LABEL_HEIGHT) + 12)
    assert image.getpixel((119, LABEL_HEIGHT + 71)) == diverging(torch.ones(1, 1)).getpixel((0, 0))
    assert image.getpixel((107, LABEL_HEIGHT + 71)) == diverging(torch.zeros(1, 1)).getpixel((0, 0))


def test_large_latents_are_drawn_pixel_by_pixel():
    assert channel_maps(torch.zeros(1, 1, 200, 300)).size == (300, 200 + LABEL_HEIGHT)


def test_three_channels_are_colours():
    latents = torch.tensor([-3.0, 0.0, 9.0, 1.0])[:, None, None].expand(4, 2, 2)
    assert colours(latents).getpixel((0, 0)) == (0, 128, 255)
    assert colours(latents[:1]).getpixel((0, 0)) == (0, 0, 0)


def test_equal_pictures_have_a_black_error_map():
    image = error_map(grey_ramp(), grey_ramp())
    assert set(pixels(image)) == {heat(torch.zeros(1, 1)).getpixel((0, 0))}


def test_an_error_is_where_it_is():
    changed = grey_ramp()
    changed.putpixel((3, 5), (255, 255, 255))
    image = error_map(grey_ramp(), changed)
    bright = heat(torch.ones(1, 1)).getpixel((0, 0))
    assert [i for i, c in enumerate(pixels(image)) if c == bright] == [5 * 16 + 3]


def test_one_level_of_error_is_no_alarm():
    a, b = (Image.new("RGB", (2, 2), (v, v, v)) for v in (100, 101))
    assert lightness(error_map(a, b).getpixel((0, 0))) < 5
