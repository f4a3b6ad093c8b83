"""Round trips by another first stage than the model's own: on the page and for programs."""

from types import SimpleNamespace

import pytest
import torch
from gradio_client import Client, handle_file
from gradio_client.exceptions import AppError
from PIL import Image

from ldm.checkpoints.first_stage import KIND, save_first_stage
from ldm.errors import CheckpointError, SettingsError
from ldm.models.autoencoder import AutoencoderKL
from ldm.models.autoencoder_config import AutoencoderConfig, VQConfig
from ldm.models.pixel_config import TinyAutoencoderConfig
from ldm.models.tiny import TinyAutoencoder
from ldm.ui import first_stages
from ldm.ui.tabs.roundtrip import MEAN, SAMPLE, Page
from ldm.writing import write_tensors

from ..conftest import tiny_first_stage

WIDGETS = (
    *("upload", "newest", "example", "stage", "policy", "take", "seed"),
    *("slider", "report", "download", "source", "place"),
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A weights folder with one first stage, and other things."""
    monkeypatch.setenv("LDM_WEIGHTS", str(tmp_path))
    save_first_stage(tiny_first_stage("Tiny, VQ"), tmp_path / "tiny-vq.safetensors")
    (tmp_path / "notes.safetensors").write_text("nothing")
    return tmp_path


@pytest.fixture
def picture(tmp_path):
    Image.linear_gradient("L").resize((50, 30)).save(tmp_path / "x.png")
    return str(tmp_path / "x.png")


@pytest.fixture(scope="module")
def client(address, tmp_path_factory):
    got = str(tmp_path_factory.mktemp("got"))
    made = Client(address, verbose=False, analytics_enabled=False, download_files=got)
    yield made
    made.close()


@pytest.fixture
def page(engine, folder, tmp_path_factory, monkeypatch):
    """The tab's handlers; widgets are their own names."""
    monkeypatch.setenv("GRADIO_TEMP_DIR", str(tmp_path_factory.mktemp("gradio")))
    return Page(SimpleNamespace(engine=engine, owner="owner"), *WIDGETS, "gallery")


def sentence(function, *given, kind=SettingsError):
    with pytest.raises(kind) as error:
        function(*given)
    return str(error.value)


def test_the_model_s_own_comes_first_then_the_files_by_name(folder):
    save_first_stage(tiny_first_stage("Another"), folder / "another.safetensors")
    assert first_stages.choices("Latent Darkroom default") == [
        ("Default, KL", "model"),
        ("Another", "another"),
        ("Tiny, VQ", "tiny-vq"),
    ]
    assert first_stages.choices("v1-5-pruned")[0] == ("V1-5-pruned, KL", "model")
    assert first_stages.path_of("model") is None
    assert first_stages.path_of("tiny-vq") == folder / "tiny-vq.safetensors"


def test_a_file_that_took_the_model_s_name_does_not_hide_it(folder):
    save_first_stage(tiny_first_stage(), folder / "model.safetensors")
    assert first_stages.path_of("model") is None


def test_a_damaged_first_stage_is_offered_and_said_when_it_is_chosen(folder, page, picture):
    write_tensors(folder / "broken.safetensors", {}, {KIND: "{"})
    assert ("broken", "broken") in first_stages.choices("tiny")
    said = sentence(page.travel, picture, "broken", "pad", MEAN, 0, "token", kind=CheckpointError)
    assert said.startswith("broken.safetensors has a config that cannot be read: ")


def test_a_program_names_the_first_stage_and_gets_the_codes(client, folder, picture):
    given = {"image": handle_file(picture), "api_name": "/roundtrip"}
    path, numbers = client.predict(**given, first_stage="tiny-vq")
    with Image.open(path) as image:
        assert image.size == (50, 30)
    assert (numbers["first_stage"], numbers["latents"]) == ("Tiny, VQ", [1, 3, 8, 13])
    codes = numbers["codes"]
    indices = [index for row in codes["indices"] for index in row]
    assert (len(codes["indices"]), len(codes["indices"][0])) == (8, 13)
    assert (codes["total"], codes["bits"], codes["used"]) == (32, 8 * 13 * 5, len(set(indices)))
    assert 1 <= codes["perplexity"] <= codes["used"]
    own = client.predict(**given)[1]
    assert (own["first_stage"], own["codes"]) == ("tiny", None)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (
            {"first_stage": "tiny-vw"},
            "Unknown first stage 'tiny-vw'. Did you mean 'tiny-vq'? Choose one of: model, tiny-vq.",
        ),
        ({"first_stage": "../tiny-vq"}, "Unknown first stage '../tiny-vq'. Did you mean 'tiny-vq'?"),
        (
            {"first_stage": "tiny-vq", "sample": True},
            "sample must be False for Tiny, VQ: a VQ first stage names codes, it gives no distribution.",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(client, folder, picture, given, said):
    with pytest.raises(AppError) as error:
        client.predict(image=handle_file(picture), **given, api_name="/roundtrip")
    assert str(error.value).startswith(said)


def test_the_report_shows_the_codes(page, picture):
    shown = page.travel(picture, "tiny-vq", "pad", MEAN, 0, "token")
    report = shown["report"]
    values = {number["name"]: number["value"] for number in report["numbers"]}
    assert values["Latents"] == "3 x 8 x 13"
    assert values["Codes used"].endswith(" of 32")
    assert values["Bits"] == "520"
    assert values["Against pixels"] == f"1 : {50 * 30 * 24 / 520:.0f}"
    with Image.open(report["codes"]["file"]["path"]) as image:
        assert image.size == (13 * 39, 8 * 39)
    assert shown["source"] == picture


def test_the_report_of_the_model_s_own_shows_none(page, picture):
    report = page.travel(picture, "model", "pad", MEAN, 0, "token")["report"]
    assert report["codes"] is None
    assert [number["name"] for number in report["numbers"]] == ["PSNR", "SSIM", "Mean error", "Latents"]


def test_a_draw_that_was_chosen_before_means_nothing_to_codes(page, picture):
    one, other = (page.travel(picture, "tiny-vq", "pad", take, 7, "token") for take in (MEAN, SAMPLE))
    assert one["report"]["numbers"] == other["report"]["numbers"]


def test_the_choice_between_mean_and_draw_is_hidden_where_there_is_none(page):
    def visible(stage, take):
        return {name: update["visible"] for name, update in page.fit(stage, take).items()}

    assert visible("model", MEAN) == {"take": True, "seed": False}
    assert visible("model", SAMPLE) == {"take": True, "seed": True}
    assert visible("tiny-vq", SAMPLE) == {"take": False, "seed": False}


def test_a_kl_first_stage_in_a_file_offers_a_draw(page, folder, picture):
    torch.manual_seed(0)
    net = AutoencoderKL(AutoencoderConfig(ch=32, ch_mult=(1, 2), num_res_blocks=1))
    write_tensors(folder / "kl-f2.safetensors", net.state_dict(), {})
    assert ("kl-f2", "kl-f2") in first_stages.choices("tiny")
    assert page.fit("kl-f2", SAMPLE)["seed"]["visible"]
    mean, draw, other = (
        page.travel(picture, "kl-f2", "pad", take, seed, "token")["report"]
        for take, seed in ((MEAN, 7), (SAMPLE, 7), (SAMPLE, 8))
    )
    assert mean["codes"] is None
    assert mean["statistics"] != draw["statistics"] != other["statistics"]
    assert "1 is taken, as the paper's autoencoders of that size have it." in mean["note"]


def test_a_tiny_autoencoder_offers_none(page, folder, picture):
    torch.manual_seed(0)
    net = TinyAutoencoder(TinyAutoencoderConfig(width=4))
    for half in ("encoder", "decoder"):
        torch.save(getattr(net, half).state_dict(), folder / f"taesd_{half}.pth")
    assert ("taesd_decoder", "taesd_decoder") in first_stages.choices("tiny")
    assert not page.fit("taesd_decoder", SAMPLE)["take"]["visible"]
    report = page.travel(picture, "taesd_decoder", "pad", SAMPLE, 0, "token")["report"]
    values = {number["name"]: number["value"] for number in report["numbers"]}
    assert values["Latents"] == "4 x 4 x 7"


def test_the_label_of_the_model_s_own_says_what_it_is(folder):
    own = first_stages.choices("celeba256", VQConfig())[0]
    assert own == ("Celeba256, VQ", "model")
    assert not first_stages.can_draw("model", VQConfig())
    assert first_stages.can_draw("model", AutoencoderConfig())
    assert not first_stages.can_draw("nowhere", AutoencoderConfig())


def test_a_file_that_was_put_there_later_is_offered_on_the_next_visit(page, folder, picture):
    assert page.visit(picture, "model", "pad", MEAN, 0, "token")["stage"]["choices"] == [
        ("Tiny, KL", "model"),
        ("Tiny, VQ", "tiny-vq"),
    ]
    (folder / "tiny-vq.safetensors").unlink()
    update = page.visit(picture, "model", "pad", MEAN, 0, "token")["stage"]
    assert (update["choices"], update["visible"]) == ([("Tiny, KL", "model")], False)


def test_an_unknown_choice_on_the_page_is_a_sentence(page, picture):
    said = sentence(page.travel, picture, "other", "pad", MEAN, 0, "token")
    assert said == "Unknown first stage 'other'. Choose one of: model, tiny-vq."
