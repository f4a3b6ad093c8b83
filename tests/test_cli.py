import json
import sys

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from ldm import png, run_file
from ldm.__main__ import main
from ldm.checkpoints import save
from ldm.checkpoints.first_stage import save_first_stage
from tests.conftest import tiny_first_stage, tiny_model


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save(tiny_model(), path)
    return str(path)


def run(capsys, *arguments):
    code = main(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_generate_writes_a_picture_for_each_seed_and_overwrites_none(capsys, weights, tmp_path):
    asked = ["generate", "a red circle", "--weights", weights, "--device", "cpu", "--out", str(tmp_path)]
    asked += ["--seed", "7", "--batch-size", "2", "--steps", "3", "--sampler", "ddim", "--eta", "0.5"]
    for _ in range(2):
        code, out, _ = run(capsys, *asked)
        assert code == 0 and len(out.split()) == 2
    names = sorted(p.name for p in tmp_path.glob("*.png"))
    assert names == [f"000000000{seed}-00{n}.png" for seed in (7, 8) for n in (0, 1)]
    settings, name = png.read(tmp_path / "0000000008-000.png")
    assert (settings.seed, settings.steps, settings.sampler, settings.eta) == (8, 3, "ddim", 0.5)
    assert (settings.cfg_scale, settings.width, name) == (3.0, 32, "tiny")  # the model's own values


@pytest.fixture
def ink(weights, tmp_path, monkeypatch):
    """A folder with the model, and a LoRA of that name that changes how it reads."""
    layer = "lora_te_text_model_encoder_layers_0_mlp_fc1"
    tensors = tiny_model().state_dict()
    rows, columns = tensors["cond_stage_model.transformer.text_model.encoder.layers.0.mlp.fc1.weight"].shape
    generator = torch.Generator().manual_seed(1)
    (tmp_path / "loras").mkdir()
    up, down = (torch.randn(*shape, generator=generator) for shape in ((rows, 2), (2, columns)))
    save_file(
        {f"{layer}.lora_up.weight": up, f"{layer}.lora_down.weight": down},
        tmp_path / "loras" / "ink.safetensors",
    )
    monkeypatch.setenv("LDM_WEIGHTS", str(tmp_path))
    return ["generate", "a red circle", "--weights", weights, "--device", "cpu", "--steps", "2"]


def test_generate_draws_with_a_lora(capsys, ink, tmp_path):
    made = {}
    for asked in ("", "ink:0", "ink:0.8"):
        loras = ["--loras", asked] if asked else []
        code, out, err = run(capsys, *ink, *loras, "--out", str(tmp_path / "out"))
        assert code == 0, err
        made[asked] = out.strip()
    pixels = {asked: Image.open(path).tobytes() for asked, path in made.items()}
    assert pixels[""] == pixels["ink:0"] != pixels["ink:0.8"]
    assert png.read(made["ink:0.8"])[0].loras == (("ink", 0.8),)


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("inc:0.8", "ldm: Unknown LoRA 'inc'. Did you mean 'ink'? Choose one of: ink.\n"),
        ("ink:9", "ldm: loras[0] "),
        ("ink:much", "ldm: loras must be names with weights such as name:0.8, other; got 'ink:much'.\n"),
    ],
)
def test_a_lora_that_cannot_be_is_a_sentence(capsys, ink, asked, said, tmp_path):
    code, out, err = run(capsys, *ink, "--loras", asked, "--out", str(tmp_path / "out"))
    assert (code, out) == (2, "") and err.startswith(said) and err.count("\n") == 1


def test_generate_names_words_that_the_model_never_saw(capsys, tmp_path):
    save(tiny_model(words=("a", "red", "circle")), tmp_path / "x.safetensors")
    asked = ["--weights", str(tmp_path / "x.safetensors"), "--steps", "1", "--out", str(tmp_path)]
    _, out, err = run(capsys, "generate", "a red circel", *asked)
    said = '"circel" is not among the words this model learned; the nearest it knows: circle.'
    assert err.splitlines()[0] == f"note: {said}" and len(out.split()) == 1
    assert "note" not in run(capsys, "generate", "a red circle", *asked)[2]


