import pytest
import torch

from ldm.errors import SettingsError
from ldm.images import to_images
from ldm.views.latents import heat
from ldm.views.layout import PAPER
from ldm.views.predictions import CHUNK, LANES, NO_GUIDANCE, anatomy, change, frame, guidance, lane

from ..traces import TRACES, decode, make_trace, pixels


@pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES)
@pytest.mark.parametrize("name", LANES)
def test_a_lane_has_one_picture_per_step_of_the_size_asked_for(name, trace):
    images = lane(trace, name, decode)
    assert len(images) == len(trace.steps)
    assert {i.size for i in images} == {(trace.settings.width, trace.settings.height)}


@pytest.mark.parametrize("name", LANES)
def test_a_frame_is_what_the_lane_has_there(name):
    trace = make_trace(steps=3, batch=2)
    images = lane(trace, name, decode, picture=1)
    assert [frame(trace, name, k, decode, 1).tobytes() for k in range(3)] == [i.tobytes() for i in images]


def test_noisy_latents_are_clean_ones_and_noise():
    """`x_t = sqrt(alphas_cumprod) x0 + sqrt(1 - alphas_cumprod) eps`, on what is stored."""
    for step in make_trace(steps=20).steps:
        alpha = 1 / (1 + step.sigma**2)
        x_t = step.x * alpha**0.5
        again = alpha**0.5 * step.prediction.x0 + (1 - alpha) ** 0.5 * step.eps
        torch.testing.assert_close(again, x_t, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "latents"),
    [
        ("x_t", lambda s: s.x / (1 + s.sigma**2) ** 0.5),
        ("x0", lambda s: s.prediction.x0),
        ("x0_cond", lambda s: s.prediction.x0_cond),
        ("x0_uncond", lambda s: s.prediction.x0_uncond),
    ],
)
def test_a_decoded_lane_shows_what_its_label_says(name, latents):
    trace = make_trace(batch=2)
    for k, image in enumerate(lane(trace, name, decode, picture=1)):
        assert image.tobytes() == to_images(decode(latents(trace.steps[k])[1:]))[0].tobytes()
    assert LANES[name][1].endswith("decoded")


@pytest.mark.parametrize("name", ["eps", "guidance", "change"])
def test_a_lane_that_is_not_decoded_says_so_and_does_not_decode(name):
    lane(make_trace(), name, lambda latents: pytest.fail("decoded"))
    assert LANES[name][1].startswith("not decoded: ")


def test_noise_is_drawn_latent_by_latent():
    trace = make_trace()
    image = frame(trace, "eps", 0, decode)
    level = ((trace.steps[0].eps[0, :3, 2, 5] / 3 + 1) * 127.5).round().clamp(0, 255)
    assert (
        image.getpixel((5 * 8, 2 * 8))
        == image.getpixel((5 * 8 + 7, 2 * 8 + 7))
        == tuple(level.int().tolist())
    )


@pytest.mark.parametrize("name", ["guidance", "change"])
def test_heat_has_one_scale_for_the_whole_run(name):
    trace = make_trace()
    brightest = heat(torch.ones(1, 1)).getpixel((0, 0))
    hits = [k for k, image in enumerate(lane(trace, name, decode)) if brightest in pixels(image)]
    amounts = [(guidance if name == "guidance" else change)(trace, k).max() for k in range(4)]
    assert hits == [max(range(4), key=amounts.__getitem__)]


def test_nothing_has_changed_in_the_first_step():
    trace = make_trace(batch=2)
    assert not change(trace, 0).any()
    expected = (trace.steps[2].prediction.x0 - trace.steps[1].prediction.x0).abs().mean(1)
    assert torch.equal(change(trace, 2), expected)


@pytest.mark.parametrize("name", ["x0_uncond", "guidance"])
def test_without_guidance_a_lane_says_why_it_is_empty(name):
    trace = make_trace(guided=False, height=32, width=32)
    images = lane(trace, name, decode)
    assert {i.tobytes() for i in images} == {images[0].tobytes()}
    assert images[0].getpixel((200, 200)) == PAPER
    assert len(set(pixels(images[0]))) > 2  # the sentence
    assert NO_GUIDANCE == "Guidance was off: nothing was predicted without the prompt."


def test_at_most_a_few_latents_are_decoded_at_once():
    sizes = []

    def counting(latents):
        sizes.append(len(latents))
        assert not torch.is_grad_enabled()
        return decode(latents)

    lane(make_trace(steps=CHUNK + 3), "x0", counting)
    assert sizes == [CHUNK, 3]


def test_a_decoder_of_small_previews_gives_pictures_of_full_size():
    images = lane(make_trace(), "x0", lambda latents: latents[:, :3])
    assert images[0].size == (64, 64)


def test_anatomy_shows_what_guidance_is_made_of():
    trace = make_trace()
    image = anatomy(trace, 1, decode)
    for i, name in enumerate(("x0_uncond", "x0_cond", "x0")):
        tile = image.crop((i * 68, image.height - 64, i * 68 + 64, image.height))
        assert tile.tobytes() == frame(trace, name, 1, decode).tobytes()


@pytest.mark.parametrize(
    ("name", "picture", "sentence"),
    [
        (
            "x0cond",
            0,
            "Unknown lane 'x0cond'. Did you mean 'x0_cond'? "
            "Choose one of: x_t, x0, eps, x0_cond, x0_uncond, guidance, change.",
        ),
        ("x0", 2, "picture must be between 0 and 1, got 2."),
        ("x0", -1, "picture must be between 0 and 1, got -1."),
    ],
)
def test_what_is_not_there_is_named(name, picture, sentence):
    with pytest.raises(SettingsError) as error:
        lane(make_trace(batch=2), name, decode, picture)
    assert str(error.value) == sentence


@pytest.mark.parametrize("name", LANES)
def test_broken_numbers_are_drawn_all_the_same(name):
    trace = make_trace(steps=2)
    trace.steps[0].x.fill_(float("nan"))
    trace.steps[1].prediction.x0.fill_(float("inf"))
    assert len(lane(trace, name, decode)) == 2
