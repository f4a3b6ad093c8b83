import pytest
from PIL import Image

from ldm.latent_diffusion import FULL_DECODER, LINEAR_MAP, SMALL_DECODER
from ldm.ui.scrubber import how_drawn, scrubber_value
from ldm.views.predictions import LANES

from ..traces import TRACES, decode, make_trace


@pytest.fixture(autouse=True)
def own_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path))


@pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES)
def test_every_run_fits_on_its_sheet(trace):
    lanes = ("x_t", "x0", "eps")
    value = scrubber_value("id", trace, lanes, decode, LINEAR_MAP)
    with Image.open(value["atlas"]["path"]) as sheet:
        assert value["columns"] * value["rows"] >= len(lanes) * value["steps"]
        assert sheet.width % value["columns"] == sheet.height % value["rows"] == 0
    numbers = [
        value["sigma"],
        value["sigma_next"],
        value["timestep"],
        *(c["values"] for c in value["curves"]),
    ]
    assert {len(column) for column in numbers} == {value["steps"]} == {len(trace.steps)}
    assert value["sigma"] == [step.sigma for step in trace.steps]


def test_a_long_run_is_drawn_smaller_and_in_pieces(monkeypatch):
    monkeypatch.setattr("ldm.ui.scrubber.SHEET_AREA", 64 * 64 * 40)
    at_once = []

    def counting(latents):
        at_once.append(len(latents))
        return decode(latents)

    value = scrubber_value("id", make_trace(steps=150), ("x_t", "x0"), counting, LINEAR_MAP)
    assert (value["steps"], value["width"]) == (150, 64)
    assert max(at_once) <= 8
    with Image.open(value["atlas"]["path"]) as sheet:
        assert sheet.width // value["columns"] < 64


@pytest.mark.parametrize("decoder", [LINEAR_MAP, SMALL_DECODER, FULL_DECODER])
@pytest.mark.parametrize("name", LANES)
def test_a_lane_says_how_it_was_drawn(name, decoder):
    words = how_drawn(name, decoder)
    assert ("not decoded" in words) != words.endswith(f"decoded by {decoder}")


def test_a_run_without_steps_is_its_picture_and_a_sentence():
    trace = make_trace(steps=0, batch=2)
    value = scrubber_value("none", trace, ("x0",), decode, LINEAR_MAP, 1)
    assert (value["steps"], value["prompt"]) == (0, "a red circle")
    assert value["said"] == "No steps at strength 0: the picture went through the autoencoder and back."
    assert value["still"]["path"].endswith("a-red-circle-seed8.png")
    assert "seed 8," in value["facts"]


def test_the_page_does_not_learn_the_runs_id_from_the_sheets_address():
    value = scrubber_value("secret", make_trace(), ("x0",), decode, LINEAR_MAP)
    assert "secret" not in str(value)
