"""The strict report: every corruption by its name, the hash, the numbers."""

import hashlib
import json

import pytest
import torch
from safetensors.torch import save_file

from ldm.checkpoints import native
from ldm.doctor import Fault, examine, render
from ldm.doctor.scan import PIECE, faults, kinds
from ldm.errors import CheckpointError
from tests.conftest import tiny_model

from .corpus import CASES, CONV, LAYER, STAGE, Place


@pytest.fixture
def place(tmp_path):
    (tmp_path / "files").mkdir()
    return Place(tmp_path / "files", tmp_path / "canary")


def test_a_sound_model(tmp_path):
    model = tiny_model()
    native.save(model, tmp_path / "x.safetensors")
    told = []
    report = examine(tmp_path / "x.safetensors", weights=True, progress=told.append)
    content = (tmp_path / "x.safetensors").read_bytes()
    assert report.sha256 == hashlib.sha256(content).hexdigest() and report.short_hash == report.sha256[:10]
    assert report.size == len(content) and report.scanned and report.weights == "raw"
    assert {part.part: part.parameters for part in report.parts} == {
        "U-Net": sum(p.numel() for p in model.model.parameters()),
        "first stage": sum(p.numel() for p in model.first_stage_model.parameters()),
        "conditioner": sum(p.numel() for p in model.cond_stage_model.parameters()),
    }
    assert all(part.is_whole and part.found == part.needed for part in report.parts)
    assert told[-1] == 1 and told == sorted(told)
    assert "ldm_config" in report.metadata
    assert json.loads(json.dumps(report.to_dict()))["short_hash"] == report.short_hash
    text = render(report)
    assert f"AutoV2 {report.short_hash}" in text and "Refused" not in text


def test_without_weights_nothing_is_hashed_or_scanned(tmp_path):
    native.save(tiny_model(), tmp_path / "x.safetensors")
    report = examine(tmp_path / "x.safetensors")
    assert report.loads and report.is_healthy and not report.sha256 and not report.scanned


@pytest.mark.parametrize(
    ("name", "part", "field", "key"),
    [
        ("U-Net lacks a weight", "U-Net", "missing", CONV),
        ("autoencoder lacks a weight", "first stage", "missing", STAGE + "decoder.conv_in.bias"),
        ("text encoder lacks a weight", "conditioner", "missing", LAYER + "mlp.fc1.bias"),
        ("misshapen", "U-Net", "misshapen", f"{CONV} [32, 32, 1, 1] for [32, 32, 3, 3]"),
        ("a weight too many", "U-Net", "unexpected", "model.diffusion_model.extra.weight"),
    ],
)
def test_what_does_not_fit_is_listed_under_its_part(name, part, field, key, place):
    report = examine(CASES[name].make(place))
    lists = {
        (one.part, what): getattr(one, what)
        for one in report.parts
        for what in ("missing", "unexpected", "misshapen")
    }
    assert lists.pop((part, field)) == (key,)
    assert set(lists.values()) == {()}
    assert not report.loads and not report.is_healthy


def test_every_missing_name_is_listed_not_a_few(place):
    report = examine(CASES["text encoder half there"].make(place))
    missing = next(part.missing for part in report.parts if part.part == "conditioner")
    assert len(missing) == 8 and all(name.startswith(LAYER + "self_attn") for name in missing)


@pytest.mark.parametrize(
    ("name", "kind", "count", "grave"),
    [("NaN", "nan", 1, True), ("infinite", "inf", 1, True), ("all zero", "zero", 9216, False),
     ("all the same", "constant", 9216, False)],
)  # fmt: skip
def test_values_that_no_training_leaves(name, kind, count, grave, place):
    report = examine(CASES[name].make(place), weights=True)
    assert report.faults == (Fault(CONV, "U-Net", kind, count, 9216, grave),)
    assert report.is_healthy != grave


def test_values_are_looked_at_in_pieces():
    tensor = torch.zeros(2, PIECE, dtype=torch.float16)
    tensor[0, 0] = 1
    assert faults({"x": tensor}) == ()
    tensor[1, -1] = float("nan")
    tensor[1, 0] = -float("inf")
    assert [(fault.kind, fault.count) for fault in faults({"x": tensor})] == [("nan", 1), ("inf", 1)]


def test_norms_and_counters_may_be_constant():
    tensors = {"norm": torch.ones(8), "bias": torch.zeros(8), "steps": torch.zeros(2, 2, dtype=torch.int64),
               "none": torch.zeros(0, 3), "one": torch.zeros(1, 1)}  # fmt: skip
    assert faults(tensors) == ()
    assert [(kind.dtype, kind.tensors, kind.parameters) for kind in kinds(tensors)] == [
        ("float32", 4, 17),
        ("int64", 1, 4),
    ]


def test_both_kinds_of_weights_are_told(place):
    assert examine(CASES["raw and averaged"].make(place)).weights == "raw and averaged"


def test_a_lora_that_changes_nothing_raises_the_alarm(place):
    path = CASES["LoRA that changes nothing"].make(place)
    assert examine(path).lora.changes_nothing is None
    lora = examine(path, weights=True).lora
    assert lora.changes_nothing and (lora.changes, lora.ranks) == (1, (2,))
    assert "changes nothing" in render(examine(path, weights=True))
    sound = CASES["LoRA"].make(Place(place.folder, place.canary))
    assert examine(sound, weights=True).lora.changes_nothing is False


def test_a_lora_beside_a_model_is_matched(place):
    report = examine(CASES["LoRA"].make(place), beside=tiny_model())
    assert report.lora.matched == 1 and report.lora.ignored == () and report.lora.strengths


def test_behaviour_stands_in_the_report(tmp_path):
    native.save(tiny_model(), tmp_path / "x.safetensors")
    report = examine(tmp_path / "x.safetensors", behaviour=True)
    assert report.behaviour[0].startswith("What it predicts cannot be told")
    assert report.mislabelled == ""


def test_no_file_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match="There is no file"):
        examine(tmp_path / "x.safetensors")


def test_long_and_strange_metadata_stay_on_their_line(tmp_path):
    save_file(
        {"a": torch.ones(2)}, tmp_path / "x.safetensors", {"long": "x" * 5000, "strange": "a\n\x1b[2Jb"}
    )
    metadata = examine(tmp_path / "x.safetensors").metadata
    assert len(metadata["long"]) < 400 and "5000 characters" in metadata["long"]
    assert metadata["strange"].isprintable()
