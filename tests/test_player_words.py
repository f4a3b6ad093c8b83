"""What the page is given to say where words were listened to."""

import dataclasses
import sys

import numpy as np
import pytest
import torch

from ldm.player.parts.words import BYTES, HEAD_SIDE, heads_bytes, heads_pack, words
from ldm.trace import AttentionMaps
from ldm.views.attention import NOT_RECORDED, daam, word_map

from .parts import Files, made_part
from .traces import TRACES, make_trace

RECORDED = {name: trace for name, trace in TRACES.items() if trace.steps[0].prediction.attention is not None}


def block(part, files, half, size):
    """(steps, words, rows, columns) shares, and what one level of each word stands for."""
    shape, place = part["sizes"][size], half["blocks"][size]
    whole = len(half["steps"]), len(half["words"]), shape["rows"], shape["columns"]
    count = int(np.prod(whole))
    levels = np.frombuffer(files[part["file"]["url"]], np.uint8, count, place["offset"]).reshape(whole)
    largest = np.array(place["largest"])[:, None, None]
    return torch.tensor(levels / 255 * largest), torch.tensor(largest)


def maps_of(step, half):
    return step.prediction.attention_uncond if half["negative"] else step.prediction.attention


@pytest.mark.parametrize("trace", RECORDED.values(), ids=RECORDED)
def test_bytes_turn_back_into_shares_within_one_level_of_each_words_largest(trace):
    part, files = made_part(trace, words)
    assert len(part["halves"]) == (1 if trace.steps[0].prediction.x0_uncond is None else 2)
    for half in part["halves"]:
        for size in range(len(part["sizes"])):
            got, largest = block(part, files, half, size)
            want = torch.stack([
                torch.stack([
                    maps_of(trace.steps[k], half).maps[size][0, word["positions"]].float().sum(0)
                    for word in half["words"]
                ])
                for k in half["steps"]
            ])  # fmt: skip
            assert ((got - want).abs() < largest / 255).all()
            assert (got.sum(1) - 1).abs().max() < 0.01  # what a place listened to is everything it could


def test_each_position_is_in_one_word_and_words_read_as_in_the_prompt():
    part, _ = made_part(make_trace(), words)
    prompt, negative = part["halves"]
    assert [word["text"] for word in prompt["words"]] == ["start", "a", "red", "circle", "end", "padding"]
    assert [word["mark"] for word in prompt["words"]] == [True, False, False, False, True, True]
    assert sorted(p for word in prompt["words"] for p in word["positions"]) == list(range(8))
    assert (prompt["negative"], negative["negative"]) == (False, True)


def test_a_batch_gives_the_picture_that_is_looked_at():
    trace = TRACES["batch of 2"]
    part, files = made_part(trace, words, picture=1)
    got, largest = block(part, files, part["halves"][0], 0)
    want = trace.steps[2].prediction.attention.maps[0][1, 3].float()
    assert ((got[2, 3] - want).abs() < largest[3] / 255).all()


def test_the_preset_is_what_daam_gives_for_each_word():
    trace = make_trace()
    part, files = made_part(trace, words)
    half = part["halves"][0]
    place, count = half["daam"], len(half["words"])
    levels = np.frombuffer(
        files[part["file"]["url"]], np.uint8, count * place["rows"] * place["columns"], place["offset"]
    ).reshape(count, place["rows"], place["columns"])
    for got, word in zip(levels, half["words"], strict=True):
        want = daam(trace, word["positions"])
        assert np.abs(got / 255 - (want / want.max()).numpy()).max() < 1 / 255


def without_attention(step):
    changed = dataclasses.replace(step.prediction, attention=None, attention_uncond=None)
    return dataclasses.replace(step, prediction=changed)


def test_steps_without_attention_are_left_out_and_counted():
    trace = make_trace()
    steps = (trace.steps[0], without_attention(trace.steps[1]), *trace.steps[2:])
    part, files = made_part(dataclasses.replace(trace, steps=steps), words)
    half = part["halves"][0]
    assert (half["steps"], part["apart"]) == ([0, 2, 3], 1)
    got, largest = block(part, files, half, 0)
    want = trace.steps[2].prediction.attention.maps[0][0, 2].float()
    assert ((got[1, 2] - want).abs() < largest[2] / 255).all()


def test_steps_that_read_a_prompt_of_another_length_are_left_out():
    trace = make_trace()
    first = trace.steps[0].prediction
    shorter = AttentionMaps(tuple(m[:, :5] for m in first.attention.maps))
    changed = dataclasses.replace(first, attention=shorter)
    steps = (dataclasses.replace(trace.steps[0], prediction=changed), *trace.steps[1:])
    part, _ = made_part(dataclasses.replace(trace, steps=steps), words)
    assert [half["steps"] for half in part["halves"]] == [[1, 2, 3], [0, 1, 2, 3]]


