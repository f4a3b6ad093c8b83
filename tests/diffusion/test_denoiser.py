import dataclasses

import pytest
import torch

from ldm.diffusion.denoiser import PREDICTION_TYPES, Denoiser, Keep, from_x0, guide, to_x0
from ldm.diffusion.gaussian import denoising_loss, posterior, prior_bits, q_sample, target, vlb_weights
from ldm.diffusion.guidance import CFG_SCHEDULES, METHODS, Guidance
from ldm.diffusion.schedule import NoiseSchedule, rescale_zero_terminal_snr, scaled_linear_betas
from ldm.errors import SettingsError

SD = NoiseSchedule.from_betas(scaled_linear_betas())
ZERO_TERMINAL = NoiseSchedule(rescale_zero_terminal_snr(SD.alphas_cumprod))
SIGMAS = [0.03, 0.5, 1.0, 14.6, 4096.0]

every_type = pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
every_sigma = pytest.mark.parametrize("sigma", SIGMAS)
every_method = pytest.mark.parametrize("method", METHODS)


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


X0, EPS = randn(2, 4, 6, 5, seed=1), randn(2, 4, 6, 5, seed=2)


def perfect(prediction_type, sigma):
    """What a perfect network returns, from the definitions at unit variance."""
    alpha = 1 / (1 + sigma**2) ** 0.5
    return {"eps": EPS, "v": alpha * EPS - sigma * alpha * X0, "x0": X0}[prediction_type]


class Network:
    """Any function of its three inputs, with different answers for different pictures; counts its calls.

    Channels after the fourth are what it is shown besides, and what it says has four.
    """

    def __init__(self, with_maps=False):
        self.calls, self.with_maps = [], with_maps

    def __call__(self, x, t, context):
        self.calls.append((x, t, context))
        words = context.mean(dim=(1, 2))[:, None, None, None]
        x, shown = x[:, :4], x[:, 4:].sum(1, keepdim=True)
        output = torch.tanh(x + words + shown) * (1 + words) + t[:, None, None, None] / 1000
        maps = tuple(context.mean(2)[:, :, None, None].expand(-1, -1, n, n) for n in (6, 3))
        return output, maps if self.with_maps else ()


CONTEXT, UNCOND = randn(2, 3, 7, seed=3, dtype=torch.float32), randn(2, 3, 7, seed=4, dtype=torch.float32)
X = randn(2, 4, 6, 5, seed=5, dtype=torch.float32) * 3
PERPENDICULAR, TWO_SCALE = Guidance(3.0, method="perpendicular"), Guidance(3.0, method="two_scale")
THIRD = randn(2, 3, 7, seed=6, dtype=torch.float32)
CONCAT, OTHER_CONCAT = (randn(2, 5, 6, 5, seed=seed, dtype=torch.float32) for seed in (7, 8))
KNOWN = randn(2, 4, 6, 5, seed=9, dtype=torch.float32)
MASK = (torch.arange(30.0).reshape(1, 1, 6, 5) / 20 - 0.25).clamp(0, 1)  # 0, then between, then 1


def denoiser(guidance=None, **changes):
    return Denoiser(
        **{
            "network": Network(),
            "schedule": SD,
            "prediction_type": "eps",
            "context": CONTEXT,
            "uncond": UNCOND,
            "guidance": Guidance(3.0) if guidance is None else guidance,
            **changes,
        }
    )


def guided(x, sigma, x0_cond, x0_uncond, prediction_type, **changes):
    return guide(x, sigma, x0_cond, x0_uncond, None, Guidance(**changes), prediction_type)


@every_type
@every_sigma
def test_a_perfect_network_gives_the_clean_latents(prediction_type, sigma):
    x = X0 + sigma * EPS
    output = perfect(prediction_type, sigma)
    torch.testing.assert_close(to_x0(x, sigma, output, prediction_type), X0, rtol=0, atol=1e-11)
    torch.testing.assert_close(from_x0(x, sigma, X0, prediction_type), output, rtol=0, atol=1e-11)


@every_type
@every_sigma
def test_from_x0_is_the_inverse_of_to_x0(prediction_type, sigma):
    x, output = randn(2, 4, 6, 5, seed=6) * sigma, randn(2, 4, 6, 5, seed=7)
    again = from_x0(x, sigma, to_x0(x, sigma, output, prediction_type), prediction_type)
    torch.testing.assert_close(again, output, rtol=0, atol=1e-11)


