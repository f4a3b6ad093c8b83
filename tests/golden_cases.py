"""Cases made with the original implementations: where they lie, how to read one, how close is close.

A case is a folder with `config.json` and safetensors files.  `GOLDEN` names the folder of cases; without it
`../shared/golden` is used, then the few that are copied into `tests/golden`.  A case that is nowhere skips,
but fails where `GOLDEN` is set.
"""

import json
import os
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

HERE = Path(__file__).parent
FACTOR = 5.0  # times how far the original's own float32 is from its float64
FACTORS: dict[
    tuple[str, str], float
] = {}  # (case, tensor) that needs a larger one, with the reason beside it
CHECKED: dict[tuple[str, str], set[str]] = defaultdict(set)  # (test file, case) -> tensors compared so far


def _test_file() -> str:
    return os.environ["PYTEST_CURRENT_TEST"].partition("::")[0]


def _roots() -> list[Path]:
    if "GOLDEN" in os.environ:
        return [Path(os.environ["GOLDEN"])]
    return [HERE.parent.parent / "shared" / "golden", HERE / "golden"]


@dataclass(frozen=True)
class Case:
    name: str
    folder: Path
    config: dict[str, Any]

    def tensors(self, file: str) -> dict[str, Tensor]:
        """The tensors of one file of the case: "inputs", "expected", "weights"; float16 becomes float32."""
        tensors = load_file(self.folder / f"{file}.safetensors")
        return {k: v.float() if v.dtype == torch.float16 else v for k, v in tensors.items()}

    @property
    def inputs(self) -> dict[str, Tensor]:
        return self.tensors("inputs")

    @property
    def expected(self) -> dict[str, Tensor]:
        return self.tensors("expected")

    @property
    def weights(self) -> dict[str, Tensor]:
        """The case's own weights, or those of the case it names as `weights: ../other/file`."""
        if (self.folder / "weights.safetensors").exists():
            return self.tensors("weights")
        words = [w for w in str(self.config["weights"]).split() if w.startswith("../")]
        path = self.folder / words[0]
        return {k: v.float() if v.dtype == torch.float16 else v for k, v in load_file(path).items()}

    def assert_matches(self, name: str, ours: Tensor, key: str | None = None) -> None:
        """Compare a whole tensor with `expected[name]` at the case's own tolerance.

        Args:
            key: entry of `f32_vs_f64` if it is not `name`.
        """
        expected = self.expected[name]
        CHECKED[_test_file(), self.name].add(name)
        assert ours.shape == expected.shape, f"{self.name} {name}: shape {ours.shape}, not {expected.shape}"
        if not expected.is_floating_point():
            assert torch.equal(ours, expected), f"{self.name} {name} differs"
            return
        scale = float(expected.abs().max())
        if name.endswith(".f64"):
            tolerance = 1e-9 * scale
        else:
            own = self.config.get("f32_vs_f64", {}).get(key or name, {}).get("max_abs", 0.0)
            tolerance = max(FACTORS.get((self.name, name), FACTOR) * own, 1e-6 * scale)
        error = float((ours.double() - expected.double()).abs().max())
        assert error <= tolerance, f"{self.name} {name}: off by {error:.3g}, allowed {tolerance:.3g}"


def case(name: str) -> Case:
    """A case by its folder's name."""
    for root in _roots():
        folder = root / name
        if (folder / "config.json").exists():
            CHECKED[_test_file(), name] |= set()
            return Case(name, folder, json.loads((folder / "config.json").read_text()))
    if "GOLDEN" in os.environ:
        pytest.fail(f"GOLDEN={os.environ['GOLDEN']} has no case {name}.")
    pytest.skip(f"golden case {name} is not here; set GOLDEN to the folder of cases.")


def names(pattern: str) -> list[str]:
    """Names of all cases that match a glob, wherever the first of them lies; the pattern itself if none."""
    for root in _roots():
        found = sorted(p.parent.name for p in root.glob(f"{pattern}/config.json"))
        if found:
            return found
    return [pattern]


def assert_whole(request: pytest.FixtureRequest, exceptions: Mapping[tuple[str, str], str]) -> None:
    """Every tensor of `expected` was compared, for every case that the calling test's file has opened.

    To be called by the last test of a file; skips where only some tests of the file were asked for.

    Args:
        exceptions: (glob of cases, glob of tensors) that nothing compares, and why.
    """
    module = request.module
    asked = {getattr(item, "originalname", "") for item in request.session.items if item.path == request.path}
    if not {name for name in vars(module) if name.startswith("test_")} <= asked:
        pytest.skip("only the whole file compares every number; some of its tests were not asked for.")
    opened = {name: checked for (file, name), checked in CHECKED.items() if file == _test_file()}
    assert opened, "no case was opened"
    left = {(name, key) for name, checked in opened.items() for key in set(case(name).expected) - checked}
    excepted = {
        pair
        for pair in left
        if any(fnmatch(pair[0], name) and fnmatch(pair[1], key) for name, key in exceptions)
    }
    assert left == excepted, f"never compared: {sorted(left - excepted)}"
