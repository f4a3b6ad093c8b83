"""A model as one file in CompVis's layout, which nearly every program opens, with its YAML file beside it.

Names inside are CompVis's already; Stable Diffusion XL's text encoders move to `conditioner.`, where
Stability AI's files have them.  What names and shapes do not tell stands in the YAML file, in tables of noise
and in the marks `v_pred` and `ztsnr`.  Only what can be read back from all that is written.
"""

from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import CheckpointError
from ..latent_diffusion import LatentDiffusion
from ..models.condition_config import SDXLTextConfig
from ..models.config import AutoencoderConfig, ModelConfig, TextConfig, UNetConfig, VQConfig
from ..models.tokenizer import Tokenizer
from ..writing import write_file
from .compvis_config import yaml_values
from .compvis_yaml import says_prediction, with_params
from .diffusers_export import write_tokenizer
from .files import write_state_dict
from .infer import infer_config

OURS, STABILITY = "cond_stage_model.", "conditioner."


def write_compvis(model: LatentDiffusion, path: str | Path, *, dtype: torch.dtype | None = None) -> None:
    """Write a model as one .safetensors file in CompVis's layout, with its YAML file beside it.

    A vocabulary that is not CLIP's goes into a folder `tokenizer` beside the file.

    Args:
        dtype: of all weights with fractions; None keeps the model's.

    Raises:
        CheckpointError: the layout cannot tell everything about this model, or a file cannot be written.
    """
    import yaml

    path = Path(path)
    config = model.config
    check(model)
    tensors = weights(model, dtype)
    text = yaml.safe_dump(yaml_values(config), sort_keys=False)
    tokenizer = _own_tokenizer(model, path)
    beside = path.with_suffix(".yaml")
    write_file(beside, [text.encode()], CheckpointError)
    try:
        write_state_dict(path, tensors, {})
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise
    if tokenizer is not None:
        path.with_name("tokenizer").mkdir(exist_ok=True)
        write_tokenizer(path.with_name("tokenizer"), tokenizer)


