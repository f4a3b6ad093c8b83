"""Small conditioners of every kind, for tests."""

import pytest
import torch

from ldm.errors import SettingsError
from ldm.models.build import build_conditioner
from ldm.models.condition_config import (
    BERTConfig,
    ClassConfig,
    NeighboursConfig,
    NoConditionConfig,
    OpenCLIPConfig,
    SDXLTextConfig,
    TextConfig,
)
from ldm.models.tokenizer import BOS, EOS, Tokenizer, train_bpe
from ldm.models.wordpiece import WordPieceTokenizer

LENGTH = 10
PROMPTS = ["a red ball", "", "red " * 20]
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "ball", "##s", ",", "the"]


def tokenizer() -> Tokenizer:
    vocab, merges = train_bpe(["a red ball on the mat", "red balls"] * 3, 560)
    return Tokenizer(vocab, merges, LENGTH, vocab[BOS], vocab[EOS], vocab[EOS])


def clip_config(**changes) -> TextConfig:
    words = tokenizer()
    return TextConfig(
        vocab_size=len(words.vocab),
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        max_position_embeddings=LENGTH,
        bos_token_id=words.bos,
        eos_token_id=words.eos,
        pad_token_id=words.pad,
        tokenizer="embedded",
        **changes,
    )


def openclip_config(**changes) -> OpenCLIPConfig:
    sizes = {"width": 24, "layers": 3, "heads": 2, "context_length": LENGTH, "embed_dim": 20}
    return OpenCLIPConfig(vocab_size=len(tokenizer().vocab), **(sizes | changes))


def sdxl_config(**changes) -> SDXLTextConfig:
    values = {
        "clip": clip_config(hidden_layer=-2, final_norm=False),
        "openclip": openclip_config(final_norm=False),
        "size_dim": 8,
    }
    return SDXLTextConfig(**(values | changes))


BERT = BERTConfig(vocab_size=len(PIECES), dim=16, depth=2, heads=2, head_dim=8, length=LENGTH)
LAYOUT = BERTConfig(vocab_size=101, dim=16, depth=2, heads=2, head_dim=8, length=11, layout=True)
CONFIGS = {
    "clip": clip_config(),
    "clip_masked": clip_config(attention_mask=True),
    "openclip": openclip_config(),
    "sdxl": sdxl_config(),
    "refiner": sdxl_config(clip=None, sizes=5, zero_empty=False),
    "bert": BERT,
    "layout": LAYOUT,
    "class": ClassConfig(n_classes=11, embed_dim=8, null=10),
    "study_class": ClassConfig(n_classes=10, embed_dim=0, null=-1, names="digits"),
    "neighbours": NeighboursConfig(dim=8, most=4),
    "none": NoConditionConfig(),
    "palette": NoConditionConfig(rescaler_channels=5),
}
PROMPT_OF = {
    "layout": "3 0 0 1 1",
    "class": "goldfish",
    "study_class": "7",
    "neighbours": "@them",
}


def built(name: str, seed: int = 0):
    """A small conditioner with random weights."""
    torch.manual_seed(seed)
    words = WordPieceTokenizer(PIECES, LENGTH) if name == "bert" else tokenizer()
    net = build_conditioner(CONFIGS[name], words).eval().requires_grad_(False)
    if name == "neighbours":
        net.remember("them", torch.randn(3, 8))
    return net


def told(call, *values) -> str:
    """What a SettingsError of this call says."""
    with pytest.raises(SettingsError) as error:
        call(*values)
    return str(error.value)
