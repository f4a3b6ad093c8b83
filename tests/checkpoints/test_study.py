"""Files of the study: a U-Net in either layout of names, and what is looked for beside it."""

import json
import re
from dataclasses import asdict, replace

import pytest
import torch
import yaml
from safetensors.torch import save_file

from ldm.checkpoints import build, study
from ldm.checkpoints.report import differences
from ldm.checkpoints.study_sizes import config_of_autoencoder, config_of_unet, looks_like_study
from ldm.errors import CheckpointError
from ldm.models.build import build_first_stage, build_network
from ldm.models.condition_config import ClassConfig, NoConditionConfig
from ldm.models.config import ScheduleConfig, TextConfig
from ldm.models.study_config import StudyAutoencoderConfig, StudyUNetConfig
from ldm.models.text import CLIPTextEmbedder

from .models import own_tokenizer
from .test_report import inventories

# as small as the published heads and groups allow, so that it needs no YAML file
UNET = StudyUNetConfig(
    down_channels=(32, 32),
    mid_channels=(32, 32),
    down_sample=(True,),
    attn_down=(True,),
    time_emb_dim=16,
    num_down_layers=1,
    num_mid_layers=1,
    num_up_layers=1,
    conv_out_channels=32,
)
STAGE = StudyAutoencoderConfig(
    codebook_size=16,
    down_channels=(32, 32),
    mid_channels=(32, 32),
    down_sample=(True,),
    attn_down=(False,),
    num_down_layers=1,
    num_mid_layers=1,
    num_up_layers=1,
)
UNET_FILE, STAGE_FILE = "ddpm_ckpt.pth", "vqvae_autoencoder_ckpt.pth"


def weights(make, config, seed=5):
    """Random ones that all matter."""
    torch.manual_seed(seed)
    net = make(config)
    return {
        name: tensor.detach() + 0.05 * torch.randn(tensor.shape) for name, tensor in net.state_dict().items()
    }


def shapes(tensors):
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def written_out(tensors):
    """Under the names of the study's own text."""
    return {re.sub(r"^(down|mid|up)s\.(\d+)", r"\1_block_\2", name): t for name, t in tensors.items()}


def put(folder, unet=UNET, stage=STAGE, stage_file=STAGE_FILE, layout="repo"):
    """A U-Net and an autoencoder in a folder, as torch.save writes them."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = weights(build_network, unet)
    torch.save(tensors if layout == "repo" else written_out(tensors), folder / UNET_FILE)
    if stage is not None:
        torch.save(weights(build_first_stage, stage), folder / stage_file)
    return folder / UNET_FILE


def params(unet=UNET, stage=STAGE, **sections):
    """The study's YAML of these networks, with other sections merged into it."""
    known = ("down_channels", "num_heads", "norm_channels")
    ldm = {k: v for k, v in asdict(unet).items() if k in known}
    autoencoder = {k: v for k, v in asdict(stage).items() if k in (*known, "z_channels")}
    kinds = {"text": unet.text_dim, "class": unet.n_classes, "image": unet.mask_channels}
    told = [kind for kind, size in kinds.items() if size is not None]
    if told:
        ldm["condition_config"] = {"condition_types": told}
    content = {"ldm_params": ldm, "autoencoder_params": autoencoder}
    for name, section in sections.items():
        content[name] = content.get(name, {}) | section
    return json.loads(json.dumps(content))  # lists instead of tuples


def write_yaml(path, content):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump(content))


def put_text(folder, width=32):
    """A text encoder and a vocabulary in transformers' layout beside a U-Net."""
    tokenizer = own_tokenizer()
    config = TextConfig(
        vocab_size=len(tokenizer.vocab),
        hidden_size=width,
        intermediate_size=48,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=32,
        bos_token_id=tokenizer.bos,
        eos_token_id=tokenizer.eos,
        pad_token_id=tokenizer.pad,
        tokenizer="embedded",
    )
    torch.manual_seed(6)
    embedder = CLIPTextEmbedder(config, tokenizer)
    (folder / "text_encoder").mkdir()
    (folder / "tokenizer").mkdir()
    fields = {k: v for k, v in asdict(config).items() if k not in ("tokenizer", "hidden_layer", "kind")}
    (folder / "text_encoder" / "config.json").write_text(
        json.dumps({"model_type": "clip_text_model", **fields})
    )
    state = {k.removeprefix("transformer."): v for k, v in embedder.state_dict().items()}
    vision = {"vision_model.post_layernorm.weight": torch.ones(3), "logit_scale": torch.ones(())}
    save_file(
        {k: v.contiguous() for k, v in state.items()} | vision, folder / "text_encoder" / "model.safetensors"
    )
    (folder / "tokenizer" / "vocab.json").write_text(json.dumps(tokenizer.vocab))
    merges = "\n".join(["#version: 0.2", *(" ".join(pair) for pair in tokenizer.merges)])
    (folder / "tokenizer" / "merges.txt").write_text(merges)
    return embedder.eval()


