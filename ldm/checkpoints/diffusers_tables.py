"""Which weight of a model lies where in a diffusers folder: the tables of all parts, from its config."""

from collections.abc import Iterable, Mapping

from ..errors import CheckpointError
from ..models.condition_config import OpenCLIPConfig, SDXLTextConfig
from ..models.config import AutoencoderConfig, ModelConfig, TextConfig, UNetConfig, VQConfig
from ..models.tokenizer import Tokenizer
from .diffusers_names import Table, autoencoder_table, below, clip_table, openclip_table, unet_table
from .plan import plan

UNET, FIRST_STAGE, CONDITIONER = "model.diffusion_model.", "first_stage_model.", "cond_stage_model."


def tables(
    config: ModelConfig, keys: Iterable[str], towers: Mapping[str, str], stage: str
) -> dict[str, Table]:
    """Part of a folder -> where the weights of a model lie in it.

    Args:
        keys: names of all weights of the model.
        towers: folder of each text encoder -> what it stands under below `cond_stage_model.`.
        stage: what the folder calls the autoencoder: "vae" or "vqvae".

    Raises:
        CheckpointError: a network is of a kind that diffusers has not.
    """
    keys = list(keys)
    unet, first = config.unet, config.autoencoder
    if not isinstance(unet, UNetConfig) or not isinstance(first, AutoencoderConfig | VQConfig):
        kind = first.kind if isinstance(unet, UNetConfig) else unet.kind
        raise CheckpointError(f"{config.name} has a network of kind {kind!r}, which diffusers has not.")
    found = {
        "unet": below(unet_table(unet, _under(keys, UNET)), UNET),
        stage: below(autoencoder_table(first, _under(keys, FIRST_STAGE)), FIRST_STAGE),
    }
    for part, inner in towers.items():
        prefix = CONDITIONER + inner
        text = tower_config(config, inner)
        layers = used_layers(text, alone=text is config.text)
        below_it = _under(keys, prefix)
        if isinstance(text, TextConfig):
            table = clip_table(below_it, layers)
        else:  # alone, nothing reads its projection, and transformers has a class without one
            read = [key for key in below_it if text is not config.text or key != "model.text_projection"]
            table = openclip_table(read, layers)
        found[part] = below(table, prefix)
    return found


def tower_config(config: ModelConfig, prefix: str) -> TextConfig | OpenCLIPConfig:
    """Sizes of the text encoder that stands under a prefix of `towers`."""
    text = config.text
    if isinstance(text, SDXLTextConfig):
        return text.clip if text.clip is not None and prefix == "embedders.0." else text.openclip
    if isinstance(text, TextConfig | OpenCLIPConfig):
        return text
    raise CheckpointError(f"{config.name} has no text encoder of CLIP's kind.")


def used_layers(text: TextConfig | OpenCLIPConfig, *, alone: bool) -> int:
    """Layers of a text encoder as a folder has it: alone, it has none behind the one it ends at."""
    count = text.num_hidden_layers if isinstance(text, TextConfig) else text.layers
    return count + 1 + text.hidden_layer if alone else count


def weight_shapes(config: ModelConfig, tokenizer: Tokenizer | None) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all weights of the model of a config, which is built without memory for it."""
    state = plan(config, tokenizer, config.name).state_dict()
    return {key: tuple(tensor.shape) for key, tensor in state.items()}


def _under(keys: Iterable[str], prefix: str) -> list[str]:
    return [key.removeprefix(prefix) for key in keys if key.startswith(prefix)]
