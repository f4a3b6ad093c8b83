import dataclasses

import pytest
import torch

from ldm.diffusion.denoiser import PREDICTION_TYPES, Denoiser, from_x0, guide, to_x0
from ldm.diffusion.gaussian import denoising_loss, posterior, prior_bits, q_sample, target, vlb_weights
from ldm.diffusion.schedule import NoiseSchedule, rescale_zero_terminal_snr, scaled_linear_betas
from ldm.errors import SettingsError

SD = NoiseSchedule.from_betas(scaled_linear_betas())
ZERO_TERMINAL = NoiseSchedule(rescale_zero_terminal_snr(SD.alphas_cumprod))
SIGMAS = [0.03, 0.5, 1.0, 14.6, 4096.0]

every_type = pytest.mark.parametrize("prediction_type", PREDICTION_TYPES)
every_sigma = pytest.mark.parametrize("sigma", SIGMAS)


def randn(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


X0, EPS = randn(2, 4, 6, 5, seed=1), randn(2, 4, 6, 5, seed=2)


def perfect(prediction_type, sigma):
    """What a perfect network returns, from the definitions at unit variance."""
    alpha = 1 / (1 + sigma**2) ** 0.5
    return {"eps": EPS, "v": alpha * EPS - sigma * alpha * X0, "x0": X0}[prediction_type]


class Network:
    """Any function of its three inputs, with different answers for different pictures; counts its calls."""

    def __init__(self, with_maps=False):
        self.calls, self.with_maps = [], with_maps

    def __call__(self, x, t, context):
        self.calls.append((x, t, context))
        words = context.mean(dim=(1, 2))[:, None, None, None]
        output = torch.tanh(x + words) * (1 + words) + t[:, None, None, None] / 1000
        maps = tuple(context.mean(2)[:, :, None, None].expand(-1, -1, n, n) for n in (6, 3))
        return output, maps if self.with_maps else ()


CONTEXT, UNCOND = randn(2, 3, 7, seed=3, dtype=torch.float32), randn(2, 3, 7, seed=4, dtype=torch.float32)
X = randn(2, 4, 6, 5, seed=5, dtype=torch.float32) * 3


def denoiser(**changes):
    return dataclasses.replace(Denoiser(Network(), SD, "eps", CONTEXT, UNCOND, cfg_scale=3.0), **changes)


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
    guided = uncond + 7.5 * (cond - uncond)
    x0_cond, x0_uncond = (to_x0(x, sigma, output, prediction_type) for output in (cond, uncond))
    x0 = guide(x, sigma, x0_cond, x0_uncond, 7.5, 0.0, prediction_type)
    torch.testing.assert_close(from_x0(x, sigma, x0, prediction_type), guided, rtol=0, atol=1e-10)


def test_guidance_is_linear_in_its_scale():
    x0_cond, x0_uncond = X0, EPS

    def guided(scale):
        return guide(X0, 1.0, x0_cond, x0_uncond, scale, 0.0, "eps")

    assert torch.equal(guided(0.0), x0_uncond)
    assert torch.equal(guided(1.0), x0_cond)
    torch.testing.assert_close(guided(5.0), 2 * guided(3.0) - guided(1.0))
    torch.testing.assert_close(guided(-2.0), 3 * x0_uncond - 2 * x0_cond)


@every_type
def test_full_rescale_gives_each_picture_the_spread_it_has_without_guidance(prediction_type):
    sigma, x = 2.0, X0 + 2.0 * EPS
    x0_cond, x0_uncond = X0 + 0.1 * EPS, 0.5 * X0
    x0 = guide(x, sigma, x0_cond, x0_uncond, 7.5, 1.0, prediction_type)
    spread, spread_cond = (from_x0(x, sigma, y, prediction_type).std(dim=(1, 2, 3)) for y in (x0, x0_cond))
    torch.testing.assert_close(spread, spread_cond)


@every_type
@pytest.mark.parametrize("cfg_rescale", [0.0, 0.3, 0.7, 1.0])
def test_rescale_is_lin_et_al_s_code(prediction_type, cfg_rescale):
    sigma, x, scale = 2.0, X0 + 2.0 * EPS, 7.5
    pos, neg = randn(2, 4, 6, 5, seed=8), randn(2, 4, 6, 5, seed=9)
    cfg = neg + scale * (pos - neg)
    factor = pos.std([1, 2, 3], keepdim=True) / cfg.std([1, 2, 3], keepdim=True)
    expected = cfg * (cfg_rescale * factor + (1 - cfg_rescale))
    x0s = (to_x0(x, sigma, output, prediction_type) for output in (pos, neg))
    x0 = guide(x, sigma, *x0s, scale, cfg_rescale, prediction_type)
    torch.testing.assert_close(from_x0(x, sigma, x0, prediction_type), expected, rtol=0, atol=1e-10)


def test_rescale_of_predictions_without_spread_is_finite():
    x0 = guide(X0, 1.0, torch.ones_like(X0), torch.zeros_like(X0), 3.0, 1.0, "x0")
    assert torch.equal(x0, torch.full_like(X0, 3.0))


def test_guidance_can_be_done_again_from_what_is_stored():
    sigma, changed = 2.0, denoiser(cfg_scale=5.0, cfg_rescale=0.7)
    prediction = denoiser()(X, sigma)
    again = guide(X, sigma, prediction.x0_cond, prediction.x0_uncond, 5.0, 0.7, "eps")
    assert torch.equal(again, changed(X, sigma).x0)


@pytest.mark.parametrize("changes", [{"uncond": None}, {"cfg_scale": 1.0}, {"cfg_scale": 1}])
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
    batch = denoiser(cfg_rescale=0.7)(X, 2.0)
    for i in range(2):
        one = slice(i, i + 1)
        alone = denoiser(context=CONTEXT[one], uncond=UNCOND[one], cfg_rescale=0.7)(X[one], 2.0)
        torch.testing.assert_close(batch.x0[one], alone.x0)


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


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_predictions_have_the_type_of_the_latents(dtype):
    prediction = denoiser(context=CONTEXT.to(dtype), uncond=UNCOND.to(dtype), cfg_rescale=0.7)(
        X.to(dtype), 2.0
    )
    assert prediction.x0.dtype == prediction.x0_cond.dtype == prediction.x0_uncond.dtype == dtype


@every_type
@pytest.mark.parametrize("cfg_rescale", [0.0, 0.7])
def test_asking_changes_no_argument(prediction_type, cfg_rescale):
    before = [tensor.clone() for tensor in (X, CONTEXT, UNCOND)]
    denoiser(prediction_type=prediction_type, cfg_rescale=cfg_rescale)(X, 2.0)
    assert all(torch.equal(a, b) for a, b in zip((X, CONTEXT, UNCOND), before, strict=True))


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