@pytest.mark.golden
def test_every_inventory_is_known_and_accounted_for_to_the_last_key():
    seen = set()
    for path in inventories("explainingai-*"):
        inventory = {name: tuple(entry["shape"]) for name, entry in json.loads(path.read_text()).items()}
        kind = looks_like_study(inventory)
        with torch.device("meta"):
            if kind == "study":
                net = build_network(config_of_unet(inventory))
            else:
                config = config_of_autoencoder(inventory)
                assert config.kind == kind
                net = build_first_stage(config)
        assert not differences(shapes(net.state_dict()), inventory), path.name
        seen.add(kind)
    assert seen == {"study", "study_vqvae", "study_vae"}


@pytest.mark.golden
def test_the_published_configs_are_what_the_shapes_alone_tell():
    text = inventories("explainingai-celebhq_text_cond-unet")[0]
    sizes = {name: tuple(entry["shape"]) for name, entry in json.loads(text.read_text()).items()}
    assert config_of_unet(sizes) == StudyUNetConfig(text_dim=512)
    stage = inventories("explainingai-celebhq_text_cond-vqvae")[0]
    sizes = {name: tuple(entry["shape"]) for name, entry in json.loads(stage.read_text()).items()}
    assert config_of_autoencoder(sizes) == StudyAutoencoderConfig()
    mnist = inventories("explainingai-mnist_class_cond-unet")[0]
    sizes = {name: tuple(entry["shape"]) for name, entry in json.loads(mnist.read_text()).items()}
    assert config_of_unet(sizes).n_classes == 10 and config_of_unet(sizes).downsamplings == 0


def test_other_files_are_none_of_the_study_s(tmp_path):
    assert looks_like_study(["model.diffusion_model.input_blocks.0.0.weight", "conv_out.weight"]) is None
    save_file({"conv_out.weight": torch.zeros(1)}, tmp_path / "other.safetensors")
    assert not study.matches(tmp_path / "other.safetensors")
    assert not study.matches(tmp_path)
    path = put(tmp_path / "task")
    assert study.matches(path)
    assert not study.matches(path.with_name(STAGE_FILE))


@pytest.mark.parametrize("layout", ["repo", "study"])
def test_a_folder_of_the_study_becomes_a_model_weight_for_weight(tmp_path, layout):
    path = put(tmp_path, layout=layout)
    checkpoint = study.read(path)
    config = checkpoint.config
    assert config.unet == replace(UNET, names=layout) and config.autoencoder == STAGE
    assert config.text == NoConditionConfig() and config.picture is None
    assert config.schedule == ScheduleConfig(linear_start=0.0015, linear_end=0.0195)
    assert config.prediction_type == "eps" and config.latent_scaling_factor == 1.0
    assert (config.recommended.width, config.recommended.cfg_scale) == (256, 1.0)
    model = build(checkpoint, "cpu", torch.float32)
    for name, tensor in weights(build_network, UNET).items():
        assert torch.equal(model.model.diffusion_model.state_dict()[name], tensor), name
    for name, tensor in weights(build_first_stage, STAGE).items():
        assert torch.equal(model.first_stage_model.state_dict()[name], tensor), name
    images = torch.rand(1, 3, 8, 8) * 2 - 1
    z = model.autoencoder_encode(images)
    assert torch.equal(z, model.first_stage_model.encode(images).latents)
    with torch.no_grad():
        eps = model(z, torch.tensor([500.0]), torch.zeros(1, 0, 0))
    assert eps.shape == z.shape and torch.isfinite(eps).all()


def test_names_of_wrapped_networks_are_read_too(tmp_path):
    path = put(tmp_path)
    tensors = torch.load(path)
    torch.save({f"module.{name}": tensor for name, tensor in written_out(tensors).items()}, path)
    assert study.matches(path)
    checkpoint = study.read(path)
    assert checkpoint.config.unet == replace(UNET, names="study")
    build(checkpoint, "cpu", torch.float32)


@pytest.mark.parametrize("kind", ["study_vqvae", "study_vae"])
@pytest.mark.parametrize("name", [STAGE_FILE, "vae_autoencoder_ckpt.pth", "vae_ckpt.pth", "whatever.pth"])
def test_the_autoencoder_is_found_beside_the_unet(tmp_path, name, kind):
    path = put(tmp_path, stage=replace(STAGE, kind=kind), stage_file=name)
    (tmp_path / "notes.pth").write_text("not weights")
    assert study.read(path).config.autoencoder.kind == kind


