"""First stages in others' files: known by their headers, opened whole, the originals' numbers."""

import json

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from ldm.checkpoints import find, first_stage_layouts
from ldm.checkpoints.diffusers_names import autoencoder_table, to_theirs
from ldm.checkpoints.first_stage import (
    find_first_stages,
    is_first_stage,
    load_first_stage,
    read_config,
    save_first_stage,
    use_first_stage,
)
from ldm.checkpoints.preview import add_preview
from ldm.errors import CheckpointError
from ldm.models.autoencoder_config import AutoencoderConfig, VQConfig
from ldm.models.build import build_first_stage
from ldm.models.pixel_config import TinyAutoencoderConfig
from ldm.models.study_config import StudyAutoencoderConfig
from ldm.roundtrip import roundtrip
from tests.conftest import tiny_model

from .test_infer_first_stage import inventory, shapes_of

KL = AutoencoderConfig(ch=32, ch_mult=(1, 2), num_res_blocks=1)
VQ = VQConfig(
    AutoencoderConfig(ch=32, ch_mult=(1, 2), num_res_blocks=1, z_channels=3, embed_dim=3, double_z=False), 16
)
TINY = TinyAutoencoderConfig(width=4, encoder_blocks=(1, 3, 1), decoder_blocks=(3, 1, 1))
STUDY = {"down_channels": (32, 32), "mid_channels": (32, 32), "down_sample": (True,), "attn_down": (False,)}


def network(sizes, seed=0):
    torch.manual_seed(seed)
    return build_first_stage(sizes).eval().requires_grad_(False)


def contents(net, prefix=""):
    return {prefix + name: tensor.clone() for name, tensor in net.state_dict().items()}


def in_diffusers(net):
    weights = net.state_dict()
    table = autoencoder_table(net.config, {name: tuple(t.shape) for name, t in weights.items()})
    return {name: tensor.clone().contiguous() for name, tensor in to_theirs(table, weights).items()}


def refused(function, *arguments):
    with pytest.raises(CheckpointError) as error:
        function(*arguments)
    return str(error.value)


def assert_same(path, net):
    """The file is known, and holds this network to the bit."""
    assert is_first_stage(path)
    stage = load_first_stage(path, "cpu", torch.float32)
    theirs, ours = stage.first_stage_model.state_dict(), net.state_dict()
    assert list(theirs) == list(ours)
    assert all(torch.equal(theirs[name], tensor) for name, tensor in ours.items())
    trip = roundtrip(stage, Image.effect_noise((18, 10), 80))
    assert trip.reconstruction.size == (18, 10)
    return stage, trip


@pytest.mark.parametrize("prefix", ["", "first_stage_model."])
@pytest.mark.parametrize("sizes", [KL, VQ], ids=["kl", "vq"])
def test_a_file_of_compvis_is_opened_with_its_prefix_and_without(tmp_path, sizes, prefix):
    net = network(sizes)
    save_file(contents(net, prefix), tmp_path / "x.safetensors")
    stage, trip = assert_same(tmp_path / "x.safetensors", net)
    assert stage.config.autoencoder == sizes
    assert (trip.codes is None) == (sizes is KL)
    assert (trip.std is None) == (sizes is VQ)
    assert stage.name == f"x, {'KL' if sizes is KL else 'VQ'}"
    assert stage.config.note in trip.note


def test_a_training_file_keeps_its_discriminator_to_itself(tmp_path):
    net = network(VQ)
    (tmp_path / "vq-f8").mkdir()
    nested = {
        "epoch": 3,
        "global_step": 7,
        "state_dict": contents(net)
        | {"loss.discriminator.main.0.weight": torch.zeros(4, 3, 4, 4), "loss.logvar": torch.zeros(())},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.zeros(3)}}}],
    }
    torch.save(nested, tmp_path / "vq-f8" / "model.ckpt")
    stage, _ = assert_same(tmp_path / "vq-f8" / "model.ckpt", net)
    assert stage.name == "vq-f8"
    assert find_first_stages(tmp_path) == [tmp_path / "vq-f8"]
    assert load_first_stage(tmp_path / "vq-f8", "cpu", torch.float32).name == "vq-f8"


