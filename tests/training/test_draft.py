import dataclasses

import pytest
import torch

import ldm
from ldm.__main__ import main
from ldm.checkpoints import save
from ldm.diffusion.denoiser import Denoiser
from ldm.diffusion.samplers import SAMPLERS, SamplerOptions
from ldm.diffusion.schedule import build_schedule
from ldm.diffusion.spacing import sampling_sigmas
from ldm.errors import LdmError
from ldm.models.config import RecommendedSettings, ScheduleConfig
from ldm.training import config as known
from ldm.training import draft as drafts
from ldm.training.draft import DraftTraining, export_draft, jump_target, place_for, state_path, train_draft
from ldm.training.state import load_state
from ldm.training.teacher import NOISE_SEED, Teaching, captions, check_teacher, draw_paths, known_objects
from tests.conftest import tiny_model

ZERO_SNR = ScheduleConfig(zero_terminal_snr=True)
BEST = RecommendedSettings(steps=8, sampler="dpmpp_2m", cfg_scale=3.0, cfg_rescale=0.7, width=32, height=32)
TEACHING = Teaching({"easy": 0.5, "many": 0.5}, calls=2, steps=4, chunks=2, chunk=8, together=4)
TINY = DraftTraining(TEACHING, batch=4, steps=6, warmup=1)
KNOWS = {"fruit": ["apple"], "color": ["red", "blue"]}


def teacher_model(**changes):
    asked = {"prediction_type": "v", "schedule": ZERO_SNR, "recommended": BEST, "vocabulary": KNOWS}
    return tiny_model(**asked | changes)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    path = tmp_path_factory.mktemp("teacher") / "tiny.safetensors"
    save(teacher_model(), path)
    return path


@pytest.fixture(scope="module")
def trained(teacher, tmp_path_factory):
    """The folder of a whole distillation, and its steps."""
    folder = tmp_path_factory.mktemp("draft")
    return folder, list(train_draft(TINY, teacher, folder))


@pytest.mark.parametrize("calls", [1, 2, 4, 8])
def test_a_step_of_ddim_with_the_target_lands_where_the_teacher_was(calls):
    """Exact algebra: a network that answers with the target walks the teacher's way, whatever that is."""
    schedule = build_schedule(
        n_steps=1000, betas="scaled_linear", linear_start=0.00085, linear_end=0.012, zero_terminal_snr=True
    )
    sigmas = sampling_sigmas(schedule, calls)
    torch.manual_seed(0)
    way = torch.randn(calls + 1, 3, 4, 2, 2, dtype=torch.float64)  # unit variance, x at each level, then x0
    at = {schedule.timestep(float(s)): i for i, s in enumerate(sigmas[:-1])}

    def network(x, t, context):
        i = at[float(t[0])]
        levels = (s.reshape(1, 1, 1, 1) for s in (sigmas[i], sigmas[i + 1]))
        return jump_target(way[i], way[i + 1], *levels), ()

    denoise = Denoiser(network, schedule, "v", torch.zeros(3, 1, 1))
    x = way[0] * (1 + sigmas[0] ** 2).sqrt()
    for step in SAMPLERS["euler"].run(denoise, x, sigmas, SamplerOptions(), None, ()):
        there = way[step.index + 1] * (1 + step.sigma_next**2) ** 0.5
        torch.testing.assert_close(step.x_next, there, rtol=1e-9, atol=1e-6)


def test_the_target_of_a_teacher_that_knows_the_picture_is_v():
    x0, eps = torch.randn(2, 2, 4, 3, 3, dtype=torch.float64)
    sigma, sigma_next = torch.tensor([[4096.0], [2.0]]).double().reshape(2, 1, 1, 1, 1).expand(2, 2, 1, 1, 1)
    x, x_next = ((x0 + s * eps) / (1 + s**2).sqrt() for s in (sigma, sigma_next))
    v = (eps - sigma * x0) / (1 + sigma**2).sqrt()
    torch.testing.assert_close(jump_target(x, x_next, sigma, sigma_next), v)


def test_the_ways_are_what_the_teacher_draws():
    model = teacher_model()
    prompts = ["a red apple", "an apple on blue"]
    paths = draw_paths(TEACHING, model, prompts, 5)
    assert paths.shape == (2, 3, 4, 8, 8) and paths.dtype == torch.float16
    for i, prompt in enumerate(prompts):
        settings = ldm.Settings(prompt, **vars(BEST) | {"steps": 4}, seed=NOISE_SEED + 5 + i)
        steps = ldm.run(model, settings).steps
        visited = [steps[k].x / (1 + steps[k].sigma ** 2) ** 0.5 for k in (0, 2)] + [steps[-1].x_next]
        torch.testing.assert_close(paths[i].float(), torch.cat(visited), rtol=2e-3, atol=2e-3)


def test_captions_name_what_the_teacher_knows():
    assert known_objects(teacher_model()) == ("apple",)
    first, second = (captions(TEACHING, number, ("apple",)) for number in (0, 1))
    assert all("apple" in c for c in first + second) and first != second
    assert first == captions(TEACHING, 0, ("apple",))