def test_of_several_autoencoders_the_named_one_is_taken(tmp_path):
    path = put(tmp_path)
    torch.save(weights(build_first_stage, replace(STAGE, kind="study_vae")), tmp_path / "vae_ckpt.pth")
    torch.save(weights(build_first_stage, replace(STAGE, codebook_size=7)), tmp_path / "mine.pth")
    assert study.read(path).config.autoencoder == STAGE
    named = params(train_params={"vqvae_autoencoder_ckpt_name": "mine.pth"})
    write_yaml(tmp_path / "celebhq.yaml", named)
    assert study.read(path).config.autoencoder.codebook_size == 7
    # the study's own text has the VAE
    (tmp_path / "celebhq.yaml").unlink()
    put(tmp_path, layout="study")
    assert study.read(path).config.autoencoder.kind == "study_vae"


def test_a_missing_or_doubtful_autoencoder_is_said(tmp_path):
    path = put(tmp_path / "none", stage=None)
    with pytest.raises(
        CheckpointError, match="U-Net alone, for latents of 4 channels; put its autoencoder, vqvae"
    ):
        study.read(path)
    path = put(tmp_path / "thin", stage=replace(STAGE, z_channels=3))
    with pytest.raises(CheckpointError, match="U-Net alone, for latents of 4 channels"):
        study.read(path)
    path = put(tmp_path / "many", stage_file="a.pth")
    torch.save(weights(build_first_stage, STAGE), path.with_name("b.pth"))
    with pytest.raises(CheckpointError, match=r"2 autoencoders beside it \(a.pth, b.pth\)"):
        study.read(path)


def test_what_shapes_cannot_tell_comes_from_the_study_s_yaml(tmp_path):
    unet = replace(UNET, num_heads=2, norm_channels=4, n_classes=3)
    stage = replace(STAGE, num_heads=8, norm_channels=16)
    path = put(tmp_path / "celebhq", unet, stage)
    content = params(
        unet,
        stage,
        diffusion_params={"num_timesteps": 400, "beta_start": 0.001, "beta_end": 0.02},
        dataset_params={"im_size": 66},
        train_params={"task_name": "celebhq", "ldm_ckpt_name": UNET_FILE, "cf_guidance_scale": 2.5},
    )
    others = {"beta_start": 0.5}, {"down_channels": [1, 2]}
    places = {
        "its name": tmp_path / "celebhq" / "ddpm_ckpt.yaml",
        "its folder": tmp_path / "celebhq" / "some.yml",
        "the repository's folder": tmp_path / "config" / "celebhq.yaml",
    }
    for place, file in places.items():
        write_yaml(file, content)
        # neighbours that name no file, or are of another network
        write_yaml(file.with_name("a.yaml"), params(unet, stage, diffusion_params=others[0]))
        write_yaml(file.with_name("b.yaml"), params(unet, stage, ldm_params=others[1]))
        config = study.read(path).config
        assert config.unet == unet and config.autoencoder == stage, place
        assert config.schedule == ScheduleConfig(400, "scaled_linear", 0.001, 0.02), place
        recommended = config.recommended
        assert (recommended.width, recommended.height, recommended.cfg_scale) == (64, 64, 2.5), place
        assert study.autoencoder_config(path.with_name(STAGE_FILE)) == stage or place != "its folder"
        for each in (file, file.with_name("a.yaml"), file.with_name("b.yaml")):
            each.unlink()
    assert study.read(path).config.unet == replace(UNET, n_classes=3)  # without it the published ones


@pytest.mark.parametrize(
    ("sections", "words"),
    [
        ({"ldm_params": {"down_channels": [8, 8]}}, "ddpm_ckpt.yaml is the YAML file of another network"),
        ({"ldm_params": {"num_heads": 5}}, "sizes that do not fit together: num_heads 5 does not divide 32"),
        ({"ldm_params": {"norm_channels": "many"}}, "norm_channels must be a number above 0, got 'many'"),
        ({"diffusion_params": {"num_timesteps": 10.5}}, "num_timesteps must be a whole number, got 10.5"),
        ({"diffusion_params": {"beta_end": 7}}, "beta_end must be a number above 0 and below 1, got 7"),
        ({"dataset_params": {"im_size": -1}}, "im_size must be a number above 0, got -1"),
        (
            {"train_params": {"cf_guidance_scale": None}},
            "cf_guidance_scale must be a number above 0, got None",
        ),
    ],
)
def test_a_yaml_that_cannot_be_used_is_said(tmp_path, sections, words):
    path = put(tmp_path)
    write_yaml(path.with_suffix(".yaml"), params(**sections))
    with pytest.raises(CheckpointError, match=re.escape(words)):
        study.read(path)
    path.with_suffix(".yaml").write_text("{")
    with pytest.raises(CheckpointError, match=r"ddpm_ckpt\.yaml cannot be read"):
        study.read(path)


