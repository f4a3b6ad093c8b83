"""Models small enough to build in a moment, for tests of everything that needs one."""

import pytest
import torch

from ldm.first_stage import FirstStage
from ldm.latent_diffusion import LatentDiffusion
from ldm.models.config import (
    AutoencoderConfig,
    ModelConfig,
    RecommendedSettings,
    ScheduleConfig,
    TextConfig,
    UNetConfig,
)
from ldm.models.first_stage_config import FirstStageConfig
from ldm.models.tokenizer import Tokenizer, train_bpe
from ldm.models.vq import VQConfig, VQModel

from .fakes import make_engine

# networks this small gain nothing from a second thread, and stall at every operator beside a busy neighbour
torch.set_num_threads(1)


def tiny_config(**changes):
    """Four latent channels, f = 4, one U-Net downsampling: sizes are multiples of 8."""
    values = {
        "name": "tiny",
        "unet": UNetConfig(
            model_channels=32,
            channel_mult=(1, 2),
            num_res_blocks=1,
            attention_resolutions=(1, 2),
            num_heads=2,
            context_dim=32,
            num_groups=8,
        ),
        "autoencoder": AutoencoderConfig(ch=16, ch_mult=(1, 1, 2), num_res_blocks=1, num_groups=4),
        "text": TextConfig(
            vocab_size=600,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=12,
            bos_token_id=598,
            eos_token_id=599,
            pad_token_id=599,
            tokenizer="embedded",
        ),
        "schedule": ScheduleConfig(),
        "recommended": RecommendedSettings(steps=4, cfg_scale=3.0, width=32, height=32),
    }
    return ModelConfig(**(values | changes))


def tiny_tokenizer(length=12):
    captions = ["a red circle above a blue square", "a green apple on a white background"] * 4
    vocab, merges = train_bpe(captions, 600)
    filler = {f"<unused{i}>": i for i in range(len(vocab) - 2, 598)}
    words = {w: i for w, i in vocab.items() if i < len(vocab) - 2}
    marks = {"<|startoftext|>": 598, "<|endoftext|>": 599}
    return Tokenizer(words | filler | marks, merges, length=length, bos=598, eos=599, pad=599)


def tiny_model(seed=0, **changes):
    torch.manual_seed(seed)
    model = LatentDiffusion(tiny_config(**changes), tiny_tokenizer())
    return model.eval().requires_grad_(False)


def tiny_first_stage(name="tiny VQ"):
    """A VQ autoencoder with f = 4 and 32 codes of three numbers."""
    torch.manual_seed(0)
    sizes = AutoencoderConfig(
        ch=16, ch_mult=(1, 1, 2), num_res_blocks=1, z_channels=3, embed_dim=3, double_z=False, num_groups=4
    )
    config = FirstStageConfig(name, VQConfig(sizes, n_embed=32), latent_scaling_factor=2.5)
    net = VQModel(config.vq).eval().requires_grad_(False)
    torch.nn.init.normal_(net.quantize.embedding.weight, std=0.2)
    return FirstStage(config, net)


@pytest.fixture(scope="session")
def model():
    return tiny_model()


@pytest.fixture
def make(monkeypatch, pace):
    """Builds engines that wait for the `pace` of the test's own file, and closes them."""
    made = []

    def build(**options):
        made.append(make_engine(monkeypatch, pace, **options))
        return made[-1]

    yield build
    pace.open = True
    pace.step(1000)
    for engine in made:
        engine.close()
