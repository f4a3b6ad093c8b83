import pytest
import torch
from PIL import Image

from ldm.views.colour import cell_means, delta_e, lab

from ..traces import grey_ramp


def flat(colour, size=(2, 3)):
    return Image.new("RGB", size, colour)


# as published for sRGB and D65, for example by Lindbloom
@pytest.mark.parametrize(
    ("colour", "expected"),
    [
        ((255, 255, 255), (100, 0, 0)),
        ((0, 0, 0), (0, 0, 0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
        ((255, 255, 0), (97.14, -21.55, 94.48)),
        ((128, 128, 128), (53.59, 0, 0)),
        ((5, 5, 5), (1.37, 0, 0)),  # on the straight part of both curves
    ],
)
def test_colours_have_the_published_coordinates(colour, expected):
    found = lab(flat(colour))
    assert found.shape == (3, 3, 2)
    torch.testing.assert_close(found[:, 0, 0], torch.tensor(expected, dtype=torch.float32), rtol=0, atol=0.02)


def test_greys_have_no_colour_and_rise_in_lightness():
    lightness, a, b = lab(grey_ramp())
    assert max(a.abs().max(), b.abs().max()) < 1e-3
    assert (lightness.flatten().diff() > 0).all()


def test_black_and_white_are_a_hundred_apart():
    apart = delta_e(lab(flat("black")), lab(flat("white")))
    torch.testing.assert_close(apart, torch.full((3, 2), 100.0), rtol=0, atol=1e-3)


@pytest.mark.parametrize(
    ("height", "width", "cell"), [(8, 8, 4), (9, 13, 4), (3, 5, 8), (1, 1, 64), (5, 4, 1)]
)
def test_cells_at_the_edge_are_the_mean_of_what_is_there(height, width, cell):
    values = torch.randn(3, height, width, generator=torch.Generator().manual_seed(0))
    rows = [
        [values[:, y : y + cell, x : x + cell].mean((1, 2)) for x in range(0, width, cell)]
        for y in range(0, height, cell)
    ]
    expected = torch.stack([torch.stack(row, -1) for row in rows], 1)
    torch.testing.assert_close(cell_means(values, cell), expected)