def test_averaged_weights_are_taken_where_there_are_any(tmp_path):
    last, averaged = network(KL), network(KL, seed=1)
    ema = {f"model_ema.{name.replace('.', '')}": t.clone() for name, t in averaged.state_dict().items()}
    counters = {"model_ema.decay": torch.tensor(0.999), "model_ema.num_updates": torch.tensor(5)}
    torch.save({"state_dict": contents(last) | ema | counters}, tmp_path / "ema.ckpt")
    stage, _ = assert_same(tmp_path / "ema.ckpt", averaged)
    assert stage.config.note.endswith("The averaged weights (EMA) of the file are taken.")


@pytest.mark.parametrize("sizes", [KL, VQ], ids=["kl", "vq"])
@pytest.mark.parametrize("attention", ["to_q", "query"])
def test_a_file_of_diffusers_is_opened_by_its_names_alone(tmp_path, sizes, attention):
    net = network(sizes)
    weights = in_diffusers(net)
    if attention == "query":
        old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
        for new, name in old.items():
            weights = {key.replace(f".{new}.", f".{name}."): tensor for key, tensor in weights.items()}
    save_file(weights, tmp_path / "some-vae.safetensors")
    stage, _ = assert_same(tmp_path / "some-vae.safetensors", net)
    assert stage.config.autoencoder == sizes


