import dataclasses
import json
import math
import pickle
import struct

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ldm import run_file
from ldm.errors import TraceError
from ldm.trace import AttentionMaps, Prediction

from .traces import TRACES, grey_ramp, make_trace, with_a_small_disk, without_pictures

PICTURE, MASK = grey_ramp().resize((64, 64)), grey_ramp().resize((64, 64)).convert("L")
CANNOT = "x.safetensors cannot be read as a run: "
DAMAGED = "x.safetensors is damaged or no run file."


@pytest.fixture
def path(tmp_path):
    return tmp_path / "x.safetensors"


def refused(path):
    with pytest.raises(TraceError) as error:
        run_file.load(path)
    return str(error.value)


def rewritten(path, change):
    """A saved run whose record and tensors went through `change`."""
    run_file.save(make_trace(), path)
    with safe_open(path, "pt") as file:
        record = json.loads(file.metadata()[run_file.KEY])
    tensors = load_file(path)
    record = change(record, tensors) or record
    save_file(tensors, path, {run_file.KEY: record if isinstance(record, str) else json.dumps(record)})
    return path


def with_step(trace, k, **change):
    steps = list(trace.steps)
    steps[k] = dataclasses.replace(steps[k], **change)
    return dataclasses.replace(trace, steps=tuple(steps))


def with_everything():
    """A run in which each step has something that version 1 of the file did not know."""
    trace = make_trace(steps=4)
    steps = trace.steps
    x0, third, x = (torch.randn(3, 1, 4, 8, 8, generator=torch.Generator().manual_seed(1))).unbind()
    for k, prediction in (
        (0, dataclasses.replace(steps[0].prediction, keeps_uncond=True)),
        (1, dataclasses.replace(steps[1].prediction, x0_third=third)),
    ):
        trace = with_step(trace, k, prediction=prediction)
    image, mask = trace.images[0].rotate(90), trace.images[0].convert("L")
    trace = dataclasses.replace(trace, init_image=image, mask=mask)
    trace = with_step(trace, 2, sigma_asked=steps[2].sigma + 1, x_asked=x, sigma_next=steps[1].sigma)
    return with_step(trace, 3, sigma=0.0, sigma_next=1e-9, sigma_asked=1e-9, prediction=Prediction(x0, x0))


NEW = {
    "keeps_uncond": (0, {"keeps_uncond": True}, {}),
    "x0_third": (0, {"x0_third": torch.zeros(1, 4, 8, 8)}, {}),
    "x_asked": (1, {}, {"x_asked": torch.zeros(1, 4, 8, 8)}),
    "sigma_asked": (1, {}, {"sigma_asked": 11.0}),
    "sigma_next above sigma": (1, {}, {"sigma_next": 14.0}),
}


def with_one(name):
    if name in ("init_image", "mask"):
        return dataclasses.replace(make_trace(), init_image=PICTURE, mask=MASK if name == "mask" else None)
    k, told, change = NEW[name]
    prediction = dataclasses.replace(make_trace().steps[k].prediction, **told)
    return with_step(make_trace(), k, prediction=prediction, **change)


def version(path):
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()[run_file.KEY])["version"]


@pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES)
def test_a_run_comes_back_bit_for_bit(path, trace):
    run_file.save(trace, path)
    back = run_file.load(path)
    assert run_file.equal(back, trace)
    for ours, theirs in zip(trace.steps, back.steps, strict=True):
        assert torch.equal(ours.x_next, theirs.x_next)
        assert torch.equal(ours.prediction.x0_cond, theirs.prediction.x0_cond)
        assert (ours.prediction.x0_uncond is None) == (theirs.prediction.x0_uncond is None)
        assert ours.timestep == theirs.timestep
    assert [i.tobytes() for i in back.images] == [i.tobytes() for i in trace.images]


def test_what_a_step_may_have_besides_comes_back_bit_for_bit(path):
    trace = with_everything()
    run_file.save(trace, path)
    back = run_file.load(path)
    assert run_file.equal(back, trace)
    steps = back.steps
    assert [s.prediction.keeps_uncond for s in steps] == [True, False, False, False]
    assert [s.prediction.x0_third is None for s in steps] == [True, False, True, True]
    assert torch.equal(steps[1].prediction.x0_third, trace.steps[1].prediction.x0_third)
    assert [s.x_asked is None for s in steps] == [True, True, False, True]
    assert torch.equal(steps[2].x_asked, trace.steps[2].x_asked)
    assert [s.sigma_asked for s in steps] == [s.sigma_asked for s in trace.steps]
    assert steps[2].sigma_next > steps[2].sigma
    assert steps[3].sigma == 0
    for ours, theirs in ((trace.init_image, back.init_image), (trace.mask, back.mask)):
        assert (ours.mode, ours.size, ours.tobytes()) == (theirs.mode, theirs.size, theirs.tobytes())


