"""What was copied out of a file need not count as memory; what was not must stay."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ldm.checkpoints.files import read_state_dict
from ldm.checkpoints.mapped import Mapped

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="nothing is let go elsewhere")
SIZE = 4 * 2**20


def resident():
    with Path("/proc/self/smaps_rollup").open() as lines:
        return next(int(line.split()[1]) for line in lines if line.startswith("Rss")) * 1024


@pytest.fixture
def tensors(tmp_path):
    torch.manual_seed(0)
    save_file({"a": torch.randn(SIZE), "b": torch.randn(SIZE)}, tmp_path / "x.safetensors")
    return read_state_dict(tmp_path / "x.safetensors")[0]


def test_a_window_into_a_file_is_let_go_and_reads_the_same_again(tensors):
    mapped = Mapped()
    before = tensors["a"].clone()
    held = resident()
    assert mapped.let_go(tensors["a"])
    assert held - resident() > 3 * SIZE
    assert torch.equal(tensors["a"], before)


def test_memory_of_its_own_is_never_touched(tensors):
    own = torch.randn(SIZE)
    before = own.clone()
    assert not Mapped().let_go(own)
    assert torch.equal(own, before)


def test_a_part_of_a_tensor_takes_only_its_own_pages(tensors):
    whole = tensors["b"].clone()
    assert Mapped().let_go(tensors["b"][: SIZE // 2])
    assert torch.equal(tensors["b"], whole)
    assert not Mapped().let_go(tensors["b"][:8])
