"""`python -m ldm schedule`."""

import math

import pytest

from ldm.__main__ import main
from ldm.checkpoints import save
from tests.conftest import tiny_model


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save(tiny_model(), path)
    return str(path)


def run(capsys, *arguments):
    code = main(["schedule", *arguments])
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err


def test_every_step_has_a_line_from_noise_to_none(capsys, weights):
    code, lines, _ = run(capsys, "--weights", weights, "--steps", "5", "--spacing", "linspace")
    assert code == 0
    assert lines[0].split() == ["step", "sigma", "sigma_next", "timestep", "nearest", "log", "SNR"]
    rows = [[float(word) for word in line.split()] for line in lines[1:]]
    assert [row[0] for row in rows] == [1, 2, 3, 4, 5]
    assert [row[2] for row in rows] == [*(row[1] for row in rows[1:]), 0]
    assert [row[3] for row in rows] == [999, 749.25, 499.5, 249.75, 0]
    assert [row[4] for row in rows] == [999, 749, 500, 250, 0]
    assert all(row[5] == pytest.approx(-2 * math.log(row[1]), abs=1e-4) for row in rows)


def test_the_model_s_own_number_of_steps_is_the_default(capsys, weights):
    own = tiny_model().config.recommended.steps
    _, lines, _ = run(capsys, "--weights", weights)
    assert len([line for line in lines if not line.startswith("CompVis")]) == own + 1


@pytest.mark.parametrize(
    ("steps", "said"),
    [
        ("30", "CompVis's own list for 30 steps would run 31 of them."),
        ("60", "CompVis's own list for 60 steps would run 63 of them."),
        (
            "36",
            "CompVis's own list for 36 steps would stop with an error: "
            "it asks for timestep 1000 of 0 to 999.",
        ),
        ("50", None),
    ],
)
def test_it_says_what_compvis_would_run_instead(capsys, weights, steps, said):
    _, lines, _ = run(capsys, "--weights", weights, "--steps", steps)
    assert lines[1 + int(steps) :] == ([said] if said else [])


def test_levels_of_one_s_own_need_no_count_and_no_spacing(capsys, weights):
    _, lines, _ = run(capsys, "--weights", weights, "--sigmas", "80", "1", "0")
    assert [line.split()[1:3] for line in lines[1:]] == [["80", "1"], ["1", "0"]]
    assert [line.split()[-1] for line in lines[1:]] == ["-8.7641", "0.0000"]


def test_a_spacing_takes_its_rho(capsys, weights):
    asked = ["--weights", weights, "--steps", "4", "--spacing", "karras"]
    usual, bent = run(capsys, *asked)[1], run(capsys, *asked, "--rho", "3")[1]
    assert run(capsys, *asked, "--rho", "7")[1] == usual
    assert bent[1].split()[1] == usual[1].split()[1] and bent[2] != usual[2]
    ended = run(capsys, "--weights", weights, "--steps", "4", "--final-sigma", "first_timestep")[1]
    assert float(ended[4].split()[2]) > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--steps", "0"],
            "steps must be between 1 and 1000, the model's training timesteps; got 0.",
        ),
        (["--spacing", "custom"], "The spacing 'custom' needs a list of noise levels."),
        (
            ["--sigmas", "5", "1", "--spacing", "karras"],
            "A list of noise levels needs the spacing 'custom', got 'karras'.",
        ),
        (
            ["--sigmas", "5", "1", "--steps", "3"],
            "steps must be 2, the number of noise levels above 0, got 3.",
        ),
    ],
)
def test_mistakes_are_one_sentence(capsys, weights, arguments, message):
    code, lines, err = run(capsys, "--weights", weights, *arguments)
    assert (code, lines, err) == (2, [], f"ldm: {message}\n")
