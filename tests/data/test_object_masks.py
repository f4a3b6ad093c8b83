"""Each object of a rendered scene has a mask of its own."""

import numpy as np
import pytest

from ldm.data.compose import Placement, object_masks
from ldm.data.glyphs import emoji_font
from ldm.data.layout import pair_box
from ldm.data.scenes import LEVELS, render
from ldm.errors import LdmError


@pytest.fixture(autouse=True, scope="module")
def _needs_the_font():
    try:
        emoji_font()
    except LdmError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("level", LEVELS)
def test_the_masks_of_the_objects_together_are_the_mask_of_the_scene(level):
    for index in range(6):
        scene = render(9, index, level)
        masks = scene.object_masks
        assert masks.shape == (len(scene.placements), 256, 256)
        assert len(masks) == scene.labels.count + (scene.labels.relation is not None)
        np.testing.assert_array_equal(masks.any(0), scene.mask == 255)
        assert masks.sum(0).max() == 1 and masks.any((1, 2)).all()


def test_the_masks_of_a_pair_are_in_the_order_and_the_places_of_its_labels():
    for index in range(8):
        scene = render(4, index, "pairs")
        assert tuple(p.name for p in scene.placements) == scene.labels.objects
        for which, mask in enumerate(scene.object_masks):
            left, top, right, bottom = pair_box(scene.labels.relation, which)
            inside = mask[max(0, top) : bottom, max(0, left) : right].sum()
            assert inside > 0.97 * mask.sum()


def test_what_a_later_object_covers_is_not_the_earlier_ones():
    behind = Placement("square", "red", 120, 110, 128)
    before = Placement("square", "blue", 120, 150, 128)
    first, second = object_masks([behind, before])
    assert not (first & second).any()
    [alone] = object_masks([before])
    np.testing.assert_array_equal(second, alone)
    assert 0.2 < first.sum() / second.sum() < 0.5  # 40 of its 120 columns are left
