"""Put in, taken out, several at once: the weights are the asked ones, and the loaded ones afterwards."""

import gc
import itertools
import weakref

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from ldm import lora
from ldm.errors import CheckpointError, SettingsError
from ldm.lora import applying
from ldm.lora.reading import assemble
from ldm.writing import ALIGNMENT

from . import twins
from .test_layouts import assert_merged


def of(changes, name="change"):
    return assemble(name, f"{name}.safetensors", twins.kohya(changes))


def bits(model):
    return {name: parameter.data.clone() for name, parameter in model.named_parameters()}


def pointers(model):
    return {name: parameter.data_ptr() for name, parameter in model.named_parameters()}


def assert_same(before, after):
    assert before.keys() == after.keys()
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name]), name


def test_removed_is_the_original_bits_in_the_original_memory(models):
    for model in models.values():
        before, where = bits(model), pointers(model)
        lora.apply(model, [(of(twins.changes_of(model, convs=True)), 1.0)])
        assert pointers(model) != where
        lora.remove(model)
        assert_same(before, bits(model))
        assert pointers(model) == where
        assert lora.applied(model) == ()


def test_what_is_loaded_from_a_file_stays_a_window_into_it(model, tmp_path):
    """Weights of a mapped file are not copied, neither while a LoRA is in nor when it is out again."""
    name = "model.diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q.weight"
    mine = model.get_parameter(name).data
    save_file({"w": mine.clone()}, tmp_path / "w.safetensors")
    with safe_open(tmp_path / "w.safetensors", framework="pt") as file:
        mapped = file.get_tensor("w")
    model.get_parameter(name).data = mapped
    try:
        lora.apply(model, [(of(twins.changes_of(model)), 1.0)])
        assert model.get_parameter(name).data_ptr() != mapped.data_ptr()
        lora.remove(model)
        assert model.get_parameter(name).data_ptr() == mapped.data_ptr()
    finally:
        lora.remove(model)
        model.get_parameter(name).data = mine


def test_several_with_weights_of_their_own(model):
    first, second = twins.changes_of(model, seed=1), twins.changes_of(model, rank=2, seed=2, convs=True)
    lora.apply(model, [(of(first, "a"), 0.8), (of(second, "b"), -0.3)])
    assert_merged(model, (first, 0.8), (second, -0.3))


def test_the_text_encoders_may_have_another_weight(model):
    changes = twins.changes_of(model)
    unet = [c for c in changes if c.place.part == "unet"]
    text = [c for c in changes if c.place.part != "unet"]
    lora.apply(model, [(of(changes), 0.5, 2.0)])
    assert_merged(model, (unet, 0.5), (text, 2.0))
    lora.apply(model, [(of(changes), 0.5, 0.0)])
    assert_merged(model, (unet, 0.5))


def test_the_order_they_are_named_in_changes_no_bit(model):
    entries = [
        (of(twins.changes_of(model, seed=s), name), w)
        for s, name, w in ((1, "a", 1.0), (2, "b", 0.3), (3, "c", -2.0))
    ]
    found = []
    for order in itertools.permutations(entries):
        lora.apply(model, order)
        found.append(bits(model))
    for other in found[1:]:
        assert_same(found[0], other)


def test_again_gives_the_same_bits_whatever_was_in_between(model):
    first, second = (of(twins.changes_of(model, seed=s, convs=s == 2), str(s)) for s in (1, 2))
    lora.apply(model, [(first, 0.7)])
    once = bits(model)
    lora.apply(model, [(second, 1.3)])
    lora.apply(model, [(first, 0.2), (second, 0.4)])
    lora.apply(model, [(first, 0.7)])
    assert_same(once, bits(model))


def test_a_set_replaces_the_one_before(model):
    first, second = twins.changes_of(model, seed=1), twins.changes_of(model, seed=2, convs=True)
    lora.apply(model, [(of(second), 1.0)])
    lora.apply(model, [(of(first), 1.0)])
    assert_merged(model, (first, 1.0))
    assert [entry[1:] for entry in lora.applied(model)] == [(1.0, 1.0)]


def test_weight_0_is_the_original_bits(model):
    before = pointers(model)
    (report,) = lora.apply(model, [(of(twins.changes_of(model)), 0.0)])
    assert pointers(model) == before
    assert report.matched


@pytest.mark.parametrize("weight", [4.01, -5.0, float("nan"), float("inf")])
def test_a_weight_out_of_range_is_refused(model, weight):
    before = pointers(model)
    with pytest.raises(SettingsError, match=r"^The weight of style must be between -4 and 4, got "):
        lora.apply(model, [(of(twins.changes_of(model), "style"), weight)])
    assert pointers(model) == before


