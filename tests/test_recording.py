"""What is kept of attention, words that are not listened to, every head, and the way under the noise."""

import dataclasses

import pytest
import torch
from PIL import Image

from ldm import Settings, SettingsError, finish, forward, generate, heads, resume, run, run_file
from ldm.generation import heads_bytes
from ldm.generation.record import MAX_MAP, Recorded, compact, recorded_of
from ldm.models.attention import MAX_TOGETHER, Asked, CrossAttention, averaged
from ldm.models.config import UNetConfig
from ldm.models.unet import UNetModel
from ldm.trace import AttentionMaps
from tests.conftest import tiny_config, tiny_model
from tests.test_generation import same

S = Settings("a red circle", steps=4, width=32, height=32)
PICTURE = Image.radial_gradient("L").resize((32, 32)).convert("RGB")
END, START = "<|endoftext|>", "<|startoftext|>"


def test_padding_is_kept_as_one_position_and_every_half_has_its_own_tokens(model):
    trace = run(model, dataclasses.replace(S, negative_prompt="blue"))
    assert trace.recorded_tokens == (START, "a", "red", "circle", END, "[padding]")
    assert trace.recorded_negative_tokens == (START, "blue", END, "[padding]")
    assert len(trace.tokens) == len(trace.negative_tokens) == 12
    for step in trace.steps:
        assert {m.shape[1] for m in step.prediction.attention.maps} == {6}
        assert {m.shape[1] for m in step.prediction.attention_uncond.maps} == {4}


def test_the_position_of_the_padding_has_what_all_of_it_got(model):
    """Compared with every head of every layer, asked for by itself."""
    trace = run(model, S)
    recorded = trace.steps[1].prediction.attention
    by_size = {}
    for layer in heads(model, trace, 1):
        by_size.setdefault(tuple(layer.attention.shape[-2:]), []).append(layer.attention)
    assert list(recorded.sizes) == sorted(by_size, reverse=True)
    for i, size in enumerate(recorded.sizes):
        every = torch.cat(by_size[size])  # (heads of all layers, T, H, W)
        assert recorded.heads[i] == len(every)
        torch.testing.assert_close(every.sum(1), torch.ones(len(every), *size))
        mean = every.mean(0)
        expected = torch.cat([mean[:5], mean[5:].sum(0, keepdim=True)])
        torch.testing.assert_close(recorded.maps[i][0].float(), expected, atol=1e-3, rtol=1e-3)


def test_a_prompt_that_fills_the_encoder_has_no_padding(model):
    trace = run(
        model, dataclasses.replace(S, prompt="a red circle above a blue square on a white background")
    )
    assert trace.recorded_tokens == trace.tokens
    assert trace.steps[0].prediction.attention.maps[0].shape[1] == 12


def test_where_nothing_was_recorded_the_tokens_are_all_of_them(model):
    steps = list(generate(model, S, record_attention=False))
    trace = finish(model, S, steps, 0.0)
    assert steps[0].prediction.attention is None
    assert trace.recorded_tokens == trace.tokens


def test_of_perpendicular_guidance_the_negative_half_is_that_of_the_negative_prompt(model):
    settings = dataclasses.replace(S, negative_prompt="a green apple", cfg_method="perpendicular")
    trace = run(model, settings)
    assert trace.recorded_negative_tokens[1:4] == ("a", "green", "apple")
    (first, *_), (mine, *_) = (
        heads(model, trace, 0, negative=True),
        trace.steps[0].prediction.attention_uncond.maps,
    )
    assert first.attention.shape[-2:] == mine.shape[-2:]
    assert mine.shape[1] == len(trace.recorded_negative_tokens)


def test_layers_computed_together_are_the_mean_of_each_alone():
    generator = torch.Generator().manual_seed(0)
    asked = [Asked(*(torch.randn(2, 3, n, 8, generator=generator) for n in (16, 5))) for _ in range(4)]
    expected = torch.stack([a.maps().mean(1) for a in asked]).mean(0)
    torch.testing.assert_close(averaged(asked), expected)
    uneven = [*asked, Asked(torch.randn(2, 6, 16, 8), torch.randn(2, 6, 5, 8))]
    torch.testing.assert_close(averaged(uneven), torch.cat([a.maps() for a in uneven], 1).mean(1))
    assert MAX_TOGETHER > 4 * 2 * 3 * 16 * 5  # of those alike


def stored(maps):
    return sum(m.nbytes for m in maps)