@every_type
def test_every_picture_may_have_a_noise_level_of_its_own(prediction_type):
    sigma = torch.tensor([0.5, 14.6], dtype=torch.float64)[:, None, None, None]
    x = X0 + sigma * EPS
    together = to_x0(x, sigma, EPS, prediction_type)
    alone = [to_x0(x[i : i + 1], sigma[i].item(), EPS[i : i + 1], prediction_type) for i in range(2)]
    torch.testing.assert_close(together, torch.cat(alone))


@every_type
def test_float32_is_exact_to_rounding_where_the_network_predicts_v_or_x0(prediction_type):
    for sigma in SIGMAS:
        x, output = X0 + sigma * EPS, perfect(prediction_type, sigma)
        x0 = to_x0(x.float(), sigma, output.float(), prediction_type).double()
        # eps cannot: x0 is the difference of two numbers as large as sigma
        atol = 5e-7 * max(1.0, sigma) * 2 if prediction_type == "eps" else 1e-6
        torch.testing.assert_close(x0, X0, rtol=0, atol=atol)


@every_type
@pytest.mark.parametrize("sigma", [0.03, 1.0, 14.6])
def test_guiding_x0_is_guiding_the_network_s_output(prediction_type, sigma):
    x = X0 + sigma * EPS
    cond, uncond = randn(2, 4, 6, 5, seed=8), randn(2, 4, 6, 5, seed=9)
    expected = uncond + 7.5 * (cond - uncond)
    x0_cond, x0_uncond = (to_x0(x, sigma, output, prediction_type) for output in (cond, uncond))
    x0 = guided(x, sigma, x0_cond, x0_uncond, prediction_type, scale=7.5)
    torch.testing.assert_close(from_x0(x, sigma, x0, prediction_type), expected, rtol=0, atol=1e-10)


def test_guidance_is_linear_in_its_scale():
    x0_cond, x0_uncond = X0, EPS

    def at(scale):
        return guided(X0, 1.0, x0_cond, x0_uncond, "eps", scale=scale)

    assert torch.equal(at(0.0), x0_uncond)
    assert torch.equal(at(1.0), x0_cond)
    torch.testing.assert_close(at(5.0), 2 * at(3.0) - at(1.0))
    torch.testing.assert_close(at(-2.0), 3 * x0_uncond - 2 * x0_cond)


@every_type
def test_full_rescale_gives_each_picture_the_spread_it_has_without_guidance(prediction_type):
    sigma, x = 2.0, X0 + 2.0 * EPS
    x0_cond, x0_uncond = X0 + 0.1 * EPS, 0.5 * X0
    x0 = guided(x, sigma, x0_cond, x0_uncond, prediction_type, scale=7.5, rescale=1.0)
    spread, spread_cond = (from_x0(x, sigma, y, prediction_type).std(dim=(1, 2, 3)) for y in (x0, x0_cond))
    torch.testing.assert_close(spread, spread_cond)


@every_type
@pytest.mark.parametrize("rescale", [0.0, 0.3, 0.7, 1.0])
def test_rescale_is_lin_et_al_s_code(prediction_type, rescale):
    sigma, x, scale = 2.0, X0 + 2.0 * EPS, 7.5
    pos, neg = randn(2, 4, 6, 5, seed=8), randn(2, 4, 6, 5, seed=9)
    cfg = neg + scale * (pos - neg)
    factor = pos.std([1, 2, 3], keepdim=True) / cfg.std([1, 2, 3], keepdim=True)
    expected = cfg * (rescale * factor + (1 - rescale))
    x0s = (to_x0(x, sigma, output, prediction_type) for output in (pos, neg))
    x0 = guided(x, sigma, *x0s, prediction_type, scale=scale, rescale=rescale)
    torch.testing.assert_close(from_x0(x, sigma, x0, prediction_type), expected, rtol=0, atol=1e-10)


def test_rescale_of_predictions_without_spread_is_finite():
    x0 = guided(X0, 1.0, torch.ones_like(X0), torch.zeros_like(X0), "x0", scale=3.0, rescale=1.0)
    assert torch.equal(x0, torch.full_like(X0, 3.0))


