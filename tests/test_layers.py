"""Imports flow one way.  This file is the architecture diagram that cannot go stale."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "ldm"
CORE = {
    "errors",
    "metrics",
    "writing",
    "settings",
    "images",
    "trace",
    "models",
    "diffusion",
    "latent_diffusion",
    "first_stage",
}
MODEL = CORE | {"speed", "generation", "checkpoints"}
DRAWING = {"png", "views", "run_file", "data"}
MAY_IMPORT = {
    "errors": set(),
    "metrics": set(),
    "speed": set(),
    "writing": {"errors"},
    "settings": {"errors"},
    "images": {"errors"},
    "trace": {"settings", "errors"},
    "models": {"errors", "trace"},
    "words": {"models"},
    "diffusion": {"errors", "settings", "trace"},
    "latent_diffusion": {"models", "diffusion", "speed", "errors"},
    "first_stage": {"models"},
    "generation": CORE,
    "checkpoints": CORE | {"speed", "behaviour"},
    "lora": CORE | {"checkpoints"},
    "textual_inversion": CORE | {"checkpoints", "lora"},
    "data": {"images", "errors"},
    "automatic1111": {"errors", "settings"},
    "png": {"errors", "settings", "writing", "images", "automatic1111"},
    "run_file": {"errors", "settings", "trace", "writing", "images"},
    "views": {"trace", "images", "errors", "settings", "diffusion", "metrics"},
    "roundtrip": MODEL,
    "behaviour": CORE | {"generation"},
    "doctor": MODEL | {"behaviour", "lora"},
    "training": MODEL | DRAWING | {"words"},
    "evaluation": MODEL | DRAWING | {"training"},
    "engine": MODEL | DRAWING | {"roundtrip", "lora", "textual_inversion"},
    "player": CORE | DRAWING,
    "export": {"player", "errors", "trace", "run_file", "views"},
}
ONLY_IN = {
    "gradio": ("ui/",),
    "pandas": ("ui/",),
    "transformers": ("models/text.py",),
    "tokenizers": ("models/wordpiece.py",),
    "spaces": ("ui/",),
}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level:
                package = path.relative_to(ROOT).parts[:-1]
                up = package[: len(package) - (node.level - 1)]
                parts = (*up, *module.split(".")) if module else up
                names = [parts[0]] if parts else [alias.name for alias in node.names]
                for name in names:
                    yield "ldm", name
            else:
                yield module.split(".")[0], module.partition(".")[2].split(".")[0]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.split(".")[0], alias.name.partition(".")[2].split(".")[0]


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_flow_one_way(path):
    part = path.relative_to(ROOT).parts[0].removesuffix(".py")
    for top, name in imports(path):
        if top in ONLY_IN:
            here = path.relative_to(ROOT).as_posix()
            assert here.startswith(ONLY_IN[top]), f"only {ONLY_IN[top]} may import {top}"
        if top == "ldm" and part in MAY_IMPORT and name not in ("", part):
            assert name in MAY_IMPORT[part], f"{part} may not import {name}; see MAY_IMPORT"


def test_every_part_has_its_row():
    parts = {p.relative_to(ROOT).parts[0].removesuffix(".py") for p in ROOT.rglob("*.py")}
    assert parts - set(MAY_IMPORT) == {"__init__", "__main__", "commands", "ui"}


def test_importing_is_silent_and_light(tmp_path):
    code = (
        "import ldm, sys;"
        "sys.exit(any(m in sys.modules for m in ('gradio', 'transformers', 'pandas', 'diffusers')))"
    )
    run = subprocess.run(
        [sys.executable, "-B", "-c", code],
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT.parent)},
        capture_output=True,
        check=False,
    )
    assert (run.returncode, run.stdout, run.stderr, list(tmp_path.iterdir())) == (0, b"", b"", [])


@pytest.mark.slow
def test_importing_costs_little_beyond_torch():
    code = "import time, torch; t = time.process_time(); import ldm; print(time.process_time() - t)"
    command = [sys.executable, "-c", code]
    seconds = [
        float(subprocess.run(command, cwd=ROOT.parent, capture_output=True, text=True, check=True).stdout)
        for _ in range(4)
    ]
    assert min(seconds) < 0.3  # of the processor, the least of a few: a test may share its cores