@pytest.mark.parametrize(("tokens", "kept"), [(10, 11), (77, 77)])
def test_a_hundred_steps_of_stable_diffusion_s_size_are_under_200_mb(tokens, kept):
    sizes = (64, 32, 16, 8)
    maps = [torch.rand(1, 77, n, n).softmax(1) for n in sizes]
    small = [compact(m, tokens) for m in maps]
    for map_ in small:
        assert map_.dtype == torch.float16 and map_.shape[1] == kept
        torch.testing.assert_close(map_.float().sum(1), torch.ones(1, *map_.shape[-2:]), atol=3e-3, rtol=0)
    assert small[0].shape[-1] == (64 if tokens == 10 else 32)
    latents = 5 * 4 * 64 * 64 * 4  # x, x_next, x0 and both predictions
    assert 100 * (2 * stored(small) + latents) < 200e6
    assert small[0][0].numel() <= MAX_MAP


def test_a_map_that_is_made_small_is_the_mean_of_four():
    large = torch.rand(1, 77, 64, 64).softmax(1)
    expected = large.unflatten(2, (32, 2)).unflatten(4, (32, 2)).mean((3, 5))
    torch.testing.assert_close(compact(large, 77).float(), expected, atol=1e-4, rtol=1e-3)


def test_what_is_recorded_of_a_model_is_known_before(model):
    found = recorded_of(model, dataclasses.replace(S, negative_prompt="blue"))
    assert found == Recorded((6, 8), 5, 3)
    stable = UNetModel.__new__(UNetModel)
    with torch.device("meta"):
        UNetModel.__init__(stable, UNetConfig())
    layers = stable.cross_attentions()
    assert len(layers) == 16
    by_level = {level: sum(h for lv, h in layers.values() if lv == level) for level in range(4)}
    assert by_level == {0: 40, 1: 40, 2: 40, 3: 8}


def test_heads_say_their_memory_and_what_they_cannot_show(model):
    trace = run(model, dataclasses.replace(S, batch_size=2))
    found = heads(model, trace, 2, 1)
    assert sum(layer.attention.nbytes for layer in found) == heads_bytes(model, trace)
    assert found[0].name == "input_blocks.1.1.transformer_blocks.0.attn2"
    assert isinstance(model.model.diffusion_model.get_submodule(found[-1].name), CrossAttention)
    assert not torch.equal(found[0].attention, heads(model, trace, 2, 0)[0].attention)
    alone = run(model, dataclasses.replace(S, cfg_scale=1.0))
    for given, message in (
        ((trace, 4), "step must be between 0 and 3, got 4."),
        ((trace, 0, 2), "picture must be between 0 and 1, got 2."),
    ):
        with pytest.raises(SettingsError) as error:
            heads(model, *given)
        assert str(error.value) == message
    with pytest.raises(SettingsError, match="was not shown a negative prompt"):
        heads(model, alone, 0, negative=True)


def test_muting_what_is_muted_already_changes_nothing():
    torch.manual_seed(0)
    layer = CrossAttention(8, 8, 2, 4)
    x, context = torch.randn(1, 6, 8), torch.randn(1, 5, 8)
    masked = torch.tensor([[True, True, True, False, False]])
    with torch.no_grad():
        before = layer(x, context, None, masked)
        assert torch.equal(layer(x, context, None, masked & torch.tensor([True] * 4 + [False])), before)
        torch.testing.assert_close(before, layer(x, context[:, :3]))
        assert not torch.equal(before, layer(x, context))


def test_muting_a_word_moves_only_the_region_that_depends_on_it():
    """A planted layer: positions 0 to 3 look at token 1 alone, the others at token 2 alone."""
    layer = CrossAttention(4, 4, 1, 4)
    for linear in (layer.to_q, layer.to_k, layer.to_v, layer.to_out[0]):
        torch.nn.init.eye_(linear.weight)
    torch.nn.init.zeros_(layer.to_out[0].bias)
    context = torch.eye(4)[None]  # (1, T, D): token i is the i-th direction
    x = torch.zeros(1, 8, 4)
    x[:, :4, 1], x[:, 4:, 2] = 1000.0, 1000.0
    heard = torch.tensor([[True, False, True, True]])
    asked = []
    with torch.no_grad():
        before, after = layer(x, context), layer(x, context, asked, heard)
    moved = (before - after).abs().sum(-1)[0]
    assert (moved[:4] > 0.5).all()
    assert torch.equal(moved[4:], torch.zeros(4))
    assert torch.equal(asked[0].maps()[:, :, 1], torch.zeros(1, 1, 8))


