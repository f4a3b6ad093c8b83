"""Diffusers and peft themselves: what they read and write is the same change of the same network here."""

import types
import warnings

import pytest
import torch
from safetensors.torch import save_file

from ldm import lora
from ldm.checkpoints import convert

from . import twins

diffusers = pytest.importorskip("diffusers")
peft = pytest.importorskip("peft")
TARGETS = ["to_q", "to_v", "to_out.0", "proj_in", "ff.net.0.proj", "conv1", "conv_shortcut", "time_emb_proj"]
TEXT_TARGETS = ["q_proj", "out_proj", "fc1"]
NEAR = 1e-5


@pytest.fixture(scope="module")
def folders(built, tmp_path_factory):
    """Both models as diffusers' folders."""
    found = {}
    for name in ("sd1", "sdxl"):
        found[name] = tmp_path_factory.mktemp("diffusers") / name
        convert(built[name], found[name])
    return found


def unet_of(folder):
    return diffusers.UNet2DConditionModel.from_pretrained(folder / "unet").eval()


def inputs(model):
    generator = torch.Generator().manual_seed(11)
    context = torch.randn(1, 7, model.config.text.context_dim, generator=generator)
    vector = None
    if model.config.unet.num_classes:
        vector = torch.randn(1, model.config.text.openclip.embed_dim, generator=generator)
    return torch.randn(1, 4, 8, 8, generator=generator), torch.tensor([321]), context, vector


def theirs(unet, model):
    x, t, context, pooled = inputs(model)
    told = None if pooled is None else {"text_embeds": pooled, "time_ids": torch.zeros(1, 6)}
    return unet(x, t, context, added_cond_kwargs=told).sample


def ours(model):
    x, t, context, pooled = inputs(model)
    vector = None
    if pooled is not None:  # six zeros as timestep embeddings: cosines of 0, then sines
        size = model.config.text.size_dim // 2
        vector = torch.cat([pooled, torch.tensor([[1.0] * size + [0.0] * size] * 6).view(1, -1)], 1)
    return model.model.diffusion_model(x, t, context, vector)


def randomised(module):
    generator = torch.Generator().manual_seed(12)
    for name, parameter in module.named_parameters():
        if "lora_" in name:
            parameter.data = 0.2 * torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_the_network_without_a_lora_is_the_same(models, folders, family):
    assert (ours(models[family]) - theirs(unet_of(folders[family]), models[family])).abs().max() < NEAR


@pytest.mark.parametrize(("family", "sgm"), [("sd1", False), ("sdxl", True)])
def test_a_file_of_kohya_s_does_the_same_in_diffusers(models, folders, tmp_path, family, sgm):
    model, unet = models[family], unet_of(folders[family])
    changes = [c for c in twins.changes_of(model) if c.place.part == "unet"]
    for change in changes:  # diffusers cannot tell apart alphas of attention layers
        change.alpha = 1.5
    save_file(twins.kohya(changes, sgm), tmp_path / "style.safetensors")
    pipeline = diffusers.StableDiffusionXLPipeline if family == "sdxl" else diffusers.StableDiffusionPipeline
    plain = theirs(unet, model)
    config = types.SimpleNamespace(layers_per_block=1)  # it knows no list of them
    state, alphas = pipeline.lora_state_dict(
        str(tmp_path / "style.safetensors"), local_files_only=True, unet_config=config
    )
    pipeline.load_lora_into_unet(state, alphas, unet)
    wanted = theirs(unet, model)
    assert (wanted - plain).abs().max() > 0.01
    lora.apply(model, [(lora.read_lora(tmp_path / "style.safetensors"), 1.0)])
    assert (ours(model) - wanted).abs().max() < NEAR


@pytest.mark.parametrize("family", ["sd1", "sdxl"])
def test_a_file_that_diffusers_writes(models, folders, tmp_path, family):
    """With its own alphas in the metadata of the file."""
    model, unet = models[family], unet_of(folders[family])
    config = peft.LoraConfig(
        r=4,
        lora_alpha=6,
        target_modules=TARGETS,
        rank_pattern={"to_q": 2},
        alpha_pattern={"to_v": 1.5},
        use_rslora=family == "sdxl",
        init_lora_weights=False,
    )
    unet.add_adapter(config)
    randomised(unet)
    pipeline = diffusers.StableDiffusionXLPipeline if family == "sdxl" else diffusers.StableDiffusionPipeline
    pipeline.save_lora_weights(
        tmp_path,
        unet_lora_layers=peft.get_peft_model_state_dict(unet),
        unet_lora_adapter_metadata=unet.peft_config["default"].to_dict(),
    )
    lora.apply(model, [(lora.read_lora(tmp_path), 1.0)])
    assert (ours(model) - theirs(unet, model)).abs().max() < NEAR


def test_a_folder_that_peft_writes(model, folders, tmp_path):
    unet = unet_of(folders["sd1"])
    config = peft.LoraConfig(r=4, lora_alpha=2, target_modules=TARGETS, init_lora_weights=False)
    with torch.enable_grad():
        wrapped = peft.get_peft_model(unet, config)
    randomised(wrapped)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about a base model without a name on the hub
        wrapped.save_pretrained(tmp_path / "style")
    lora.apply(model, [(lora.read_lora(tmp_path / "style"), 1.0)])
    assert (ours(model) - theirs(wrapped, model)).abs().max() < NEAR


def test_a_text_encoder_of_transformers(model, folders, tmp_path):
    transformers = pytest.importorskip("transformers")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of peft's use of transformers
        compare_text_encoders(transformers, model, folders["sd1"], tmp_path)


def compare_text_encoders(transformers, model, folder, tmp_path):
    encoder = transformers.CLIPTextModel.from_pretrained(folder / "text_encoder").eval()
    ids = torch.tensor([model.cond_stage_model.tokenizer.ids("a large red ball")])
    torch.testing.assert_close(encoder(ids).last_hidden_state, model.cond_stage_model.encode_ids(ids))
    config = peft.LoraConfig(r=4, lora_alpha=4, target_modules=TEXT_TARGETS, init_lora_weights=False)
    with torch.enable_grad():
        wrapped = peft.get_peft_model(encoder, config)
    randomised(wrapped)
    diffusers.StableDiffusionPipeline.save_lora_weights(
        tmp_path, text_encoder_lora_layers=peft.get_peft_model_state_dict(wrapped)
    )
    lora.apply(model, [(lora.read_lora(tmp_path), 1.0)])
    wanted = wrapped(input_ids=ids).last_hidden_state
    assert (model.cond_stage_model.encode_ids(ids) - wanted).abs().max() < NEAR
