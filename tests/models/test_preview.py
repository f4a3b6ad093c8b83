import pytest
import torch
from torch import nn

from ldm.errors import CheckpointError
from ldm.models.preview import PreviewConfig, PreviewDecoder


def decoder(latent_channels, f, **sizes):
    torch.manual_seed(0)
    made = PreviewDecoder(PreviewConfig(latent_channels=latent_channels, downsampling_factor=f, **sizes))
    for name, p in made.named_parameters():  # the last layer starts at zero
        if name.startswith("conv_out"):
            nn.init.normal_(p, std=0.1)
    return made.eval().requires_grad_(False)


@pytest.mark.parametrize(
    ("channels", "f", "sizes"),
    [
        (4, 8, {"channels": (16, 8), "blocks": (1, 2)}),
        (16, 16, {"channels": (16, 16, 8), "blocks": (2, 1, 1)}),
        (3, 4, {"channels": (8,), "blocks": (1,)}),
        (8, 8, {"channels": (16, 8, 8, 8), "blocks": (1, 0, 0, 1)}),
        (4, 6, {"channels": (8, 8), "blocks": (1, 1)}),
        (4, 1, {"channels": (8,), "blocks": (1,)}),
    ],
)
def test_latents_become_pictures_f_times_as_large(channels, f, sizes):
    z = torch.randn(2, channels, 3, 5)
    images = decoder(channels, f, **sizes)(z)
    assert (images.shape, images.dtype) == ((2, 3, 3 * f, 5 * f), torch.float32)


def test_a_picture_does_not_depend_on_the_others_of_its_batch():
    made = decoder(4, 8, channels=(16, 8), blocks=(1, 1))
    z = torch.randn(3, 4, 4, 6)
    torch.testing.assert_close(made(z)[1:2], made(z[1:2]))


def test_it_starts_as_the_linear_map_it_is_given():
    linear = nn.ConvTranspose2d(4, 3, 8, stride=8)
    made = PreviewDecoder(PreviewConfig(channels=(16, 8), blocks=(1, 1)))
    made.start_from(linear.weight, linear.bias)
    z = torch.randn(2, 4, 3, 5)
    with torch.no_grad():
        torch.testing.assert_close(made(z), linear(z))


def test_half_precision_computes_in_its_own_and_gives_float32():
    made = decoder(4, 8, channels=(16, 8), blocks=(1, 1))
    z = torch.randn(1, 4, 3, 5)
    wanted = made(z)
    found = made.to(torch.bfloat16)(z)
    assert found.dtype == torch.float32
    assert 0 < float((found - wanted).abs().max()) < 0.05 * float(wanted.abs().max())


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        (
            {"channels": (8, 8), "blocks": (1,)},
            "blocks (1,) needs 2 numbers, one per entry of channels, of which there must be one or more.",
        ),
        (
            {"channels": (), "blocks": ()},
            "blocks () needs 0 numbers, one per entry of channels, of which there must be one or more.",
        ),
        (
            {"downsampling_factor": 6, "channels": (8, 8, 8), "blocks": (1, 1, 1)},
            "downsampling_factor 6 cannot be halved 2 times, as 3 entries of channels ask.",
        ),
    ],
)
def test_sizes_that_cannot_be_are_a_sentence(sizes, said):
    with pytest.raises(CheckpointError) as error:
        PreviewConfig(**sizes)
    assert str(error.value) == said