def sized(sizes, steps, tokens=22):
    """A run with attention of these sizes, the same at every step."""
    trace = make_trace(steps=1)
    maps = tuple((2 * torch.randn(1, tokens, h, w)).softmax(1).half() for h, w in sizes)
    attention = AttentionMaps(maps, (40, 40, 40, 8)[: len(sizes)])
    [step] = trace.steps
    prediction = dataclasses.replace(step.prediction, attention=attention, attention_uncond=attention)
    made = tuple(dataclasses.replace(step, index=k, prediction=prediction) for k in range(steps))
    pieces = ("[start]", *(f"w{i}" for i in range(tokens - 2)), "[end]")
    text = " ".join(pieces[1:-1])
    settings = dataclasses.replace(trace.settings, prompt=text, negative_prompt=text)
    return dataclasses.replace(trace, steps=made, tokens=pieces, negative_tokens=pieces, settings=settings)


def test_at_the_size_of_stable_diffusion_maps_are_averaged_down_and_the_file_stays_small():
    trace = sized([(64, 64), (32, 32), (16, 16), (8, 8)], steps=30)
    part, files = made_part(trace, words)
    assert part["sizes"][0] == {"height": 64, "width": 64, "rows": 32, "columns": 32}
    assert part["apart"] == 1
    assert len(files[part["file"]["url"]]) <= BYTES + 2 * 22 * 64 * 64
    got, largest = block(part, files, part["halves"][0], 0)
    fine = trace.steps[0].prediction.attention.maps[0][0, 3].float()
    want = fine.reshape(32, 2, 32, 2).mean((1, 3))
    assert ((got[0, 3] - want).abs() < largest[3] / 255).all()


def test_a_short_prompt_keeps_larger_maps_and_none_is_squeezed():
    sizes = [(64, 96), (32, 48)]
    rows = {}
    for tokens in (8, 77):
        part, _ = made_part(sized(sizes, steps=30, tokens=tokens), words)
        rows[tokens] = [(size["rows"], size["columns"]) for size in part["sizes"]]
    assert rows == {8: [(22, 32), (16, 24)], 77: [(11, 16), (11, 16)]}


def test_of_a_very_long_run_some_steps_are_taken(monkeypatch):
    monkeypatch.setattr(sys.modules[words.__module__], "BYTES", 6000)
    part, files = made_part(sized([(8, 8)], steps=40, tokens=4), words)
    assert part["apart"] == 4
    assert part["halves"][0]["steps"] == list(range(0, 40, 4))
    got, _ = block(part, files, part["halves"][0], 0)
    assert got.shape == (10, 4, 8, 8)


def test_a_run_without_attention_says_so():
    assert made_part(TRACES["attention not recorded"], words) == ({"why": NOT_RECORDED}, {})
    assert made_part(make_trace(steps=0), words) == (None, {})


@dataclasses.dataclass
class Layer:
    name: str
    attention: torch.Tensor


def test_heads_are_packed_at_the_size_that_was_said_before():
    trace = sized([(64, 64), (16, 16)], steps=1)
    layers = [
        Layer("middle", (2 * torch.randn(40, 22, 16, 16)).softmax(1)),
        Layer("first", (2 * torch.randn(40, 22, 64, 64)).softmax(1)),
    ]
    files = Files()
    packed = heads_pack(layers, files.put)
    assert sum(len(files[layer["file"]["url"]]) for layer in packed) == heads_bytes(trace)
    assert [(p["name"], p["size"], p["rows"], p["heads"], p["tokens"]) for p in packed] == [
        ("middle", [16, 16], 16, 40, 22),
        ("first", [64, 64], HEAD_SIDE, 40, 22),
    ]
    levels = np.frombuffer(files[packed[0]["file"]["url"]], np.uint8).reshape(40, 22, 16, 16)
    largest = np.array(packed[0]["largest"])[:, None, None]
    assert (np.abs(levels / 255 * largest - layers[0].attention.numpy()) < largest / 255).all()


def test_where_heads_were_not_counted_their_cost_is_unknown():
    assert made_part(make_trace(), words)[0]["heads_bytes"] is None


def test_a_words_mean_over_steps_and_sizes_is_that_of_the_views():
    trace = make_trace()
    part, files = made_part(trace, words)
    half = part["halves"][0]
    maps = [block(part, files, half, size)[0][:, 3].mean(0)[None, None] for size in (0, 1)]
    wide = [torch.nn.functional.interpolate(m, size=(8, 8), mode="bilinear")[0, 0] for m in maps]
    torch.testing.assert_close(
        (wide[0] + wide[1]).float() / 2, word_map(trace, half["words"][3]["positions"]), atol=2e-3, rtol=0
    )