def test_guidance_can_be_done_again_from_what_is_stored():
    sigma, changed = 2.0, denoiser(Guidance(5.0, rescale=0.7))
    prediction = denoiser()(X, sigma)
    again = guided(X, sigma, prediction.x0_cond, prediction.x0_uncond, "eps", scale=5.0, rescale=0.7)
    assert torch.equal(again, changed(X, sigma).x0)


@pytest.mark.parametrize(
    "changes", [{"uncond": None}, {"guidance": Guidance(1.0)}, {"guidance": Guidance(1)}]
)
def test_without_guidance_only_the_prompt_is_asked_about(changes):
    off = denoiser(**changes)
    prediction = off(X, 2.0)
    assert [len(x) for x, _, _ in off.network.calls] == [2]
    assert torch.equal(off.network.calls[0][2], CONTEXT)
    assert prediction.x0_uncond is None
    assert torch.equal(prediction.x0, prediction.x0_cond)
    torch.testing.assert_close(prediction.x0, denoiser()(X, 2.0).x0_cond)


def test_guidance_is_one_call_with_the_unconditional_half_first():
    on = denoiser()
    on(X, 2.0)
    ((x, t, context),) = on.network.calls
    assert torch.equal(x, torch.cat([X, X]) / 5**0.5)
    assert torch.equal(context, torch.cat([UNCOND, CONTEXT]))
    assert t.shape == (4,)
    assert t.dtype == torch.float32
    assert t.tolist() == pytest.approx([SD.timestep(2.0)] * 4)


def test_the_two_halves_are_what_each_prompt_gives_alone():
    prediction = denoiser()(X, 2.0)
    for x0, context in ((prediction.x0_cond, CONTEXT), (prediction.x0_uncond, UNCOND)):
        torch.testing.assert_close(x0, denoiser(context=context, uncond=None)(X, 2.0).x0)


def test_pictures_of_a_batch_do_not_meet():
    batch = denoiser(Guidance(3.0, rescale=0.7))(X, 2.0)
    for i in range(2):
        one = slice(i, i + 1)
        alone = denoiser(Guidance(3.0, rescale=0.7), context=CONTEXT[one], uncond=UNCOND[one])(X[one], 2.0)
        torch.testing.assert_close(batch.x0[one], alone.x0)


@every_method
def test_outside_its_interval_guidance_costs_nothing_and_does_nothing(method):
    given = {"third": THIRD, "concat": CONCAT}
    on = denoiser(Guidance(3.0, 0.7, method, "interval", start=0.3, stop=0.6), **given)
    full, off = denoiser(Guidance(3.0, 0.7, method), **given), denoiser(uncond=None, **given)
    for t in (999, 500, 0, 450):
        prediction, same_as = on(X, on.sigma_at(t)), (full if t in (500, 450) else off)(X, on.sigma_at(t))
        assert torch.equal(prediction.x0, same_as.x0)
        assert prediction.keeps_uncond == same_as.keeps_uncond
    asked = 6 if method in ("perpendicular", "two_scale") else 4
    assert [len(x) for x, _, _ in on.network.calls] == [2, asked, 2, asked]


def test_contexts_are_put_together_once_for_each_set_of_branches():
    on = denoiser(Guidance(3.0, schedule="interval", start=0.3, stop=0.6))
    for t in (999, 500, 0, 450):
        on(X, on.sigma_at(t))
    contexts = [context for _, _, context in on.network.calls]
    assert contexts[0] is contexts[2]
    assert contexts[1] is contexts[3]


def test_timestep_and_sigma_at_are_the_schedule_s():
    ours = denoiser()
    assert ours.timestep(2.0) == SD.timestep(2.0)
    assert ours.sigma_at(333.3) == SD.sigma_at(333.3)
    assert ours.timestep(ours.sigma_at(333.3)) == pytest.approx(333.3)


def shown(x):
    """What the network was shown besides the latents."""
    return x[:, 4:]


def test_channels_come_after_those_of_the_latents_as_they_are():
    off = denoiser(concat=CONCAT, uncond=None)
    off(X, 2.0)
    ((x, _, _),) = off.network.calls
    assert torch.equal(x, torch.cat([X / 5**0.5, CONCAT], 1))


