"""One change of a small model, written in every layout, and what it comes to, computed on its own.

The names are written out by hand: nothing here comes from the tables under test.
"""

import json
from dataclasses import dataclass, field

import numpy as np
import torch
from safetensors.torch import save_file

from ldm.models.condition_config import OpenCLIPConfig, SDXLTextConfig, TextConfig
from ldm.models.config import AutoencoderConfig, ModelConfig, UNetConfig

from ..checkpoints.models import own_tokenizer, random_model

T = "transformer_blocks.0."
# U-Net with levels (1, 2), one ResBlock each and attention at both: ours -> diffusers'
UNET = {
    "input_blocks.1.1.proj_in": "down_blocks.0.attentions.0.proj_in",
    f"input_blocks.1.1.{T}attn1.to_q": f"down_blocks.0.attentions.0.{T}attn1.to_q",
    f"input_blocks.1.1.{T}attn2.to_k": f"down_blocks.0.attentions.0.{T}attn2.to_k",
    f"input_blocks.3.1.{T}attn2.to_v": f"down_blocks.1.attentions.0.{T}attn2.to_v",
    f"middle_block.1.{T}attn1.to_out.0": f"mid_block.attentions.0.{T}attn1.to_out.0",
    f"output_blocks.0.1.{T}ff.net.0.proj": f"up_blocks.0.attentions.0.{T}ff.net.0.proj",
    "output_blocks.1.1.proj_out": "up_blocks.0.attentions.1.proj_out",
    f"output_blocks.3.1.{T}ff.net.2": f"up_blocks.1.attentions.1.{T}ff.net.2",
}
CONVS = {
    "input_blocks.0.0": "conv_in",
    "input_blocks.1.0.in_layers.2": "down_blocks.0.resnets.0.conv1",
    "input_blocks.1.0.emb_layers.1": "down_blocks.0.resnets.0.time_emb_proj",
    "input_blocks.2.0.op": "down_blocks.0.downsamplers.0.conv",
    "input_blocks.3.0.skip_connection": "down_blocks.1.resnets.0.conv_shortcut",
    "middle_block.2.out_layers.3": "mid_block.resnets.1.conv2",
    "output_blocks.1.2.conv": "up_blocks.0.upsamplers.0.conv",
    "time_embed.2": "time_embedding.linear_2",
    "out.2": "conv_out",
}
CLIP = {
    f"transformer.text_model.encoder.layers.{layer}.{name}": f"text_model.encoder.layers.{layer}.{name}"
    for layer, name in ((0, "self_attn.q_proj"), (0, "mlp.fc1"), (1, "self_attn.out_proj"), (1, "mlp.fc2"))
}


@dataclass
class Place:
    """A layer under its names: ours, and "unet", "text_encoder" or "text_encoder_2" with diffusers'."""

    ours: str
    part: str
    theirs: str
    rows: slice = field(default_factory=lambda: slice(None))

    @property
    def sgm(self) -> str:
        return self.ours.removeprefix("model.diffusion_model.").replace(".", "_")


@dataclass
class Change:
    """`alpha / rank * up @ down` of a layer."""

    place: Place
    up: torch.Tensor
    down: torch.Tensor
    alpha: float

    def slow(self) -> np.ndarray:
        """The change, number by number: a sum over the rank for each."""
        up, down = (tensor.double().numpy() for tensor in (self.up, self.down))
        kernel = down.shape[2:]
        total = np.zeros((up.shape[0], int(np.prod(down.shape[1:]))))
        for r in range(up.shape[1]):
            total += np.multiply.outer(up[:, r].reshape(-1), down[r].reshape(-1))
        return self.alpha / up.shape[1] * total.reshape(up.shape[0], down.shape[1], *kernel)


TOKENIZER = own_tokenizer(77)
WORDS = {"vocab_size": 600}  # more than that knows
MARKS = {"bos_token_id": TOKENIZER.bos, "eos_token_id": TOKENIZER.eos, "pad_token_id": TOKENIZER.pad}


def sd1(context: int = 32, **changes) -> ModelConfig:
    values = {
        "name": "small",
        "unet": unet(context),
        "autoencoder": AutoencoderConfig(ch=32, ch_mult=(1, 2), num_res_blocks=1),
        "text": TextConfig(
            hidden_size=context,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            **WORDS,
            **MARKS,
        ),
    }
    return ModelConfig(**(values | changes))


def sd2() -> ModelConfig:
    return sd1(text=OpenCLIPConfig(width=32, layers=2, heads=2, embed_dim=32, **WORDS))


def sdxl() -> ModelConfig:
    clip = TextConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        hidden_layer=-2,
        final_norm=False,
        **WORDS,
        **MARKS,
    )
    openclip = OpenCLIPConfig(width=64, layers=2, heads=2, embed_dim=64, final_norm=False, **WORDS)
    text = SDXLTextConfig(clip, openclip, size_dim=32)
    vector = {"num_classes": "sequential", "adm_in_channels": text.vector_dim}
    return sd1(text=text, unet=unet(96, use_linear_in_transformer=True, **vector))


def unet(context: int, **changes) -> UNetConfig:
    return UNetConfig(
        model_channels=32,
        channel_mult=(1, 2),
        num_res_blocks=1,
        attention_resolutions=(1, 2),
        num_heads=2,
        context_dim=context,
        **changes,
    )