def test_a_folder_of_diffusers_says_its_scale(tmp_path):
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    theirs = diffusers.AutoencoderKL(
        block_out_channels=(32, 64),
        down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1,
        norm_num_groups=16,
        scaling_factor=0.13025,
    ).eval()
    theirs.save_pretrained(tmp_path / "vae")
    stage = load_first_stage(tmp_path / "vae", "cpu", torch.float32)
    assert find_first_stages(tmp_path) == [tmp_path / "vae"]
    assert (stage.latent_scaling_factor, stage.config.note, stage.name) == (0.13025, "", "vae, KL")
    assert stage.config.autoencoder.num_groups == 16
    images = torch.rand(1, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        z = theirs.encode(images).latent_dist.mode()
        torch.testing.assert_close(stage.autoencoder_encode(images), z * 0.13025, rtol=1e-5, atol=1e-5)
        back = theirs.decode(z).sample
    torch.testing.assert_close(stage.autoencoder_decode(z * 0.13025), back, rtol=1e-5, atol=1e-5)


@pytest.mark.golden
@pytest.mark.parametrize("name", ["sd15-vae", "sd15-vae-legacy-attention-names", "sdxl-base-vae"])
def test_the_real_ones_of_diffusers_get_our_names_whole(name):
    theirs = inventory(f"diffusers-{name}")
    shapes = {
        first_stage_layouts.renamed(key, first_stage_layouts.OLD): shape for key, shape in theirs.items()
    }
    house = first_stage_layouts._house_shapes(shapes)
    assert house == shapes_of(AutoencoderConfig())


@pytest.mark.parametrize("kind", ["study_vae", "study_vqvae"])
def test_the_study_s_are_opened(tmp_path, kind):
    net = network(StudyAutoencoderConfig(**STUDY, codebook_size=16, kind=kind))
    torch.save(net.state_dict(), tmp_path / "stage.pth")
    stage, trip = assert_same(tmp_path / "stage.pth", net)
    assert stage.config.kind == ("KL" if kind == "study_vae" else "VQ")
    assert (trip.codes is None) == (kind == "study_vae")
    assert stage.latent_scaling_factor == 1.0
    if trip.codes is not None:
        assert trip.codes.total == stage.n_embed == 16
        assert torch.equal(stage.codes(trip.codes.indices[None]), trip.latents)


@pytest.fixture
def tiny():
    return network(TINY)


def halves(net, folder, stem="taesd"):
    for half in ("encoder", "decoder"):
        torch.save(getattr(net, half).state_dict(), folder / f"{stem}_{half}.pth")


def test_taesd_s_two_files_are_one_first_stage(tmp_path, tiny):
    halves(tiny, tmp_path)
    stage, trip = assert_same(tmp_path / "taesd_decoder.pth", tiny)
    assert stage.config.autoencoder == TINY
    assert trip.std is None
    assert stage.name == "taesd_decoder"
    assert is_first_stage(tmp_path / "taesd_encoder.pth")
    assert find_first_stages(tmp_path) == [tmp_path / "taesd_decoder.pth"]
    assert find(tmp_path) == []
    (tmp_path / "taesd_encoder.pth").unlink()
    assert find_first_stages(tmp_path) == []
    assert read_config(tmp_path / "taesd_decoder.pth").note == (
        "It is half of TAESD: the encoder is in another file, which is not here."
    )


def test_taesd_of_diffusers_and_both_halves_in_one_file(tmp_path, tiny):
    theirs = {}
    for name, tensor in contents(tiny).items():
        half, number, rest = name.split(".", 2)
        theirs[f"{half}.layers.{int(number) - (half == 'decoder')}.{rest}"] = tensor
    save_file(theirs, tmp_path / "tiny.safetensors")
    save_file(contents(tiny, "taesd_"), tmp_path / "both.safetensors")
    for file in ("tiny", "both"):
        stage, _ = assert_same(tmp_path / f"{file}.safetensors", tiny)
        assert stage.config.autoencoder == TINY


@pytest.mark.parametrize(
    ("name", "metadata", "scale", "said"),
    [
        ("vae-ft-mse", {}, 0.18215, "0.18215 is taken, Stable Diffusion's."),
        ("sdxl_vae", {}, 0.13025, "0.13025 is taken, Stable Diffusion XL's, because of its name."),
        ("x", {"modelspec.architecture": "stable-diffusion-xl-v1-base/vae"}, 0.13025, ""),
    ],
)
def test_what_is_assumed_about_the_scale_is_said(tmp_path, name, metadata, scale, said):
    net = network(AutoencoderConfig(ch=32, ch_mult=(1, 1, 1, 1), num_res_blocks=1))
    save_file(contents(net), tmp_path / f"{name}.safetensors", metadata)
    config = read_config(tmp_path / f"{name}.safetensors")
    assert config.latent_scaling_factor == scale
    assert config.note == (f"The file does not say how its latents are scaled; {said}" if said else "")


def test_no_tensor_is_read_to_know_one(tmp_path, monkeypatch):
    save_file(contents(network(KL)), tmp_path / "x.safetensors")
    save_file(in_diffusers(network(KL)), tmp_path / "y.safetensors")
    monkeypatch.setattr(first_stage_layouts, "read_state_dict", None)
    assert len(find_first_stages(tmp_path)) == 2
    assert read_config(tmp_path / "y.safetensors").autoencoder == KL


def test_a_file_is_looked_at_once(tmp_path, monkeypatch):
    torch.save(contents(network(KL)), tmp_path / "x.ckpt")
    assert is_first_stage(tmp_path / "x.ckpt")
    monkeypatch.setattr(first_stage_layouts, "read_shapes", None)
    assert is_first_stage(tmp_path / "x.ckpt")


def test_what_is_none_is_told_from_one(tmp_path):
    save_file({"lora_up.weight": torch.zeros(2, 2)}, tmp_path / "lora.safetensors")
    assert not is_first_stage(tmp_path / "lora.safetensors")
    assert refused(load_first_stage, tmp_path / "lora.safetensors").startswith(
        "lora.safetensors is no first stage alone; it looks like "
    )
    whole = contents(network(KL), "first_stage_model.") | {
        "model.diffusion_model.out.2.weight": torch.zeros(4, 4, 3, 3)
    }
    save_file(whole, tmp_path / "sd.safetensors")
    assert not is_first_stage(tmp_path / "sd.safetensors")
    (tmp_path / "empty").mkdir()
    assert not is_first_stage(tmp_path / "empty")
    assert refused(load_first_stage, tmp_path / "empty") == "empty is a folder without a first stage."
    assert find_first_stages(tmp_path) == []


def test_a_damaged_one_is_named(tmp_path):
    weights = contents(network(KL))
    del weights["decoder.mid.block_1.norm1.bias"]
    save_file(weights, tmp_path / "less.safetensors")
    count = len(weights) + 1
    assert refused(load_first_stage, tmp_path / "less.safetensors") == (
        f"less.safetensors is missing 1 of {count} weights (decoder.mid.block_1.norm1.bias)."
    )
    flux = contents(network(AutoencoderConfig(ch=32, ch_mult=(1, 1), num_res_blocks=1, z_channels=16)))
    flux = {name: tensor for name, tensor in flux.items() if "quant_conv" not in name}
    save_file(flux, tmp_path / "ae.safetensors")
    assert refused(read_config, tmp_path / "ae.safetensors") == (
        "ae.safetensors cannot be read as an autoencoder. It is Stable Diffusion 3's or Flux's, which has no "
        "quant_conv."
    )


def test_ours_keeps_any_kind(tmp_path, tiny):
    halves(tiny, tmp_path)
    stage = load_first_stage(tmp_path / "taesd_decoder.pth", "cpu", torch.float32)
    save_first_stage(stage, tmp_path / "mine.safetensors")
    again, _ = assert_same(tmp_path / "mine.safetensors", tiny)
    assert again.config == stage.config


def test_the_field_s_old_name_is_read(tmp_path):
    net = network(VQ)
    sizes = {
        "autoencoder": {"ch": 32, "ch_mult": [1, 2], "num_res_blocks": 1, "z_channels": 3, "embed_dim": 3}
    }
    sizes["autoencoder"]["double_z"] = False
    config = {"name": "Old, VQ", "vq": sizes | {"n_embed": 16}, "latent_scaling_factor": 2.0}
    save_file(contents(net), tmp_path / "old.safetensors", {"ldm_first_stage": json.dumps(config)})
    stage, _ = assert_same(tmp_path / "old.safetensors", net)
    assert (stage.config.autoencoder, stage.config.vq, stage.name) == (VQ, VQ, "Old, VQ")


def test_a_model_takes_another_first_stage_of_its_latents(tmp_path):
    model = tiny_model()
    other = network(model.config.autoencoder, seed=5)
    save_file(contents(other), tmp_path / "x.safetensors")
    config = json.dumps({"name": "Other", "autoencoder": {"kind": "kl", **_plain(model)}})
    save_file(contents(other), tmp_path / "other.safetensors", {"ldm_first_stage": config})
    stage = load_first_stage(tmp_path / "other.safetensors", "cpu", torch.float32)
    assert refused(use_first_stage, model, stage) == (
        "Other scales its latents by 1, tiny by 0.18215; their latents are not the same."
    )
    fitting = json.loads(config) | {"latent_scaling_factor": 0.18215}
    save_file(contents(other), tmp_path / "other.safetensors", {"ldm_first_stage": json.dumps(fitting)})
    use_first_stage(model, load_first_stage(tmp_path / "other.safetensors", "cpu", torch.float32))
    images = torch.rand(1, 3, 8, 8)
    mean = model.autoencoder_encode(images, mean=True)
    torch.testing.assert_close(mean, other.encode(images).mode() * 0.18215)
    save_file(contents(network(VQ)), tmp_path / "vq.safetensors")
    assert refused(use_first_stage, model, load_first_stage(tmp_path / "vq.safetensors", "cpu")) == (
        "vq has 3 latent channels of 2 pixels a side, tiny has 4 of 4; their latents are not the same."
    )


def _plain(model):
    return json.loads(json.dumps(model.config.to_dict()["autoencoder"]))


def test_a_model_previews_by_the_taesd_beside_it(tmp_path, tiny):
    model = tiny_model()  # four channels, f = 4, Stable Diffusion's scale
    halves(network(TINY, seed=3), tmp_path, "taesdxl")
    halves(network(TINY, seed=4), tmp_path, "taesd3")
    add_preview(model, tmp_path / "tiny.safetensors")
    assert model.quick_decoder == "the linear map"
    (tmp_path / "taesd_broken.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{broken}")
    halves(tiny, tmp_path)
    (tmp_path / "taesd_encoder.pth").unlink()  # a preview needs none
    add_preview(model, tmp_path / "tiny.safetensors")
    assert model.quick_decoder == "the small decoder"
    z = torch.randn(2, 4, 5, 3)
    torch.testing.assert_close(model.quick_decode(z), tiny.decode(z), rtol=2e-2, atol=2e-2)


def test_a_model_of_other_latents_takes_no_taesd(tmp_path, tiny):
    halves(tiny, tmp_path)
    model = tiny_model(latent_scaling_factor=1.0)
    add_preview(model, tmp_path / "tiny.safetensors")
    assert model.quick_decoder == "the linear map"
    xl = tiny_model(latent_scaling_factor=0.13025)
    add_preview(xl, tmp_path / "tiny.safetensors")
    assert xl.quick_decoder == "the linear map"
    halves(tiny, tmp_path, "taesdxl")
    add_preview(xl, tmp_path / "tiny.safetensors")
    assert xl.quick_decoder == "the small decoder"
