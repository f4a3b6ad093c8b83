import dataclasses

import pytest
import torch
from PIL import Image

import ldm
from ldm import Settings, SettingsError, finish, generate, resume, run
from ldm.diffusion.samplers import CFG_PP, SAMPLERS
from ldm.diffusion.spacing import SPACINGS
from ldm.models.config import ScheduleConfig
from tests.conftest import tiny_model

S = Settings("a red circle above a blue square", steps=4, width=32, height=32)


def same(a, b):
    """Every tensor of two lists of steps, bit for bit."""
    pairs = [(a.x, b.x), (a.x_next, b.x_next), (a.prediction.x0, b.prediction.x0)]
    pairs += [(a.prediction.x0_cond, b.prediction.x0_cond)]
    if a.prediction.x0_uncond is not None:
        pairs += [(a.prediction.x0_uncond, b.prediction.x0_uncond)]
    return a.index == b.index and all(torch.equal(x, y) for x, y in pairs)


def test_a_trace_has_every_step_and_the_picture(model):
    trace = run(model, S)
    assert [s.index for s in trace.steps] == [0, 1, 2, 3]
    assert trace.images[0].size == (32, 32)
    assert trace.steps[-1].sigma_next == 0
    assert trace.tokens[:4] == ("<|startoftext|>", "a", "red", "circle")
    assert trace.finished and trace.model_name == "tiny"


def test_each_step_goes_on_where_the_last_one_ended(model):
    trace = run(model, S)
    for a, b in zip(trace.steps[:-1], trace.steps[1:], strict=True):
        assert torch.equal(a.x_next, b.x) and a.sigma_next == b.sigma


def test_stored_predictions_and_noise_make_up_the_latents(model):
    for step in generate(model, S):
        unit = (1 + step.sigma**2) ** 0.5
        torch.testing.assert_close(
            (step.prediction.x0 + step.sigma * step.eps) / unit, step.x / unit, rtol=1e-5, atol=1e-5
        )