@pytest.mark.parametrize("given", [None, OTHER_CONCAT], ids=["the same", "others"])
def test_the_unconditional_half_is_shown_the_same_unless_told_otherwise(given):
    on = denoiser(concat=CONCAT, concat_uncond=given)
    on(X, 2.0)
    ((x, _, _),) = on.network.calls
    assert torch.equal(x[:, :4], torch.cat([X, X]) / 5**0.5)
    assert torch.equal(shown(x), torch.cat([CONCAT if given is None else given, CONCAT]))


def test_a_negative_prompt_beside_the_empty_one_is_shown_what_the_prompt_is():
    on = denoiser(PERPENDICULAR, third=THIRD, concat=CONCAT, concat_uncond=OTHER_CONCAT)
    on(X, 2.0)
    ((x, t, context),) = on.network.calls
    assert torch.equal(x[:, :4], torch.cat([X, X, X]) / 5**0.5)
    assert torch.equal(shown(x), torch.cat([OTHER_CONCAT, CONCAT, CONCAT]))
    assert torch.equal(context, torch.cat([UNCOND, THIRD, CONTEXT]))
    assert t.tolist() == pytest.approx([SD.timestep(2.0)] * 6)


@pytest.mark.parametrize("given", [None, OTHER_CONCAT], ids=["zeros", "others"])
@pytest.mark.parametrize("third", [None, THIRD], ids=["the empty prompt", "another"])
def test_two_scales_ask_about_nothing_then_the_picture_then_both(given, third):
    on = denoiser(TWO_SCALE, concat=CONCAT, concat_uncond=given, third=third)
    on(X, 2.0)
    ((x, _, context),) = on.network.calls
    first = torch.zeros_like(CONCAT) if given is None else given
    assert torch.equal(shown(x), torch.cat([first, CONCAT, CONCAT]))
    assert torch.equal(context, torch.cat([UNCOND, UNCOND if third is None else third, CONTEXT]))


@every_type
@every_method
def test_each_branch_is_what_it_is_alone(method, prediction_type):
    on = denoiser(Guidance(3.0, method=method), prediction_type=prediction_type, third=THIRD, concat=CONCAT)
    prediction, off = on(X, 2.0), dataclasses.replace(on, uncond=None)
    first = torch.zeros_like(CONCAT) if method == "two_scale" else CONCAT
    torch.testing.assert_close(prediction.x0_cond, off(X, 2.0).x0)
    uncond = dataclasses.replace(off, context=UNCOND, concat=first)(X, 2.0)
    torch.testing.assert_close(prediction.x0_uncond, uncond.x0)
    if method in ("perpendicular", "two_scale"):
        third = dataclasses.replace(off, context=THIRD)(X, 2.0)
        torch.testing.assert_close(prediction.x0_third, third.x0)
    else:
        assert prediction.x0_third is None


@every_type
@every_method
def test_every_method_can_be_done_again_from_what_is_stored(method, prediction_type):
    guidance = Guidance(3.0, 0.3, method, threshold=0.9)
    on = denoiser(guidance, prediction_type=prediction_type, third=THIRD, concat=CONCAT)
    p = on(X, 2.0)
    again = guide(X, 2.0, p.x0_cond, p.x0_uncond, p.x0_third, guidance, prediction_type)
    assert torch.equal(again, p.x0)


@every_type
@every_method
def test_every_method_gives_the_same_whatever_the_network_predicts(method, prediction_type):
    """Without the rescale, which depends on it."""
    sigma, (uncond, third, cond) = 1.7, randn(3, 2, 4, 6, 5, seed=8)
    x, guidance = X0 + sigma * EPS, Guidance(3.0, method=method, threshold=0.9)
    branches = [uncond, third, cond] if method in ("perpendicular", "two_scale") else [uncond, cond]
    output = torch.cat([from_x0(x, sigma, x0, prediction_type) for x0 in branches])
    on = denoiser(
        guidance, network=lambda x, t, context: (output, ()), prediction_type=prediction_type, third=THIRD,
        concat=CONCAT,
    )  # fmt: skip
    expected = guide(x, sigma, cond, uncond, third, guidance, "x0")
    torch.testing.assert_close(on(x, sigma).x0, expected, rtol=0, atol=1e-11)


def test_cfg_pp_keeps_the_noise_that_is_left_without_the_prompt():
    plain, other = denoiser(Guidance(0.6))(X, 2.0), denoiser(Guidance(0.6, method="cfg_pp"))(X, 2.0)
    assert torch.equal(other.x0, plain.x0)
    assert torch.equal(other.anchor, other.x0_uncond)
    assert torch.equal(plain.anchor, plain.x0)


