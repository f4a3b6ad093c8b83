"""Every sampler, saved at the end of a run and taken up at every step, in a process of its own."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image

from ldm import Settings, SettingsError, finish, invert, resume, run, run_file
from ldm.diffusion.samplers import CFG_PP, SAMPLERS, USES_ETA
from ldm.generation import generate, kept_picture, way_on
from tests.conftest import tiny_model
from tests.test_generation import same

ROOT = Path(__file__).parent.parent
PLAIN = Settings("a red circle above a blue square", steps=12, width=32, height=32)
PICTURE = Image.radial_gradient("L").resize((32, 32)).convert("RGB")
MASK = Image.new("L", (32, 32)).transform((32, 32), Image.Transform.AFFINE, (1, 0, 0, 0, 1, 0))
MASK.paste(255, (8, 4, 24, 20))

OTHER_PROCESS = """
import sys
from ldm import finish, resume, run_file
from tests.conftest import tiny_model
from tests.test_generation import same
model = tiny_model()
for path in sys.argv[1:]:
    trace = run_file.load(path)
    for at in range(len(trace.steps)):
        again = list(resume(model, trace, at, record_attention=False))
        assert len(again) == len(trace.steps) - at, (path, at)
        assert all(same(a, b) for a, b in zip(again, trace.steps[at:], strict=True)), (path, at)
    given = {"init_image": trace.init_image, "mask": trace.mask}
    made = finish(model, trace.settings, [*trace.steps[:-1], again[-1]], 0.0, **given)
    assert [a.tobytes() for a in made.images] == [b.tobytes() for b in trace.images], path
    print(path)
