"""A draft of a model: the same sizes, distilled to a few network calls with the guidance folded in.

First the teacher draws, guided and in many steps, and its latents at the noise levels that the student will
visit are kept on disk.  Then the student, which starts as the teacher, learns to go from each of them to the
next in one step of DDIM, with the prompt alone.  Text encoder and autoencoder stay the teacher's.

Source: Salimans & Ho 2022 (arXiv:2202.00512); Meng et al. 2023 (arXiv:2210.03142) for the guidance.
"""

import hashlib
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..checkpoints import load, save
from ..diffusion.denoiser import from_x0
from ..diffusion.spacing import sampling_sigmas
from ..errors import LdmError
from ..latent_diffusion import LatentDiffusion
from .autoencoder import rate
from .latent import ADAMW_ONLY
from .optim import Optimiser
from .state import TrainStep, generator_for, load_state, save_state
from .teacher import Paths, Teaching, check_teacher, load_paths, make_paths

PART = "draft"
PREFIX = "model.diffusion_model."


@dataclass(frozen=True)
class DraftTraining:
    """How a draft is distilled.

    Attributes:
        batch: jumps the student learns from at once; a multiple of `teaching.calls`.
    """

    teaching: Teaching
    batch: int = 64
    steps: int = 640
    muon_lr: float = 0.01
    adamw_lr: float = 3e-4
    warmup: int = 20
    ema_decay: float = 0.98
    seed: int = 0


def jump_target(x: Tensor, x_next: Tensor, sigma: Tensor, sigma_next: Tensor) -> Tensor:
    """(B, C, H, W) the v with which one step of DDIM goes from x to x_next.

        x0 = (x_next - ratio * x) / (1 - ratio), with ratio = sigma_next / sigma, at unit signal

    The squared error of v is that of x0 times SNR + 1.

    Args:
        x, x_next: (B, C, H, W) latents of unit variance.
        sigma, sigma_next: (B, 1, 1, 1) their noise levels; the second may be 0.

    Source: Salimans & Ho 2022 (arXiv:2202.00512), section 4 and appendix G, in terms of sigma.
    """
    x, x_next = x * (1 + sigma**2).sqrt(), x_next * (1 + sigma_next**2).sqrt()
    ratio = sigma_next / sigma
    return from_x0(x, sigma, (x_next - ratio * x) / (1 - ratio), "v")


def train_draft(
    config: DraftTraining, teacher: Path, folder: Path, save_every: float = 150.0
) -> Iterator[TrainStep]:
    """Let the teacher draw, then train the student; resumes where it stopped.

    What belongs to another teacher or recipe lies in another place, so nothing stale is taken up.

    Raises:
        LdmError: the teacher is none a draft can be made from.
    """
    place = place_for(config.teaching, teacher, folder)
    model = load(teacher, device="cpu", dtype=torch.bfloat16)
    check_teacher(model)
    model.graphs.enabled = False  # the first calls of one may sum in another order than the later ones
    yield from make_paths(config.teaching, model, place)
    yield from train_student(config, model, load_paths(config.teaching, place), place, save_every)


def place_for(teaching: Teaching, teacher: Path, folder: Path) -> Path:
    """Where the ways of this teacher's file lie."""
    return folder / _digest(repr(teaching).encode() + teacher.read_bytes())


def state_path(config: DraftTraining, place: Path) -> Path:
    """Where the student's training is kept."""
    return place / f"{PART}-{_digest(repr(config).encode())}.safetensors"


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=4).hexdigest()


