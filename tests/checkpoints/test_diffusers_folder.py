"""Folders of diffusers, as people have them and as diffusers writes them."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from ldm.checkpoints import build, convert, diffusers_folder, find, read
from ldm.checkpoints.diffusers_files import read_json
from ldm.checkpoints.diffusers_names import to_ours
from ldm.checkpoints.diffusers_sizes import read_schedule
from ldm.checkpoints.diffusers_tables import tables, weight_shapes
from ldm.checkpoints.report import differences, is_leftover, looks_like
from ldm.errors import CheckpointError
from ldm.models.config import RecommendedSettings, UNetConfig

from ..golden_cases import FACTOR, _roots, case
from .models import default_config, random_model, sd_config
from .test_tiny_ldm import trajectory

FAMILIES = {  # folder of configs -> part -> inventory of its keys
    "sd15": {"unet": "sd15-unet", "vae": "sd15-vae", "text_encoder": "sd15-text_encoder"},
    "sd15 with old names": {
        "unet": "sd15-unet",
        "vae": "sd15-vae-legacy-attention-names",
        "text_encoder": "sd15-text_encoder",
    },
    "sd15-inpainting": {
        "unet": "sd15-inpainting-unet",
        "vae": "sd15-inpainting-vae",
        "text_encoder": "sd15-text_encoder",
    },
    "sd21": {"unet": "sd21-unet", "vae": "sd21-vae", "text_encoder": "sd21-text_encoder"},
    "sd2-inpainting": {
        "unet": "sd2-inpainting-unet",
        "vae": "sd2-inpainting-vae",
        "text_encoder": "sd21-text_encoder",
    },
    "sd-x4-upscaler": {
        "unet": "sd-x4-upscaler-unet",
        "vae": "sd-x4-upscaler-vae",
        "text_encoder": "sd21-text_encoder",
    },
    "sdxl-base": {part: f"sdxl-base-{part}" for part in ("unet", "vae", "text_encoder", "text_encoder_2")},
    "sdxl-refiner": {part: f"sdxl-refiner-{part}" for part in ("unet", "vae", "text_encoder")},
}


def inventories() -> Path:
    for root in _roots():
        if (root / "keys").is_dir():
            return root / "keys"
    pytest.skip("the inventories of keys are not here; set GOLDEN to the folder of cases.")


def inventory(name: str) -> dict[str, torch.Tensor]:
    """Weights without memory, of the names and shapes of a real file."""
    entries = json.loads((inventories() / f"diffusers-{name}.json").read_text())
    return {key: torch.empty(entry["shape"], device="meta") for key, entry in entries.items()}


@pytest.mark.golden
@pytest.mark.parametrize("family", FAMILIES)
def test_every_key_of_a_real_folder_is_claimed_once_and_every_weight_is_fed(family):
    folder = inventories() / "diffusers_configs" / family.split(" ")[0]
    config, texts = diffusers_folder.read_config(folder)
    wanted = weight_shapes(config, texts.tokenizer)
    found: dict[str, tuple[int, ...]] = {}
    by_part = tables(config, wanted, texts.towers, "vae")
    assert set(by_part) == set(FAMILIES[family])
    for part, table in by_part.items():
        theirs = diffusers_folder.modern(part, inventory(FAMILIES[family][part]))
        claims = [key for place in table.values() for key in place.names]
        assert len(claims) == len(set(claims))
        ours, rest = to_ours(table, theirs)
        unclaimed = [f"{part}/{key}" for key in rest]
        assert all(is_leftover(key, diffusers_folder.LEFTOVERS) for key in unclaimed), unclaimed[:3]
        found |= {key: tuple(tensor.shape) for key, tensor in ours.items()}
    assert not differences(wanted, found)


@pytest.mark.golden
def test_a_controlnet_is_refused_by_name(tmp_path):
    keys = inventory("controlnet-sd15")
    assert looks_like(keys) == "a ControlNet of diffusers, an addition to a model"
    folder = written(tmp_path / "net", {"config.json": {"_class_name": "ControlNetModel"}})
    assert diffusers_folder.matches(folder)
    with pytest.raises(CheckpointError) as error:
        read(folder)
    assert str(error.value) == (
        "net is a diffusers folder of a ControlNet, an addition to a model (ControlNetModel); "
        "that cannot be loaded."
    )


@pytest.fixture(scope="module")
def golden():
    found = case("tiny_ldm")
    if not (found.folder / "diffusers").is_dir():
        pytest.skip("this copy of the case has no diffusers folder; set GOLDEN to the folder of all cases.")
    return found


@pytest.mark.golden
def test_the_golden_folder_draws_what_diffusers_drew(golden):
    with torch.no_grad():
        model = build(read(golden.folder / "diffusers"), "cpu", torch.float32)
        expected = load_file(golden.folder / "expected_diffusers.safetensors")
        prompts = (golden.config["prompts"], golden.config["negative_prompts"])
        latents = trajectory(golden, model, *map(model.get_text_conditioning, prompts))
        image = (model.autoencoder_decode(latents[-1]) / 2 + 0.5).clamp(0, 1)
        found = {"trajectory": latents, "latent": latents[-1], "image01": image}
        stride = model.n_steps // (len(latents) - 1)
        assert expected["timesteps"].tolist() == [t + 1 for t in reversed(range(0, model.n_steps, stride))]
    for name, ours in found.items():
        own = golden.config["f32_vs_f64"][name]["max_abs"]
        assert float((ours - expected[name]).abs().max()) <= FACTOR * own, name


@pytest.mark.golden
def test_the_golden_folder_and_the_single_file_are_one_model(golden):
    folder, single = (read(golden.folder / name) for name in ("diffusers", "model.safetensors"))
    patterns = (*folder.leftovers, *single.leftovers)
    ours, theirs = (
        {key: tensor for key, tensor in checkpoint.tensors.items() if not is_leftover(key, patterns)}
        for checkpoint in (folder, single)
    )
    assert set(ours) == set(theirs)
    assert all(torch.equal(ours[key], tensor) for key, tensor in theirs.items())
    assert folder.tokenizer.to_dict() == single.tokenizer.to_dict()
    assert folder.config.schedule == single.config.schedule
    assert folder.config.latent_scaling_factor == single.config.latent_scaling_factor


@pytest.fixture(scope="module")
def model():
    return random_model(default_config())


@pytest.fixture
def folder(tmp_path, model):
    """A whole folder, as this program writes it."""
    convert(model, tmp_path / "model")
    return tmp_path / "model"


UNET_FILE = "unet/diffusion_pytorch_model.safetensors"


def rewritten(folder, name, change):
    """A JSON file of a folder, changed."""
    path = folder / name
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def written(folder, files):
    for name, values in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(values))
    return folder


def same(folder, model, dtype=None):
    again = build(read(folder), "cpu", None).state_dict()
    ours = {key: tensor for key, tensor in model.state_dict().items() if not key.startswith("preview.")}
    assert set(again) == set(ours)
    return all(torch.equal(again[key], ours[key].to(dtype or ours[key].dtype)) for key in ours)


def test_a_folder_that_is_written_is_read_again_bit_for_bit(folder, model):
    assert same(folder, model)
    config = read(folder).config
    for name in ("unet", "text", "schedule", "prediction_type", "latent_scaling_factor", "picture"):
        assert getattr(config, name) == getattr(model.config, name), name
    assert (config.recommended.width, config.recommended.height) == (64, 64)


def test_half_precision_is_read_where_there_is_nothing_else(folder, model):
    tensors = load_file(folder / UNET_FILE)
    half = {key: tensor.half() for key, tensor in tensors.items()}
    save_file(half, folder / "unet" / "diffusion_pytorch_model.fp16.safetensors")
    assert same(folder, model)  # full precision comes first
    (folder / UNET_FILE).unlink()
    again = build(read(folder), "cpu", None)
    assert again.model.diffusion_model.dtype == torch.float16


def test_shards_are_put_together_by_their_index(folder, model):
    tensors = load_file(folder / UNET_FILE)
    names = sorted(tensors)
    parts = {"a-00001-of-00002.safetensors": names[::2], "a-00002-of-00002.safetensors": names[1::2]}
    for file, keys in parts.items():
        save_file({key: tensors[key] for key in keys}, folder / "unet" / file)
    weight_map = {key: file for file, keys in parts.items() for key in keys}
    index = folder / "unet" / "diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    (folder / UNET_FILE).unlink()
    assert same(folder, model)
    (folder / "unet" / "a-00002-of-00002.safetensors").unlink()
    with pytest.raises(CheckpointError) as error:
        read(folder)
    assert str(error.value) == (
        "unet/ is incomplete: its index names 1 files that are not there (a-00002-of-00002.safetensors)."
    )
    index.write_text(json.dumps({"weight_map": {"x": "../../secret.safetensors"}}))
    with pytest.raises(CheckpointError) as error:
        read(folder)
    assert str(error.value) == (
        "unet/diffusion_pytorch_model.safetensors.index.json names a file elsewhere: "
        "../../secret.safetensors."
    )


def test_pickled_weights_are_read_and_nothing_in_them_runs(folder, model, tmp_path):
    tensors = load_file(folder / UNET_FILE)
    (folder / UNET_FILE).unlink()
    path = folder / "unet" / "diffusion_pytorch_model.bin"
    torch.save(tensors, path)
    assert same(folder, model)

    class Attack:
        def __reduce__(self):
            return Path.touch, (tmp_path / "ran",)

    torch.save({**tensors, "x": Attack()}, path)
    with pytest.raises(CheckpointError):
        build(read(folder), "cpu", None)
    assert not (tmp_path / "ran").exists()


def test_old_names_of_attention_and_bare_names_of_the_text_encoder_are_understood(folder, model):
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = load_file(path)
    for new, name in old.items():
        tensors = {key.replace(f".{new}.", f".{name}."): tensor for key, tensor in tensors.items()}
    save_file(tensors, path)
    path = folder / "text_encoder" / "model.safetensors"
    bare = {key.removeprefix("text_model."): tensor for key, tensor in load_file(path).items()}
    position_ids = {"embeddings.position_ids": torch.arange(32)[None]}
    save_file(bare | position_ids, path)
    assert same(folder, model)


def test_a_folder_without_an_index_is_recognised_by_its_parts(folder, model):
    (folder / "model_index.json").unlink()
    assert diffusers_folder.matches(folder)
    assert same(folder, model)
    assert find(folder.parent) == [folder]


def test_todays_tokenizers_keep_their_vocabulary_in_one_file(folder, model):
    part = folder / "tokenizer"
    vocab, merges = json.loads((part / "vocab.json").read_text()), (part / "merges.txt").read_text()
    pairs = [line.split(" ") for line in merges.split("\n") if line and not line.startswith("#")]
    (part / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocab, "merges": pairs}}))
    for name in ("vocab.json", "merges.txt", "special_tokens_map.json"):
        (part / name).unlink()
    tokenizer = read(folder).tokenizer
    assert tokenizer.to_dict() == model.cond_stage_model.tokenizer.to_dict()


def test_a_weight_too_many_or_too_few_is_named_by_its_part(folder):
    tensors = load_file(folder / UNET_FILE)
    save_file({**tensors, "extra.weight": torch.zeros(1)}, folder / UNET_FILE)
    with pytest.raises(CheckpointError) as error:
        build(read(folder), "cpu", None)
    assert str(error.value) == "model has 1 weights that its model has no place for (unet/extra.weight)."
    del tensors["conv_out.bias"]
    save_file(tensors, folder / UNET_FILE)
    with pytest.raises(CheckpointError) as error:
        build(read(folder), "cpu", None)
    wanted = len(weight_shapes(read(folder).config, read(folder).tokenizer))
    assert str(error.value) == (f"model is missing 1 of {wanted} weights (model.diffusion_model.out.2.bias).")


def test_another_shape_than_the_config_says_is_an_error(folder):
    rewritten(folder, "unet/config.json", lambda values: values.update(cross_attention_dim=128))
    with pytest.raises(CheckpointError, match="of another shape"):
        build(read(folder), "cpu", None)


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ("unet", "model has no unet/; that part of the model is missing."),
        ("vae", "model has no vae/; that part of the model is missing."),
        ("text_encoder", "model has no text_encoder/."),
        ("tokenizer", None),
    ],
)
def test_a_missing_part_is_an_error(folder, part, message):
    shutil.rmtree(folder / part)
    if message is None:
        words = read_json(folder / "text_encoder" / "config.json")["vocab_size"]
        message = f"model has a text encoder for {words} words, and no tokenizer/ that lists them."
    with pytest.raises(CheckpointError) as error:
        read(folder)
    assert str(error.value) == message


@pytest.mark.parametrize(
    ("file", "changes", "message"),
    [
        (
            "unet/config.json",
            {"act_fn": "mish"},
            "unet/config.json has act_fn 'mish'; what can be read is 'silu' or 'swish'.",
        ),
        (
            "unet/config.json",
            {"mid_block_type": None},
            "unet/config.json has mid_block_type None; what can be read is "
            "'UNetMidBlock2DCrossAttn' or 'UNetMidBlock2D'.",
        ),
        (
            "unet/config.json",
            {"attention_head_dim": [3, 4]},
            "unet/config.json has attention_head_dim [3, 4] for [64, 128] channels: uneven heads.",
        ),
        (
            "unet/config.json",
            {"_class_name": "UNet3DConditionModel"},
            "unet/ holds a UNet3DConditionModel; what can be read is UNet2DConditionModel and UNet2DModel.",
        ),
        (
            "unet/config.json",
            {"in_channels": 20},
            "model has a U-Net with 20 channels in, where latents have 16 (StableDiffusionPipeline); "
            "what else it reads is not known.",
        ),
        (
            "vae/config.json",
            {"_class_name": "AsymmetricAutoencoderKL"},
            "vae/ holds a AsymmetricAutoencoderKL; what can be read is AutoencoderKL and VQModel.",
        ),
        (
            "vae/config.json",
            {"shift_factor": 0.1159},
            "vae/config.json has shift_factor 0.1159; what can be read is None or 0.0.",
        ),
        (
            "text_encoder/config.json",
            {"model_type": "t5"},
            "text_encoder/ holds a t5; what can be read is CLIP's text encoder.",
        ),
        (
            "scheduler/scheduler_config.json",
            {"_class_name": "EDMEulerScheduler"},
            "The folder's scheduler is EDMEulerScheduler, which has other noise levels than ours.",
        ),
        (
            "scheduler/scheduler_config.json",
            {"beta_schedule": "sigmoid"},
            "beta_schedule must be one of scaled_linear, linear, squaredcos_cap_v2, got 'sigmoid'.",
        ),
        (
            "model_index.json",
            {"_class_name": "StableDiffusion3Pipeline"},
            "model is a diffusers folder of Stable Diffusion 3 (StableDiffusion3Pipeline); "
            "that cannot be loaded.",
        ),
        (
            "model_index.json",
            {"_class_name": "FluxPipeline"},
            "model is a diffusers folder of Flux (FluxPipeline); that cannot be loaded.",
        ),
    ],
)
def test_what_ours_has_no_counterpart_for_is_a_sentence(folder, file, changes, message):
    rewritten(folder, file, lambda values: values.update(changes))
    with pytest.raises(CheckpointError) as error:
        read(folder)
    assert str(error.value) == message


def test_a_transformer_is_no_unet(tmp_path):
    index = {"_class_name": "NobodysPipeline"}
    files = {"model_index.json": index, "transformer/config.json": {"_class_name": "NobodysTransformer"}}
    with pytest.raises(CheckpointError) as error:
        read(written(tmp_path / "x", files))
    assert str(error.value) == (
        "x denoises with NobodysTransformer, not with a U-Net; that cannot be loaded."
    )


def test_damaged_json_is_a_sentence(folder):
    (folder / "unet" / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"^unet/config\.json cannot be read: "):
        read(folder)
    (folder / "unet" / "config.json").write_text("[]")
    with pytest.raises(CheckpointError) as error:
        read(folder)
    assert str(error.value) == "unet/config.json holds list, not an object."


def test_schedulers_say_less_than_they_mean():
    """What a file leaves out is its class's: linear from 1e-4, but Stable Diffusion's for LCM."""
    plain, _ = read_schedule({"_class_name": "DDPMScheduler"})
    assert (plain.betas, plain.linear_start, plain.linear_end) == ("linear", 1e-4, 0.02)
    lcm, predicts = read_schedule({"_class_name": "LCMScheduler"})
    assert (lcm.betas, lcm.linear_start, lcm.linear_end, predicts) == ("scaled_linear", 0.00085, 0.012, "eps")


def test_a_distilled_model_is_told_its_guidance(tmp_path):
    config = sd_config(
        unet=UNetConfig(
            model_channels=32,
            channel_mult=(1, 2),
            context_dim=64,
            time_cond_proj_dim=32,
            attention_resolutions=(1, 2),
        ),
        recommended=RecommendedSettings(steps=4, sampler="lcm", width=64, height=64),
    )
    model = random_model(config)
    convert(model, tmp_path / "lcm")
    assert same(tmp_path / "lcm", model)
    found = read(tmp_path / "lcm").config
    assert found.unet == config.unet
    assert (found.recommended.sampler, found.recommended.steps, found.recommended.cfg_scale) == ("lcm", 4, 1)


def test_a_repository_in_the_hubs_cache_is_called_by_its_name(folder, tmp_path):
    place = tmp_path / "models--owner--name" / "snapshots" / "0123"
    place.parent.mkdir(parents=True)
    shutil.move(folder, place)
    assert read(place).config.name == "owner/name"
