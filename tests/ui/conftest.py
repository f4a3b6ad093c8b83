import os
from dataclasses import replace

# before gradio is imported, as app.py does
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", "1000000")

import pytest
import torch
from gradio_client import Client
from gradio_client.exceptions import AppError

from ldm import checkpoints
from ldm.engine import Engine, Limits
from ldm.latent_diffusion import LatentDiffusion
from ldm.models.config import AutoencoderConfig, ModelConfig, RecommendedSettings, TextConfig, UNetConfig
from ldm.models.tokenizer import Tokenizer

TINY = ModelConfig(
    name="tiny",
    unet=UNetConfig(
        model_channels=32, channel_mult=(1, 2), num_res_blocks=1, attention_resolutions=(2,), num_heads=2,
        context_dim=32, num_groups=8,
    ),
    autoencoder=AutoencoderConfig(ch=16, ch_mult=(1, 2, 2), num_res_blocks=1, num_groups=8),
    text=TextConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2),
    recommended=RecommendedSettings(steps=3, cfg_scale=3.0, cfg_rescale=0.7, width=64, height=64),
    vocabulary={"fruit": ["apple", "pear"], "animal": ["dog"], "color": ["red", "blue"]},
    plurals={"apple": "apples", "dog": "dogs"},
    words=("a", "an", "apple", "apples", "background", "blue", "dog", "dogs", "on", "pear", "red"),
    examples=("a red apple", "a blue dog"),
)  # fmt: skip
QUICK = RecommendedSettings(steps=4, sampler="euler", cfg_scale=1.0, cfg_rescale=0.0, width=64, height=64)
DRAFT = replace(TINY, name="tiny draft", recommended=QUICK)


@pytest.fixture(scope="session")
def tiny_file(tmp_path_factory):
    """A checkpoint of random weights, and a draft beside it of others."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    for name, config in (("tiny", TINY), ("tiny-draft", DRAFT)):
        checkpoints.save(LatentDiffusion(config, Tokenizer.clip()), path.with_stem(name))
    return path


@pytest.fixture(scope="session")
def engine(tiny_file):
    made = Engine(tiny_file, device="cpu", limits=Limits(work=2000 * 64 * 64, per_owner=8))
    yield made
    made.close()


@pytest.fixture(scope="session")
def address(engine, tmp_path_factory):
    """The app, served."""
    from ldm.ui import build_app, launch

    os.environ["GRADIO_TEMP_DIR"] = str(tmp_path_factory.mktemp("gradio"))
    page = build_app(engine)
    launch(page, engine, prevent_thread_lock=True, quiet=True)
    yield page.local_url.rstrip("/")
    page.close(verbose=False)
    del os.environ["GRADIO_TEMP_DIR"]


@pytest.fixture(scope="session")
def client(address, tmp_path_factory):
    """A program that calls the app."""
    made = Client(
        address, verbose=False, analytics_enabled=False, download_files=str(tmp_path_factory.mktemp("got"))
    )
    yield made
    made.close()


def refused(client, name="/generate", **given):
    """The sentence with which a call is refused."""
    with pytest.raises(AppError) as error:
        client.predict(**given, api_name=name)
    return str(error.value)
