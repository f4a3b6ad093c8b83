import dataclasses
import math
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from ldm import generation
from ldm.diffusion.inversion import encode
from ldm.diffusion.samplers import SAMPLERS
from ldm.diffusion.samplers.base import BLIND
from ldm.errors import SettingsError
from ldm.generation import asked
from ldm.settings import Settings
from ldm.trace import Prediction, Step
from ldm.views import updates
from ldm.views.equation import REST, number, rms
from ldm.views.equations import equations, tensor_at
from ldm.views.step_equation import EULER, SYMBOLS, UNKNOWN

from .runs import SCHEDULE, TO_NOISE, denoiser, levels_of, made, stream, traced, walk

TITLES = [
    "What the network was asked",
    "From the network's answer to x0",
    "Guidance",
    "A clean picture and noise",
    "The sampler's step",
]
every_sampler = pytest.mark.parametrize("name", SAMPLERS)
NEAR = 1e-5  # RMS at unit variance
# steps that ask again within themselves, whose answers a run does not keep
BETWEEN = {name for name, entry in SAMPLERS.items() if entry.calls > 1}


def each(trace, picture=0, schedule=SCHEDULE):
    for step in trace.steps:
        yield step, equations(trace, step.index, picture, schedule=schedule)


@pytest.mark.parametrize("cfg_scale", [1.0, 4.0])
@every_sampler
def test_the_numbers_make_the_tensors_that_are_stored(name, cfg_scale):
    trace, _ = made(name, cfg_scale=cfg_scale)
    for step, found in each(trace):
        assert [e.title for e in found] == TITLES
        assert all(e.error is None or e.error < NEAR for e in found)
        unknown = {e.title for e in found if e.error is None}
        beyond = name in BETWEEN and step.sigma_next > 0 and found[-1].error is None
        first = name == "plms" and step.index == 0
        assert unknown == {TITLES[0], *([TITLES[-1]] if beyond or first else [])}


@every_sampler
def test_a_step_s_terms_are_summed_here_as_anybody_would(name):
    trace, _ = made(name)
    for step, found in each(trace):
        total = sum(term.coefficient * found[-1].tensor(term) for term in found[-1].terms)
        away = rms(total - step.x_next[0].double()) / (1 + step.sigma_next**2) ** 0.5
        assert away < NEAR


@pytest.mark.parametrize("name", ["dpmpp_2m", "heun", "lms", "unipc", "ddpm", "plms", "dpmpp_3s", "tcd"])
def test_from_infinite_noise_on_the_numbers_are_as_exact(name):
    trace, _ = made(name, TO_NOISE)
    assert trace.steps[0].sigma > BLIND
    for _, found in each(trace, schedule=TO_NOISE):
        assert all(e.error is None or e.error < NEAR for e in found)


@pytest.mark.parametrize("name", ["heun", "dpm_2", "plms", "dpm_fast", "restart"])
def test_from_infinite_noise_on_they_say_that_the_step_is_euler_s(name):
    trace, _ = made(name, TO_NOISE)
    first, second = (equations(trace, k)[-1] for k in (0, 1))
    assert first.symbols == EULER
    assert "stands for infinite noise (above 1000)" in first.note
    assert first.error < NEAR
    assert "infinite" not in second.note


def test_a_step_to_the_end_is_said_to_be_euler_s():
    trace, _ = made("dpmpp_2m")
    last = equations(trace, 8)[-1]
    assert (last.symbols, last.numbers) == (EULER, "x₁₀ = x̂₀")
    assert last.note == "A step to σ = 0 is Euler's: what comes out is x̂₀ itself."


def test_dpmpp_2m_is_its_formula():
    trace, _ = made("dpmpp_2m")
    found = equations(trace, 4)[-1]
    before, sigma, after = (trace.steps[k].sigma for k in (3, 4, 5))
    ratio, r = after / sigma, math.log(before / sigma) / math.log(sigma / after)
    expected = {"x 4": ratio, "x0 4": (1 - ratio) * (1 + 1 / (2 * r)), "x0 3": -(1 - ratio) / (2 * r)}
    assert {t.key: t.coefficient for t in found.terms} == pytest.approx(expected, rel=1e-12)
    assert found.numbers.startswith(f"x₆ = {ratio:.4g} x₅ + ")
    assert found.numbers.endswith(f"− {-expected['x0 3']:.4g} x̂₀⁽⁴⁾")
    assert found.terms[-1].name == "x0 of step 4"