def test_runs_with_other_masks_are_not_equal():
    ours, other = with_one("mask"), dataclasses.replace(with_one("mask"), mask=MASK.rotate(90))
    assert run_file.equal(ours, with_one("mask"))
    assert not run_file.equal(ours, other)
    assert not run_file.equal(ours, with_one("init_image"))


@pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES)
def test_a_run_without_what_is_new_is_a_file_of_version_1(path, trace):
    run_file.save(trace, path)
    assert version(path) == 1


@pytest.mark.parametrize("name", [*NEW, "init_image", "mask"])
def test_a_run_that_version_1_would_misread_says_so(path, name):
    run_file.save(with_one(name), path)
    assert version(path) == 2
    assert run_file.equal(run_file.load(path), with_one(name))


def with_heads(heads=(40, 8)):
    steps = [
        dataclasses.replace(
            step,
            prediction=dataclasses.replace(
                step.prediction, attention=AttentionMaps(step.prediction.attention.maps, heads)
            ),
        )
        for step in make_trace().steps
    ]
    return dataclasses.replace(make_trace(), steps=tuple(steps))


def test_how_many_heads_a_map_is_of_comes_back(path):
    run_file.save(with_heads(), path)
    assert version(path) == 3
    back = run_file.load(path)
    assert run_file.equal(back, with_heads()) and not run_file.equal(back, with_heads((40, 9)))
    assert [s.prediction.attention.heads for s in back.steps] == [(40, 8)] * 4
    assert back.steps[0].prediction.attention_uncond.heads == ()


def test_a_run_that_did_not_hear_a_word_says_so_to_older_readers(path):
    muted = dataclasses.replace(make_trace().settings, muted_tokens=(2,), mute_stop=0.5)
    trace = dataclasses.replace(make_trace(), settings=muted)
    run_file.save(trace, path)
    assert version(path) == 3
    assert run_file.load(path).settings == muted


@pytest.mark.parametrize("heads", [[8], [8, 0], [8, 1.5], [8, True], [8, 10**6]])
def test_heads_that_cannot_be_are_refused(path, heads):
    reason = f"its attention_heads is {heads}"
    assert refused(rewritten(path, first(attention_heads=heads))) == f"{CANNOT}{reason}."


@pytest.mark.parametrize("given", [Image.new("L", (64, 64), 3), Image.new("RGB", (8, 8), "red")])
def test_a_picture_that_was_only_shown_comes_back_as_it_was(tmp_path, given):
    shown = dataclasses.replace(make_trace(), init_image=given)
    assert shown.only_shown
    run_file.save(shown, tmp_path / "x.safetensors")
    assert version(tmp_path / "x.safetensors") == 4
    again = run_file.load(tmp_path / "x.safetensors").init_image
    assert (again.mode, again.size, again.tobytes()) == (given.mode, given.size, given.tobytes())


def test_what_x0_was_before_it_was_moved_to_a_codebook_comes_back(path):
    step = make_trace().steps[1]
    free = step.prediction.x0 + 0.25
    trace = with_step(make_trace(), 1, prediction=dataclasses.replace(step.prediction, x0_free=free))
    run_file.save(trace, path)
    assert version(path) == 4
    back = run_file.load(path)
    assert run_file.equal(back, trace) and not run_file.equal(back, make_trace())
    assert [s.prediction.x0_free is None for s in back.steps] == [True, False, True, True]
    assert torch.equal(back.steps[1].prediction.anchor, free)


def test_an_x0_before_the_codebook_of_another_shape_is_refused(path):
    def change(record, tensors):
        tensors["steps.1.x0_free"] = torch.zeros(1, 4, 8, 4)

    said = refused(rewritten(path, change))
    assert said == f"{CANNOT}its step 1 has latents of another shape than step 0."


def test_a_file_of_version_1_still_loads(path):
    def older(record, tensors):
        for step in record["steps"]:
            del step["sigma_asked"], step["keeps_uncond"]

    assert run_file.equal(run_file.load(rewritten(path, older)), make_trace())


