import dataclasses

import pytest
import torch
import torch.nn.functional as F

from ldm import Settings, run
from ldm.errors import SettingsError
from ldm.models.attention import BasicTransformerBlock
from ldm.trace import AttentionMaps, Prediction
from ldm.views.attention import (
    NOT_RECORDED,
    attention_grid,
    attention_map,
    attention_overlay,
    daam,
    shown_tokens,
    word_map,
)
from ldm.views.layout import blank

from ..conftest import tiny_model
from ..traces import TOKENS, TRACES, decode, make_trace, without_pictures


def planted(height=8, width=12):
    """Token 2 has all attention in the upper right corner, token 0 everywhere else.

    The negative half is even.
    """
    maps = torch.zeros(1, len(TOKENS), height, width)
    maps[:, 0] = 1.0
    maps[:, 0, : height // 4, -width // 4 :] = 0.0
    maps[:, 2, : height // 4, -width // 4 :] = 1.0
    trace = make_trace(steps=2, height=height, width=width)
    even = AttentionMaps((torch.full_like(maps, 1 / len(TOKENS)),))
    steps = [
        dataclasses.replace(
            s,
            prediction=dataclasses.replace(
                s.prediction, attention=AttentionMaps((maps,)), attention_uncond=even
            ),
        )
        for s in trace.steps
    ]
    return dataclasses.replace(trace, steps=tuple(steps))


def test_attention_of_all_tokens_sums_to_one_everywhere():
    trace = make_trace(batch=2, height=6, width=10)
    for step in (0, 3, None):
        for negative in (False, True):
            maps = [attention_map(trace, step, t, 1, negative=negative) for t in range(len(TOKENS))]
            torch.testing.assert_close(sum(maps), torch.ones(6, 10), rtol=0, atol=2e-3)  # stored in float16


def test_a_planted_token_is_found_where_it_was_planted():
    amount = attention_map(planted(), 0, 2)
    assert amount.shape == (8, 12)
    assert amount[:2, -3:].min() == 1
    assert amount[2:].max() == amount[:, :-3].max() == 0


def test_the_overlay_is_bright_there_and_grey_elsewhere():
    trace = planted()
    image = attention_overlay(trace, 0, 2)
    assert image.size == (96, 64)
    r, g, b = image.getpixel((92, 2))
    assert r > 180 > b
    r, g, b = image.getpixel((20, 40))
    assert r == g == b == round(0.6 * trace.images[0].convert("L").getpixel((20, 40)))


def test_sizes_are_averaged():
    small, large = torch.full((1, 1, 2, 2), 0.2), torch.full((1, 1, 4, 4), 0.6)
    trace = make_trace(steps=1, height=4, width=4)
    p = Prediction(trace.steps[0].x, trace.steps[0].x, attention=AttentionMaps((large, small)))
    trace = dataclasses.replace(trace, steps=(dataclasses.replace(trace.steps[0], prediction=p),))
    torch.testing.assert_close(attention_map(trace, 0, 0), torch.full((4, 4), 0.4))


def test_no_step_is_the_mean_of_all_steps():
    trace = make_trace(steps=3)
    each = [attention_map(trace, k, 1) for k in range(3)]
    torch.testing.assert_close(attention_map(trace, None, 1), sum(each) / 3)


def test_the_negative_half_is_another_map():
    trace = planted()
    assert attention_map(trace, 0, 2, negative=True).unique().tolist() == [1 / len(TOKENS)]


def test_the_result_has_the_size_asked_for():
    assert attention_overlay(make_trace(), 0, 1, size=(37, 91)).size == (37, 91)


def test_a_run_without_pictures_is_drawn_on_grey():
    image = attention_overlay(without_pictures(planted()), 0, 2)
    assert image.getpixel((20, 40)) == (77, 77, 77)


def test_attention_that_was_not_recorded_is_said_so():
    trace = make_trace(attention=False)
    assert attention_map(trace, 0, 0) is None
    expected = blank((64, 64), "Attention was not recorded in this run.")
    assert NOT_RECORDED == "Attention was not recorded in this run."
    assert attention_overlay(trace, 0, 0).tobytes() == expected.tobytes()
    assert attention_grid(trace, 0, decode).tobytes() == expected.tobytes()
    assert attention_map(make_trace(guided=False), 0, 0, negative=True) is None


@pytest.mark.parametrize(
    ("step", "token", "picture", "sentence"),
    [
        (0, 8, 0, "token must be between 0 and 7, got 8."),
        (0, -1, 0, "token must be between 0 and 7, got -1."),
        (4, 0, 0, "step must be between 0 and 3, got 4."),
        (None, 0, 1, "picture must be between 0 and 0, got 1."),
    ],
)
def test_what_is_not_there_is_named(step, token, picture, sentence):
    with pytest.raises(SettingsError) as error:
        attention_overlay(make_trace(), step, token, picture)
    assert str(error.value) == sentence


def test_padding_is_shown_once():
    assert shown_tokens(TOKENS) == [0, 1, 2, 3, 4, 5]
    assert shown_tokens(("a",)) == [0]
    assert shown_tokens(()) == []
    assert shown_tokens(("a", "a")) == [0]
    assert len(shown_tokens(tuple(map(str, range(77))))) == 24


def test_the_grid_has_a_tile_for_each_token():
    assert attention_grid(make_trace(), 0, decode).size == (6 * 160 + 5 * 4, 160 + 18)


def test_the_grid_has_a_tile_for_each_position_that_a_step_of_another_prompt_read():
    trace = make_trace()
    p = trace.steps[0].prediction
    fewer = AttentionMaps(tuple(m[:, :4] for m in p.attention.maps))
    first = dataclasses.replace(trace.steps[0], prediction=dataclasses.replace(p, attention=fewer))
    other = dataclasses.replace(trace, steps=(first, *trace.steps[1:]))
    assert attention_grid(other, 0, decode).size == (4 * 160 + 3 * 4, 160 + 18)
    assert attention_grid(other, 1, decode).tobytes() == attention_grid(trace, 1, decode).tobytes()


def test_a_word_is_the_mean_over_its_tokens_steps_and_sizes():
    trace = make_trace(batch=2, height=6, width=10)
    found = word_map(trace, [1, 3], [0, 2], picture=1, negative=True)
    each = [attention_map(trace, k, t, 1, negative=True) for k in (0, 2) for t in (1, 3)]
    torch.testing.assert_close(found, sum(each) / 4)
    torch.testing.assert_close(word_map(trace, [2]), attention_map(trace, None, 2))


def test_one_size_can_be_looked_at_alone_as_large_as_the_largest():
    trace = make_trace(height=8, width=12)
    both = word_map(trace, [2])
    fine, coarse = (word_map(trace, [2], sizes=[size]) for size in ((8, 12), (4, 6)))
    assert fine.shape == coarse.shape == (8, 12)
    torch.testing.assert_close((fine + coarse) / 2, both)
    torch.testing.assert_close(
        fine, torch.stack([s.prediction.attention.maps[0][0, 2].float() for s in trace.steps]).mean(0)
    )


def test_steps_of_a_prompt_of_another_length_do_not_count():
    trace = make_trace()
    p = trace.steps[0].prediction
    fewer = AttentionMaps(tuple(m[:, :4] for m in p.attention.maps))
    first = dataclasses.replace(trace.steps[0], prediction=dataclasses.replace(p, attention=fewer))
    other = dataclasses.replace(trace, steps=(first, *trace.steps[1:]))
    torch.testing.assert_close(word_map(other, [2]), word_map(trace, [2], [1, 2, 3]))
    assert word_map(other, [5]) is not None


def test_maps_that_were_recorded_at_one_size_all_count():
    """Large ones are halved when they are recorded."""
    trace = make_trace(steps=1)
    maps = tuple(torch.full((1, 1, 4, 4), value) for value in (0.1, 0.5))
    trace = with_maps(trace, maps, (3, 1))
    torch.testing.assert_close(word_map(trace, [0]), torch.full((4, 4), 0.3))
    torch.testing.assert_close(word_map(trace, [0], sizes=[(4, 4)]), torch.full((4, 4), 0.3))
    torch.testing.assert_close(daam(trace, [0]), torch.full((8, 8), 0.2))


@pytest.mark.parametrize("view", [word_map, daam])
@pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES)
def test_every_run_has_word_maps_or_none(trace, view):
    last = trace.settings.batch_size - 1
    found = view(trace, [1, 2], picture=last)
    recorded = trace.steps[0].prediction.attention is not None
    assert (found is not None) is recorded
    if recorded:
        assert found.shape == trace.steps[0].x.shape[-2:]
        assert 0 <= found.min() <= found.max() <= 1
    assert view(make_trace(steps=0), [0]) is None


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"tokens": []}, "tokens must have at least one number, got none."),
        ({"tokens": [1, 8]}, "token must be between 0 and 7, got 8."),
        ({"steps": []}, "steps must have at least one number, got none."),
        ({"steps": [4]}, "step must be between 0 and 3, got 4."),
        ({"sizes": []}, "sizes must be some of 8 x 8, 4 x 4, got none."),
        ({"sizes": [(8, 8), (5, 4)]}, "sizes must be some of 8 x 8, 4 x 4, got 8 x 8, 5 x 4."),
        ({"picture": 1}, "picture must be between 0 and 0, got 1."),
    ],
)
def test_what_a_word_map_cannot_show_is_named(arguments, sentence):
    with pytest.raises(SettingsError) as error:
        word_map(make_trace(), **{"tokens": [1], **arguments})
    assert str(error.value) == sentence