def test_attention_sums_to_one_over_tokens_at_every_size(model):
    step = next(generate(model, S))
    for maps, kept in ((step.prediction.attention, 10), (step.prediction.attention_uncond, 3)):
        assert maps.sizes == [(8, 8), (4, 4)]
        for size in maps.sizes:
            assert maps.at(*size).shape == (1, kept, *size)
            torch.testing.assert_close(maps.at(*size).float().sum(1), torch.ones(1, *size), atol=3e-3, rtol=0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_recording_attention_changes_no_bit(dtype):
    model = tiny_model().to(dtype)
    for a, b in zip(generate(model, S), generate(model, S, record_attention=False), strict=True):
        assert same(a, b)


def test_a_traced_network_gives_the_bits_of_an_eager_one():
    traced, eager = tiny_model(), tiny_model()
    eager.graphs.enabled = False
    for _ in range(3):  # the first calls of a traced graph are made by other code than the later ones
        for a, b in zip(generate(traced, S), generate(eager, S), strict=True):
            assert same(a, b)
    assert traced.graphs._graphs and not eager.graphs._graphs


def test_picture_i_of_a_batch_is_seed_plus_i(model):
    batch = list(generate(model, dataclasses.replace(S, batch_size=3)))[-1].x_next
    for i in range(3):
        single = list(generate(model, dataclasses.replace(S, seed=i)))[-1].x_next
        torch.testing.assert_close(batch[i : i + 1], single, rtol=1e-3, atol=1e-3)


def test_the_start_noise_of_a_batch_is_that_of_its_pictures_bit_for_bit(model):
    batch = next(generate(model, dataclasses.replace(S, batch_size=3))).x
    singles = [next(generate(model, dataclasses.replace(S, seed=i))).x for i in range(3)]
    assert torch.equal(batch, torch.cat(singles))


@pytest.mark.parametrize("at", [0, 1, 3, 4])
@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_run_taken_up_again_has_the_same_bits(model, sampler, at):
    settings = dataclasses.replace(S, sampler=sampler, steps=5, eta=None)
    trace = run(model, settings)
    tail = list(resume(model, trace, at))
    assert len(tail) == 5 - at
    assert all(same(a, b) for a, b in zip(tail, trace.steps[at:], strict=True))


def test_a_stopped_run_is_taken_up_where_it_stopped(model):
    whole = run(model, S)
    steps = []
    for step in generate(model, S):
        steps.append(step)
        if len(steps) == 2:
            break
    stopped = finish(model, S, steps, 0.0, finished=False)
    assert not stopped.finished and stopped.images[0].size == (32, 32)
    assert all(same(a, b) for a, b in zip(resume(model, stopped, 2), whole.steps[2:], strict=True))


def test_a_run_can_go_on_with_other_settings(model):
    trace = run(model, S)
    changed = dataclasses.replace(S, prompt="a blue square", cfg_scale=5.0, sampler="euler", steps=6)
    tail = list(resume(model, trace, 2, changed))
    assert [s.index for s in tail] == [2, 3, 4, 5]
    assert torch.equal(tail[0].x, trace.steps[2].x) and tail[0].sigma == trace.steps[2].sigma
    assert tail[-1].sigma_next == 0
    assert not torch.equal(tail[0].prediction.x0, trace.steps[2].prediction.x0)


def test_a_run_from_a_picture_can_be_taken_up_again(model):
    picture = Image.radial_gradient("L").resize((32, 32)).convert("RGB")
    settings = dataclasses.replace(S, steps=6, strength=0.5)
    steps = list(generate(model, settings, init_image=picture))
    assert len(steps) == 3
    trace = finish(model, settings, steps, 0.0)
    assert all(same(a, b) for a, b in zip(resume(model, trace, 1), steps[1:], strict=True))


def test_guidance_of_one_costs_one_call_and_needs_no_negative_prompt(model, monkeypatch):
    sizes = []
    predict = model.predict

    def counted(x, t, context, record=False, *more):
        sizes.append(len(x))
        return predict(x, t, context, record, *more)

    monkeypatch.setattr(model, "predict", counted)
    step = next(generate(model, dataclasses.replace(S, cfg_scale=1.0)))
    assert sizes == [1] and step.prediction.x0_uncond is None
    next(generate(model, S))
    assert sizes == [1, 2]


def test_the_caller_keeps_gradients_between_steps(model):
    for _ in generate(model, S):
        assert torch.is_grad_enabled()


@pytest.mark.parametrize("size", [(32, 64), (64, 32), (16, 24)])
def test_pictures_need_not_be_square(model, size):
    trace = run(model, dataclasses.replace(S, width=size[0], height=size[1], steps=2))
    assert trace.images[0].size == size


def test_a_model_of_v_with_zero_terminal_snr_draws_finite_pictures():
    model = tiny_model(prediction_type="v", schedule=ScheduleConfig(zero_terminal_snr=True))
    trace = run(model, S)
    assert trace.steps[0].sigma == pytest.approx(4096, rel=1e-3)
    assert all(step.x_next.isfinite().all() for step in trace.steps)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"width": 36}, "width must be a multiple of 8 for tiny, got 36."),
        ({"height": 20}, "height must be a multiple of 8 for tiny, got 20."),
        (
            {"sampler": "dimm"},
            f"Unknown sampler 'dimm'. Did you mean 'ddim'? Choose one of: {', '.join(SAMPLERS)}.",
        ),
        (
            {"spacing": "trail"},
            f"Unknown spacing 'trail'. Did you mean 'trailing'? Choose one of: {', '.join(SPACINGS)}.",
        ),
        ({"final_sigma": "one"}, "Unknown final_sigma 'one'. Choose one of: zero, first_timestep."),
        (
            {"noise": "mine"},
            "Unknown noise 'mine'. Choose one of: per_picture, diffusers, a1111_gpu, comfyui.",
        ),
        (
            {"cfg_method": "cfg_pp", "sampler": "heun"},
            f"cfg_method 'cfg_pp' is not for the sampler 'heun'; choose one of: {', '.join(sorted(CFG_PP))}.",
        ),
        (
            {"sampler": "euler", "order": 2},
            "The sampler 'euler' has no order 2; it has: none.",
        ),
        (
            {"sampler": "lms", "order": 4, "s_churn": 1.0},
            "s_churn is not for the sampler 'lms'; choose one of: euler, heun, dpm_2.",
        ),
        ({"sampler": "deis", "order": 4}, "The sampler 'deis' has no order 4; it has: 1, 2, 3."),
        (
            {"sampler": "restart", "spacing": "custom", "sigmas": (3.0, 2.0, 1.0, 0.5)},
            "The sampler 'restart' lays out noise levels itself; 'custom' is not for it.",
        ),
        ({"cfg_start": 0.9, "cfg_stop": 0.2}, "Guidance start must be at most its stop 0.2, got 0.9."),
        (
            {"sampler": "langevin", "step_lr": 1.0, "spacing": "exponential", "steps_per_level": 1},
            "step_lr must be less than 0.0017, twice the square of the last noise level, "
            "for 'langevin' to settle; got 1.",
        ),
        (
            {"cfg_method": "two_scale"},
            "tiny reads no picture beside its latents, so cfg_method 'two_scale' has nothing to weigh.",
        ),
    ],
)
def test_what_the_model_cannot_do_is_said_at_the_call(model, change, message):
    with pytest.raises(SettingsError) as error:
        generate(model, dataclasses.replace(S, **change))
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("at", "change", "message"),
    [
        (5, {}, "at must be between 0 and 4, the steps made; got 5."),
        (-1, {}, "at must be between 0 and 4, the steps made; got -1."),
        (1, {"width": 64}, "width must stay 32 when a run is taken up again, got 64."),
        (3, {"steps": 3}, "steps must be more than 3, the steps already made; got 3."),
    ],
)
def test_what_does_not_fit_a_trace_is_said_at_the_call(model, at, change, message):
    trace = run(model, S)
    with pytest.raises(SettingsError) as error:
        resume(model, trace, at, dataclasses.replace(S, **change))
    assert str(error.value) == message


def test_more_steps_than_timesteps_are_refused():
    model = tiny_model(schedule=ScheduleConfig(n_steps=10))
    with pytest.raises(SettingsError, match=r"steps must be between 1 and 10, .*; got 11\."):
        generate(model, dataclasses.replace(S, steps=11))


def test_public_names_are_the_documented_ones():
    assert all(hasattr(ldm, name) for name in ldm.__all__)