@pytest.mark.parametrize(
    "name",
    [n for n, e in SAMPLERS.items() if (e.fresh or e.eta is not None) and n not in BETWEEN],
)
def test_what_is_left_beside_the_formula_is_noise_of_the_formula_s_strength(name):
    """Within three standard errors of a standard deviation, on latents that are large."""
    eta = None if SAMPLERS[name].eta is None else 0.7
    trace, _ = made(name, steps=4, shape=(4, 64, 64), eta=eta)
    bound = 3 / math.sqrt(2 * 4 * 64 * 64)
    for step, found in each(trace):
        fresh = found[-1].fresh
        assert (fresh is None) == (step.sigma_next == 0)
        if fresh is not None:
            # Brownian increments that neighbouring steps share a node with are unit noise all the same
            assert fresh.measured / fresh.expected == pytest.approx(1, abs=bound)


@pytest.mark.parametrize("name", sorted(BETWEEN | {"plms"}))
def test_answers_that_are_not_kept_come_to_one_clean_picture(name):
    """What was asked in the middle is asked again here, and put into the equation that the note gives."""
    trace, _ = made(name)
    step, found = trace.steps[0], equations(trace, 0)[-1]
    clean = next(t for t in found.terms if t.key == REST)
    assert sum(t.coefficient for t in found.terms if t.symbol != "z") == pytest.approx(1)
    away = rms(found.tensor(clean) - step.prediction.x0[0])
    assert f"it lies {number(away)} (RMS) from the network's x̂₀" in found.note
    assert 0 < away < 1
    made_of = updates.update(trace, 0)
    assert f"asked again at σ = {', '.join(number(s) for s in made_of.asked[1:])}" in found.note


def test_heun_s_second_answer_has_the_weight_that_the_note_says():
    trace, _ = made("heun")
    step, parts = trace.steps[2], updates.update(trace, 2).parts
    ahead = denoiser(trace.settings)(
        step.prediction.x0 + step.sigma_next / step.sigma * (step.x - step.prediction.x0), step.sigma_next
    )
    total = parts["x 2"] * step.x + parts["x0 2"] * step.prediction.x0 + parts["middle 1"] * ahead.x0
    torch.testing.assert_close(total, step.x_next, rtol=0, atol=1e-5)


@every_sampler
def test_the_network_s_calls_are_counted_right(name):
    for schedule in (SCHEDULE, TO_NOISE):
        trace, calls = made(name, schedule)
        assert updates.calls(trace) == calls


@pytest.mark.parametrize("order", [1, 2, 3])
def test_unipc_s_corrected_latents_are_put_in_terms_of_those_that_are_stored(order):
    trace, _ = made("unipc", order=order)
    for step, found in each(trace):
        assert found[-1].error < NEAR
        assert len(found[-1].terms) <= order + 3
        assert step.sigma_next == 0 or found[-1].terms[0].key == f"x {step.index}"


def test_restart_goes_up_from_the_level_that_it_comes_down_to():
    for steps in (20, 40):
        trace, _ = made("restart", steps=steps)
        rises = [s for s in trace.steps if s.sigma_next > s.sigma]
        assert len(rises) == (1 if steps < 36 else 2)
        low = min((s.sigma_next for s in trace.steps if s.sigma_next > 0), key=lambda s: abs(s - 0.1))
        for step in rises:
            noise = equations(trace, step.index)[-1].terms[-1]
            assert noise.coefficient == pytest.approx(math.sqrt(step.sigma_next**2 - low**2))
            assert noise.key == f"noise {step.index + 1}"


def test_noise_that_is_stirred_in_has_an_equation_of_its_own():
    for name in ("euler", "heun", "dpm_2"):
        trace, _ = made(name, s_churn=3.0, s_noise=1.1)
        for _, found in each(trace):
            assert [e.title for e in found] == ["Noise stirred in first", *TITLES]
            assert all(e.error is None or e.error < NEAR for e in found)
        assert found[0].fresh.expected == pytest.approx(
            1.1 * math.sqrt(trace.steps[-1].sigma_asked ** 2 - trace.steps[-1].sigma ** 2)
        )


