"""Single files in CompVis's layout: Stable Diffusion 1, 2 and XL, and the latent diffusion paper's models.

Names here are CompVis's, so nearly nothing is renamed.  Sizes come from names and shapes (`infer`); what
those cannot tell comes from the file's own marks and tables, from a CompVis YAML file beside the checkpoint
(`compvis_yaml`), else from what is known of the model (`zoo`) or of its family.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import CheckpointError
from ..models.condition_config import BERTConfig, OpenCLIPConfig, SDXLTextConfig, TextConfig
from ..models.config import ModelConfig
from ..models.tokenizer import Tokenizer
from ..models.wordpiece import PLACES, WordPieceTokenizer
from .compvis_schedule import schedule_of
from .compvis_yaml import says_prediction, usual_prediction, with_params, yaml_params
from .files import read_shapes, read_state_dict
from .guesses import guessed
from .infer import CONDITION, FIRST_STAGE, UNET, infer_config
from .infer_text import CLIP_SIZE
from .naming import shown_name
from .report import Checkpoint, Shapes

EMA = "model_ema."
START = "input_blocks.0.0.weight"
# of a CLIP that was saved without its outer module, as later versions of transformers do, and the place where
# Stability AI's files keep text encoders
RENAMED = {
    f"{CONDITION}{tower}transformer.{part}": f"{CONDITION}{tower}transformer.text_model.{part}"
    for tower in ("", "embedders.0.")
    for part in ("embeddings.", "encoder.", "final_layer_norm.")
}
LEFTOVERS = (
    *("betas", "beta", "alpha_bar", "alphas_cumprod*", "*sqrt_*", "log_one_minus_alphas_cumprod"),
    *("posterior_*", "lvlb_weights", "logvar", "scale_factor", "v_pred", "ztsnr", "global_step"),
    *("model_ema.*", "first_stage_model.loss.*", "*.position_ids", "*.logit_scale", "*.text_projection*"),
    *("cond_stage_model.model.attn_mask", "low_scale_model.*", "denoiser.sigmas"),
    "cond_stage_model.transformer.to_logits.*",  # of BERT's training, see `models.bert`
)
# inpainting_big has its first stage a second time where others have their text encoder
SECOND_FIRST_STAGE = tuple(
    f"{CONDITION}{part}.*" for part in ("encoder", "decoder", "quantize", "quant_conv", "post_quant_conv")
)
PREDICTIONS = {"epsilon": "eps", "eps": "eps", "v": "v", "v_prediction": "v", "sample": "x0"}
SPEC = "modelspec.prediction_type"  # of a .safetensors file's metadata
ONE_PIXEL = (1, 3)  # channels of pictures


def matches(path: Path) -> bool:
    """Whether CompVis's U-Net is there, with a first stage or in pixels."""
    return has_model({renamed(name): shape for name, shape in read_shapes(path)[0].items()})


def has_model(shapes: Shapes) -> bool:
    """As `matches`, by names and shapes."""
    if UNET + START not in shapes:
        return False
    if any(name.startswith(FIRST_STAGE) for name in shapes):
        return True
    out = shapes.get(UNET + "out.2.weight", (0,))
    return out[0] in ONE_PIXEL and not any(name.endswith("attn2.to_k.weight") for name in shapes)


def read(path: Path) -> Checkpoint:
    """A single file, its tensors mapped where the file allows it.

    Raises:
        CheckpointError: it is of a family that cannot be loaded, or its vocabulary is not there.
    """
    loaded, metadata = read_state_dict(path)
    tensors = {renamed(name): tensor for name, tensor in loaded.items()}
    config, assumed = read_config(path, tensors, metadata)
    tokenizer = find_tokenizer(path, config)
    if isinstance(config.text, TextConfig) and isinstance(tokenizer, Tokenizer):
        text = replace(
            config.text, bos_token_id=tokenizer.bos, eos_token_id=tokenizer.eos, pad_token_id=tokenizer.pad
        )
        config = replace(config, text=text)
    return Checkpoint(path, config, tokenizer, tensors, leftovers_of(tensors), assumed=assumed)