def places(config: ModelConfig, convs: bool = False) -> list[Place]:
    names = UNET | CONVS if convs else UNET
    found = [Place(f"model.diffusion_model.{ours}", "unet", theirs) for ours, theirs in names.items()]
    text = config.text
    if isinstance(text, TextConfig):
        found += [Place(f"cond_stage_model.{ours}", "text_encoder", theirs) for ours, theirs in CLIP.items()]
    elif isinstance(text, OpenCLIPConfig):
        found += openclip("", "text_encoder", text.width)
    elif isinstance(text, SDXLTextConfig):
        found += [
            Place(f"cond_stage_model.embedders.0.{ours}", "text_encoder", theirs)
            for ours, theirs in CLIP.items()
        ]
        found += openclip("embedders.1.", "text_encoder_2", text.openclip.width)
    return found


def openclip(prefix: str, part: str, width: int) -> list[Place]:
    ours, theirs = f"cond_stage_model.{prefix}model.transformer.resblocks.", "text_model.encoder.layers."
    attention = [
        Place(
            f"{ours}0.attn.in_proj_",
            part,
            f"{theirs}0.self_attn.{letter}_proj",
            slice(row * width, (row + 1) * width),
        )
        for row, letter in enumerate("qkv")
    ]
    return [
        *attention,
        Place(f"{ours}0.attn.out_proj", part, f"{theirs}0.self_attn.out_proj"),
        Place(f"{ours}1.mlp.c_fc", part, f"{theirs}1.mlp.fc1"),
        Place(f"{ours}1.mlp.c_proj", part, f"{theirs}1.mlp.fc2"),
    ]


def weight_name(place: Place) -> str:
    return f"{place.ours}weight" if place.ours.endswith("_") else f"{place.ours}.weight"


def changes_of(model, rank: int = 3, seed: int = 5, convs: bool = False) -> list[Change]:
    """Random changes of a model's layers; each has its own alpha."""
    generator = torch.Generator().manual_seed(seed)
    weights = dict(model.named_parameters())
    found = []
    for index, place in enumerate(places(model.config, convs)):
        shape = weights[weight_name(place)][place.rows].shape
        up = torch.randn(shape[0], rank, *[1] * (len(shape) - 2), generator=generator) * 0.2
        down = torch.randn(rank, *shape[1:], generator=generator) * 0.2
        found.append(Change(place, up, down, alpha=0.5 + 0.25 * index))
    return found


def merged(loaded: dict[str, torch.Tensor], *sets: tuple[list[Change], float]) -> dict[str, np.ndarray]:
    """Every weight of a model with weighted changes added, in double precision."""
    weights = {name: tensor.detach().double().numpy().copy() for name, tensor in loaded.items()}
    for changes, weight in sets:
        for change in changes:
            target = weights[weight_name(change.place)][change.place.rows]
            target += weight * change.slow().reshape(target.shape)
    return weights


KOHYA = {"unet": "lora_unet_", "text_encoder": "lora_te_", "text_encoder_2": "lora_te2_"}


def kohya(changes: list[Change], sgm: bool = False, two: bool = False) -> dict[str, torch.Tensor]:
    tensors = {}
    for change in changes:
        place = change.place
        start = "lora_te1_" if two and place.part == "text_encoder" else KOHYA[place.part]
        name = start + (place.sgm if sgm and place.part == "unet" else place.theirs.replace(".", "_"))
        tensors[f"{name}.lora_up.weight"] = change.up.clone()
        tensors[f"{name}.lora_down.weight"] = change.down.clone()
        tensors[f"{name}.alpha"] = torch.tensor(change.alpha)
    return tensors


def scaled_up(change: Change) -> torch.Tensor:
    """`up` of files that know no alpha."""
    return change.up * (change.alpha / change.up.shape[1])


def peft(changes: list[Change], form: str = "{part}.{name}", adapter: str = "") -> dict[str, torch.Tensor]:
    tensors = {}
    for change in changes:
        name = form.format(part=change.place.part, name=change.place.theirs)
        tensors[f"{name}.lora_A{adapter}.weight"] = change.down.clone()
        tensors[f"{name}.lora_B{adapter}.weight"] = scaled_up(change)
    return tensors


def old(changes: list[Change], processors: bool = False) -> dict[str, torch.Tensor]:
    """diffusers' before peft: "to_q.lora.down", or "processor.to_q_lora.down" before that."""
    tensors = {}
    for change in changes:
        name, ending = f"{change.place.part}.{change.place.theirs}", ".lora."
        if change.place.part.startswith("text"):
            ending = ".lora_linear_layer."
        elif processors:
            head, _, layer = name.removesuffix(".0").rpartition(".")
            name, ending = f"{head}.processor.{layer}", "_lora."
        tensors[f"{name}{ending}down.weight"] = change.down.clone()
        tensors[f"{name}{ending}up.weight"] = scaled_up(change)
    return tensors


def attentions(changes: list[Change]) -> list[Change]:
    """Those that attention processors have: the linear layers of attentions."""
    return [c for c in changes if ".attn" in c.place.theirs or c.place.part != "unet"]


def peft_folder(folder, changes: list[Change], **config) -> None:
    """One adapter of the U-Net alone; alpha is of the whole adapter."""
    folder.mkdir(parents=True)
    tensors = {}
    for change in changes:
        name = f"base_model.model.{change.place.theirs}"
        tensors[f"{name}.lora_A.weight"] = change.down.clone()
        tensors[f"{name}.lora_B.weight"] = change.up.clone()
    save_file(tensors, folder / "adapter_model.safetensors")
    told = {"peft_type": "LORA", "r": changes[0].up.shape[1], **config}
    (folder / "adapter_config.json").write_text(json.dumps(told))


def model_of(config: ModelConfig):
    return random_model(config, TOKENIZER)
