import dataclasses
import json
import urllib.error
import urllib.request
import zlib
from types import SimpleNamespace

import pytest
from gradio.context import LocalContext
from gradio_client import handle_file
from PIL import Image
from starlette.requests import Request

from ldm import png, run_file
from ldm.engine import LOCAL, Run
from ldm.settings import Settings
from ldm.ui import server
from ldm.ui.api import steps
from ldm.ui.events import visitor
from ldm.ui.shared import App
from ldm.ui.tabs import prompt

from ..traces import with_a_small_disk
from .conftest import refused

PROMPT = "a red apple on a blue background"
FIRST = [
    "prompt", "negative_prompt", "steps", "sampler", "spacing", "final_sigma", "cfg_scale", "cfg_rescale",
    "eta", "seed", "batch_size", "width", "height", "draft",
]  # fmt: skip


def http(address, path, body=None):
    """Status and JSON of a request."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(address + path, data, {"content-type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode(), answer.headers
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode(), error.headers


def test_six_endpoints_are_public(client):
    assert sorted(client.view_api(return_format="dict")["named_endpoints"]) == [
        "/branch",
        "/generate",
        "/inspect",
        "/page",
        "/roundtrip",
        "/steps",
    ]
    assert client.view_api(return_format="dict")["unnamed_endpoints"] == {}


def test_parameters_are_the_fields_of_settings_and_all_but_the_prompt_have_defaults(client):
    endpoint = client.view_api(return_format="dict")["named_endpoints"]["/generate"]
    names = [p["parameter_name"] for p in endpoint["parameters"]]
    fields = [f.name for f in dataclasses.fields(Settings)]
    assert names[: len(FIRST)] == FIRST  # whoever calls by position goes on to
    assert sorted(names) == sorted([*fields, "draft", "init_image", "mask"])
    assert names[len(FIRST) :] == [*(n for n in fields if n not in FIRST), "init_image", "mask"]
    assert [p["parameter_name"] for p in endpoint["parameters"] if not p["parameter_has_default"]] == [
        "prompt"
    ]
    named = client.view_api(return_format="dict")["named_endpoints"]
    assert [p["parameter_name"] for p in named["/roundtrip"]["parameters"]] == [
        "image",
        "policy",
        "sample",
        "seed",
        "first_stage",
    ]
    assert [p["parameter_name"] for p in named["/steps"]["parameters"]] == ["run_id"]


def test_a_prompt_alone_gives_a_picture_with_its_settings_inside(client):
    pictures, seed, run_id, said = client.predict(prompt=PROMPT, api_name="/generate")
    settings, model_name = png.read(pictures[0])
    assert (len(pictures), seed, model_name, said) == (1, 0, "tiny", "")
    assert len(run_id) >= 22
    assert settings == Settings(PROMPT, steps=3, cfg_scale=3.0, cfg_rescale=0.7, width=64, height=64)


def test_keywords_are_obeyed(client):
    given = {
        "prompt": PROMPT, "negative_prompt": "blurry", "steps": 2, "sampler": "euler_ancestral",
        "spacing": "leading", "final_sigma": "first_timestep", "cfg_scale": 2.5, "cfg_rescale": 0.0,
        "eta": 0.5, "seed": 4_294_967_290, "width": 48, "height": 32,
    }  # fmt: skip
    pictures, seed, _, said = client.predict(**given, api_name="/generate")
    assert seed == given["seed"]
    assert said.startswith('In the negative prompt, "blurry" is not among the words this model learned')
    assert png.read(pictures[0])[0] == Settings(**given)
    with Image.open(pictures[0]) as image:
        assert image.size == (48, 32)


def test_a_draft_takes_its_own_steps_and_guidance_and_names_itself(client):
    pictures = client.predict(prompt=PROMPT, seed=2, draft=True, api_name="/generate")[0]
    settings, model_name = png.read(pictures[0])
    own = {"steps": 4, "sampler": "euler", "cfg_scale": 1.0, "cfg_rescale": 0.0}
    assert (settings, model_name) == (Settings(PROMPT, seed=2, width=64, height=64, **own), "tiny draft")
    pictures = client.predict(prompt=PROMPT, steps=8, cfg_scale=5.0, draft=True, api_name="/generate")[0]
    settings = png.read(pictures[0])[0]
    assert (settings.steps, settings.cfg_scale) == (8, 1.0)


def test_the_draft_and_the_model_draw_different_pictures(client):
    given = {"prompt": PROMPT, "steps": 4, "cfg_scale": 1.0, "sampler": "euler", "api_name": "/generate"}
    one, other = (client.predict(**given, draft=draft)[0][0] for draft in (False, True))
    with Image.open(one) as a, Image.open(other) as b:
        assert a.tobytes() != b.tobytes()


def test_picture_i_of_a_batch_says_its_own_seed(client):
    pictures, seed, *_ = client.predict(prompt=PROMPT, batch_size=3, seed=5, api_name="/generate")
    assert seed == 5
    assert [png.read(path)[0].seed for path in pictures] == [5, 6, 7]
    assert [png.read(path)[0].batch_size for path in pictures] == [1, 1, 1]


def test_the_steps_of_a_run_are_its_run_file_and_a_picture_each(client):
    run_id = client.predict(prompt=PROMPT, steps=4, seed=3, api_name="/generate")[2]
    path, frames = client.predict(run_id=run_id, api_name="/steps")
    trace = run_file.load(path)
    assert (trace.settings.seed, len(trace.steps), len(frames)) == (3, 4, 4)
    with Image.open(frames[0]) as image:
        assert (image.format, image.size) == ("PNG", (64, 64))


def test_a_client_that_leaves_ends_its_run(client, engine):
    job = client.submit(prompt=PROMPT, steps=1000, api_name="/generate")
    run_id = next(job)[2]
    job.cancel()
    run = list(engine.follow(run_id))[-1]
    assert run.status == "stopped"
    assert run.step < 1000


def test_a_round_trip_gives_the_picture_back_and_its_numbers(client, tmp_path):
    Image.linear_gradient("L").resize((50, 30)).save(tmp_path / "x.png")
    path, numbers = client.predict(image=handle_file(tmp_path / "x.png"), api_name="/roundtrip")
    with Image.open(path) as image:
        assert (image.format, image.size) == ("PNG", (50, 30))
    assert numbers["psnr"] > 0
    assert -1 <= numbers["ssim"] <= 1
    assert numbers["latents"] == [1, 4, 8, 13]
    assert numbers["note"] == "The picture was padded from 50 x 30 to 52 x 32, a multiple of 4."


def test_a_round_trip_can_crop_and_sample(client, tmp_path):
    Image.linear_gradient("L").resize((50, 30)).save(tmp_path / "x.png")
    given = {"image": handle_file(tmp_path / "x.png"), "policy": "crop", "sample": True}
    first, numbers = client.predict(**given, seed=1, api_name="/roundtrip")
    second, _ = client.predict(**given, seed=2, api_name="/roundtrip")
    assert numbers["note"] == "The picture was cropped from 50 x 30 to 48 x 28, a multiple of 4."
    with Image.open(first) as a, Image.open(second) as b:
        assert a.tobytes() != b.tobytes()


BAD = [
    ({"prompt": ""}, "prompt must say what to draw, got ''."),
    ({"prompt": " \n "}, "prompt must say what to draw, got ' \\n '."),
    ({"prompt": "a" * 10_000}, "prompt must have at most 2000 characters, got 10000."),
    ({"steps": 0}, "steps must be between 1 and 1000, got 0."),
    ({"steps": 10**9}, "steps must be between 1 and 1000, got 1000000000."),
    ({"steps": 10**400}, "steps must be between 1 and 1000, got a number of 401 digits."),
    ({"steps": 20.5}, "steps must be a whole number, got 20.5."),
    ({"steps": "twenty"}, "steps must be a number, got 'twenty'."),
    ({"steps": 9, "draft": True}, "steps must be between 1 and 8 for a draft, got 9."),
    ({"draft": "yes"}, "draft must be true or false, got 'yes'."),
    ({"seed": -1}, "seed must be between 0 and 4294967295, got -1."),
    ({"width": 60}, "width must be a multiple of 8 for tiny, got 60."),
    ({"height": 4096}, "height must be between 16 and 2048, got 4096."),
    ({"batch_size": 17}, "batch_size must be between 1 and 16, got 17."),
    ({"cfg_scale": True}, "cfg_scale must be a number, got True."),
    ({"sampler": "dimm"}, "Unknown sampler 'dimm'. Did you mean 'ddim'?"),
    ({"eta": 2}, "eta must be between 0 and 1, got 2."),
    (
        {"steps": 500, "batch_size": 8},
        "steps times batch_size must be at most 2000 at 64 x 64, got 500 x 8 = 4000.",
    ),
]


@pytest.mark.parametrize(("given", "said"), BAD, ids=[str(given)[:40] for given, _ in BAD])
def test_bad_settings_are_refused_with_a_sentence(client, given, said):
    assert refused(client, **({"prompt": PROMPT} | given)).startswith(said)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), None, [1], {"a": 1}])
def test_numbers_that_are_none_are_refused_over_plain_http(address, value):
    data = [PROMPT, "", value, "dpmpp_2m", "trailing", "zero", 3, 0.7, None, 0, 1, 64, 64]
    status, text, _ = http(address, "/gradio_api/call/generate", {"data": data})
    if status == 200:
        event = json.loads(text)["event_id"]
        text = http(address, f"/gradio_api/call/generate/{event}")[1]
        assert "event: error" in text
        assert "complete" not in text


def text_file(path):
    path.write_text("no picture")


def truncated(path):
    Image.effect_noise((200, 200), 50).save(path)
    path.write_bytes(path.read_bytes()[:500])


def bomb(path):
    def chunk(kind, data):
        return len(data).to_bytes(4, "big") + kind + data + zlib.crc32(kind + data).to_bytes(4, "big")

    header = (30_000).to_bytes(4, "big") * 2 + bytes([1, 0, 0, 0, 0])
    rows = zlib.compress(bytes(100_000))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (text_file, "x.png is not a picture"),
        (truncated, "x.png is damaged"),
        (bomb, "x.png has too many pixels; at most 25 million are read."),
    ],
)
def test_bad_pictures_are_refused_with_a_sentence(client, tmp_path, make, said):
    make(tmp_path / "x.png")
    assert refused(client, "/roundtrip", image=handle_file(tmp_path / "x.png")).startswith(said)


def test_a_bad_policy_is_refused_with_a_sentence(client, tmp_path):
    Image.new("RGB", (16, 16)).save(tmp_path / "x.png")
    said = refused(client, "/roundtrip", image=handle_file(tmp_path / "x.png"), policy="stretch")
    assert said == "Unknown policy 'stretch'. Choose one of: pad, crop."


def test_a_run_that_is_not_there_is_a_sentence(client):
    assert refused(client, "/steps", run_id="nothing").startswith("This run is not kept any more.")


def test_health(address):
    status, text, _ = http(address, "/healthz")
    assert (status, json.loads(text)) == (
        200,
        {"status": "ok", "checkpoint": "tiny", "device": "cpu", "layout": 0},
    )


def test_what_gradio_would_do_for_anybody_is_refused(address):
    for path in ("/gradio_api/file=https://example.com/a", "/gradio_api/file%3Dhttp%3A//example.com/a"):
        assert http(address, path)[0] == 403
    assert http(address, "/gradio_api/run/generate", {"data": ["a"]})[0] in (401, 403, 404, 405)
    assert http(address, "/monitoring/summary")[0] in (401, 403, 404)
    assert http(address, "/gradio_api/call/generate", {"data": ["a" * 5_000_000]})[0] == 413


def test_the_page_may_load_nothing_from_elsewhere(address):
    headers = http(address, "/")[2]
    assert "default-src 'self'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "path", ["http://127.0.0.1:9/a.png", "https://example.com/a.png", " HTTP://example.com/a"]
)
def test_a_file_that_is_a_url_is_not_fetched(address, path):
    file = {"path": path, "meta": {"_type": "gradio.FileData"}}
    data = [file, "pad", False, 0]
    for where in ("/gradio_api/call/roundtrip", "/gradio_api/call/v2/roundtrip", "/gradio_api/queue/join"):
        status, text, _ = http(address, where, {"data": data, "image": file, "fn_index": 0})
        assert (status, "fetches no other" in text) == (403, True), where


def test_a_url_that_is_hidden_is_found():
    path = r'"p\u0061th": "\u0068ttp://example.com/a"'
    assert server._names_a_url(f'{{"data": [{{{path}, "path": "a"}}]}}'.encode())
    assert server._names_a_url(f"[{{{path}}}]".encode("utf-16"))
    assert not server._names_a_url(b'{"path": "/tmp/a.png", "url": "http://here/gradio_api/file=/tmp/a.png"}')
    assert not server._names_a_url(b"no json")


def test_programs_are_told_apart_by_their_address_not_by_their_session(client, engine, monkeypatch):
    seen = []
    start = engine.start

    def spy(settings, owner, **more):
        seen.append((owner, more["visitor"]))
        return start(settings, owner, **more)

    monkeypatch.setattr(engine, "start", spy)
    for _ in range(2):
        client.predict(prompt=PROMPT, steps=1, api_name="/generate")
    assert {visitor for _, visitor in seen} == {LOCAL}
    assert len({owner for owner, _ in seen}) == 2


@pytest.mark.parametrize(
    ("space", "host", "hops", "said"),
    [
        (False, "127.0.0.1", "9.9.9.9", LOCAL),
        (False, "::1", "", LOCAL),
        (False, "8.8.8.8", "9.9.9.9", "8.8.8.8"),
        (True, "10.0.0.1", "6.6.6.6, 9.9.9.9", "9.9.9.9"),
        (True, "10.0.0.1", "", "10.0.0.1"),
    ],
)
def test_a_visitor_is_an_address(monkeypatch, space, host, hops, said):
    monkeypatch.setenv("SYSTEM", "spaces" if space else "")
    headers = [(b"x-forwarded-for", hops.encode())] if hops else []
    request = Request({"type": "http", "headers": headers, "client": (host, 1)})
    token = LocalContext.request.set(request)
    try:
        assert visitor() == said
    finally:
        LocalContext.request.reset(token)


def test_a_long_run_gives_some_of_its_steps_the_last_one_always(client, monkeypatch):
    monkeypatch.setattr(steps, "MAX_FRAMES", 3)
    run_id = client.predict(prompt=PROMPT, steps=7, api_name="/generate")[2]
    frames = client.predict(run_id=run_id, api_name="/steps")[1]
    assert [frame.replace("\\", "/").rpartition("/")[2] for frame in frames] == [
        "x0-0000.png",
        "x0-0003.png",
        "x0-0006.png",
    ]


def test_work_outside_the_queue_is_limited(engine):
    from ldm.ui import build_app

    page = build_app(engine)
    heavy = [f for f in page.fns.values() if f.concurrency_id == "heavy"]
    assert {f.concurrency_limit for f in heavy} == {2}
    assert {"on_picture", "on_size", "open_run", "export_run", "export_zip", "steps"} <= {
        f.name for f in heavy
    }


def test_a_full_disk_is_a_sentence(tmp_path):
    said = with_a_small_disk(
        "from pathlib import Path; from ldm.ui import files",
        "files.save_png(Image.effect_noise((200, 200), 90), Path(sys.argv[1]))",
        tmp_path / "x.png",
    )
    assert said == "LdmError x.png could not be written: File too large.\n"


def test_enter_and_the_button_are_one_event_and_the_same_file_is_saved_twice(engine, monkeypatch, tmp_path):
    from ldm.ui import build_app

    page = build_app(engine)
    [draw] = [f for f in page.fns.values() if f.name == "draw"]
    assert [event for _, event in draw.targets] == ["click", "submit"]
    assert draw.trigger_mode == "once"
    (tmp_path / "x").write_bytes(b"x")
    first, second = (App.save(None, tmp_path / "x") for _ in range(2))
    assert first["n"] != second["n"]


def test_the_newest_follower_of_a_page_fills_its_tray(monkeypatch):
    run = Run("id", Settings("a dog"))
    engine = SimpleNamespace(follow=lambda _: iter([run] * 5))
    page = prompt.Page(SimpleNamespace(engine=engine, run="run"), *[None] * 11)
    shown = {"run": "id", "tray": "a picture"}
    monkeypatch.setattr(prompt.Page, "show", lambda self, run, owner: dict(shown))
    old, new = page.follow("id", "me"), page.follow("id", "me")
    assert next(old) == shown
    assert next(new) == shown
    assert list(old) == []
    assert len(list(new)) == 4
    assert page.newest == {}