def test_numbers_that_are_easily_lost_come_back(path):
    trace = make_trace(steps=2)
    x = trace.steps[1].x.clone()
    x[0, 0, 0, :4] = torch.tensor([math.nan, -0.0, math.inf, 1e-45])
    trace = with_step(trace, 1, x=x, sigma=0.1 + 0.2, timestep=333.3333333333333, sigma_next=5e-324)
    trace = dataclasses.replace(trace, parent=("run ☕", 3), seconds=1 / 3, tokens=("a", "☕", '"'))
    run_file.save(trace, path)
    assert run_file.equal(run_file.load(path), trace)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_float_type_comes_back(path, dtype):
    trace = make_trace(steps=1)
    x = trace.steps[0].x.to(dtype)
    trace = with_step(trace, 0, x=x, x_next=x, prediction=Prediction(x, x + 1, x))
    run_file.save(trace, path)
    back = run_file.load(path)
    assert run_file.equal(back, trace)
    assert back.steps[0].x.dtype == dtype


def test_views_into_one_tensor_are_stored_as_they_look(path):
    """As the denoiser makes them: halves of one batch, and not contiguous."""
    trace = make_trace(steps=1)
    both = torch.randn(2, 4, 8, 8)
    uncond, cond = both.chunk(2)
    turned = both[:1].transpose(2, 3)
    trace = with_step(trace, 0, x=turned, prediction=Prediction(cond, cond, uncond))
    run_file.save(trace, path)
    assert run_file.equal(run_file.load(path), trace)


def test_what_is_there_twice_is_stored_once(path):
    run_file.save(make_trace(guided=False, attention=False), path)
    names = set(load_file(path))
    assert names == {*(f"steps.{k}.{n}" for k in range(4) for n in ("x", "x0")), "steps.3.x_next", "images.0"}


def test_an_x_next_that_is_not_the_next_x_is_stored(path):
    trace = with_step(make_trace(), 1, x_next=torch.zeros(1, 4, 8, 8))
    run_file.save(trace, path)
    assert run_file.equal(run_file.load(path), trace)


@pytest.mark.parametrize(
    "trace",
    [
        without_pictures(make_trace()),
        make_trace(steps=0, finished=False),
        make_trace(steps=300, height=2, width=2, attention=False),
    ],
    ids=["no pictures", "no steps", "300 steps"],
)
def test_unusual_runs_come_back_too(path, trace):
    run_file.save(trace, path)
    assert run_file.equal(run_file.load(path), trace)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: dataclasses.replace(t, seconds=0.25),
        lambda t: dataclasses.replace(t, finished=False),
        lambda t: dataclasses.replace(t, parent=("a", 1)),
        lambda t: dataclasses.replace(t, images=()),
        lambda t: dataclasses.replace(t, steps=t.steps[:-1]),
        lambda t: with_step(t, 2, timestep=1.0),
        lambda t: with_step(t, 3, x_next=t.steps[3].x_next + 1e-6),
        lambda t: with_step(
            t, 0, prediction=dataclasses.replace(t.steps[0].prediction, attention=AttentionMaps(()))
        ),
        *(lambda t, name=name: with_one(name) for name in [*NEW, "init_image"]),
        lambda t: dataclasses.replace(t, init_image=PICTURE, mask=MASK),
    ],
)
def test_runs_that_differ_are_not_equal(change):
    trace = make_trace()
    assert run_file.equal(trace, make_trace())
    assert not run_file.equal(trace, change(trace))


def test_a_zero_with_another_sign_is_not_equal():
    zero = torch.zeros(1, 4, 8, 8)
    assert not run_file.equal(*(with_step(make_trace(), 3, x_next=z) for z in (zero, -zero)))