def test_generate_writes_a_run_file(capsys, weights, tmp_path):
    path = tmp_path / "run.safetensors"
    code, _, _ = run(
        capsys, "generate", "a red circle", "--weights", weights, "--steps", "3",
        "--out", str(tmp_path), "--trace", str(path),
    )  # fmt: skip
    assert code == 0 and len(run_file.load(path).steps) == 3


def test_generate_starts_from_a_picture_and_leaves_what_the_mask_leaves(capsys, weights, tmp_path):
    photo, mask = Image.radial_gradient("L").resize((32, 32)).convert("RGB"), Image.new("L", (32, 32))
    mask.paste(255, (8, 8, 24, 24))
    photo.save(tmp_path / "photo.png")
    mask.save(tmp_path / "mask.png")
    out = tmp_path / "out"
    code, _, err = run(
        capsys, "generate", "a red circle", "--weights", weights, "--out", str(out), "--strength", "0.8",
        "--init-image", str(tmp_path / "photo.png"), "--mask", str(tmp_path / "mask.png"),
        "--spacing", "custom", "--sigmas", "9, 4,2 0.5", "--cfg-schedule", "linear", "--seed", "4",
    )  # fmt: skip
    assert code == 0, err
    assert err.endswith("step 3 of 3\n")  # of four, at strength 0.8
    picture = Image.open(out / "0000000004-000.png")
    assert picture.crop((0, 0, 32, 8)).tobytes() == photo.crop((0, 0, 32, 8)).tobytes()
    assert picture.crop((8, 8, 24, 24)).tobytes() != photo.crop((8, 8, 24, 24)).tobytes()
    settings, _ = png.read(out / "0000000004-000.png")
    assert settings.sigmas == (9.0, 4.0, 2.0, 0.5) and settings.cfg_schedule == "linear"


@pytest.mark.slow
def test_invert_finds_the_noise_and_draws_the_picture_again(capsys, tmp_path):
    """With the model that ships: what a random network loses of a picture says nothing."""
    out = ("--out", str(tmp_path))
    assert run(capsys, "generate", "a cat on the grass", "--seed", "1", "--steps", "10", *out)[0] == 0

    def found(refinements):
        code, out, err = run(
            capsys, "invert", str(tmp_path / "0000000001-000.png"), "a cat on the grass", "--steps", "20",
            "--refinements", str(refinements), "--out", str(tmp_path / "again.png"),
            "--trace", str(tmp_path / "run.safetensors"),
        )  # fmt: skip
        assert code == 0, err
        assert out.startswith("noise found: mean ")
        again, trip = (
            float(line.split("PSNR ")[1].split()[0]) for line in out.splitlines() if "PSNR" in line
        )
        return trip - again

    rough, refined = found(0), found(8)
    assert abs(refined) < 1 < rough  # dB: nearly all that is lost is the autoencoder's loss
    assert png.read(tmp_path / "again.png")[0].sampler == "ddim"
    assert len(run_file.load(tmp_path / "run.safetensors").steps) == 20


def test_roundtrip_says_what_it_did_to_the_picture(capsys, weights, tmp_path):
    Image.new("RGB", (30, 22), "teal").save(tmp_path / "photo.png")
    out_path = tmp_path / "back.png"
    code, out, _ = run(
        capsys, "roundtrip", str(tmp_path / "photo.png"), "--weights", weights, "--out", str(out_path)
    )
    assert code == 0 and "PSNR" in out and "30 x 22" in out
    assert Image.open(out_path).size == (30, 22)


@pytest.fixture(scope="module")
def first_stage(tmp_path_factory):
    path = tmp_path_factory.mktemp("weights") / "tiny-vq.safetensors"
    save_first_stage(tiny_first_stage(), path)
    return str(path)


def test_roundtrip_by_a_first_stage_alone_counts_its_codes(capsys, first_stage, tmp_path):
    Image.linear_gradient("L").resize((30, 22)).save(tmp_path / "photo.png")
    given = ["roundtrip", str(tmp_path / "photo.png"), "--weights", first_stage, "--device", "cpu"]
    code, out, _ = run(capsys, *given, "--out", str(tmp_path / "back.png"))
    assert code == 0 and "PSNR" in out
    assert " of 32 codes, perplexity " in out and ", 240 bits (5 for each of 48 latents)\n" in out
    code, _, err = run(capsys, *given, "--sample")
    assert code == 2 and err == (
        "ldm: sample must be False for tiny VQ: a VQ first stage names codes, it gives no distribution.\n"
    )


