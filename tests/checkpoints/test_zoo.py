"""The latent diffusion paper's models: known by structure, loaded, and drawn with as published."""

import sys
import types
from dataclasses import replace

import pytest
import torch
from PIL import Image

from ldm.checkpoints import compvis, identify, load
from ldm.checkpoints.zoo import ROWS, row_of
from ldm.errors import CheckpointError, SettingsError
from ldm.generation import run
from ldm.models.config import ScheduleConfig
from ldm.settings import Settings

from .twins import training_state, twin, vocabulary, zoo_config

IDS = [row.names[0] for row in ROWS]
ALIKE = ("celeba256", "cin256", "text2img256")  # rows of a kind that another one stands for
PROMPTS = {"class": "207", "bert": "a castle", "neighbours": "@here", "none": "anything"}
BOXES = "3 0.1 0.2 0.5 0.6; 17 0 0 1 1"
SCALE = 0.375  # of lsun_churches256's file


class Callback:
    """Stands for one of Lightning's, which a file names and nobody has."""


def written(row, model, folder, monkeypatch) -> None:
    """As CompVis's training writes it: nested, with an optimiser, callbacks, averages, tables of noise."""
    monkeypatch.setattr(Callback, "__module__", "pytorch_lightning.callbacks.model_checkpoint")
    state = training_state(model)
    if row.names == ("lsun_churches256",):
        state["scale_factor"] = torch.tensor(SCALE)
    if row.names == ("inpainting_big",):
        stage = {k: v for k, v in state.items() if k.startswith("first_stage_model.")}
        state |= {k.replace("first_stage_model", "cond_stage_model"): v for k, v in stage.items()}
    module = types.ModuleType(Callback.__module__)
    module.Callback = Callback
    monkeypatch.setitem(sys.modules, "pytorch_lightning", types.ModuleType("pytorch_lightning"))
    monkeypatch.setitem(sys.modules, "pytorch_lightning.callbacks", types.ModuleType("callbacks"))
    monkeypatch.setitem(sys.modules, Callback.__module__, module)
    content = {
        "epoch": 3,
        "global_step": 1000,
        "pytorch-lightning_version": "1.4.2",
        "state_dict": state,
        "callbacks": {Callback: {"best": Callback()}},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": []}],
        "lr_schedulers": [],
    }
    torch.save(content, folder / "model.ckpt")
    for name in ("pytorch_lightning", "pytorch_lightning.callbacks", Callback.__module__):
        monkeypatch.delitem(sys.modules, name)
    if row.fingerprint.words == 30522:
        (folder / "vocab.txt").write_text(vocabulary())


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, id=name, marks=pytest.mark.long if name in ALIKE else ())
        for row, name in zip(ROWS, IDS, strict=True)
    ],
)
def test_every_row_loads_and_draws_as_published(row, tmp_path, monkeypatch):
    start, end = row.betas
    config = replace(zoo_config(row), schedule=ScheduleConfig(linear_start=start, linear_end=end))
    model = twin(config)
    written(row, model, tmp_path, monkeypatch)
    told = identify(tmp_path / "model.ckpt")
    assert (told.loads, told.family, told.ema, told.refusal) == (True, "zoo", True, "")
    assert told.title == f"a model built like {row.title}"

    loaded = load(tmp_path / "model.ckpt", "cpu", torch.float32)
    state = loaded.state_dict()
    for name, tensor in model.state_dict().items():
        assert torch.equal(state[name], tensor), name  # the averages, not the last ones
    assert loaded.config.schedule == config.schedule
    assert loaded.latent_scaling_factor == (SCALE if "churches" in row.title else row.scale)
    assert loaded.config.picture == config.picture
    assert (loaded.config.unet, loaded.config.autoencoder) == (config.unet, config.autoencoder)
    assert loaded.config.text == config.text

    draw(row, loaded)


def draw(row, model) -> None:
    best = model.config.recommended
    assert best == row.recommended
    side = 2 * model.config.size_multiple
    prompt = BOXES if row.fingerprint.words == 8192 else PROMPTS[row.fingerprint.condition]
    if prompt == "@here":
        model.cond_stage_model.remember("here", torch.ones(3, 32))
    settings = Settings(prompt, **vars(best) | {"steps": 2, "width": side, "height": side})
    image, mask = None, None
    if model.config.picture == "palette":
        image = Image.new("L", (side, side), 5)
    elif model.config.picture is not None:
        image = Image.linear_gradient("L").convert("RGB").resize((side, side))
        mask = Image.new("L", (side, side), 255) if model.config.picture == "inpaint_signed" else None
    trace = run(model, settings, init_image=image, mask=mask)
    assert trace.images[0].size == (side, side)
    assert len(trace.steps) == 2
    assert all(step.x.isfinite().all() for step in trace.steps)


def test_models_that_no_shape_tells_apart_share_a_row():
    titles = [row.title for row in ROWS if len(row.names) > 1]
    assert titles == [
        "celeba256, ffhq256 or lsun_beds256",
        "semantic_synthesis256 or semantic_synthesis512",
    ]


@pytest.mark.parametrize("row", ROWS, ids=IDS)
def test_no_two_rows_have_one_structure(row):
    assert row_of(zoo_config(row)) is row


def test_a_yaml_file_beside_the_file_wins_over_the_table(tmp_path):
    row = ROWS[0]
    torch.save(training_state(twin(zoo_config(row)), betas=False), tmp_path / "model.ckpt")
    (tmp_path / "config.yaml").write_text(
        "model: {params: {linear_start: 0.001, linear_end: 0.02, scale_factor: 0.5, image_size: [32, 64],"
        " unet_config: {params: {num_heads: 4}}}}"
    )
    config = compvis.read(tmp_path / "model.ckpt").config
    assert (config.schedule.linear_start, config.schedule.linear_end) == (0.001, 0.02)
    assert (config.unet.num_heads, config.unet.num_head_channels) == (4, -1)
    assert config.latent_scaling_factor == 0.5
    assert (config.recommended.height, config.recommended.width, config.recommended.steps) == (128, 256, 200)


def test_a_vocabulary_of_another_size_is_an_error(tmp_path):
    row = next(row for row in ROWS if row.names == ("text2img256",))
    torch.save(training_state(twin(zoo_config(row)), averaged=False), tmp_path / "model.ckpt")
    (tmp_path / "vocab.txt").write_text(vocabulary(200))
    with pytest.raises(
        CheckpointError, match=r"vocab.txt beside model.ckpt has 200 words, the text encoder has 30522"
    ):
        load(tmp_path / "model.ckpt", "cpu")


def test_without_its_vocabulary_a_model_loads_and_says_what_is_missing(tmp_path):
    row = next(row for row in ROWS if row.names == ("text2img256",))
    torch.save(training_state(twin(zoo_config(row)), averaged=False), tmp_path / "model.ckpt")
    model = load(tmp_path / "model.ckpt", "cpu", torch.float32)
    with pytest.raises(SettingsError, match="WordPiece vocabulary"):
        model.cond_stage_model.check("a castle")
