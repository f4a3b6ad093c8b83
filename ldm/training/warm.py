"""From a checkpoint back to training state, so that a training goes on where only its checkpoint is left.

The moving averages become the weights; momentum starts at nothing.
"""

import json
from pathlib import Path

import torch

from ..checkpoints import load
from ..diffusion.schedule import build_schedule
from ..errors import LdmError
from ..latent_diffusion import LatentDiffusion
from ..models.autoencoder import AutoencoderKL
from ..writing import write_file
from . import autoencoder, latent
from .basis import basis_of
from .config import Training
from .export import BEFORE, samples_of
from .state import save_state


def start_from(training: Training, checkpoint: Path, folder: Path) -> None:
    """Write the state of every part into `folder`, at the step the checkpoint was made.

    Raises:
        LdmError: the folder holds a training already, or the checkpoint has other sizes.
        CheckpointError: it is no checkpoint.
    """
    if any(folder.glob("*.safetensors")):
        raise LdmError(f"The folder {folder} holds a training already; name another or empty it.")
    model = load(checkpoint, device="cpu", dtype=torch.float32)
    for name, mine, wanted in (
        ("U-Net", model.config.unet, training.latent.unet),
        ("autoencoder", model.config.autoencoder, training.autoencoder.model),
        ("text encoder", model.config.text, training.latent.text),
    ):
        if mine != wanted:
            raise LdmError(f"The {name} of {checkpoint} has not the sizes of the training {training.name!r}.")
    first_stage = model.first_stage_model
    if not isinstance(first_stage, AutoencoderKL):
        raise LdmError(f"The first stage of {checkpoint} is no KL autoencoder.")
    record = model.config.training
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / "tokenizer.json", [json.dumps(model.cond_stage_model.tokenizer.to_dict()).encode()])
    write_file(folder / BEFORE, [json.dumps(record).encode()])
    save_state(folder / "basis.safetensors", basis_of(model).tensors(), {})
    for part in ("decoder", "encoder"):
        optimiser = autoencoder.optimiser_for(first_stage, part, training.autoencoder)
        steps = samples_of(record, part) // training.autoencoder.crops
        save_state(folder / f"{part}.safetensors", optimiser.state_dict(), {"step": steps})
    optimiser = latent.optimiser_for(networks_of(model), training.latent)
    steps = samples_of(record, "latent") // training.latent.batch
    save_state(folder / "latent.safetensors", optimiser.state_dict(), {"step": steps})


def networks_of(model: LatentDiffusion) -> latent.Networks:
    """A model's U-Net and text encoder, as they are trained."""
    schedule = model.config.schedule
    made = build_schedule(
        n_steps=schedule.n_steps,
        betas=schedule.betas,
        linear_start=schedule.linear_start,
        linear_end=schedule.linear_end,
        zero_terminal_snr=schedule.zero_terminal_snr,
    )
    return latent.Networks(model.model.diffusion_model, model.cond_stage_model, made)