def train_student(
    config: DraftTraining, student: LatentDiffusion, paths: Paths, place: Path, save_every: float = 150.0
) -> Iterator[TrainStep]:
    """Train the U-Net of `student`, which begins as the teacher; same bits as if it had never stopped."""
    unet = student.model.diffusion_model.train().requires_grad_(True)
    optimiser, path, done = optimiser_for(unet, config), state_path(config, place), 0
    if path.exists():
        tensors, info = load_state(path)
        optimiser.load_state_dict(tensors)
        done = info["step"]
    started = saved = time.perf_counter()
    for step in range(done + 1, config.steps + 1):
        loss = loss_of(config, student, paths, generator_for(config.seed, step))
        loss.backward()  # type: ignore[no-untyped-call]
        norm = optimiser.step(rate(step, config.steps, config.warmup))
        if time.perf_counter() - saved > save_every or step == config.steps:
            save_state(path, optimiser.state_dict(), {"step": step})
            saved = time.perf_counter()
        speed = (step - done) * config.batch / (time.perf_counter() - started)
        yield TrainStep(PART, step, step * config.batch, float(loss.detach()), norm, speed)


def optimiser_for(unet: nn.Module, config: DraftTraining) -> Optimiser:
    """Over the U-Net's parameters, under the names a checkpoint gives them."""
    return Optimiser(
        ((PREFIX + name, p) for name, p in unet.named_parameters()),
        muon_lr=config.muon_lr,
        adamw_lr=config.adamw_lr,
        smallest=32,
        adamw_only=ADAMW_ONLY,
        ema_decay=config.ema_decay,
    )


def loss_of(
    config: DraftTraining, student: LatentDiffusion, paths: Paths, generator: torch.Generator
) -> Tensor:
    """Mean squared error of v over jumps drawn at random, as many from each noise level.

    Source: Salimans & Ho 2022 (arXiv:2202.00512), algorithm 2, with the whole way of a guided teacher in
    place of its two steps.
    """
    sigmas = sampling_sigmas(student.schedule, config.teaching.calls)
    rows = torch.randint(len(paths.x), (config.batch,), generator=generator)
    at = torch.randperm(config.batch, generator=generator) % config.teaching.calls
    x, x_next = paths.x[rows, at].float(), paths.x[rows, at + 1].float()
    sigma, sigma_next = (s.float().reshape(-1, 1, 1, 1) for s in (sigmas[at], sigmas[at + 1]))
    t = torch.tensor([student.schedule.timestep(float(s)) for s in sigmas[:-1]])[at]
    unet = student.model.diffusion_model
    with torch.no_grad():
        context = student.cond_stage_model.encode_ids(paths.ids[rows].long())
    # the CPU's fused kernel is slow backwards
    with sdpa_kernel(SDPBackend.MATH) if x.device.type == "cpu" else nullcontext():
        output = unet(x.to(unet.dtype).to(memory_format=torch.channels_last), t, context)
    return (output.float() - jump_target(x, x_next, sigma, sigma_next)).square().mean()


@torch.no_grad()
def export_draft(config: DraftTraining, teacher: Path, folder: Path, path: Path) -> LatentDiffusion:
    """Write the student's moving averages as a whole model that recommends what it was distilled for.

    Raises:
        LdmError: nothing was trained for this teacher.
    """
    state = state_path(config, place_for(config.teaching, teacher, folder))
    if not state.exists():
        raise LdmError(f"There is no draft of {teacher} in {folder} yet.")
    tensors, info = load_state(state)
    model = load(teacher, device="cpu", dtype=torch.float32)
    for name, p in model.model.diffusion_model.named_parameters():
        p.copy_(tensors[f"ema/{PREFIX}{name}"])
    best = replace(
        model.config.recommended, steps=config.teaching.calls, sampler="euler", cfg_scale=1.0, cfg_rescale=0.0
    )
    record: dict[str, Any] = {
        "teacher_steps": config.teaching.steps,
        "pictures": config.teaching.pictures,
        "steps": info["step"],
        "samples": info["step"] * config.batch,
    }
    mine = replace(
        model.config,
        name=f"{model.name} draft",
        recommended=best,
        training={**model.config.training, PART: record},
    )
    save(model, path, mine, dtype=torch.bfloat16)
    return model