def test_sizes_that_need_a_yaml_say_so(tmp_path):
    unet = replace(
        UNET, down_channels=(8, 8), mid_channels=(8, 8), conv_out_channels=8, num_heads=2, norm_channels=4
    )
    path = put(tmp_path, unet)
    with pytest.raises(
        CheckpointError, match=r"norm_channels 32 does not divide 8 channels\. Put the YAML file"
    ):
        study.read(path)


def test_a_class_model_is_told_numbers_and_reads_grey_pictures(tmp_path):
    # two channels in a group: alone, a channel's norm takes away what is added to all of it
    wide = replace(UNET, down_channels=(64, 64), mid_channels=(64, 64), conv_out_channels=64, n_classes=10)
    path = put(tmp_path, wide, replace(STAGE, im_channels=1, num_heads=16))
    checkpoint = study.read(path)
    assert checkpoint.config.text == ClassConfig(n_classes=10, embed_dim=0, null=-1, names="digits")
    assert checkpoint.config.autoencoder.num_heads == 16
    assert checkpoint.config.recommended.width == 28
    model = build(checkpoint, "cpu", torch.float32)
    condition = model.get_conditioning(["7", ""])
    assert condition.vector.tolist() == [7, -1]
    x = torch.randn(2, 4, 4, 4)
    with torch.no_grad():
        seven, none = model(x, torch.tensor([9.0, 9.0]), condition.context, condition.vector)
        plain = model(x, torch.tensor([9.0, 9.0]), condition.context)
    assert torch.equal(none, plain[1]) and not torch.allclose(seven, plain[0], atol=1e-5)


def test_a_mask_model_reads_a_picture(tmp_path):
    unet = replace(UNET, mask_channels=18, mask_out=3)
    config = study.read(put(tmp_path, unet)).config
    assert config.picture == "study_mask" and config.unet == unet


def test_a_text_model_reads_the_encoder_beside_it(tmp_path):
    unet = replace(UNET, text_dim=32)
    path = put(tmp_path, unet)
    embedder = put_text(tmp_path)
    checkpoint = study.read(path)
    text = checkpoint.config.text
    assert text.attention_mask and text.hidden_size == 32 and text.num_attention_heads == 2
    assert checkpoint.config.schedule == ScheduleConfig(linear_start=0.00085, linear_end=0.012)
    model = build(checkpoint, "cpu", torch.float32)
    prompt = "a large red ball"
    context = model.get_text_conditioning([prompt])
    ours = model.conditioner
    assert ours.tokens(prompt) == embedder.tokens(prompt)
    # padding is hidden, so the words before it are read alike; CLIP's mask is causal anyway
    used = ours.used(prompt)
    with torch.no_grad():
        unmasked = embedder([prompt])
    assert torch.allclose(context[:, :used], unmasked[:, :used], atol=1e-5)
    assert not torch.allclose(context[:, used:], unmasked[:, used:], atol=1e-5)


def test_a_text_model_without_its_encoder_says_what_it_needs(tmp_path):
    unet = replace(UNET, text_dim=32)
    path = put(tmp_path, unet)
    with pytest.raises(
        CheckpointError, match="put CLIP ViT-B/16 in transformers' layout into a folder named"
    ):
        study.read(path)
    put_text(tmp_path, width=64)
    with pytest.raises(CheckpointError, match="texts of 32 channels; the text encoder beside it gives 64"):
        study.read(path)
    (tmp_path / "text_encoder" / "config.json").write_text('{"model_type": "distilbert"}')
    with pytest.raises(CheckpointError, match="text_encoder/ holds a distilbert"):
        study.read(path)
    bert = params(unet)
    bert["ldm_params"]["condition_config"]["text_condition_config"] = {"text_embed_model": "bert"}
    write_yaml(path.with_suffix(".yaml"), bert)
    with pytest.raises(CheckpointError, match="reads the text encoder DistilBERT; only CLIP's can be loaded"):
        study.read(path)


def test_an_autoencoder_alone_has_a_config(tmp_path):
    path = put(tmp_path)
    assert study.autoencoder_config(path.with_name(STAGE_FILE)) == STAGE
    with pytest.raises(CheckpointError, match="is no autoencoder of explainingai"):
        study.autoencoder_config(path)