def weights(model: LatentDiffusion, dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """All weights under the names of CompVis's files, and the tables and marks that go with them."""
    is_sdxl = isinstance(model.config.text, SDXLTextConfig)
    tensors: dict[str, Tensor] = {}
    for key, tensor in model.state_dict().items():
        if key.startswith("preview."):
            continue  # ours alone
        name = STABILITY + key.removeprefix(OURS) if is_sdxl and key.startswith(OURS) else key
        tensors[name] = tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor
    tensors["betas"] = model.schedule.betas.float()
    tensors["alphas_cumprod"] = model.schedule.alphas_cumprod.float()
    if not is_sdxl:
        tensors["scale_factor"] = torch.tensor(model.latent_scaling_factor, dtype=torch.float64)
    if model.prediction_type == "v":
        tensors["v_pred"] = torch.zeros(1)
    if model.config.schedule.zero_terminal_snr:
        tensors["ztsnr"] = torch.zeros(1)
    return tensors


def check(model: LatentDiffusion) -> None:
    """See that what would be read back is this model.

    Raises:
        CheckpointError: something of it cannot be told in CompVis's layout; the message says what.
    """
    config = model.config
    if not isinstance(config.unet, UNetConfig) or not isinstance(
        config.autoencoder, AutoencoderConfig | VQConfig
    ):
        kind = config.unet.kind if not isinstance(config.unet, UNetConfig) else config.autoencoder.kind
        raise CheckpointError(
            f"{config.name} cannot be written in CompVis's layout: it has a {kind!r} network."
        )
    shapes = {key: tuple(tensor.shape) for key, tensor in model.state_dict().items()}
    shapes.pop("preview.weight", None)
    shapes.pop("preview.bias", None)
    params = yaml_values(config)["model"]["params"]
    told = with_params(infer_config(shapes, config.name), params, config.name)
    if says_prediction(params, config.name) != config.prediction_type:
        raise CheckpointError(
            f"{config.name} cannot be written in CompVis's layout: "
            f"that cannot say that it predicts {config.prediction_type}."
        )
    there, here = _comparable(told), _comparable(config)
    for name, value in here.items():
        if there.get(name) != value:
            raise CheckpointError(
                f"{config.name} cannot be written in CompVis's layout: "
                f"that cannot say that {name} is {value}; it would be read as {there.get(name)}."
            )


def _comparable(config: ModelConfig) -> dict[str, Any]:
    """What decides what a model draws and no shape tells, in one wording."""
    unet, text = config.unet, config.text
    found: dict[str, Any] = {
        "latent_scaling_factor": config.latent_scaling_factor,
        "picture": config.picture,
        "schedule.linear_start": config.schedule.linear_start,
        "schedule.linear_end": config.schedule.linear_end,
        "schedule.betas": config.schedule.betas,
        "schedule.n_steps": config.schedule.n_steps,
    }
    if isinstance(unet, UNetConfig):
        widths = [unet.model_channels * mult for mult in unet.channel_mult]
        found["unet.heads"] = [
            unet.num_heads if unet.num_head_channels == -1 else width // unet.num_head_channels
            for width in widths
        ]
        for name in ("num_groups", "resblock_updown", "conv_resample", "use_scale_shift_norm", "num_classes"):
            found[f"unet.{name}"] = getattr(unet, name)
        if not unet.use_spatial_transformer:
            found["unet.use_new_attention_order"] = unet.use_new_attention_order
        found["unet.time_cond_proj_dim"] = unet.time_cond_proj_dim
    stage = config.autoencoder
    sizes = stage.autoencoder if isinstance(stage, VQConfig) else stage
    found["autoencoder.num_groups"] = getattr(sizes, "num_groups", None)
    if isinstance(text, SDXLTextConfig):
        found |= {f"text.{name}": getattr(text, name) for name in ("size_dim", "sizes", "zero_empty")}
        found |= _encoder("text.openclip", text.openclip)
        found |= {} if text.clip is None else _encoder("text.clip", text.clip)
    else:
        found["text.kind"] = text.kind
        found |= _encoder("text", text)
    return found


def _encoder(where: str, text: object) -> dict[str, Any]:
    """Of a text encoder, which layer is read counted from the first one."""
    fields = ("num_attention_heads", "hidden_act", "final_norm", "attention_mask", "heads", "act", "null")
    found = {f"{where}.{name}": getattr(text, name) for name in fields if hasattr(text, name)}
    if hasattr(text, "hidden_layer"):
        layers = text.num_hidden_layers if isinstance(text, TextConfig) else getattr(text, "layers", 0)
        found[f"{where}.hidden_layer"] = layers + text.hidden_layer
    return found


def _own_tokenizer(model: LatentDiffusion, path: Path) -> Tokenizer | None:
    """The vocabulary to write beside the file; None where it is CLIP's, or no text encoder of CLIP's kind.

    Raises:
        CheckpointError: the folder for it is taken, or the layout has none for this text encoder.
    """
    tokenizer = getattr(model.cond_stage_model, "tokenizer", None)
    if not isinstance(tokenizer, Tokenizer) or tokenizer.is_clip:
        return None
    if not isinstance(model.config.text, TextConfig):
        raise CheckpointError(
            f"{model.name} cannot be written in CompVis's layout: that has CLIP's vocabulary beside an "
            f"OpenCLIP text encoder, and this has one of {len(tokenizer.vocab)} words."
        )
    folder = path.with_name("tokenizer")
    if folder.exists():
        try:
            same = Tokenizer.from_folder(folder, tokenizer.length).vocab == tokenizer.vocab
        except CheckpointError:
            same = False
        if not same:
            raise CheckpointError(
                f"{folder} exists already and holds another vocabulary; name another folder."
            )
    return tokenizer