def with_maps(trace, maps, heads=()):
    """The run of one step that recorded these maps."""
    p = dataclasses.replace(trace.steps[0].prediction, attention=AttentionMaps(maps, heads=heads))
    return dataclasses.replace(trace, steps=(dataclasses.replace(trace.steps[0], prediction=p),))


def test_daam_weighs_sizes_by_their_heads():
    trace = make_trace(steps=1)
    maps = torch.full((1, 1, 8, 8), 0.1), torch.full((1, 1, 4, 4), 0.5)
    torch.testing.assert_close(daam(with_maps(trace, maps, (6, 2)), [0]), torch.full((8, 8), 0.2))
    torch.testing.assert_close(daam(with_maps(trace, maps), [0]), torch.full((8, 8), 0.3))


def test_daam_leaves_out_an_eighth_of_the_latents_size_where_there_is_a_finer_one():
    trace = make_trace(steps=1, height=16, width=24)
    fine, coarse = torch.full((1, 1, 4, 6), 0.1), torch.full((1, 1, 2, 3), 0.5)
    torch.testing.assert_close(daam(with_maps(trace, (fine, coarse)), [0]), torch.full((16, 24), 0.1))
    torch.testing.assert_close(daam(with_maps(trace, (coarse,)), [0]), torch.full((16, 24), 0.5))


