"""Cases made with the original implementations: where they lie, how to read one, how close is close.

A case is a folder with `config.json` and safetensors files.  `GOLDEN` names the folder of cases; without it
`../shared/golden` is used, then the few that are copied into `tests/golden`.  A case that is nowhere skips,
but fails where `GOLDEN` is set.
"""

import json
import os
from dataclasses import dataclass
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

    def check(self, name: str, ours: Tensor, key: str | None = None) -> None:
        """Compare a whole tensor with `expected[name]` at the case's own tolerance.

        Args:
            key: entry of `f32_vs_f64` if it is not `name`.
        """
        expected = self.expected[name]
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