def test_one_that_does_not_fit_leaves_those_that_act(models):
    model = models["sd1"]
    fits, other = of(twins.changes_of(model), "fits"), of(twins.changes_of(models["sdxl"]), "other")
    lora.apply(model, [(fits, 1.0)])
    before = pointers(model)
    with pytest.raises(CheckpointError, match=r"^other is a LoRA for "):
        lora.apply(model, [(fits, 0.5), (other, 1.0)])
    assert pointers(model) == before
    assert lora.applied(model) == ((fits, 1.0, 1.0),)


def test_a_failure_half_way_leaves_the_model_as_it_was(model, monkeypatch):
    first, second = of(twins.changes_of(model, seed=1), "a"), of(twins.changes_of(model, seed=2), "b")
    lora.apply(model, [(first, 1.0)])
    before, after, real, calls = pointers(model), bits(model), applying._changed, []

    def failing(*arguments):
        calls.append(1)
        if len(calls) == 4:
            raise MemoryError
        return real(*arguments)

    monkeypatch.setattr(applying, "_changed", failing)
    with pytest.raises(MemoryError):
        lora.apply(model, [(second, 1.0)])
    assert (pointers(model), [entry[0] for entry in lora.applied(model)]) == (before, [first])
    assert_same(after, bits(model))


def test_traced_graphs_are_forgotten(model):
    latents, t, context = torch.randn(1, 4, 8, 8), torch.tensor([500]), torch.randn(1, 7, 32)
    plain = model.predict(latents, t, context)[0]
    lora.apply(model, [(of(twins.changes_of(model)), 1.0)])
    changed = model.predict(latents, t, context)[0]
    assert (changed - plain).abs().max() > 1e-3
    lora.remove(model)
    model.graphs.enabled = False
    try:
        again = model.predict(latents, t, context)[0]
    finally:
        model.graphs.enabled = True
    torch.testing.assert_close(again, plain, rtol=0, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_types_are_computed_in_single_precision_at_least_and_keep_their_layout(dtype):
    model = twins.model_of(twins.sd1()).to(dtype)
    model.model.to(memory_format=torch.channels_last)
    changes = twins.changes_of(model, convs=True)
    before = bits(model)
    layout = {name: parameter.stride() for name, parameter in model.named_parameters()}
    wanted = twins.merged(before, (changes, 0.9))
    lora.apply(model, [(of(changes), 0.9)])
    for name, parameter in model.named_parameters():
        exact = torch.from_numpy(wanted[name])
        if dtype == torch.float64:
            torch.testing.assert_close(parameter.data, exact, rtol=1e-12, atol=1e-6)  # alphas are single
        else:  # one rounding, of what is right to a few bits of single precision
            near = torch.finfo(dtype).eps * exact.abs() * 0.51 + 2e-6
            assert ((parameter.double() - exact).abs() <= near).all(), name
        assert (parameter.dtype, parameter.stride()) == (dtype, layout[name])
        assert parameter.data_ptr() % ALIGNMENT == 0 or torch.equal(parameter.data, before[name])
    lora.remove(model)
    assert_same(before, bits(model))


def test_a_model_that_is_cast_while_one_acts_gets_its_own_weights_back(model):
    fresh = twins.model_of(twins.sd1())
    wanted = {name: tensor.bfloat16() for name, tensor in bits(fresh).items()}
    lora.apply(fresh, [(of(twins.changes_of(fresh)), 1.0)])
    fresh.bfloat16()
    lora.remove(fresh)
    assert_same(wanted, bits(fresh))


def test_only_shapes_cannot_be_applied(model, tmp_path):
    save_file(twins.kohya(twins.changes_of(model)), tmp_path / "style.safetensors")
    read = lora.read_lora(tmp_path / "style.safetensors", only_shapes=True)
    assert lora.match(read, model).strengths == {}
    with pytest.raises(
        CheckpointError, match=r"^Of style only the header was read; read the whole file to apply it\.$"
    ):
        lora.apply(model, [(read, 1.0)])


def test_a_model_s_state_goes_with_it():
    model = twins.model_of(twins.sd1())
    lora.apply(model, [(of(twins.changes_of(model)), 1.0)])
    weight = weakref.ref(model.get_parameter("model.diffusion_model.out.2.weight"))
    del model
    gc.collect()
    assert weight() is None