@pytest.mark.parametrize("traced", [True, False])
def test_a_muted_word_gets_no_attention_where_it_is_muted_and_only_there(traced):
    model = tiny_model()
    model.graphs.enabled = traced
    settings = dataclasses.replace(S, muted_tokens=(2, 3), mute_start=0.2, mute_stop=0.6)
    trace, plain = run(model, settings), run(model, S)
    quiet = [0.2 <= 1 - step.timestep / 999 <= 0.6 for step in trace.steps]
    assert quiet == [False, True, True, False]
    for step, muted in zip(trace.steps, quiet, strict=True):
        for m in step.prediction.attention.maps:
            assert bool((m[:, 2:4] == 0).all()) == muted
            torch.testing.assert_close(m.float().sum(1), torch.ones(1, *m.shape[-2:]), atol=3e-3, rtol=0)
        assert all((m != 0).all() for m in step.prediction.attention_uncond.maps)
    assert same(trace.steps[0], plain.steps[0])
    assert not torch.equal(trace.steps[1].prediction.x0_cond, plain.steps[1].prediction.x0_cond)
    torch.testing.assert_close(
        trace.steps[1].prediction.x0_uncond, plain.steps[1].prediction.x0_uncond, atol=1e-4, rtol=1e-4
    )
    assert all((layer.attention[:, 2:4] == 0).all() for layer in heads(model, trace, 1))
    again = list(resume(model, trace, 1))
    assert all(same(a, b) for a, b in zip(again, trace.steps[1:], strict=True))
    silent = list(generate(model, settings, record_attention=False))
    assert all(same(a, b) for a, b in zip(silent, trace.steps, strict=True))


def test_muting_none_of_the_way_is_the_run_without_to_the_last_bit(model):
    beyond = dataclasses.replace(S, muted_tokens=(2,), mute_start=1.0)
    assert all(same(a, b) for a, b in zip(generate(model, beyond), generate(model, S), strict=True))


def test_words_that_the_encoder_does_not_have_cannot_be_muted(model):
    for muted, message in (
        ((2, 12), "muted_tokens must be between 0 and 11, the positions tiny reads; got 12."),
        (tuple(range(12)), "muted_tokens must leave one of the 12 positions to listen to."),
    ):
        with pytest.raises(SettingsError) as error:
            generate(model, dataclasses.replace(S, muted_tokens=muted))
        assert str(error.value) == message


@pytest.mark.parametrize("full", ["picture", "noise"])
@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_the_way_under_the_noise_ends_where_the_run_begins(model, tmp_path, strength, full):
    settings = dataclasses.replace(S, steps=6, strength=strength, full_strength=full, batch_size=2)
    trace = run(model, settings, init_image=PICTURE)
    up = forward(model, trace)
    assert torch.equal(up.steps[-1].x_next, trace.steps[0].x)
    assert up.steps[0].sigma == 0
    assert [s.sigma_next for s in up.steps] == [s.sigma for s in reversed(trace.steps)]
    noise = up.steps[0].eps
    for a, b in zip(up.steps[:-1], up.steps[1:], strict=True):
        assert torch.equal(a.x_next, b.x) and a.sigma_next == b.sigma
    for step in up.steps:
        unit = (1 + step.sigma_next**2) ** 0.5
        torch.testing.assert_close(
            (step.prediction.x0 + step.sigma_next * noise) / unit, step.x_next / unit, atol=1e-5, rtol=1e-5
        )
        assert step.timestep == model.schedule.timestep(step.sigma_next)
    run_file.save(up, tmp_path / "up.safetensors")
    assert run_file.equal(run_file.load(tmp_path / "up.safetensors"), up)


def test_a_run_from_noise_has_no_way_under_it(model):
    drawn = run(model, dataclasses.replace(S, strength=0.5))
    kept = finish(model, drawn.settings, drawn.steps, 0.0, init_image=PICTURE, mask=PICTURE.convert("L"))
    for trace in (drawn, kept):
        with pytest.raises(SettingsError, match="The run started from noise"):
            forward(model, trace)
    still = run(model, dataclasses.replace(S, strength=0.0), init_image=PICTURE)
    with pytest.raises(SettingsError, match="made no step"):
        forward(model, still)


def test_an_editing_model_shows_its_heads_with_the_picture_it_reads():
    model = tiny_model(unet=dataclasses.replace(tiny_config().unet, in_channels=8))
    settings = dataclasses.replace(S, cfg_method="two_scale")
    trace = run(model, settings, init_image=PICTURE)
    for negative, recorded in (
        (False, trace.steps[1].prediction.attention),
        (True, trace.steps[1].prediction.attention_uncond),
    ):
        found = [h.attention for h in heads(model, trace, 1, negative=negative) if h.attention.shape[-1] == 4]
        mean = torch.cat(found).mean(0)[:2]
        torch.testing.assert_close(recorded.at(4, 4)[0, :2].float(), mean, atol=1e-3, rtol=1e-3)


def test_maps_of_one_picture_keep_their_heads():
    maps = AttentionMaps((torch.rand(3, 2, 4, 4),), (5,)).of_picture(1)
    assert maps.heads == (5,) and maps.maps[0].shape == (1, 2, 4, 4)