def test_cfg_pp_asks_without_the_prompt_at_any_scale():
    for scale in (0.0, 1.0):
        on = denoiser(Guidance(scale, method="cfg_pp"))
        prediction = on(X, 2.0)
        assert [len(x) for x, _, _ in on.network.calls] == [4]
        assert torch.equal(prediction.anchor, prediction.x0_uncond)
        assert torch.equal(prediction.x0, prediction.x0_cond if scale else prediction.x0_uncond)


def test_without_a_negative_prompt_there_is_no_cfg_pp():
    prediction = denoiser(Guidance(0.6, method="cfg_pp"), uncond=None)(X, 2.0)
    assert prediction.keeps_uncond is False
    assert prediction.anchor is prediction.x0


@pytest.mark.parametrize(
    ("guidance", "given", "asked"),
    [
        (Guidance(1.0, method="perpendicular"), {"third": THIRD}, 6),
        (Guidance(1.0, method="perpendicular", negative_scale=0.0), {"third": THIRD}, 2),
        (Guidance(1.0, method="perpendicular"), {}, 2),
        (Guidance(3.0, method="perpendicular"), {}, 4),
        (Guidance(1.0, method="two_scale"), {"concat": CONCAT}, 6),
        (Guidance(1.0, method="two_scale", image_scale=1.0), {"concat": CONCAT}, 2),
        (Guidance((1.0, 1.0)), {}, 2),
        (Guidance((3.0, 1.0)), {}, 4),
        (Guidance(3.0), {"third": THIRD}, 4),
    ],
)
def test_nothing_is_asked_that_is_not_needed(guidance, given, asked):
    on = denoiser(guidance, **given)
    prediction = on(X, 2.0)
    assert [len(x) for x, _, _ in on.network.calls] == [asked]
    if asked == 2:
        assert torch.equal(prediction.x0, denoiser(uncond=None, **given)(X, 2.0).x0)
        assert prediction.x0_uncond is None


@every_method
@pytest.mark.parametrize("schedule", CFG_SCHEDULES)
def test_a_scale_for_each_picture_is_what_each_has_alone(method, schedule):
    shape = {"method": method, "schedule": schedule, "rescale": 0.7, "threshold": 0.9, "final_scale": 2.0}
    on = denoiser(Guidance((3.0, 5.5), **shape), third=THIRD, concat=CONCAT)
    prediction = on(X, 2.0)
    for i, scale in enumerate((3.0, 5.5)):
        alone = denoiser(Guidance(scale, **shape), third=THIRD, concat=CONCAT)(X, 2.0)
        assert torch.equal(prediction.x0[i], alone.x0[i])


def test_a_picture_whose_scale_is_1_is_not_guided_beside_one_that_is():
    prediction = denoiser(Guidance((1.0, 5.5), rescale=0.7, threshold=0.9))(X, 2.0)
    alone = denoiser(Guidance(5.5, rescale=0.7, threshold=0.9))(X, 2.0)
    assert torch.equal(prediction.x0[0], prediction.x0_cond[0])
    assert torch.equal(prediction.x0[1], alone.x0[1])
    assert not torch.equal(prediction.x0[1], prediction.x0_cond[1])


def test_attention_is_split_into_its_halves():
    prediction = denoiser(network=Network(with_maps=True))(X, 2.0)
    for attention, context in ((prediction.attention, CONTEXT), (prediction.attention_uncond, UNCOND)):
        assert attention.sizes == [(6, 6), (3, 3)]
        assert torch.equal(attention.at(3, 3)[:, :, 0, 0], context.mean(2))


def test_attention_without_guidance_is_the_prompt_s():
    prediction = denoiser(network=Network(with_maps=True), uncond=None)(X, 2.0)
    assert torch.equal(prediction.attention.at(6, 6)[:, :, 0, 0], CONTEXT.mean(2))
    assert prediction.attention_uncond is None


def test_attention_that_was_not_recorded_is_none():
    prediction = denoiser()(X, 2.0)
    assert prediction.attention is None
    assert prediction.attention_uncond is None


