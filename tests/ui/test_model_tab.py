"""The tab Model, and /inspect, as this computer's own user and strangers find them."""

import json
from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import pytest
import torch
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from safetensors.torch import load_file, save_file

from ldm import checkpoints
from ldm.checkpoints.first_stage import save_first_stage
from ldm.engine import LOCAL, Engine, Limits, Opened
from ldm.errors import CheckpointError, LdmError, SettingsError
from ldm.latent_diffusion import LatentDiffusion
from ldm.lora import find_loras
from ldm.models.tokenizer import Tokenizer
from ldm.settings import Settings
from ldm.ui import shelf
from ldm.ui.additions import additions
from ldm.ui.behaviour import asked
from ldm.ui.tabs.model import about, choosing, desk, examining, opening
from ldm.ui.tabs.model.desk import AVERAGED, SUITS, Desk
from ldm.ui.watching import Watched

from ..conftest import tiny_first_stage
from ..lora import twins as lora_twins
from ..model_files import write
from .conftest import TINY

STRANGER = "203.0.113.9"
WIDGETS = (
    *("shelf", "drop", "name", "look", "card", "ema", "stage", "dtype", "go", "status", "exam", "full"),
    "chosen",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A weights folder with two models, a first stage and what is broken."""
    made = tmp_path_factory.mktemp("weights")
    for seed, name in enumerate(("first", "second")):
        torch.manual_seed(seed)
        model = LatentDiffusion(replace(TINY, name=name), Tokenizer.clip())
        checkpoints.save(model, made / f"{name}.safetensors")
    torch.manual_seed(2)
    save_first_stage(tiny_first_stage("Tiny, VQ"), made / "tiny-vq.safetensors")
    (made / "broken.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0nothing at all")
    lacking = load_file(made / "second.safetensors")
    lacking.pop("model.diffusion_model.out.2.weight")
    with_config = {"ldm_config": _config_of(made / "second.safetensors")}
    save_file(lacking, made / "lacking.safetensors", metadata=with_config)
    return made


def _config_of(path):
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        return file.metadata()["ldm_config"]


@pytest.fixture(scope="module")
def engine(folder):
    made = Engine(folder / "first.safetensors", device="cpu", limits=Limits(work=2000 * 64 * 64))
    yield made
    made.close()


@pytest.fixture(scope="module", autouse=True)
def places(folder, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("LDM_WEIGHTS", str(folder))
        patched.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
        yield


@pytest.fixture
def as_stranger(monkeypatch):
    for module in (shelf, desk, opening):
        monkeypatch.setattr(module, "visitor", lambda: STRANGER)


@pytest.fixture
def page(engine):
    """The tab's handlers; widgets are their own names."""
    engine.open(Opened(shelf.shelf()["first.safetensors"]))
    renewed = []
    renewing = SimpleNamespace(count=0, soon=lambda: renewed.append(engine.model.name), renewed=renewed)
    return Desk(SimpleNamespace(engine=engine, renewing=renewing), *WIDGETS)


def sentence(function, *given, kind=SettingsError):
    with pytest.raises(kind) as error:
        function(*given)
    return str(error.value)


# what lies there, and what it is


def test_the_shelf_tells_of_every_file_whether_it_loads(page):
    rows = {row["name"]: row["verdict"] for row in page.listed(None)}
    assert rows == {
        "first.safetensors": "open",
        "lacking.safetensors": "loads",  # by its names' beginnings; the strict look comes when it is chosen
        "second.safetensors": "loads",
        "tiny-vq.safetensors": "part",
        "broken.safetensors": "refused",
    }


def test_looking_at_a_file_says_what_it_is_and_why(page, folder):
    updates = page.put(folder / "second.safetensors")
    shown = updates["card"]
    assert (shown["verdict"], shown["name"]) == ("loads", "second.safetensors")
    assert "model of this program" in shown["title"]
    assert any("metadata" in line for line in shown["evidence"])
    assert {part["name"] for part in shown["parts"]} >= {"U-Net", "first stage", "conditioner"}
    assert updates["go"]["interactive"] is True
    assert updates["ema"]["visible"] is False


def test_what_lacks_a_weight_is_refused_at_a_closer_look_and_stays_so(page, folder):
    path = folder / "lacking.safetensors"
    page.put(path)
    updates = examining.compared(page, str(path))
    assert updates["card"]["verdict"] == "refused"
    assert updates["card"]["said"] == (
        "lacking.safetensors is missing 1 of 380 weights (model.diffusion_model.out.2.weight)."
    )
    assert updates["go"]["interactive"] is False
    [part] = [part for part in updates["exam"]["parts"] if not part["whole"]]
    assert part["wrong"][0]["names"] == ["model.diffusion_model.out.2.weight"]
    assert {row["name"]: row["verdict"] for row in page.listed(None)}["lacking.safetensors"] == "refused"


def test_reading_all_weights_finds_what_is_no_number_and_tells_how_far_it_is(page, folder, tmp_path):
    tensors = load_file(folder / "second.safetensors")
    tensors["model.diffusion_model.out.2.bias"][1] = float("nan")
    path = tmp_path / "sick.safetensors"
    save_file(tensors, path, metadata={"ldm_config": _config_of(folder / "second.safetensors")})
    page.put(path)
    first, *_, last = examining.examined(page, str(path))
    assert first["exam"]["state"] == "reading"
    assert last["exam"]["state"] == "done"
    [fault] = last["exam"]["faults"]
    assert fault["grave"]
    assert fault["names"] == ["model.diffusion_model.out.2.bias (1 of 4)"]
    assert len(last["exam"]["sha256"]) == 64
    assert last["exam"]["short_hash"] == last["exam"]["sha256"][:10]


def test_an_answer_about_a_file_that_is_not_looked_at_any_more_is_not_shown(page, folder):
    page.put(folder / "second.safetensors")
    page.put(folder / "first.safetensors")
    updates = examining.compared(page, str(folder / "second.safetensors"))
    assert updates == {"exam": gr.skip()}


def test_work_that_nobody_watches_ends_at_its_next_progress():
    ended = []

    def work(tell):
        try:
            while True:
                tell(object())
        finally:
            ended.append(True)

    told = Watched(work).told()
    next(told)
    told.close()
    for _ in range(100):
        if ended:
            break
        __import__("time").sleep(0.02)
    assert ended


# who may name what


@pytest.mark.parametrize("name", ["/etc/passwd", "../first.safetensors", "owner/name", "~", "none", "/none"])
def test_a_stranger_learns_nothing_of_the_disk(name, as_stranger):
    assert sentence(shelf.named, name) == (
        f"{name!r} is not among this server's models; paths and the Hub are for its own computer only."
    )


def test_a_stranger_may_name_what_is_on_the_shelf(as_stranger, folder):
    assert shelf.named("second.safetensors") == folder / "second.safetensors"


def test_a_stranger_is_told_no_paths(page, folder, as_stranger):
    shown = page.put(folder / "second.safetensors")
    assert str(folder) not in json.dumps([shown["card"], shown["shelf"]])


def test_a_path_opens_for_this_computer_s_own_user(tmp_path, folder):
    path = tmp_path / "elsewhere.safetensors"
    path.write_bytes((folder / "second.safetensors").read_bytes())
    assert shelf.named(f" {path} ") == path
    assert sentence(shelf.named, str(tmp_path / "none")).startswith("There is no file or folder")
    assert sentence(shelf.named, "").startswith("Name a file")


def test_a_repository_is_fetched_and_its_progress_shown(page, folder, monkeypatch):
    from ldm.checkpoints.hub import Fetched

    def resolve(name, progress):
        assert name == "owner/name"
        for done in (1, 2):
            progress(Fetched("unet/model.safetensors", 1, 1, done * 10**6, 2 * 10**6))
            __import__("time").sleep(0.5)
        return folder / "second.safetensors"

    monkeypatch.setattr(shelf, "resolve", resolve)
    *busy, last = choosing.look(page, "owner/name")
    assert busy[0]["status"] == {
        "state": "busy",
        "said": "Fetching unet/model.safetensors, file 1 of 1: 1.0 MB of 2.0 MB.",
        "share": 0.5,
    }
    assert last["card"]["name"] == "second.safetensors"


def test_a_sentence_of_the_hub_reaches_the_page(page, monkeypatch):
    def resolve(name, progress):
        raise CheckpointError(f"There is no way to the Hub, and {name} is not in its cache.")

    monkeypatch.setattr(shelf, "resolve", resolve)
    said = sentence(lambda: list(choosing.look(page, "owner/name")), kind=CheckpointError)
    assert said == "There is no way to the Hub, and owner/name is not in its cache."


# opening


def opened(page, path, ema=AVERAGED, stage="model", dtype=SUITS):
    return list(opening.open_it(page, opening.asked(page, path, ema, stage, dtype)))


def test_opening_replaces_the_model_and_renews_the_page(page, folder, engine):
    *_, last = opened(page, folder / "second.safetensors", dtype="float32")
    assert last["status"]["state"] == "opened"
    assert last["status"]["layout"] == 0
    assert engine.model.name == "second"
    assert engine.model.dtype == torch.float32
    assert page.app.renewing.renewed == ["second"]


@pytest.mark.parametrize("name", ["broken", "lacking", "tiny-vq"])
def test_what_cannot_be_opened_is_one_sentence_and_the_model_stays(page, folder, engine, name):
    *_, last = opened(page, folder / f"{name}.safetensors")
    assert last["status"]["state"] == "failed"
    assert last["status"]["said"].endswith("first stays open.")
    assert page.app.renewing.renewed == []
    assert (engine.model.name, engine.opened.path.name) == ("first", "first.safetensors")
    *_, run = engine.follow(engine.start(Settings("a dog", steps=1, width=32, height=32), "me"))
    assert run.trace.images


def test_a_stranger_cannot_switch(page, folder, engine, as_stranger):
    assert not engine.may_switch(STRANGER)
    assert engine.may_switch(LOCAL)
    shown = page.put(folder / "second.safetensors")
    assert shown["go"]["interactive"] is False
    assert shown["status"]["said"] == "This server keeps first."
    *_, last = opened(page, folder / "second.safetensors")
    assert last["status"]["state"] == "failed"
    assert engine.model.name == "first"
    with pytest.raises(LdmError, match="This server keeps first"):
        engine.open(Opened(folder / "second.safetensors"), STRANGER)


def test_a_server_may_keep_its_model_or_let_everybody_switch(folder, engine, monkeypatch):
    monkeypatch.setattr(engine, "limits", Limits(switching=False))
    assert not engine.may_switch(LOCAL)
    monkeypatch.setattr(engine, "limits", Limits(guests=True))
    assert engine.may_switch(STRANGER)


def test_a_file_that_was_dropped_opens_with_what_was_dropped_beside_it(page, engine, tmp_path):
    files = write("study", tmp_path / "study")
    apart = []
    for i, file in enumerate(reversed(files)):  # as gradio keeps uploads: each in a folder of its own
        place = tmp_path / f"upload{i}" / file.name
        place.parent.mkdir()
        apart.append(str(file.rename(place)))
    path = shelf.dropped(apart)
    assert path.name == files[0].name
    assert shelf.weights_folder() not in path.parents
    *_, last = opened(page, path)
    assert (last["status"]["state"], engine.opened.path) == ("opened", path)
    assert engine.model.config.unet.kind.startswith("study")


def test_a_zip_is_not_unpacked(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "models.zip", "w") as made:
        made.writestr("model.safetensors", b"nothing")
    path = shelf.dropped([str(tmp_path / "models.zip")])
    assert not shelf.identified(path).loads
    assert shelf.identified(path).refusal


def test_averaged_or_raw_is_asked_only_of_a_file_with_both(page, engine, tmp_path):
    [path] = write("sd1", tmp_path / "sd1")
    updates = page.put(path)
    assert updates["ema"]["visible"] is True
    wanted = opening.asked(page, path, "raw", "model", SUITS)
    assert (wanted.ema, wanted.vae, wanted.dtype) == (False, None, None)
    first = page.app.engine.opened.path
    assert opening.asked(page, first, "raw", "model", SUITS).ema is None


@pytest.mark.parametrize(
    "given", [("best", "model", SUITS), (AVERAGED, "none", SUITS), (AVERAGED, "model", "int4")]
)
def test_choices_that_are_none_are_refused(page, folder, given):
    assert "Unknown" in sentence(opening.asked, page, folder / "second.safetensors", *given)


# the model that is open


def test_what_is_open_is_told_with_its_numbers(page, engine):
    told = about.opened(page.app)
    assert told["name"] == "first"
    assert dict(told["facts"])["File"] == "first.safetensors"
    assert sum(part["numbers"] for part in told["parts"]) >= 100_000


def test_the_ledger_s_numbers_are_the_model_s(engine):
    told = about.walked(engine.model.config, 64, 64)
    counts = {part["name"]: part["numbers"] for part in told["parts"]}
    assert counts["U-Net"] == sum(p.numel() for p in engine.model.model.parameters())
    assert all(sum(row["numbers"] for row in part["rows"]) == part["numbers"] for part in told["parts"])
    assert sentence(about.walked, engine.model.config, 65, 64).startswith("width must be a multiple of")
    assert sentence(about.walked, engine.model.config, 10**6, 64, kind=LdmError).startswith("width must be")


def test_what_it_predicts_is_told_without_taking_the_label_s_word(engine):
    told = engine.call(asked, LOCAL)
    assert {score["kind"] for score in told["scores"]} == {"eps", "v", "x0"}
    assert not told["sure"]  # it was never trained
    assert told["said"] == "What it predicts cannot be told."


def test_loras_are_told_with_what_they_change(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("LDM_WEIGHTS", str(tmp_path))
    model = lora_twins.model_of(lora_twins.sd1())
    (tmp_path / "loras").mkdir()
    changes = lora_twins.changes_of(model)
    save_file(lora_twins.kohya(changes), tmp_path / "loras" / "style.safetensors")
    zero = {name: torch.zeros_like(t) if "up" in name else t for name, t in lora_twins.kohya(changes).items()}
    save_file(zero, tmp_path / "loras" / "untrained.safetensors")
    assert set(find_loras(tmp_path / "loras")) == {"style", "untrained"}
    quick, told = additions(model), additions(model, measure=True)
    assert [one["name"] for one in quick["loras"]] == ["style", "untrained"]
    assert quick["loras"][0]["strengths"] == []
    style, untrained = told["loras"]
    assert (style["fits"], style["nothing"], style["matched"]) == (True, False, len(changes))
    assert style["strengths"]
    assert untrained["nothing"] is True


# /inspect


@pytest.fixture(scope="module")
def address(engine):
    from ldm.ui import build_app, launch

    page = build_app(engine)
    launch(page, engine, prevent_thread_lock=True, quiet=True)
    yield page.local_url.rstrip("/")
    page.close(verbose=False)


@pytest.fixture(scope="module")
def local(address):
    made = Client(address, verbose=False, analytics_enabled=False)
    yield made
    made.close()


@pytest.fixture(scope="module")
def stranger(address):
    made = Client(address, verbose=False, analytics_enabled=False, headers={"x-forwarded-for": STRANGER})
    yield made
    made.close()


def refusal(client, **given):
    with pytest.raises(AppError) as error:
        inspect(client, **given)
    return str(error.value)


def inspect(client, **given):
    return client.predict(**given, api_name="/inspect")


def test_inspect_tells_what_a_file_is_by_name_path_and_upload(local, folder):
    by_name = inspect(local, name="second.safetensors")
    assert (by_name["family"], by_name["loads"], by_name["report"]) == ("native", True, None)
    assert by_name["config"]["name"] == "second"
    by_path = inspect(local, name=str(folder / "second.safetensors"))
    assert by_path == by_name
    uploaded = inspect(local, file=handle_file(folder / "second.safetensors"))
    assert uploaded | {"where": by_name["where"]} == by_name


def test_inspect_reports_in_full_on_request(local):
    told = inspect(local, name="lacking.safetensors", full=True)
    [part] = [part for part in told["report"]["parts"] if part["missing"]]
    assert part["missing"] == ["model.diffusion_model.out.2.weight"]
    assert told["report"]["is_healthy"] is False
    assert len(told["report"]["sha256"]) == 64


def test_inspect_tells_a_stranger_of_the_shelf_and_of_uploads_alone(stranger, folder):
    told = inspect(stranger, name="second.safetensors", full=True)
    assert told["loads"]
    assert str(folder) not in json.dumps(told)
    path = str(folder / "second.safetensors")
    for name in (path, "/etc/passwd", "owner/name", "/none"):
        assert refusal(stranger, name=name) == (
            f"{name!r} is not among this server's models; paths and the Hub are for its own computer only."
        )
    assert inspect(stranger, file=handle_file(path))["loads"]


def test_inspect_refuses_what_makes_no_sense(local):
    assert refusal(local) == "Give either a file or a name."
    assert refusal(local, name="none.safetensors").startswith("There is no")
