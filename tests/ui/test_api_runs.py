"""What programs do with a run that is there: keep it as a page, and take it up with something changed."""

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
from PIL import Image

from ldm import png, run_file
from ldm.generation import resume
from ldm.settings import Settings

from .conftest import refused

PROMPT = "a red apple on a blue background"


@pytest.fixture(scope="module")
def run_id(client):
    return client.predict(prompt=PROMPT, steps=4, seed=3, batch_size=2, api_name="/generate")[2]


def test_the_page_of_a_run_is_one_file(client, run_id, engine):
    path = Path(client.predict(run_id=run_id, api_name="/page"))
    text = path.read_text()
    assert path.name == "a-red-apple-on-a-blue-background-seed3.html"
    assert text.startswith("<!doctype html>") and f"<title>{PROMPT} - Latent Darkroom</title>" in text
    assert run_id not in text and str(engine.trace(run_id).steps[1].sigma) in text
    second = Path(client.predict(run_id=run_id, picture=1, api_name="/page")).read_text()
    assert "seed 4," in second and "seed 4," not in text


def test_pages_of_what_is_not_there_are_refused(client, run_id):
    assert "This run is not kept any more" in refused(client, "/page", run_id="nothing")
    said = refused(client, "/page", run_id=run_id, picture=2)
    assert "picture must be between 0 and 1, got 2." in said
    assert "picture must be a whole number, got 0.5." in refused(client, "/page", run_id=run_id, picture=0.5)


@pytest.mark.parametrize("value", ["x", None, True, [], {"a": 1}], ids=str)
def test_a_place_that_is_no_number_is_told_in_a_sentence(client, run_id, value):
    said = refused(client, "/page", run_id=run_id, picture=value)
    assert "picture must be a whole number, got" in said
    assert "at must be a whole number, got" in refused(client, "/branch", run_id=run_id, at=value)


def test_branches_take_what_generate_takes_and_nothing_is_required_but_where(client):
    endpoint = client.view_api(return_format="dict")["named_endpoints"]["/branch"]
    names = [p["parameter_name"] for p in endpoint["parameters"]]
    stay = {"width", "height", "batch_size"}
    assert names == [
        "run_id", "at", *(f.name for f in fields(Settings) if f.name not in stay), "init_image", "mask",
    ]  # fmt: skip
    assert [p["parameter_name"] for p in endpoint["parameters"] if not p["parameter_has_default"]] == names[
        :2
    ]


def test_a_branch_has_the_first_steps_and_goes_its_own_way(client, run_id, engine):
    pictures, seed, new = client.predict(
        run_id=run_id, at=2, cfg_scale=6, prompt="a blue dog", api_name="/branch"
    )
    base, made = engine.trace(run_id), engine.trace(new)
    settings = replace(base.settings, cfg_scale=6.0, prompt="a blue dog")
    assert (seed, made.settings, made.parent) == (3, settings, (run_id, 2))
    wanted = list(resume(engine.model, base, 2, settings))
    for ours, theirs in zip(made.steps[2:], wanted, strict=True):
        assert ours.x.equal(theirs.x) and ours.x_next.equal(theirs.x_next)
    assert all(a.x.equal(b.x) for a, b in zip(made.steps[:2], base.steps[:2], strict=True))
    assert [png.read(path)[0] for path in pictures] == [settings.of_picture(i) for i in range(2)]


def test_a_branch_with_nothing_changed_is_the_same_run(client, run_id, engine):
    pictures, _, new = client.predict(run_id=run_id, at=1, api_name="/branch")
    path, _ = client.predict(run_id=new, api_name="/steps")
    base = engine.trace(run_id)
    assert all(a.x_next.equal(b.x_next) for a, b in zip(run_file.load(path).steps, base.steps, strict=True))
    for picture, wanted in zip(pictures, base.images, strict=True):
        with Image.open(picture) as image:
            assert image.convert("RGB").tobytes() == wanted.tobytes()


def test_a_branch_that_cannot_be_is_told_in_a_sentence(client, run_id):
    assert "This run is not kept any more" in refused(client, "/branch", run_id="nothing", at=1)
    assert re.search(r"at must be between 0 and 4, .*got 9", refused(client, "/branch", run_id=run_id, at=9))
    assert "at must be a whole number, got 1.5." in refused(client, "/branch", run_id=run_id, at=1.5)
    said = refused(client, "/branch", run_id=run_id, at=1, cfg_scale=99)
    assert "cfg_scale must be between -2 and 30, got 99." in said