"""


def settings_for(name):
    """With everything that the sampler can be told to do."""
    entry = SAMPLERS[name]
    return dataclasses.replace(
        PLAIN,
        sampler=name,
        eta=0.6 if name in USES_ETA else None,
        s_churn=3.0 if entry.churns else 0.0,
        steps_per_level=3,
        cfg_method="cfg_pp" if name in CFG_PP else "cfg",
        cfg_schedule="linear",
    )


OTHERS = {
    "custom levels": {"spacing": "custom", "sigmas": tuple(14.0 * 0.4**k for k in range(6))},
    "another's noise": {"sampler": "dpmpp_sde", "noise": "a1111_gpu"},
    "variation": {"sampler": "ddpm", "variation_seed": 5, "variation_strength": 0.3, "noise": "diffusers"},
    "per picture": {"batch_size": 2, "cfg_scales": (1.0, 6.0), "dynamic_threshold": 0.9},
    "perpendicular": {"cfg_method": "perpendicular", "negative_prompt": "a green apple"},
    "interval": {"cfg_schedule": "interval", "cfg_start": 0.2, "cfg_stop": 0.7},
}


@pytest.mark.slow
def test_in_a_new_process_a_saved_run_goes_on_from_every_step_with_the_same_bits(tmp_path):
    model = tiny_model()
    runs = {name: (settings_for(name), {}) for name in SAMPLERS}
    short = dataclasses.replace(PLAIN, steps=6)
    runs |= {name: (dataclasses.replace(short, **changes), {}) for name, changes in OTHERS.items()}
    runs["picture"] = dataclasses.replace(PLAIN, strength=0.6), {"init_image": PICTURE}
    inpaint = dataclasses.replace(PLAIN, strength=0.9, sampler="euler_ancestral")
    runs["hole"] = inpaint, {"init_image": PICTURE, "mask": MASK}
    runs["restart from a picture"] = (
        dataclasses.replace(PLAIN, strength=0.8, sampler="restart"),
        {"init_image": PICTURE},
    )
    paths = []
    for name, (settings, given) in runs.items():
        paths.append(str(tmp_path / f"{name}.safetensors"))
        steps = list(generate(model, settings, record_attention=False, **given))
        run_file.save(finish(model, settings, steps, 0.0, **given), paths[-1])
    done = subprocess.run(
        [sys.executable, "-c", OTHER_PROCESS, *paths], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split("\n")[:-1] == paths


@pytest.mark.parametrize("name", SAMPLERS)
def test_a_change_at_a_step_leaves_the_steps_before_it_and_moves_those_after(model, name):
    settings = dataclasses.replace(settings_for(name), steps=6)
    trace = run(model, settings)
    before = [step.x_next.clone() for step in trace.steps]
    at = 2
    rest = list(resume(model, trace, at, dataclasses.replace(settings, prompt="a green apple", seed=9)))
    assert all(torch.equal(step.x_next, kept) for step, kept in zip(trace.steps, before, strict=True))
    assert torch.equal(rest[0].x, trace.steps[at].x)
    assert not torch.equal(rest[0].x_next, trace.steps[at].x_next)
    assert [step.sigma for step in rest] == [step.sigma for step in trace.steps[at:]]


@pytest.mark.parametrize("at", [0, 1, 3])
@pytest.mark.parametrize("sampler", ["dpmpp_2m_sde", "restart", "unipc"])
def test_a_fork_can_be_taken_up_again_at_every_step_of_its_own(model, tmp_path, at, sampler):
    """However early it was stopped, and from a file."""
    trace = run(model, dataclasses.replace(PLAIN, steps=6))
    changed = dataclasses.replace(PLAIN, steps=9, sampler=sampler, seed=4)
    rest = list(resume(model, trace, at, changed))
    assert len(rest) == 9 - at
    sigmas = way_on(model, trace, at, changed)
    for made in (1, 2, len(rest)):
        steps = [*trace.steps[:at], *rest[:made]]
        forked = finish(model, changed, steps, 0.0, made == len(rest), parent=("some run", at), sigmas=sigmas)
        run_file.save(forked, tmp_path / "fork.safetensors")
        forked = run_file.load(tmp_path / "fork.safetensors")
        for k in range(at, len(steps) + (made < len(rest))):
            again = list(resume(model, forked, k))
            assert all(same(a, b) for a, b in zip(again, rest[k - at :], strict=True))


@pytest.mark.parametrize("method", ["cfg", "perpendicular"])
@pytest.mark.parametrize("given", [{}, {"init_image": PICTURE}, {"init_image": PICTURE, "mask": MASK}])
def test_a_file_brings_back_the_order_in_memory_that_decides_the_last_bit(model, tmp_path, method, given):
    settings = dataclasses.replace(
        PLAIN, steps=4, strength=0.6, cfg_method=method, negative_prompt="blue", dynamic_threshold=0.95
    )
    trace = run(model, settings, **given)
    run_file.save(trace, tmp_path / "run.safetensors")
    loaded = run_file.load(tmp_path / "run.safetensors")
    assert all(same(a, b) for a, b in zip(resume(model, loaded, 0), trace.steps, strict=True))


def test_a_run_goes_on_below_and_above_the_schedule_s_ends(model):
    low = run(model, dataclasses.replace(PLAIN, steps=4, final_sigma="first_timestep"))
    high = run(
        model,
        dataclasses.replace(PLAIN, steps=3, spacing="custom", sigmas=(5000.0, 1e-3, 1e-5)),
    )
    for trace, at in ((low, 4), (high, 0), (high, 2)):
        for name in SAMPLERS:
            steps = list(resume(model, trace, at, dataclasses.replace(PLAIN, steps=9, sampler=name)))
            assert len(steps) == 9 - at
            assert all(step.sigma_next < step.sigma for step in steps)
            assert steps[-1].x_next.isfinite().all()


def test_a_fork_of_a_run_from_a_picture_makes_the_steps_that_are_left(model):
    settings = dataclasses.replace(PLAIN, steps=10, strength=0.3)
    trace = run(model, settings, init_image=PICTURE)
    assert len(trace.steps) == 3
    assert len(list(resume(model, trace, 1, dataclasses.replace(settings, sampler="heun")))) == 2
    assert len(list(resume(model, trace, 1, dataclasses.replace(settings, steps=20)))) == 5


def test_what_is_no_run_of_this_model_is_said_at_the_call(model):
    trace = run(model, dataclasses.replace(PLAIN, steps=3))

    def refused(trace, at=1):
        with pytest.raises(SettingsError) as error:
            resume(model, trace, at)
        return str(error.value)

    for at in (1.5, "1", True):
        assert refused(trace, at) == f"at must be between 0 and 3, the steps made; got {at!r}."
    nothing = dataclasses.replace(trace, steps=())
    assert refused(nothing, 0) == "The run made no step, so there is none to take it up at."
    up = tuple(invert(model, trace.settings, PICTURE))
    message = "The run goes from a picture to its noise; start a run from its latents instead."
    assert refused(dataclasses.replace(trace, steps=up), 0) == message
    three = [dataclasses.replace(step, x=step.x[:, :3]) for step in trace.steps]
    assert refused(dataclasses.replace(trace, steps=tuple(three))) == (
        "The run's latents are of shape (1, 3, 8, 8); those of tiny are (1, 4, 8, 8)."
    )
    broken = [dataclasses.replace(step, x=step.x * float("nan")) for step in trace.steps]
    assert refused(dataclasses.replace(trace, steps=tuple(broken))) == (
        "The latents before step 1 are not finite; take the run up earlier."
    )


def test_any_sampler_goes_on_where_another_one_was(model):
    trace = run(model, dataclasses.replace(PLAIN, steps=12, sampler="restart"))
    again = next(k for k, step in enumerate(trace.steps) if step.sigma_next > step.sigma)
    for name in SAMPLERS:
        for at in (again, again + 1, again + 2):
            changed = dataclasses.replace(trace.settings, sampler=name, steps=12)
            steps = list(resume(model, trace, at, changed))
            assert len(steps) == 12 - at
            assert steps[-1].sigma_next == 0
            assert steps[-1].x_next.isfinite().all()


def test_the_first_steps_of_a_run_do_not_depend_on_how_many_are_taken(model):
    steps = generate(model, PLAIN)
    some = [next(steps), next(steps)]
    steps.close()
    assert all(same(a, b) for a, b in zip(some, run(model, PLAIN).steps, strict=False))


NOISE = dataclasses.replace(PLAIN, steps=6, strength=0.5)  # a strength that a run from noise does not look at


def outside(image):
    """Its pixels where `MASK` is black."""
    return Image.composite(Image.new("RGB", (32, 32)), image, MASK).tobytes()


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "euler_ancestral", "restart"])
def test_only_the_white_part_of_a_run_is_painted_anew_from_a_step_on(model, tmp_path, sampler):
    parent = run(model, dataclasses.replace(NOISE, sampler=sampler))
    changed = dataclasses.replace(parent.settings, prompt="a green apple", seed=4)
    rest = list(resume(model, parent, 2, changed, mask=MASK))
    assert torch.equal(rest[0].x, parent.steps[2].x)
    kept = kept_picture(parent, changed, mask=MASK)
    assert kept.image.tobytes() == parent.images[0].tobytes()
    given = {"init_image": kept.image, "mask": kept.mask}
    forked = finish(model, changed, [*parent.steps[:2], *rest], 0.0, parent=("a run", 2), **given)
    assert outside(forked.images[0]) == outside(parent.images[0])
    assert forked.images[0].tobytes() != parent.images[0].tobytes()
    run_file.save(forked, tmp_path / "fork.safetensors")
    forked = run_file.load(tmp_path / "fork.safetensors")
    for k in range(2, len(forked.steps)):
        again = list(resume(model, forked, k))
        assert all(same(a, b) for a, b in zip(again, rest[k - 2 :], strict=True)), k
    assert len(list(resume(model, forked, 3, dataclasses.replace(changed, steps=9)))) == 6


def test_what_is_kept_is_the_picture_given_or_that_the_run_started_from_or_made(model):
    drawn = run(model, NOISE)
    started = run(model, NOISE, init_image=PICTURE, mask=MASK)
    other = PICTURE.rotate(90)

    def kept(trace, image=None, mask=None):
        made = kept_picture(trace, trace.settings, image, mask)
        return made and (made.image.tobytes(), made.mask and made.mask.tobytes())

    assert kept(drawn) is None
    assert kept(drawn, mask=MASK) == (drawn.images[0].tobytes(), MASK.tobytes())
    assert kept(drawn, other, MASK) == (other.tobytes(), MASK.tobytes())
    assert kept(started) == (PICTURE.tobytes(), MASK.tobytes())
    assert kept(started, mask=MASK.rotate(90)) == (PICTURE.tobytes(), MASK.rotate(90).tobytes())
    assert kept(started, other) == (other.tobytes(), MASK.tobytes())


def test_a_mask_without_one_picture_is_refused_and_so_is_a_picture_without_a_mask(model):
    both = run(model, dataclasses.replace(NOISE, batch_size=2))
    paused = finish(model, both.settings, both.steps[:2], 0.0, False, decode=False)
    assert paused.images == ()
    for trace, count in ((both, 2), (paused, 0)):
        with pytest.raises(SettingsError) as error:
            resume(model, trace, 1, mask=MASK)
        assert str(error.value) == (
            f"A mask needs one picture to keep a part of, and the run has {count}: give an init_image."
        )
        assert len(list(resume(model, trace, 1, init_image=PICTURE, mask=MASK))) == 5
    with pytest.raises(SettingsError, match="keeps a part of a picture: init_image needs a mask"):
        resume(model, both, 1, init_image=PICTURE)


@pytest.mark.parametrize("at", [0, 1, 2])
def test_a_run_from_a_picture_whose_first_level_stands_twice_goes_on_with_the_same_bits(model, at):
    settings = dataclasses.replace(PLAIN, steps=4, sampler="langevin", steps_per_level=2, strength=0.75)
    trace = run(model, settings, init_image=PICTURE)
    assert (len(trace.steps), trace.sigmas) == (3, None)
    again = list(resume(model, trace, at))
    assert len(again) == 3 - at
    assert all(same(a, b) for a, b in zip(again, trace.steps[at:], strict=True))


def test_a_run_from_noise_that_is_given_a_picture_later_keeps_all_its_levels(model):
    settings = dataclasses.replace(PLAIN, steps=4, strength=0.5)
    trace = run(model, settings)
    again = list(resume(model, trace, 2, mask=MASK))
    kept = {"init_image": trace.images[0], "mask": MASK}
    made = finish(model, settings, [*trace.steps[:2], *again], 0.0, **kept)
    assert len(made.sigmas) == 5
