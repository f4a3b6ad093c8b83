"""What a network reads besides its latents, and what it is told besides its context."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from ldm.engine import Engine
from ldm.errors import SettingsError
from ldm.generation import finish, generate, heads, kept_picture, resume, run
from ldm.images import to_tensor
from ldm.models.autoencoder_config import AutoencoderConfig, VQConfig
from ldm.models.condition_config import ClassConfig, NoConditionConfig, OpenCLIPConfig, SDXLTextConfig
from ldm.models.config import UNetConfig
from ldm.models.study_config import StudyUNetConfig
from ldm.settings import Settings

from .conftest import tiny_config, tiny_model

S = Settings("a red circle", steps=3, width=32, height=32, cfg_scale=1.0)
F = 4  # pixels per latent
VQ = VQConfig(
    AutoencoderConfig(
        ch=16, ch_mult=(1, 1, 2), num_res_blocks=1, z_channels=3, embed_dim=3, double_z=False, num_groups=4
    ),
    n_embed=32,
)


def model_of(picture, in_channels, autoencoder=None, text=None, **unet):
    base = {k: v for k, v in vars(tiny_config().unet).items() if k not in unet}
    channels = 3 if autoencoder is VQ else 4
    changes = {"in_channels": in_channels, "out_channels": channels, **unet}
    if text is not None:
        changes |= {"use_spatial_transformer": False, "context_dim": None}
    return tiny_model(
        unet=UNetConfig(**{**base, **changes}),
        autoencoder=autoencoder or tiny_config().autoencoder,
        text=text or tiny_config().text,
        picture=picture,
    )


def asked(model, monkeypatch):
    """What the network is called with, call by call."""
    calls, predict = [], model.predict

    def noted(x, t, context, record=False, heard=None, y=None):
        calls.append((x, t, context, y))
        return predict(x, t, context, record, heard, y)

    monkeypatch.setattr(model, "predict", noted)
    return calls


def picture(size=(32, 32)):
    rng = np.random.default_rng(0)
    return Image.fromarray(rng.integers(0, 256, (*size[::-1], 3), dtype=np.uint8))


def mask():
    made = Image.new("L", (32, 32))
    made.paste(255, (0, 0, 16, 32))
    return made


def test_the_paper_s_inpainting_reads_latents_of_a_black_hole_then_a_signed_mask(monkeypatch):
    model = model_of("inpaint_signed", 7, VQ, NoConditionConfig())
    calls = asked(model, monkeypatch)
    trace = run(model, S, init_image=picture(), mask=mask())
    x = calls[0][0]
    assert x.shape[1] == 7 and set(x[:, 6].unique().tolist()) == {-1.0, 1.0}
    assert (x[:, 6, :, :4] == 1).all() and (x[:, 6, :, 4:] == -1).all()
    black = picture()
    black.paste((0, 0, 0), (0, 0, 16, 32))
    latents = model.autoencoder_encode(to_tensor([black]), mean=True)
    torch.testing.assert_close(x[:, 3:6], latents, atol=0.05, rtol=0)  # -1 is 0 of 255, black
    kept = np.asarray(trace.images[0])[:, 16:]
    assert np.array_equal(kept, np.asarray(picture())[:, 16:])


def test_a_small_picture_is_read_as_it_is_and_the_run_starts_from_noise_alone(monkeypatch):
    model = model_of("low_resolution", 6, VQ, NoConditionConfig())
    calls = asked(model, monkeypatch)
    small = picture((8, 8))
    trace = run(model, S, init_image=small)
    assert torch.equal(calls[0][0][:, 3:].float(), to_tensor([small]))
    plain = next(generate(model, S, init_image=picture((8, 8)).rotate(90)))
    assert torch.equal(trace.steps[0].x, plain.x)  # the picture is no start
    assert trace.init_image.size == (8, 8)
    again = list(resume(model, trace, 1))
    assert torch.equal(again[-1].x_next, trace.steps[-1].x_next)
    assert finish(model, S, [trace.steps[0], *again], 0.0, init_image=small).images[0].size == (32, 32)
    large = picture((40, 24))
    next(generate(model, S, init_image=large))
    assert calls[-1][0].shape[-2:] == (8, 8)


def test_an_upscaler_is_told_how_noisy_its_small_picture_is(monkeypatch):
    model = model_of("upscale", 7, None, None, num_classes=1000)
    calls = asked(model, monkeypatch)
    changed = dataclasses.replace(S, cfg_scale=2.0, noise_level=0)
    next(generate(model, changed, init_image=picture((8, 8))))
    x, _, _, y = calls[-1]
    assert y.tolist() == [0, 0]
    torch.testing.assert_close(x[:1, 4:], to_tensor([picture((8, 8))]), atol=0.06, rtol=0)
    next(generate(model, dataclasses.replace(changed, noise_level=999), init_image=picture((8, 8))))
    x, _, _, y = calls[-1]
    assert y.tolist() == [999, 999]
    assert abs(float(x[:1, 4:].std()) - 1) < 0.2  # little of the picture is left


def test_a_palette_goes_through_the_model_s_own_convolution(monkeypatch):
    text = NoConditionConfig(rescaler_channels=5, rescaler_out=3, rescaler_stages=2)
    model = model_of("palette", 6, VQ, text)
    calls = asked(model, monkeypatch)
    numbers = np.zeros((32, 32), np.uint8)
    numbers[:16] = 4
    palette = Image.fromarray(numbers, "L")
    next(generate(model, S, init_image=palette))
    weight = model.cond_stage_model.channel_mapper.weight[:, :, 0, 0]
    x = calls[-1][0]
    torch.testing.assert_close(x[0, 3:, 0, 0], weight[:, 4], atol=1e-6, rtol=0)
    torch.testing.assert_close(x[0, 3:, -1, -1], weight[:, 0], atol=1e-6, rtol=0)
    with pytest.raises(SettingsError, match=r"^tiny knows class numbers 0 to 4; the picture holds 9\.$"):
        next(generate(model, S, init_image=Image.new("L", (32, 32), 9)))
    with pytest.raises(SettingsError, match=r"^tiny reads class numbers, .* not RGB\.$"):
        next(generate(model, S, init_image=picture()))


def test_the_study_s_mask_has_a_channel_for_each_class_but_nothing(monkeypatch):
    unet = StudyUNetConfig(
        im_channels=4, down_channels=(32, 32), mid_channels=(32, 32), time_emb_dim=32, down_sample=(True,),
        num_down_layers=1, num_mid_layers=1, num_up_layers=1, num_heads=2, norm_channels=8,
        conv_out_channels=32, attn_down=(True,), mask_channels=3, mask_out=2,
    )  # fmt: skip
    model = tiny_model(unet=unet, text=NoConditionConfig(), picture="study_mask")
    calls = asked(model, monkeypatch)
    numbers = np.zeros((32, 32), np.uint8)
    numbers[:, 16:] = 3
    next(generate(model, dataclasses.replace(S, cfg_scale=2.0), init_image=Image.fromarray(numbers, "L")))
    x = calls[-1][0]
    assert x.shape[:2] == (2, 7)
    assert (x[0, 4:] == 0).all()  # guided away from no mask, as it was trained
    assert (x[1, 4:6] == 0).all() and (x[1, 6, :, 4:] == 1).all() and (x[1, 6, :, :4] == 0).all()


@pytest.mark.parametrize("kind", ["low_resolution", "palette", "edit"])
def test_what_must_be_shown_is_asked_for(kind):
    text = NoConditionConfig(rescaler_channels=5) if kind == "palette" else NoConditionConfig()
    model = model_of(kind, 6, VQ, text)
    with pytest.raises(SettingsError, match=r"^tiny .* and needs one to start from; there is none\.$"):
        next(generate(model, S))


def test_the_paper_s_inpainting_needs_a_picture_with_a_hole_and_stable_diffusion_s_does_not():
    model = model_of("inpaint_signed", 7, VQ, NoConditionConfig())
    said = r"^tiny paints a hole in a picture anew and needs that picture and a mask of it; there is no {}\.$"
    for given, missing in (({}, "picture"), ({"init_image": picture()}, "mask")):
        with pytest.raises(SettingsError, match=said.format(missing)):
            generate(model, S, **given)
    with pytest.raises(SettingsError, match=said.format("picture")):
        generate(model, S, latents=torch.zeros(1, 3, 8, 8))
    trace = run(model, S, init_image=picture(), mask=mask())
    assert len(list(resume(model, trace, 1))) == 2
    next(generate(model_of("inpaint", 9), S))


def test_a_class_is_drawn_with_guidance_towards_its_number(monkeypatch):
    unet = dataclasses.replace(tiny_config().unet, context_dim=16)
    model = tiny_model(unet=unet, text=ClassConfig(n_classes=5, embed_dim=16, null=4, names=""))
    calls = asked(model, monkeypatch)
    next(generate(model, dataclasses.replace(S, prompt="2", cfg_scale=3.0)))
    table = model.cond_stage_model.embedding.weight
    context = calls[-1][2]
    assert context.shape == (2, 1, 16)
    assert torch.equal(context[0, 0], table[4]) and torch.equal(context[1, 0], table[2])
    with pytest.raises(SettingsError):
        next(generate(model, dataclasses.replace(S, prompt="7")))


def test_without_a_condition_there_is_nothing_to_guide_away_from():
    model = model_of(None, 3, VQ, NoConditionConfig())
    assert run(model, S).images[0].size == (32, 32)
    with pytest.raises(SettingsError, match=r"^cfg_scale must be 1 for tiny: .*; got 3\.$"):
        next(generate(model, dataclasses.replace(S, cfg_scale=3.0)))


def test_the_vector_of_sizes_reaches_both_halves(monkeypatch):
    towers = SDXLTextConfig(
        clip=dataclasses.replace(tiny_config().text, hidden_layer=-2, final_norm=False),
        openclip=OpenCLIPConfig(
            vocab_size=600, width=24, layers=2, heads=2, context_length=12, embed_dim=10, final_norm=False
        ),
        size_dim=8,
    )
    unet = dataclasses.replace(
        tiny_config().unet, context_dim=56, num_classes="sequential", adm_in_channels=10 + 48
    )
    model = tiny_model(unet=unet, text=towers)
    calls = asked(model, monkeypatch)
    guided = dataclasses.replace(S, cfg_scale=3.0, crop_top=5, original_width=640)
    trace = run(model, guided)
    _, _, context, y = calls[0]
    assert context.shape == (2, 12, 56) and y.shape == (2, 58)
    assert (context[0] == 0).all() and (y[0, :10] == 0).all()  # nothing was asked to stay away from
    assert torch.equal(y[0, 10:], y[1, 10:])  # both are told the same sizes
    plain = run(model, dataclasses.replace(S, cfg_scale=3.0))
    assert not torch.equal(calls[-1][3][:, 10:], y[:, 10:])
    assert not torch.equal(plain.steps[-1].x_next, trace.steps[-1].x_next)
    batch = run(model, dataclasses.replace(guided, batch_size=2))
    assert [i.size for i in batch.images] == [(32, 32)] * 2


def test_a_distilled_model_is_told_its_guidance(monkeypatch):
    unet = dataclasses.replace(tiny_config().unet, time_cond_proj_dim=16)
    model = tiny_model(unet=unet)
    calls = asked(model, monkeypatch)
    a = next(generate(model, dataclasses.replace(S, distilled_scale=8.5)))
    assert calls[-1][3].shape == (1, 16)
    b = next(generate(model, dataclasses.replace(S, distilled_scale=2.0)))
    assert not torch.equal(a.x_next, b.x_next)
    assert torch.equal(a.x, b.x)


def test_the_heads_of_an_upscaler_are_told_how_noisy_its_picture_is():
    model = model_of("upscale", 7, None, None, num_classes=1000)
    changed = dataclasses.replace(S, cfg_scale=2.0)
    trace = run(model, changed, init_image=picture((8, 8)))
    for negative in (False, True):
        found = heads(model, trace, 1, negative=negative)
        for layer in found:
            torch.testing.assert_close(layer.attention.sum(1), torch.ones_like(layer.attention.sum(1)))


@pytest.mark.parametrize("kind", ["low_resolution", "palette"])
def test_nothing_can_be_kept_of_a_picture_that_is_only_shown(kind):
    text = NoConditionConfig(rescaler_channels=5) if kind == "palette" else NoConditionConfig()
    model = model_of(kind, 6, VQ, text)
    shown = Image.new("L", (32, 32), 1) if kind == "palette" else picture((8, 8))
    trace = run(model, S, init_image=shown)
    with pytest.raises(SettingsError, match=r"^tiny draws after a picture that is no start"):
        kept_picture(trace, S, mask=mask())


def test_a_picture_that_is_only_shown_leaves_out_no_step_at_any_strength(tmp_path, monkeypatch):
    model = model_of("low_resolution", 6, VQ, NoConditionConfig())
    monkeypatch.setattr("ldm.engine.open_model", lambda *_: model)
    monkeypatch.setattr("ldm.engine.find_draft", lambda *_: None)
    engine = Engine(tmp_path / "any.safetensors", device="cpu")
    try:
        half = dataclasses.replace(S, steps=6, strength=0.5)
        run_id = engine.start(half, "me", init_image=picture((8, 8)), until=4)
        *_, paused = engine.follow(run_id)
        assert (paused.status, paused.step, paused.steps) == ("paused", 4, 6)
        engine.go_on(run_id)
        *_, last = engine.follow(run_id)
        assert (last.status, last.step, last.steps, len(last.trace.steps)) == ("done", 6, 6, 6)
    finally:
        engine.close()


def test_a_refiner_is_told_a_low_score_of_what_to_stay_away_from_also_where_that_is_the_prompt(monkeypatch):
    tower = OpenCLIPConfig(
        vocab_size=600, width=24, layers=2, heads=2, context_length=12, embed_dim=10, final_norm=False
    )
    text = SDXLTextConfig(clip=None, openclip=tower, size_dim=8, sizes=5, zero_empty=False)
    unet = dataclasses.replace(
        tiny_config().unet, context_dim=24, num_classes="sequential", adm_in_channels=10 + 40
    )
    model = tiny_model(unet=unet, text=text)
    calls = asked(model, monkeypatch)
    next(generate(model, dataclasses.replace(S, cfg_scale=3.0, negative_prompt=S.prompt)))
    y = calls[-1][3]
    assert torch.equal(y[0, :-8], y[1, :-8]) and not torch.equal(y[0, -8:], y[1, -8:])
