"""From training state to a checkpoint: the moving averages of all parts in one file, with their record."""

import json
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..checkpoints import save
from ..data.lexicon import lexicon
from ..latent_diffusion import LatentDiffusion
from ..models.config import ModelConfig
from ..models.tokenizer import Tokenizer
from ..words import unknown_words
from .basis import Basis
from .config import Training
from .state import load_state

BEFORE = "before.json"  # the record of the checkpoint that a training went on from

EXAMPLES = (
    "a red apple on a blue background",
    "a cat on the grass",
    "a rocket in space",
    "a penguin in the snow",
    "a sailboat under a blue sky",
    "a purple car on a yellow background",
    "a house in the mountains at sunset",
    "a green heart on white",
    "a fish underwater",
    "a robot in the city at night",
    "a blue elephant on an orange background",
    "a sunflower in a meadow by day",
)


def model_config(training: Training, record: dict[str, Any] | None = None) -> ModelConfig:
    """The config that goes into the file."""
    levels = {level for phase in training.latent.phases for level in phase.shares}
    known = lexicon(training.objects, levels)
    said = ModelConfig(words=known.words)
    return ModelConfig(
        name=f"Latent Darkroom {training.name}",
        unet=training.latent.unet,
        autoencoder=training.autoencoder.model,
        text=training.latent.text,
        schedule=training.latent.schedule,
        prediction_type="v",
        latent_scaling_factor=1.0,
        recommended=training.recommended,
        vocabulary=known.vocabulary,
        synonyms=known.synonyms,
        plurals=known.plurals,
        words=known.words,
        examples=tuple(text for text in EXAMPLES if not unknown_words(text, said)),
        training=record or {},
    )


@torch.no_grad()
def assemble(training: Training, folder: Path) -> LatentDiffusion:
    """A model of the moving averages so far, in float32; parts without state stay as they are made."""
    tokenizer = Tokenizer.from_dict(json.loads((folder / "tokenizer.json").read_text()))
    torch.manual_seed(0)
    model = LatentDiffusion(model_config(training, training_record(folder)), tokenizer, preview=True)
    for part, prefix in (
        ("decoder", "first_stage_model."),
        ("encoder", "first_stage_model."),
        ("latent", ""),
    ):
        path = folder / f"{part}.safetensors"
        if path.exists():
            _take(model, load_state(path)[0], prefix)
    basis = Basis.from_tensors(load_state(folder / "basis.safetensors")[0])
    preview = model.preview
    if isinstance(preview, nn.ConvTranspose2d) and preview.bias is not None:
        preview.weight.copy_(basis.decode_weight)
        preview.bias.copy_(basis.mean)
    return model.eval().requires_grad_(False)


def _take(model: LatentDiffusion, state: dict[str, Tensor], prefix: str) -> None:
    parameters = dict(model.named_parameters())
    for key, value in state.items():
        group, _, name = key.partition("/")
        if group == "ema":
            parameters[prefix + name].copy_(value)


def training_record(folder: Path) -> dict[str, Any]:
    """Samples seen per part, and the loss curve at some sixty points each.

    A training that went on from a checkpoint holds that one's record as "before".
    """
    path, before = folder / "log.jsonl", folder / BEFORE
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    record: dict[str, Any] = {"before": json.loads(before.read_text())} if before.exists() else {}
    for part in ("decoder", "encoder", "latent"):
        mine = {row["step"]: row for row in rows if row["part"] == part}
        chosen = [mine[step] for step in sorted(mine)]
        stride = max(1, len(chosen) // 60)
        record[part] = {
            "samples": chosen[-1]["samples"] if chosen else samples_of(record.get("before", {}), part),
            "curve": [[row["samples"], round(row["loss"], 4)] for row in chosen[::stride]],
        }
    return record


def samples_of(record: dict[str, Any], part: str) -> int:
    """How many pictures a part has seen, by a record."""
    return int(record.get(part, {}).get("samples", 0))


def export(training: Training, folder: Path, path: Path) -> LatentDiffusion:
    """Write the model as it stands, in bfloat16."""
    model = assemble(training, folder)
    save(model, path, dtype=torch.bfloat16)
    return model