def test_the_student_learns_the_jumps(teacher, tmp_path):
    config = dataclasses.replace(TINY, batch=8, steps=24, muon_lr=0.02, adamw_lr=2e-3)
    losses = [s.loss for s in train_draft(config, teacher, tmp_path) if s.part == "draft"]
    assert sum(losses[-4:]) < 0.5 * sum(losses[:4])


def test_every_part_is_told_of(trained):
    _, steps = trained
    told = [(s.part, s.step, s.samples) for s in steps]
    assert told == [("paths", i, 4 * i) for i in range(1, 5)] + [("draft", i, 4 * i) for i in range(1, 7)]


def test_a_distillation_that_stopped_ends_with_the_same_weights(teacher, trained, tmp_path):
    for i, _ in enumerate(train_draft(TINY, teacher, tmp_path, save_every=0.0)):
        if i == 2:  # in the middle of the second chunk
            break
    for step in train_draft(TINY, teacher, tmp_path, save_every=0.0):
        if (step.part, step.step) == ("draft", 3):
            break
    path = state_path(TINY, place_for(TEACHING, teacher, tmp_path))
    assert load_state(path)[1] == {"step": 3}
    rest = list(train_draft(TINY, teacher, tmp_path))
    assert [(s.part, s.step) for s in rest] == [("draft", 4), ("draft", 5), ("draft", 6)]
    a = load_state(path)[0]
    b = load_state(state_path(TINY, place_for(TEACHING, teacher, trained[0])))[0]
    assert a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def test_another_teacher_or_recipe_takes_up_nothing(teacher, tmp_path):
    other = tmp_path / "other.safetensors"
    save(teacher_model(seed=1), other)
    assert place_for(TEACHING, teacher, tmp_path) != place_for(TEACHING, other, tmp_path)
    more = dataclasses.replace(TEACHING, steps=8)
    assert place_for(TEACHING, teacher, tmp_path) != place_for(more, teacher, tmp_path)
    assert state_path(TINY, tmp_path) != state_path(dataclasses.replace(TINY, steps=7), tmp_path)


def test_the_checkpoint_is_a_whole_model_that_recommends_what_it_was_distilled_for(
    teacher, trained, tmp_path
):
    path = tmp_path / "tiny-draft.safetensors"
    export_draft(TINY, teacher, trained[0], path)
    before, made = ldm.load(teacher, "cpu"), ldm.load(path, "cpu")
    assert made.name == "tiny draft" and made.config.vocabulary == before.config.vocabulary
    best = dataclasses.replace(BEST, steps=2, sampler="euler", cfg_scale=1.0, cfg_rescale=0.0)
    assert made.config.recommended == best
    assert made.config.training["draft"]["samples"] == 24
    ours, theirs = made.state_dict(), before.state_dict()
    changed = {
        name.split(".")[0] for name in ours if not torch.equal(ours[name], theirs[name].to(ours[name]))
    }
    assert changed == {"model"}
    assert len(ldm.run(made, ldm.Settings("an apple", **vars(best))).steps) == 2


def test_what_no_draft_can_be_made_from_is_a_sentence(teacher, tmp_path):
    for changes, said in (
        ({"prediction_type": "eps"}, "tiny predicts eps; a draft needs a teacher of v."),
        (
            {"recommended": dataclasses.replace(BEST, sampler="ddpm")},
            "tiny recommends ddpm, which draws fresh noise; a draft can have none.",
        ),
    ):
        with pytest.raises(LdmError) as error:
            check_teacher(teacher_model(**changes))
        assert str(error.value) == said
    with pytest.raises(LdmError, match="The vocabulary of tiny names no object that captions can be made of"):
        known_objects(teacher_model(vocabulary={}))
    with pytest.raises(LdmError, match=r"There is no draft of .* yet"):
        export_draft(TINY, teacher, tmp_path, tmp_path / "out.safetensors")


def test_the_command_makes_a_draft_that_generate_draws_with(teacher, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(known, "DRAFT", TINY)
    out = teacher.with_name("tiny-draft.safetensors")
    asked = ["--config", "draft", "--teacher", str(teacher), "--folder", str(tmp_path / "state")]
    assert main(["train", *asked, "--out", str(out)]) == 0
    draw = ["generate", "an apple", "--draft", "--weights", str(teacher), "--out", str(tmp_path)]
    assert main(draw) == 0
    capsys.readouterr()
    [picture] = tmp_path.glob("*.png")
    settings, name = ldm.png.read(picture)
    assert (settings.steps, settings.cfg_scale, settings.sampler, name) == (2, 1.0, "euler", "tiny draft")
    assert main([*draw, "--cfg-scale", "3"]) == 2
    assert "cfg_scale must be 1 for a draft" in capsys.readouterr().err
    out.unlink()
    assert main(draw) == 2
    assert "tiny has no draft." in capsys.readouterr().err


def test_the_shipped_recipe_is_whole():
    recipe, teaching = known.DRAFT, known.DRAFT.teaching
    assert teaching.steps % teaching.calls == 0 and teaching.chunk % teaching.together == 0
    assert recipe.batch % teaching.calls == 0 and drafts.PART == "draft"