def test_the_file_is_one_that_safetensors_reads_and_writes(path):
    run_file.save(make_trace(), path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    save_file(load_file(path), path, metadata)
    assert run_file.equal(run_file.load(path), make_trace())


def test_a_loaded_run_does_not_hang_on_its_file(path):
    run_file.save(make_trace(), path)
    back = run_file.load(path)
    path.write_bytes(b"")
    assert run_file.equal(back, make_trace())


def test_a_missing_file_is_named(path):
    assert refused(path) == "There is no run file x.safetensors."


def test_a_truncated_file_is_refused_wherever_it_ends(path):
    run_file.save(make_trace(steps=1), path)
    data = path.read_bytes()
    for end in (0, 7, 8, 100, 2000, len(data) // 2, len(data) - 1):
        path.write_bytes(data[:end])
        short = CANNOT + "it does not start as a .safetensors file of a run does."
        assert refused(path) == (short if end < 8 else DAMAGED)


def test_a_pickle_is_not_opened(path):
    class Trap:
        def __reduce__(self):
            return pytest.fail, ("unpickled",)

    path.write_bytes(pickle.dumps(Trap()))
    assert refused(path).startswith("x.safetensors ")
    torch.save({"x": torch.zeros(3)}, path)
    assert refused(path) == CANNOT + "it does not start as a .safetensors file of a run does."


def test_weights_are_no_run(path):
    save_file({"x": torch.zeros(3)}, path)
    assert refused(path) == CANNOT + "it holds no run."


def test_a_header_that_would_not_fit_is_not_read(path):
    path.write_bytes(struct.pack("<Q", run_file.MAX_HEADER + 1) + b"{}")
    assert refused(path) == CANNOT + "it does not start as a .safetensors file of a run does."


def test_a_vast_file_is_not_read(path):
    with path.open("wb") as file:
        file.truncate(run_file.MAX_BYTES + 1)
    assert refused(path) == CANNOT + "it is larger than 4 GB."


def test_a_vast_run_is_not_written(path, monkeypatch):
    monkeypatch.setattr(run_file, "MAX_BYTES", run_file.MAX_HEADER + 1000)
    with pytest.raises(TraceError) as error:
        run_file.save(make_trace(), path)
    assert str(error.value).startswith("The run takes 0.0 GB; a run file holds ")
    assert not path.exists()


def drop(name):
    return lambda record, tensors: record if tensors.pop(name) is not None else None


def put(name, tensor):
    return lambda record, tensors: tensors.update({name: tensor})


def said(**change):
    return lambda record, tensors: {**record, **change}


def resized(width, height):
    def change(record, tensors):
        tensors.pop("images.0")
        record["settings"] |= {"width": width, "height": height}

    return change


def channels(count):
    def change(record, tensors):
        for name, tensor in tensors.items():
            if "attention" not in name and tensor.dim() == 4:
                tensors[name] = torch.zeros(1, count, 8, 8)

    return change


def first(**change):
    return lambda record, tensors: record["steps"][0].update(change)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda record, tensors: "{", "its record is not valid JSON"),
        (lambda record, tensors: "[" * 50_000, "its record is not valid JSON"),
        (lambda record, tensors: "[]", "its version is None"),
        (said(version=True), "its version is True"),
        (said(version=5), "it was written by a newer version of this app"),
        (said(settings=None), "its settings is None"),
        (said(settings={}), "its settings are refused (The settings name no prompt)"),
        (said(steps="x" * 1000), "its steps is 'xxxxxxxxxxxx...xxxxxxxxxxxxx'"),
        (said(steps=[{}] * 1001), "it has 1001 steps, at most 1000 are read"),
        (said(seconds=math.nan), "its seconds is nan"),
        (said(seconds=10**400), "its seconds is 100000000000000000...0000000000000000000"),
        (said(tokens=["a", 1]), "its tokens are not all text"),
        (said(parent=["a"]), "its parent is ['a']"),
        (said(parent=["a", True]), "its parent is ['a', True]"),
        (said(finished=1), "its finished is 1"),
        (said(model_name=None), "its model_name is None"),
        (first(sigma=math.inf), "its sigma is inf"),
        (first(sigma="1"), "its sigma is '1'"),
        (first(sigma=0.0, sigma_next=0.0), "its step 0 goes from sigma 0.0 to 0.0"),
        (first(sigma=0.0, sigma_next=1.0), "its step 0 goes from sigma 0.0 to 1.0"),
        (first(sigma=1.0, sigma_next=-2.0), "its step 0 goes from sigma 1.0 to -2.0"),
        (first(sigma=-1.0, sigma_asked=1.0, sigma_next=0.0), "its step 0 goes from sigma -1.0 to 0.0"),
        (first(sigma_asked=0.0), "its step 0 asks about sigma 0.0"),
        (first(sigma_asked=-1), "its step 0 asks about sigma -1.0"),
        (first(sigma_asked=math.nan), "its sigma_asked is nan"),
        (first(sigma_asked=True), "its sigma_asked is True"),
        (first(keeps_uncond=1), "its keeps_uncond is 1"),
        (first(timestep=None), "its timestep is None"),
        (first(index=0.5), "its index is 0.5"),
        (drop("steps.1.x"), "its step 1 is incomplete"),
        (drop("steps.2.x0"), "its step 2 is incomplete"),
        (drop("steps.3.x_next"), "its step 3 is incomplete"),
        (drop("steps.0.attention.0"), "it holds 'steps.0.attention.1', which no run has"),
        (put("steps.4.x", torch.zeros(1, 4, 8, 8)), "it holds 'steps.4.x', which no run has"),
        (put("steps.2.x0", torch.zeros(1, 4, 9, 9)), "its step 2 has latents of another shape than step 0"),
        (put("steps.2.x0", torch.zeros(1, 4, 8, 8).int()), "its step 2 holds whole numbers for latents"),
        (
            put("steps.2.x0_third", torch.zeros(1, 4, 9, 9)),
            "its step 2 has latents of another shape than step 0",
        ),
        (
            put("steps.2.x_asked", torch.zeros(2, 4, 8, 8)),
            "its step 2 has latents of another shape than step 0",
        ),
        (
            put("steps.2.x0_third", torch.zeros(1, 4, 8, 8).int()),
            "its step 2 holds whole numbers for latents",
        ),
        (put("steps.2.x_asked", torch.zeros(1, 4, 8, 8).int()), "its step 2 holds whole numbers for latents"),
        (put("steps.9.x_asked", torch.zeros(1, 4, 8, 8)), "it holds 'steps.9.x_asked', which no run has"),
        (put("steps.1.attention.0", torch.zeros(2, 8, 8, 8)), "its step 1 does not fit a batch of 1"),
        (put("steps.1.attention.0", torch.zeros(())), "its step 1 does not fit a batch of 1"),
        (put("images.0", torch.zeros(8, 8, 3)), "its picture 0 is no picture"),
        (put("images.0", torch.zeros(8, 8, 4).byte()), "its picture 0 is no picture"),
        (put("images.0", torch.zeros(0, 8, 3).byte()), "its picture 0 is no picture"),
        (put("images.0", torch.zeros(8, 9, 3).byte()), "its picture 0 has 9 x 8 pixels, not 64 x 64"),
        (resized(1000, 1000), "its latents of 8 x 8 do not fit a picture of 1000 x 1000"),
        (resized(64, 128), "its latents of 8 x 8 do not fit a picture of 64 x 128"),
        (resized(16, 16), "its latents of 8 x 8 do not fit a picture of 16 x 16"),
        (resized(2048, 2048), "its latents of 8 x 8 do not fit a picture of 2048 x 2048"),
        (channels(65), "its latents have 65 channels, at most 64 are read"),
        (put("images.1", torch.zeros(64, 64, 3).byte()), "it has 2 pictures for a batch of 1"),
        (put("init_image", torch.zeros(64, 64).byte()), "its init_image is no picture"),
        (put("init_image", torch.zeros(64, 64, 3)), "its init_image is no picture"),
        (put("init_image", torch.zeros(8, 9, 3).byte()), "its init_image has 9 x 8 pixels, not 64 x 64"),
        (put("mask", torch.zeros(64, 64, 3).byte()), "its mask is no picture"),
        (put("mask", torch.zeros(64).byte()), "its mask is no picture"),
        (put("mask", torch.zeros(64, 32).byte()), "its mask has 32 x 64 pixels, not 64 x 64"),
        (put("mask", torch.zeros(64, 64).byte()), "it has a mask for no picture"),
    ],
)
def test_a_run_that_does_not_fit_together_says_where(path, change, reason):
    assert refused(rewritten(path, change)) == f"{CANNOT}{reason}."