@pytest.mark.parametrize(("guidance", "negative"), [(PERPENDICULAR, THIRD), (TWO_SCALE, UNCOND)])
def test_of_three_predictions_attention_is_that_of_the_prompt_and_of_the_negative_one(guidance, negative):
    on = denoiser(guidance, network=Network(with_maps=True), third=THIRD, concat=CONCAT)
    prediction = on(X, 2.0)
    assert torch.equal(prediction.attention.at(6, 6)[:, :, 0, 0], CONTEXT.mean(2))
    assert torch.equal(prediction.attention_uncond.at(6, 6)[:, :, 0, 0], negative.mean(2))


@every_type
@every_method
def test_what_is_kept_is_kept_to_the_last_bit_and_the_rest_is_as_without(method, prediction_type):
    asked = {"prediction_type": prediction_type, "third": THIRD, "concat": CONCAT}
    asked["guidance"] = Guidance(3.0, method=method)
    free, held = denoiser(**asked)(X, 2.0), denoiser(**asked, keep=Keep(KNOWN, MASK))(X, 2.0)
    old, new = (MASK == 0).expand_as(X), (MASK == 1).expand_as(X)
    soft = ~(old | new)
    assert old.any() and new.any() and soft.any()
    for name in ("x0", "x0_cond", "x0_uncond", "x0_third"):
        without, kept = getattr(free, name), getattr(held, name)
        if without is None:
            assert kept is None
            continue
        assert torch.equal(kept[old], KNOWN[old])
        assert torch.equal(kept[new], without[new])
        torch.testing.assert_close(kept[soft], (without * MASK + KNOWN * (1 - MASK))[soft])


def test_without_guidance_both_predictions_are_one_and_are_held_once():
    held = denoiser(uncond=None, keep=Keep(KNOWN, MASK))(X, 2.0)
    assert held.x0 is held.x0_cond
    assert held.x0_uncond is None


@pytest.mark.parametrize("bad", [torch.inf, -torch.inf, torch.nan])
def test_what_is_kept_does_not_see_what_was_predicted_there(bad):
    x0 = torch.where(MASK == 0, bad, X)
    assert torch.equal(Keep(KNOWN, (MASK > 0).float()).blend(x0), torch.where(MASK == 0, KNOWN, X))


def test_what_is_kept_may_be_bad_where_it_is_not():
    known = torch.where(MASK == 1, torch.nan, KNOWN)
    assert torch.equal(Keep(known, (MASK == 1).float()).blend(X), torch.where(MASK == 1, X, KNOWN))


def test_every_picture_may_have_a_mask_of_its_own():
    masks = torch.cat([torch.zeros(1, 1, 6, 5), torch.ones(1, 1, 6, 5)])
    assert torch.equal(Keep(KNOWN, masks).blend(X), torch.cat([KNOWN[:1], X[1:]]))


def test_a_step_of_a_sampler_takes_the_kept_part_to_its_noise_level():
    """x_next = x0 + ratio * (x - x0): what began as latents + sigma * noise stays that."""
    sigma, sigma_next, noise = 2.0, 0.5, X / 3
    x = KNOWN + sigma * noise
    x0 = denoiser(keep=Keep(KNOWN, MASK))(x, sigma).x0
    x_next = x0 + sigma_next / sigma * (x - x0)
    old = (MASK == 0).expand_as(X)
    torch.testing.assert_close(x_next[old], (KNOWN + sigma_next * noise)[old])


@pytest.mark.parametrize(
    ("guidance", "message"),
    [
        (Guidance((3.0, 1.0, 2.0)), "Guidance has 3 scales for a batch of 2."),
        (Guidance((3.0,)), "Guidance has 1 scales for a batch of 2."),
        (TWO_SCALE, "two_scale guidance needs a picture to edit, and there is none."),
    ],
)
def test_guidance_that_does_not_fit_is_refused(guidance, message):
    with pytest.raises(SettingsError) as error:
        denoiser(guidance)
    assert str(error.value) == message


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_predictions_have_the_type_of_the_latents(dtype):
    contexts = {"context": CONTEXT.to(dtype), "uncond": UNCOND.to(dtype)}
    guidance = Guidance((3.0, 5.0), rescale=0.7, threshold=0.9)
    prediction = denoiser(guidance, keep=Keep(KNOWN, MASK), **contexts)(X.to(dtype), 2.0)
    assert prediction.x0.dtype == prediction.x0_cond.dtype == prediction.x0_uncond.dtype == dtype


