from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from ldm.errors import SettingsError
from ldm.images import to_images
from ldm.views import VIEWS
from ldm.views.decided import decided, decided_map
from ldm.views.latents import heat

from ..traces import decode, make_trace, pixels

GREY, RED, BLUE = (120, 120, 120), (220, 40, 40), (40, 40, 220)


def frames_of(changes, steps, cell, size, before=GREY, after=RED):
    """Pictures in which cell (i, j) has its last colour from step changes[i][j] on."""
    width, height = size
    frames = []
    for step in range(steps):
        pixels = np.zeros((height, width, 3), np.uint8)
        for y in range(height):
            for x in range(width):
                pixels[y, x] = after if step >= changes[y // cell][x // cell] else before
        frames.append(Image.fromarray(pixels))
    return frames


@pytest.mark.parametrize(
    ("size", "cell"), [((24, 16), 8), ((21, 11), 8), ((20, 20), 7), ((5, 3), 1), ((6, 4), 100)]
)
def test_planted_changes_are_found_where_and_when_they_were_planted(size, cell):
    steps = 9
    rows, columns = -(-size[1] // cell), -(-size[0] // cell)
    planted = torch.randint(0, steps, (rows, columns), generator=torch.Generator().manual_seed(1))
    found = decided(frames_of(planted.tolist(), steps, cell, size), cell=cell)
    assert found.steps.tolist() == planted.tolist()
    assert found.histogram == [int((planted == k).sum()) for k in range(steps)]
    assert (found.count, found.size, found.cell) == (steps, size, cell)


def test_a_picture_that_never_changes_is_decided_at_once():
    found = decided([Image.new("RGB", (16, 16), RED)] * 5)
    assert found.histogram == [4, 0, 0, 0, 0]


def test_a_slow_drift_is_undecided_until_it_is_near_its_end():
    """Each step is under the threshold, the sum is far above it."""
    levels = list(range(60, 141, 8))
    lightness = [116 * ((level / 255 + 0.055) / 1.055) ** 0.8 - 16 for level in levels]
    assert max(b - a for a, b in pairwise(lightness)) < 4
    last_far = max(k for k, value in enumerate(lightness) if lightness[-1] - value > 10)
    frames = [Image.new("RGB", (8, 8), (level, level, level)) for level in levels]
    assert decided(frames, threshold=10).steps.item() == last_far + 1 == 7


def test_what_goes_away_and_comes_back_is_decided_when_it_is_back():
    colours = [RED, RED, BLUE, BLUE, RED, RED]
    assert decided([Image.new("RGB", (8, 8), c) for c in colours]).steps.item() == 4


def test_the_threshold_is_a_delta_e():
    """Black to this grey are 53.59 apart."""
    frames = [Image.new("RGB", (8, 8), c) for c in ((0, 0, 0), (128, 128, 128))]
    assert decided(frames, threshold=53.5).steps.item() == 1
    assert decided(frames, threshold=53.7).steps.item() == 0


def test_the_map_is_heat_from_the_first_step_to_the_last_in_blocks():
    frames = frames_of([[0, 4], [2, 1]], 5, 8, (13, 11))
    image = decided_map(decided(frames))
    assert image.size == (13, 11)
    expected = pixels(heat(torch.tensor([[0, 1.0], [0.5, 0.25]])))
    corners = [image.getpixel(place) for place in ((7, 7), (8, 0), (0, 8), (12, 10))]
    assert corners == expected
    assert decided_map(decided(frames), (130, 110)).size == (130, 110)


def test_a_run_of_one_step_is_black():
    assert set(pixels(decided_map(decided([Image.new("RGB", (9, 9), RED)])))) == {(0, 0, 4)}


def test_the_view_is_that_of_the_decoded_x0_at_every_step():
    trace = make_trace(batch=2)
    frames = [to_images(decode(s.prediction.x0))[0] for s in trace.steps]
    expected = decided_map(decided(frames)).tobytes()
    assert [VIEWS["decided"](trace, k, decode).tobytes() for k in range(4)] == [expected] * 4


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"frames": []}, "The run has no steps to draw."),
        ({"cell": 0}, "cell must be a whole number of pixels, at least 1, got 0."),
        ({"cell": 1.5}, "cell must be a whole number of pixels, at least 1, got 1.5."),
        ({"threshold": -1.0}, "threshold must be a Delta E of at least 0, got -1.0."),
        ({"threshold": float("nan")}, "threshold must be a Delta E of at least 0, got nan."),
        (
            {"frames": [Image.new("RGB", (8, 8)), Image.new("RGB", (8, 9))]},
            "All frames must have one size, got 8 x 8 and 8 x 9.",
        ),
    ],
)
def test_what_cannot_be_measured_is_named(arguments, sentence):
    with pytest.raises(SettingsError) as error:
        decided(**{"frames": [Image.new("RGB", (8, 8))], **arguments})
    assert str(error.value) == sentence