def read_config(
    path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> tuple[ModelConfig, tuple[str, ...]]:
    """What a file holds, and the names of the config's fields that are guesses.

    Args:
        tensors: under this project's names.

    Raises:
        CheckpointError: as `read`.
    """
    params = yaml_params(path)
    config = infer_config({name: tuple(tensor.shape) for name, tensor in tensors.items()}, path.name)
    config, assumed = told_config(path, config, params, tensors, metadata)
    scale = tensors.get("scale_factor")
    try:
        if scale is not None and scale.numel() == 1:
            config = replace(config, latent_scaling_factor=float(scale))
    except CheckpointError as error:
        raise CheckpointError(f"{path.name} has a scale_factor that cannot be. {error}") from error
    schedule = schedule_of(tensors, config.schedule, path.name)
    if "ztsnr" in tensors:
        schedule = replace(schedule, zero_terminal_snr=True)
    return replace(config, name=shown_name(path), schedule=schedule), assumed


def told_config(
    path: Path,
    config: ModelConfig,
    params: Mapping[str, Any],
    names: Mapping[str, object],
    metadata: Mapping[str, str],
) -> tuple[ModelConfig, tuple[str, ...]]:
    """What shapes tell, with what a YAML file and marks in the file say; and the fields that are guesses.

    Args:
        params: `yaml_params` of the file.
        names: of its tensors, this project's.

    Raises:
        CheckpointError: the YAML file makes no sense.
    """
    told = marked_prediction(names, metadata, params, path.name)
    config = with_params(config, params, path.name)
    if told is not None:
        config = replace(config, prediction_type=told)
    return config, guessed(config, params, names, told)


def marked_prediction(
    names: Mapping[str, object], metadata: Mapping[str, str], params: Mapping[str, Any], name: str
) -> str | None:
    """What a file says that the network predicts; None if nothing does.

    Its own key comes first, then what a YAML file beside it says, then its metadata, then what CompVis's
    class predicts where a whole YAML file is silent.

    Raises:
        CheckpointError: the YAML file says nonsense.
    """
    said = says_prediction(params, name)
    if "v_pred" in names:
        return "v"
    return said or PREDICTIONS.get(metadata.get(SPEC, "").lower()) or usual_prediction(params)


def leftovers_of(names: Mapping[str, object]) -> tuple[str, ...]:
    """Patterns of what may be left over in a file."""
    twice = f"{CONDITION}encoder.conv_in.weight" in names
    return LEFTOVERS + SECOND_FIRST_STAGE if twice else LEFTOVERS


def averaged_names(names: Mapping[str, object]) -> dict[str, str]:
    """Name of a weight -> name of its average, of the U-Net's; empty where a file has no averages."""
    wanted = {name: ema_name(name) for name in names if name.startswith(UNET)}
    return {name: average for name, average in wanted.items() if average in names}


def use_ema(checkpoint: Checkpoint) -> None:
    """Put the averaged weights of a training file in place of the last ones.

    Raises:
        CheckpointError: the file has none, or not of every weight.
    """
    tensors = checkpoint.tensors
    averaged = averaged_names(tensors)
    if not averaged:
        raise CheckpointError(f"{checkpoint.path.name} has no averaged weights (model_ema).")
    missing = [name for name in tensors if name.startswith(UNET) and name not in averaged]
    if missing:
        raise CheckpointError(
            f"{checkpoint.path.name} has averages (model_ema) of {len(averaged)} of "
            f"{len(averaged) + len(missing)} weights of its U-Net; {missing[0]} is missing."
        )
    for name, average in averaged.items():
        tensors[name] = tensors[average]


def has_ema(names: Mapping[str, object]) -> bool:
    """Whether a file has averages of the U-Net's weights."""
    return bool(averaged_names(names))


def renamed(name: str) -> str:
    """A file's name of a tensor -> this project's."""
    if name.startswith("conditioner."):
        name = CONDITION + name.removeprefix("conditioner.")
    for old, new in RENAMED.items():
        if name.startswith(old):
            return new + name.removeprefix(old)
    return name


def ema_name(key: str) -> str:
    """A weight's name -> its average's: without dots, and without `model.`."""
    return EMA + key.removeprefix("model.").replace(".", "")


def find_tokenizer(path: Path, config: ModelConfig) -> Any:  # noqa: ANN401 - one of two kinds, or None
    """What reads words for this model; None where it reads none, or BERT's vocabulary is not there.

    Raises:
        CheckpointError: a vocabulary has not as many entries as the text encoder.
    """
    text = config.text
    if isinstance(text, TextConfig):
        return _clip_tokenizer(path, text)
    if isinstance(text, SDXLTextConfig | OpenCLIPConfig):
        tower = text.openclip if isinstance(text, SDXLTextConfig) else text
        return Tokenizer.clip(tower.context_length)
    if isinstance(text, BERTConfig) and not text.layout:
        return _wordpiece(path, text)
    return None


def _wordpiece(path: Path, text: BERTConfig) -> WordPieceTokenizer | None:
    """The vocabulary beside the file: `tokenizer/vocab.txt` or `vocab.txt`."""
    for place in PLACES:
        file = path.parent / place
        if not file.is_file():
            continue
        tokenizer = WordPieceTokenizer.from_file(file, text.length)
        if len(tokenizer.pieces) != text.vocab_size:
            raise CheckpointError(
                f"{place} beside {path.name} has {len(tokenizer.pieces)} words, the text encoder has "
                f"{text.vocab_size}."
            )
        return tokenizer
    return None


def _clip_tokenizer(path: Path, text: TextConfig) -> Tokenizer:
    """The vocabulary in `tokenizer/` beside the file if it is of this size, else CLIP's.

    Raises:
        CheckpointError: neither has as many entries as the text encoder.
    """
    folder = path.with_name("tokenizer")
    if (folder / "vocab.json").is_file():
        tokenizer = Tokenizer.from_folder(folder, text.max_position_embeddings)
        if len(tokenizer.vocab) == text.vocab_size:
            return tokenizer
    if text.vocab_size == CLIP_SIZE:
        return Tokenizer.clip(text.max_position_embeddings)
    raise CheckpointError(
        f"{path.name} has a text encoder for {text.vocab_size} words, CLIP's vocabulary has {CLIP_SIZE}. "
        "Put its own vocab.json and merges.txt into a folder named tokenizer beside it."
    )