def test_daam_cuts_off_what_enlarging_makes_negative():
    trace = make_trace(steps=1, height=16, width=16)
    maps = torch.zeros(1, 1, 4, 4)
    maps[0, 0, 1, 1] = 1
    wide = F.interpolate(maps, size=(16, 16), mode="bicubic")[0, 0]
    assert wide.min() < -0.01
    torch.testing.assert_close(daam(with_maps(trace, (maps,)), [0]), wide.clamp(min=0))


def per_head(model, trace):
    """Each cross-attention layer's maps at every step, (steps, h, T, H, W), from its inputs, by hand."""
    height, width = trace.steps[0].x.shape[-2:]
    net = model.model.diffusion_model
    layers = [m.attn2 for m in net.modules() if isinstance(m, BasicTransformerBlock)]
    found = {layer: [] for layer in layers}

    def keep(layer, given):
        q, k = layer.to_q(given[0]), layer.to_k(given[1])  # (1, N, h * d), (1, T, h * d)
        size = q.shape[-1] // layer.heads
        parts = [slice(h * size, (h + 1) * size) for h in range(layer.heads)]
        maps = [(q[0, :, part] @ k[0, :, part].T / size**0.5).softmax(-1).T for part in parts]
        factor = round((height * width / q.shape[1]) ** 0.5)
        found[layer].append(torch.stack(maps).unflatten(-1, (height // factor, width // factor)))

    hooks = [layer.register_forward_pre_hook(keep) for layer in layers]
    context = model.get_text_conditioning([trace.settings.prompt])
    for step in trace.steps:
        net(step.x / (1 + step.sigma**2) ** 0.5, torch.tensor([step.timestep]), context)
    for hook in hooks:
        hook.remove()
    return [torch.stack(steps) for steps in found.values()]


def daam_by_head(layers, tokens, size):
    """As DAAM's authors write it, but for the mean over steps: map by map, and cut off before the mean."""
    wide, cut = [], []
    for steps in layers:  # (steps, h, T, H, W)
        for head in steps.mean(0):
            raw = F.interpolate(head[tokens][:, None], size=size, mode="bicubic")[:, 0]
            wide.append(raw.clamp(min=0).mean(0))
            cut.append((-raw).clamp(min=0).mean(0))
    return torch.stack(wide).mean(0), torch.stack(cut).mean(0)


@pytest.fixture(scope="module")
def recorded():
    settings = Settings("a red circle", steps=3, cfg_scale=1.0, width=64, height=32, seed=2)
    model = tiny_model()
    trace = run(model, settings)
    return trace, per_head(model, trace)


def sharpened(recorded, power):
    """The run as if its layers looked more sharply: maps to a power, and what would be recorded of them."""
    trace, layers = recorded
    layers = [(power * steps.log()).softmax(2) for steps in layers]
    sizes = trace.steps[0].prediction.attention.sizes
    steps = []
    for k, step in enumerate(trace.steps):
        of_size = [torch.cat([x[k] for x in layers if x.shape[-2:] == size]) for size in sizes]
        attention = AttentionMaps(tuple(m.mean(0)[None] for m in of_size), heads=tuple(map(len, of_size)))
        prediction = dataclasses.replace(step.prediction, attention=attention)
        steps.append(dataclasses.replace(step, prediction=prediction))
    return dataclasses.replace(trace, steps=tuple(steps)), layers


def test_daam_of_a_run_is_that_of_its_heads_one_by_one(recorded):
    """Nothing is cut off here, so only the recording in half precision is between the two."""
    trace, layers = recorded
    assert sum(steps.shape[1] for steps in layers) == sum(trace.steps[0].prediction.attention.heads)
    tokens = [1, 2]
    expected, cut = daam_by_head(layers, tokens, trace.steps[0].x.shape[-2:])
    assert cut.max() == 0
    # half precision rounds by up to 2**-12 of a power of two, and bicubic's weights are 2 at most in sum
    near = float(expected.max()) * 2**-11 * 2
    torch.testing.assert_close(daam(trace, tokens), expected, rtol=0, atol=near)
    assert expected.std() > 20 * near  # it is no constant that is compared


@pytest.mark.parametrize("power", [1, 4, 60, 2000])
def test_daam_is_below_that_of_the_heads_by_no_more_than_what_is_cut_off(recorded, power):
    trace, layers = sharpened(recorded, power)
    expected, cut = daam_by_head(layers, [1, 2], trace.steps[0].x.shape[-2:])
    if power == 2000:
        assert cut.max() > 0.001
    below = expected - daam(trace, [1, 2])
    assert below.min() >= -1e-6
    assert (below <= cut + 1e-6).all()
    assert below.mean() < 0.05 * expected.mean()


def test_attention_of_a_run_of_a_model_sums_to_one_everywhere(recorded):
    trace, _ = recorded
    for step in trace.steps:
        for maps in step.prediction.attention.maps:
            sums = maps.float().sum(1)
            torch.testing.assert_close(sums, torch.ones_like(sums), rtol=0, atol=maps.shape[1] * 2**-12)