def test_a_full_disk_is_an_error_that_names_the_file_and_keeps_the_old_one(path):
    path.write_bytes(b"what was there")
    said = with_a_small_disk(
        "from ldm import run_file; from tests.traces import make_trace",
        "run_file.save(make_trace(), sys.argv[1])",
        path,
    )
    assert said == "TraceError x.safetensors could not be written: File too large.\n"
    assert [p.name for p in path.parent.iterdir()] == ["x.safetensors"]
    assert path.read_bytes() == b"what was there"


def maps_of(*shapes):
    """Attention maps of one picture that are of nothing."""
    return {f".{i}": torch.zeros(1, *shape, dtype=torch.float16) for i, shape in enumerate(shapes)}


@pytest.mark.parametrize(
    ("shapes", "said"),
    [
        ([(8, 8, 8), (5, 4, 4)], "has maps of several prompts"),
        ([(8, 4, 4), (8, 2, 2)], "has other sizes than that of steps before"),
    ],
)
def test_attention_that_does_not_fit_together_is_refused(path, shapes, said):
    def change(record, tensors):
        for name, tensor in maps_of(*shapes).items():
            tensors[f"steps.1.attention{name}"] = tensor

    assert refused(rewritten(path, change)).endswith(f"the attention of its step 1 {said}.")


def test_attention_to_another_prompt_may_have_other_sizes(path):
    def change(record, tensors):
        for name, tensor in maps_of((3, 16, 16), (3, 8, 8)).items():
            tensors[f"steps.0.attention{name}"] = tensor

    assert run_file.load(rewritten(path, change)).steps[0].prediction.attention.sizes == [(16, 16), (8, 8)]
