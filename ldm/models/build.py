"""From a config to the network it is the sizes of.  To add a network, add its config and a line here.

Modules are imported where they are built: most models need few of them.
"""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from torch import nn

from .autoencoder_config import AutoencoderConfig, VQConfig
from .condition_config import (
    BERTConfig,
    ClassConfig,
    NeighboursConfig,
    NoConditionConfig,
    OpenCLIPConfig,
    SDXLTextConfig,
    TextConfig,
)
from .config import UNetConfig
from .pixel_config import DDPMUNetConfig, IdentityConfig, ScoreNetConfig, TinyAutoencoderConfig
from .study_config import StudyAutoencoderConfig, StudyUNetConfig

Table = dict[type, tuple[str, str]]  # config -> module, class

NETWORKS: Table = {
    UNetConfig: ("unet", "UNetModel"),
    StudyUNetConfig: ("study", "StudyUNet"),
    DDPMUNetConfig: ("ddpm", "DDPMUNet"),
    ScoreNetConfig: ("ncsn", "ScoreNet"),
}
FIRST_STAGES: Table = {
    AutoencoderConfig: ("autoencoder", "AutoencoderKL"),
    VQConfig: ("vq", "VQModel"),
    StudyAutoencoderConfig: ("study", "study_autoencoder"),
    IdentityConfig: ("identity", "IdentityFirstStage"),
    TinyAutoencoderConfig: ("tiny", "TinyAutoencoder"),
}
CONDITIONERS: Table = {
    TextConfig: ("text", "CLIPTextEmbedder"),
    OpenCLIPConfig: ("openclip", "OpenCLIPTextEmbedder"),
    SDXLTextConfig: ("sdxl_text", "SDXLTextEmbedder"),
    BERTConfig: ("bert", "BERTEmbedder"),
    ClassConfig: ("class_embedder", "ClassEmbedder"),
    NeighboursConfig: ("neighbours", "NeighboursEmbedder"),
    NoConditionConfig: ("no_condition", "NoCondition"),
}


def build_network(config: Any) -> Any:  # noqa: ANN401 - one of several records, one of several modules
    """The network that denoises."""
    return _maker(NETWORKS, config)(config)


def build_first_stage(config: Any) -> Any:  # noqa: ANN401
    """What stands between pictures and latents."""
    return _maker(FIRST_STAGES, config)(config)


def build_conditioner(config: Any, tokenizer: Any = None) -> Any:  # noqa: ANN401
    """What reads prompts.

    Args:
        tokenizer: of a text encoder; None for what reads no words, and for BERT without its vocabulary.
    """
    return _maker(CONDITIONERS, config)(config, tokenizer)


def _maker(table: Table, config: object) -> Callable[..., nn.Module]:
    module, name = table[type(config)]
    maker: Callable[..., nn.Module] = getattr(import_module(f".{module}", __package__), name)
    return maker