GUIDANCES = {
    "rescale": {"cfg_rescale": 0.7},
    "no rescale": {"cfg_rescale": 0.0},
    "cosine": {"cfg_schedule": "cosine", "cfg_final": 1.5},
    "linear from the middle": {"cfg_schedule": "linear", "cfg_start": 0.3, "cfg_final": 8.0},
    "perpendicular": {"cfg_method": "perpendicular", "negative_scale": 1.5},
    "cfg_pp": {"cfg_method": "cfg_pp", "cfg_scale": 0.6},
}


@pytest.mark.parametrize("kind", ["eps", "v", "x0"])
@pytest.mark.parametrize("options", GUIDANCES.values(), ids=GUIDANCES)
def test_guidance_is_said_with_the_scale_and_the_factor_of_the_step(options, kind):
    trace, _ = made("euler", kind=kind, **{"cfg_scale": 5.0, **options})
    for step, found in each(trace):
        assert all(e.error is None or e.error < NEAR for e in found)
        progress = 1 - step.timestep / 999
        scale = asked.guidance_of(trace.settings).at(progress).scale
        assert f"s is {number(scale)} in this step." in found[2].note
        assert SYMBOLS["euler"] == found[-1].symbols


def test_the_rescale_factor_is_lin_et_al_s():
    trace, _ = made("euler", kind="v", cfg_scale=5.0, cfg_rescale=0.6)
    step, p = trace.steps[2], trace.steps[2].prediction
    scale = math.sqrt(1 + step.sigma**2)

    def output(x0):
        return ((step.x - x0) / step.sigma - step.sigma * x0).double() / scale

    plain = p.x0_uncond + 5 * (p.x0_cond - p.x0_uncond)
    factor = 0.4 + 0.6 * float(output(p.x0_cond).std() / output(plain).std())
    parts = {t.key: t.coefficient for t in equations(trace, 2)[2].terms}
    assert parts["x0_cond 2"] == pytest.approx(5 * factor, rel=1e-5)
    assert parts["x0_uncond 2"] == pytest.approx(-4 * factor, rel=1e-5)
    assert parts["x 2"] == pytest.approx((1 - factor) / scale**2, rel=1e-4)
    assert f"by f = {number(factor)}" in equations(trace, 2)[2].note


def test_where_guidance_is_off_it_is_said():
    trace, _ = made("euler", cfg_scale=1.0)
    assert equations(trace, 0)[2].numbers == "x̂₀ = x̂₀ᶜ"
    trace, _ = made("euler", cfg_schedule="interval", cfg_start=0.3, cfg_stop=0.6)
    off = [equations(trace, k)[2].note.startswith("Guidance was off") for k in range(9)]
    assert off == [step.prediction.x0_uncond is None for step in trace.steps]
    assert len(set(off)) == 2


def test_what_dynamic_thresholding_took_away_is_left_and_said_to_be():
    trace, _ = made("euler", cfg_scale=9.0, dynamic_threshold=0.9)
    found = equations(trace, 3)[2]
    assert found.error is None
    assert found.terms[-1].key == REST
    assert found.note.endswith("What is left, ρ, dynamic thresholding took away.")
    torch.testing.assert_close(
        sum(t.coefficient * found.tensor(t) for t in found.terms), trace.steps[3].prediction.x0[0].double()
    )


def test_pictures_of_a_batch_have_their_own_numbers():
    trace, _ = made("ddpm", batch_size=2, cfg_scales=(1.0, 4.0))
    for picture in (0, 1):
        for _, found in each(trace, picture):
            assert all(e.error is None or e.error < NEAR for e in found)
    first, second = (equations(trace, 4, picture) for picture in (0, 1))
    assert first[2].note == "The scale is 1 here, which is no guidance."
    assert second[2].note.startswith("s is 4 in this step.")
    with pytest.raises(SettingsError, match="picture must be between 0 and 1, got 2"):
        equations(trace, 0, 2)
    with pytest.raises(SettingsError, match="step must be between 0 and 8, got 9"):
        equations(trace, 9)