@every_type
@every_method
def test_asking_changes_no_argument(prediction_type, method):
    keep, given = Keep(KNOWN, MASK), (X, CONTEXT, UNCOND, THIRD, CONCAT, KNOWN, MASK)
    before = [tensor.clone() for tensor in given]
    asked = {"prediction_type": prediction_type, "third": THIRD, "concat": CONCAT, "keep": keep}
    denoiser(Guidance(3.0, 0.7, method, threshold=0.9), **asked)(X, 2.0)
    assert all(torch.equal(a, b) for a, b in zip(given, before, strict=True))


def test_an_unknown_prediction_type_is_refused():
    message = "Unknown prediction_type 'epsilon'. Did you mean 'eps'? Choose one of: eps, v, x0."
    for call in (
        lambda: denoiser(prediction_type="epsilon"),
        lambda: to_x0(X, 1.0, X, "epsilon"),
        lambda: from_x0(X, 1.0, X, "epsilon"),
        lambda: target(SD, X, torch.zeros(2, dtype=torch.long), X, "epsilon"),
    ):
        with pytest.raises(SettingsError) as error:
            call()
        assert str(error.value) == message


@every_type
@pytest.mark.parametrize("schedule", [SD, ZERO_TERMINAL], ids=["sd", "zero_terminal_snr"])
def test_training_targets_are_what_the_denoiser_reads_as_x0(prediction_type, schedule):
    for step in (0, 500, 998):
        t, sigma = torch.full((2,), step), schedule.sigma_at(step)
        x = q_sample(schedule, X0, t, EPS) * (1 + sigma**2) ** 0.5
        torch.testing.assert_close(x, X0 + sigma * EPS, rtol=1e-10, atol=1e-10)
        output = target(schedule, X0, t, EPS, prediction_type)
        torch.testing.assert_close(to_x0(x, sigma, output, prediction_type), X0, rtol=0, atol=1e-9)


def test_the_posterior_is_gaussian_conditioning():
    # q(x_t | x_before) q(x_before | x0), both Gaussian: precisions add
    t = torch.tensor([1, 600])
    x = randn(2, 4, 6, 5, seed=6)
    mean, variance = posterior(SD, X0, x, t)
    beta, before = (v.reshape(2, 1, 1, 1) for v in (SD.betas[t], SD.alphas_cumprod[t - 1]))
    precision = (1 - beta) / beta + 1 / (1 - before)
    torch.testing.assert_close(variance, 1 / precision)
    expected = ((1 - beta).sqrt() * x / beta + before.sqrt() * X0 / (1 - before)) / precision
    torch.testing.assert_close(mean, expected)


def test_before_the_first_timestep_there_is_no_noise():
    mean, variance = posterior(SD, X0, EPS, torch.zeros(2, dtype=torch.long))
    torch.testing.assert_close(mean, X0, rtol=0, atol=1e-12)
    assert (variance == 0).all()


def test_the_bound_s_weights_turn_an_error_of_eps_into_one_of_the_posterior_mean():
    t, sigma = torch.tensor([1, 700]), SD.sigmas[[1, 700]].reshape(-1, 1, 1, 1)
    x, eps = q_sample(SD, X0, t, EPS), EPS + 0.1 * X0.cos()  # a network's somewhat wrong answer
    wrong = to_x0(x * (1 + sigma**2).sqrt(), sigma, eps, "eps")
    (mean, variance), (wrong_mean, _) = posterior(SD, X0, x, t), posterior(SD, wrong, x, t)
    nats = ((mean - wrong_mean).square() / (2 * variance)).mean((1, 2, 3))
    loss = denoising_loss(eps, EPS, t, vlb_weights(SD), simple_weight=0.0, vlb_weight=1.0)
    torch.testing.assert_close(loss.total, nats.mean())


def test_an_unknown_norm_is_refused():
    with pytest.raises(SettingsError, match="norm"):
        denoising_loss(X0, EPS, torch.zeros(2, dtype=torch.long), vlb_weights(SD), norm="l3")


def test_nothing_is_left_of_a_picture_where_the_schedule_ends_without_signal():
    assert (prior_bits(ZERO_TERMINAL, X0) <= 1e-6).all()
    assert (prior_bits(SD, X0) > 1e-4).all()
