"""Another model opened while pages are open: those are told, new ones work, and so does the API."""

import json
import time
import urllib.error
import urllib.request
from dataclasses import replace

import pytest
import torch
from gradio_client import Client

from ldm import checkpoints
from ldm.engine import Engine, Opened
from ldm.latent_diffusion import LatentDiffusion
from ldm.models.tokenizer import Tokenizer
from ldm.ui.renewing import MOST_PAGES, SAID, STALE, Renewing

from .conftest import TINY

OTHER = replace(
    TINY, name="other", vocabulary={}, words=(), recommended=replace(TINY.recommended, width=32, height=32)
)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    for seed, config in enumerate((TINY, OTHER)):
        torch.manual_seed(seed)
        model = LatentDiffusion(config, Tokenizer.clip())
        checkpoints.save(model, folder / f"{config.name}.safetensors")
    return folder


@pytest.fixture(scope="module")
def served(files, tmp_path_factory):
    """(page, engine, address) of an app of its own."""
    from ldm.ui import build_app, launch

    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("LDM_WEIGHTS", str(files))
        patched.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        engine = Engine(files / "tiny.safetensors", device="cpu")
        page = build_app(engine)
        launch(page, engine, prevent_thread_lock=True, quiet=True)
        yield page, engine, page.local_url.rstrip("/")
        page.close(verbose=False)
        engine.close()


def program(address):
    return Client(address, verbose=False, analytics_enabled=False)


def health(address):
    return json.loads(urllib.request.urlopen(f"{address}/healthz").read())


def joined(address, page):
    """The answer to an event of a page in a browser: (status, body)."""
    body = json.dumps({"data": [], "fn_index": 0, "session_hash": page}).encode()
    asked = urllib.request.Request(
        f"{address}/gradio_api/queue/join?", body, {"content-type": "application/json"}
    )
    try:
        answer = urllib.request.urlopen(asked)
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())
    return answer.status, json.loads(answer.read())


def use(served, files, name):
    page, engine, address = served
    before = health(address)["layout"]
    engine.open(Opened(files / f"{name}.safetensors"))
    page.renewing.soon()
    end = time.monotonic() + 30
    while health(address)["layout"] == before and time.monotonic() < end:
        time.sleep(0.05)
    assert health(address) == {"status": "ok", "checkpoint": name, "device": "cpu", "layout": before + 1}


def test_a_page_loaded_before_is_told_and_a_new_one_is_not(served, files):
    address = served[2]
    assert joined(address, "old page")[0] == 200
    use(served, files, "other")
    assert joined(address, "old page") == (STALE, {"detail": SAID})
    assert joined(address, "old page") == (STALE, {"detail": SAID})
    assert joined(address, "new page")[0] == 200
    use(served, files, "tiny")
    assert joined(address, "new page") == (STALE, {"detail": SAID})


def test_the_page_that_is_served_is_the_new_model_s(served, files):
    address = served[2]
    use(served, files, "other")
    assert '"other"' in urllib.request.urlopen(address).read().decode()
    use(served, files, "tiny")
    page = urllib.request.urlopen(address).read().decode()
    assert '"checkpoint":"tiny"' in page.replace(" ", "")


def test_the_api_draws_with_the_new_model_and_its_defaults(served, files):
    address = served[2]
    client = program(address)
    before = client.view_api(print_info=False, return_format="dict")["named_endpoints"]["/generate"][
        "parameters"
    ]
    use(served, files, "other")
    client = program(address)
    after = client.view_api(print_info=False, return_format="dict")["named_endpoints"]["/generate"][
        "parameters"
    ]
    width = [
        next(p["parameter_default"] for p in each if p["parameter_name"] == "width")
        for each in (before, after)
    ]
    assert width == [64, 32]
    pictures, *_ = client.predict(prompt="a red apple", steps=1, api_name="/generate")
    assert len(pictures) == 1
    use(served, files, "tiny")


def test_a_run_of_before_is_still_there(served, files):
    address = served[2]
    _, _, run_id, _ = program(address).predict(prompt="a red apple", steps=1, api_name="/generate")
    use(served, files, "other")
    saved, frames = program(address).predict(run_id=run_id, api_name="/steps")
    assert saved.endswith(".safetensors")
    assert len(frames) == 1
    use(served, files, "tiny")


def test_pages_are_remembered_up_to_a_number():
    class Page:
        pass

    renewing = Renewing(lambda _: Page())
    assert not renewing.is_stale("first")
    renewing.count = 1
    assert renewing.is_stale("first")
    for i in range(MOST_PAGES):
        assert not renewing.is_stale(f"page {i}")
    assert len(renewing._known) == MOST_PAGES