def test_a_picture_whose_batch_drew_noise_together_has_what_is_left_in_its_place():
    trace, _ = made("ddpm", batch_size=2, noise="diffusers")
    steps = tuple(step.of_picture(1) for step in trace.steps)
    found = equations(dataclasses.replace(trace, steps=steps), 3)[-1]
    whole = equations(trace, 3, 1)[-1]
    assert (found.terms[-1].key, found.error) == (REST, None)
    assert whole.terms[-1].key == "noise 4"
    torch.testing.assert_close(
        found.tensor(found.terms[-1]), whole.tensor(whole.terms[-1]), rtol=0, atol=1e-5
    )


def forked(first, then, at=4, **changes):
    """A run of one sampler, taken up by another."""
    before, _ = made(first)
    settings = dataclasses.replace(before.settings, sampler=then, **changes)
    levels = levels_of(before.settings)
    x = before.steps[at].x
    steps, _ = walk(settings, denoiser(settings), levels, x, stream(settings), before.steps[:at])
    return traced(settings, steps, parent=("run", at))


@pytest.mark.parametrize("then", ["dpmpp_2m", "unipc", "lms", "dpmpp_3m_sde", "ddpm", "plms"])
def test_after_a_fork_the_steps_are_the_new_sampler_s_and_before_it_nobody_s(then):
    trace = forked("ddim", then, cfg_scale=6.0, seed=11)
    for step, found in each(trace):
        assert all(e.error is None or e.error < NEAR for e in found)
        if step.index < 4:
            assert found[-1].symbols == UNKNOWN
            assert "before the run was taken up at step 5" in found[-1].note
            assert "s = 3 and f = " in found[2].note
        elif step.index == 4 and then == "unipc":  # was there a prediction to correct?  only the parent knows
            assert found[-1].symbols == UNKNOWN
        else:
            assert found[-1].error < NEAR
            assert "s is 6 in this step." in found[2].note


def test_a_stopped_run_has_the_equations_of_the_steps_it_made():
    for name in ("unipc", "dpm_fast", "dpmpp_2m", "restart"):
        whole, _ = made(name)
        part = dataclasses.replace(whole, steps=whole.steps[:4], finished=False)
        for k in range(4):
            assert equations(part, k)[-1].numbers == equations(whole, k)[-1].numbers


def test_what_a_run_does_not_tell_is_not_made_up():
    trace, _ = made("tcd")
    found = equations(trace, 3)[-1]
    assert found.symbols == UNKNOWN
    assert found.note.startswith("Where TCD jumps to follows from the model's schedule")
    whole, _ = made("langevin", step_lr=1e-4)
    part = dataclasses.replace(whole, steps=whole.steps[:4], finished=False)
    assert equations(whole, 6)[-1].error < NEAR
    assert equations(part, 3)[-1].error is None


def test_a_run_from_a_picture_to_its_noise_goes_up_by_the_noise_it_finds():
    settings = Settings(prompt="a", sampler="ddim", eta=0.0, steps=9, cfg_scale=1.0)
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    for refinements in (0, 2):
        levels = levels_of(settings).flip(0)
        trace = traced(settings, encode(denoiser(settings), x, levels, refinements=refinements))
        for step, found in each(trace):
            assert [e.title for e in found] == TITLES
            assert all(e.error is None or e.error < NEAR for e in found)
            assert f"σ = {number(step.sigma_next)}," in found[0].note
        assert {t.key for t in found[-1].terms} == {"x 8", "x_asked 8", "x0 8"}


def test_the_noising_of_a_picture_is_two_equations_and_asks_no_network():
    generator = torch.Generator().manual_seed(1)
    x0, noise = torch.randn(2, 1, 4, 8, 8, generator=generator).unbind()
    levels = [0.0, 0.3, 2.0, 14.0]
    x = [x0 + sigma * noise for sigma in levels]
    steps = [
        Step(k, levels[k], levels[k + 1], 0.0, x[k], Prediction(x0, x0), x[k + 1], levels[k + 1], x[k + 1])
        for k in range(3)
    ]
    trace = traced(Settings(prompt="a"), steps)
    for step, found in each(trace):
        assert [e.title for e in found] == TITLES[-2:]
        assert all(e.error < NEAR for e in found)
        assert found[1].terms[1].coefficient == step.sigma_next - step.sigma
    assert updates.calls(trace) == [0, 0, 0]