def test_inspect_says_that_a_first_stage_is_one(capsys, first_stage):
    code, out, _ = run(capsys, "inspect", first_stage)
    assert code == 0 and "a VQ autoencoder alone" in out.lower().replace("vq", "VQ")
    assert '"n_embed": 32' in out and "Round trip" in out


def test_a_first_stage_alone_cannot_draw(capsys, first_stage):
    code, _, err = run(capsys, "generate", "x", "--weights", first_stage)
    assert code == 2 and err.startswith("ldm: tiny-vq.safetensors is a first stage alone, a VQ autoencoder: ")


def test_inspect_prints_what_a_model_is_and_its_parts(capsys, weights):
    code, out, _ = run(capsys, "inspect", weights)
    assert code == 0 and out.startswith("# ") and "- U-Net: 286 of 286 weights" in out
    code, out, _ = run(capsys, "inspect", weights, "--json", "--full", "--ledger", "32x32")
    said = json.loads(out)
    assert code == 0 and said["config"]["name"] == "tiny" and said["is_healthy"] and len(said["sha256"]) == 64
    assert [row["shape_out"] for row in said["ledger"] if row["part"] == "U-Net"][-1] == [4, 8, 8]


def test_inspect_lists_a_folder(capsys, weights, tmp_path):
    (tmp_path / "page.safetensors").write_text("<!doctype html>")
    (tmp_path / "model.safetensors").symlink_to(weights)
    code, out, _ = run(capsys, "inspect", str(tmp_path))
    assert code == 0 and len(out.splitlines()) == 2
    assert "tiny, a model of this program" in out and "is a web page" in out


@pytest.mark.parametrize("size", ["32", "axb", "36x32"])
def test_inspect_refuses_a_size_that_is_none(capsys, weights, size):
    code, _, err = run(capsys, "inspect", weights, "--ledger", size)
    assert code == 2 and err.startswith("ldm: ") and err.count("\n") == 1


def test_grid_draws_sixteen_prompts(capsys, weights, tmp_path):
    code, out, _ = run(capsys, "grid", "--weights", weights, "--out", str(tmp_path / "grid.png"))
    assert code == 0 and Image.open(out.strip()).width >= 4 * 32


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("generate", "x", "--steps", "0"), "ldm: steps must be between 1 and 1000, got 0.\n"),
        (("generate", " "), "ldm: prompt must say what to draw, got ' '.\n"),
        (("generate", "x", "--width", "36"), "ldm: width must be a multiple of 8 for tiny, got 36.\n"),
        (("generate", "x", "--seed", "-1"), "ldm: seed must be between 0 and 4294967295, got -1.\n"),
        (("roundtrip", "nowhere.png"), "ldm: There is no picture nowhere.png.\n"),
    ],
)
def test_mistakes_end_with_one_sentence_and_exit_code_two(capsys, weights, arguments, message, tmp_path):
    code, out, err = run(capsys, *arguments, "--weights", weights, *_out(arguments, tmp_path))
    assert (code, out, err) == (2, "", message)
    assert list(tmp_path.iterdir()) == []


def _out(arguments, folder):
    return ("--out", str(folder)) if arguments[0] == "generate" else ()


def test_a_missing_checkpoint_and_an_unknown_config_are_sentences(capsys, tmp_path):
    code, _, err = run(capsys, "inspect", str(tmp_path / "none.safetensors"))
    assert code == 2 and err.startswith("ldm: There is no checkpoint ") and err.count("\n") == 1
    code, _, err = run(capsys, "train", "--config", "defualt")
    assert code == 2 and err == (
        "ldm: Unknown config 'defualt'. Did you mean 'default'? "
        "Choose one of: default, small, preview, draft, vq, judge.\n"
    )


def test_the_module_is_a_program(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ldm", "--help"])
    with pytest.raises(SystemExit) as end:
        main()
    assert end.value.code == 0 and "generate" in capsys.readouterr().out
