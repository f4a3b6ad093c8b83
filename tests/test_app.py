import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def app(*arguments, cwd=ROOT, **environment):
    import os

    return subprocess.run(
        [sys.executable, str(ROOT / "app.py"), *arguments],
        cwd=cwd, env={**os.environ, **environment}, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip


def test_help_names_every_option():
    told = app("--help")
    assert told.returncode == 0
    for option in ("--weights", "--device", "--host", "--port", "--keep-model", "--guests-open"):
        assert option in told.stdout


@pytest.mark.slow
def test_a_missing_weights_file_is_one_sentence_and_exit_code_2(tmp_path):
    told = app("--weights", str(tmp_path / "none.safetensors"))
    assert told.returncode == 2
    assert told.stdout == ""
    [line] = told.stderr.strip().splitlines()
    assert line.startswith(f"There is no checkpoint {tmp_path / 'none.safetensors'}.")


@pytest.mark.slow
def test_an_empty_weights_folder_is_one_sentence_and_exit_code_2(tmp_path):
    told = app(LDM_WEIGHTS=str(tmp_path))
    assert told.returncode == 2
    [line] = told.stderr.strip().splitlines()
    assert line.startswith(f"There is no checkpoint in {tmp_path}.")