def test_the_kept_part_of_a_picture_is_left_out_of_guidance(model):
    settings = Settings(prompt="a red circle", steps=4, strength=0.8, width=32, height=32)
    image = Image.radial_gradient("L").resize((32, 32)).convert("RGB")
    mask = Image.new("L", (32, 32))
    mask.paste(255, (8, 8, 28, 28))
    trace = generation.run(model, settings, init_image=image, mask=mask)
    for step, found in each(trace, schedule=model.schedule):
        assert all(e.error is None or e.error < NEAR for e in found)
        assert "Where the mask keeps the picture" in found[2].note
        assert 0 < found[2].where.sum() < step.x[0, 0].numel()


def test_the_default_run_of_a_model_is_told_in_a_tenth_of_a_second(model):
    trace = generation.run(model, Settings(prompt="a red circle", steps=30, width=64, height=64))
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        for step, found in each(trace, schedule=model.schedule):
            assert found[-1].target == f"x_next {step.index}"
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < 0.1
    assert max(e.error for _, found in each(trace) for e in found if e.error is not None) < NEAR


def test_what_the_network_was_asked_is_at_unit_variance():
    trace, _ = made("euler", steps=4, shape=(4, 64, 64))
    found = equations(trace, 0)[0]
    (term,) = found.terms
    assert term.coefficient == pytest.approx(1 / math.sqrt(1 + trace.steps[0].sigma ** 2))
    assert rms(term.coefficient * tensor_at(trace, term.key)) == pytest.approx(1, abs=0.02)
    assert found.note.startswith("At timestep 999, σ = 14.61, where 6.826 % of a picture's amplitude is left")


def test_the_network_s_output_is_what_it_returned():
    """The formula's own answer, asked again: F of the equation is it."""
    trace, _ = made("euler", cfg_scale=1.0)
    step = trace.steps[3]
    denoise = denoiser(trace.settings)
    scaled = step.x / (1 + step.sigma**2) ** 0.5
    output, _ = denoise.network(scaled, torch.full((1,), step.timestep), denoise.context)
    torch.testing.assert_close(tensor_at(trace, "output 3"), output[0].double(), rtol=0, atol=1e-5)


def test_every_section_stands_in_the_page_of_mathematics():
    page = (Path(__file__).parents[2] / "docs" / "math.md").read_text()
    headings = {line.lstrip("#").strip() for line in page.splitlines() if line.startswith("#")}
    runs = [made("euler", s_churn=3.0)[0], made("heun")[0], forked("ddim", "lms")]
    x = torch.zeros(1, 4, 8, 8)
    settings = dataclasses.replace(runs[0].settings, sampler="ddim", s_churn=0.0)
    runs.append(traced(settings, encode(denoiser(settings), x, levels_of(settings).flip(0))))
    sections = {e.section for trace in runs for _, found in each(trace) for e in found}
    assert sections <= headings
    assert len(sections) == 7


def test_every_sampler_has_a_formula_as_a_teacher_writes_it():
    assert SYMBOLS.keys() == SAMPLERS.keys()


@pytest.mark.parametrize(
    "key", ["x 99", "x0_uncond 0", "x_asked 0", "colour 0", "x one", "x ²", "noise one", "between 1"]
)
def test_a_tensor_that_is_not_there_is_named(key):
    trace, _ = made("euler", cfg_scale=1.0)
    with pytest.raises(SettingsError, match=f"got '{key}'"):
        tensor_at(trace, key)


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.18770001, "0.1877"), (1.0, "1"), (-2.5, "−2.5"), (0.000012, "1.2·10⁻⁵"), (14.61464, "14.61")],
)
def test_numbers_have_four_digits_as_people_write_them(value, text):
    assert number(value) == text


def test_perpendicular_guidance_of_broken_numbers_is_told_too(model):
    settings = Settings("a", negative_prompt="red", steps=2, width=32, height=32, cfg_method="perpendicular")
    trace = generation.run(model, settings)
    step = trace.steps[1]
    broken = dataclasses.replace(step.prediction, x0_cond=torch.full_like(step.x, math.nan))
    steps = (trace.steps[0], dataclasses.replace(step, prediction=broken))
    assert equations(dataclasses.replace(trace, steps=steps), 1)
