import torch

from ldm.views.codes import SIDE, index_map


def test_equal_codes_have_equal_colours_and_others_do_not():
    indices = torch.tensor([[0, 5, 0], [4095, 5, 1]])
    image = index_map(indices)
    times = SIDE // 3
    assert image.size == (3 * times, 2 * times)
    colours = {
        (y, x): image.getpixel((x * times + times // 2, y * times + times // 2))
        for y in (0, 1)
        for x in (0, 1, 2)
    }
    assert colours[0, 0] == colours[0, 2]
    assert colours[0, 1] == colours[1, 1]
    assert len(set(colours.values())) == 4


def test_a_code_keeps_its_colour_from_picture_to_picture():
    alone, among = index_map(torch.tensor([[17]])), index_map(torch.tensor([[3, 17]]))
    assert alone.getpixel((0, 0)) == among.getpixel((SIDE - 1, 0))


def test_a_whole_codebook_can_be_told_apart():
    image = index_map(torch.arange(4096).view(64, 64))
    assert len(image.resize((64, 64), 0).getcolors(4096)) > 4000


def test_an_index_map_of_a_large_picture_has_a_pixel_for_each():
    assert index_map(torch.zeros(3, 600, dtype=torch.int64)).size == (600, 3)
