import pytest
import torch

from ldm.errors import SettingsError
from ldm.views.cause import agreement, caught


def planted(rows=slice(2, 4), columns=slice(5, 8), size=8):
    """A map that is 1 in one place and 0 elsewhere."""
    values = torch.zeros(size, size)
    values[rows, columns] = 1.0
    return values


def noise(seed, *shape):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_attention_where_the_picture_moved_agrees_fully():
    assert agreement(planted(), 7.5 * planted()) == pytest.approx(1)
    assert caught(planted(), 7.5 * planted(), share=6 / 64) == pytest.approx(1)


def test_attention_elsewhere_disagrees():
    moved = planted(columns=slice(0, 3))
    assert agreement(planted(), moved) == pytest.approx(-6 / 58)  # two of 2 x 2 counts, worked out by hand
    assert caught(planted(), moved, share=6 / 64) == 0


def test_half_in_the_right_place_is_between_the_two():
    moved = planted(columns=slice(4, 7))
    assert 0.5 < agreement(planted(), moved) < 0.7
    assert caught(planted(), moved, share=6 / 64) == pytest.approx(4 / 6)


def test_only_the_order_counts_for_agreement():
    attention = noise(0, 6, 9).double()
    assert agreement(attention, attention**5 + 3) == pytest.approx(1)
    assert agreement(attention, -attention) == pytest.approx(-1)


def test_it_is_spearmans_coefficient_with_shared_ranks():
    stats = pytest.importorskip("scipy.stats")
    attention, moved = (noise(1, 8, 8) * 10).round(), (noise(2, 8, 8) * 5).round()
    expected = stats.spearmanr(attention.flatten(), moved.flatten()).statistic
    assert agreement(attention, moved) == pytest.approx(expected, abs=1e-12)
    assert abs(agreement(noise(3, 40, 40), noise(4, 40, 40))) < 0.08  # 3 standard errors of chance


def test_an_even_map_says_nothing():
    even = torch.full((8, 8), 0.3)
    assert agreement(even, planted()) == agreement(planted(), even) == 0
    assert caught(even, noise(5, 8, 8), share=0.1) == pytest.approx(0.1)
    assert caught(planted(), torch.zeros(8, 8)) == 0


def test_the_whole_picture_catches_everything():
    assert caught(noise(6, 8, 8), noise(7, 8, 8), share=1.0) == pytest.approx(1)


def test_equally_attended_places_count_in_part():
    attention = torch.tensor([[3.0, 1.0], [1.0, 1.0]])
    moved = torch.tensor([[4.0, 2.0], [2.0, 2.0]])
    assert caught(attention, moved, share=0.5) == pytest.approx((4 + 2) / 10)  # one of three equal cells more


def test_the_finer_map_is_averaged_over_the_cells_of_the_coarser_one():
    fine = planted().repeat_interleave(4, 0).repeat_interleave(4, 1)
    for attention, moved in ((planted(), fine), (fine, planted())):
        assert agreement(attention, moved) == pytest.approx(1)
        assert caught(attention, moved, share=6 / 64) == pytest.approx(1)
    striped = fine.clone()
    striped[::2] = 0  # half of every cell: as much of the one as of the other
    assert agreement(planted(), striped) == pytest.approx(1)


@pytest.mark.parametrize(
    ("attention", "moved", "says"),
    [
        (torch.zeros(8), torch.zeros(8, 8), "attention must be a map"),
        (torch.zeros(8, 8), torch.zeros(1, 8, 8), "moved must be a map"),
        (torch.zeros(8, 8), torch.zeros(8, 0), "moved must be a map"),
        (torch.full((8, 8), float("nan")), torch.zeros(8, 8), "attention has values that are no numbers"),
    ],
)
def test_maps_that_cannot_be_compared_are_refused(attention, moved, says):
    for compare in (agreement, caught):
        with pytest.raises(SettingsError, match=says):
            compare(attention, moved)


@pytest.mark.parametrize("share", [0, -0.1, 1.2])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(SettingsError, match="share must be above 0"):
        caught(planted(), planted(), share)
