"""What a teacher shows to a draft of itself: its ways from noise to picture, kept on disk.

The teacher draws guided and in many steps, as its checkpoint recommends.  Of each way the latents are kept at
the noise levels where the draft will be asked.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..data.scenes import OBJECTS, written
from ..diffusion.denoiser import Denoiser
from ..diffusion.guidance import Guidance
from ..diffusion.noise import NoiseStream
from ..diffusion.samplers import DEFAULT_ETA, SAMPLERS, SamplerOptions
from ..diffusion.spacing import sampling_sigmas
from ..errors import LdmError
from ..latent_diffusion import LatentDiffusion
from .state import TrainStep, generator_for, load_state, save_state

CAPTION_SEED = 61
NOISE_SEED = 2**20  # of the first picture; evaluations begin with small ones


@dataclass(frozen=True)
class Teaching:
    """What the teacher draws.

    Attributes:
        shares: level -> share of the captions.
        calls: of the network that the draft will make for a picture.
        steps: guided ones of the teacher; a multiple of `calls`.
        chunks, chunk: files, and pictures in each.
        together: pictures drawn at once; divides `chunk`.
    """

    shares: dict[str, float]
    calls: int = 4
    steps: int = 8
    chunks: int = 14
    chunk: int = 256
    together: int = 16
    seed: int = 0

    @property
    def pictures(self) -> int:
        """Of all chunks."""
        return self.chunks * self.chunk


@dataclass(frozen=True, eq=False)
class Paths:
    """Ways of the teacher from noise to picture.

    Attributes:
        x: (N, calls + 1, C, H, W) float16 latents of unit variance; the last ones are the picture's.
        ids: (N, T) int32 tokens of the captions.
    """

    x: Tensor
    ids: Tensor


def check_teacher(model: LatentDiffusion) -> None:
    """Refuse a model that no draft can be made from.

    Raises:
        LdmError: it does not predict v, or its sampler draws fresh noise, so that its way is no function of
            where it began.
    """
    if model.prediction_type != "v":
        raise LdmError(f"{model.name} predicts {model.prediction_type}; a draft needs a teacher of v.")
    sampler = model.config.recommended.sampler
    if DEFAULT_ETA[sampler] > 0:
        raise LdmError(f"{model.name} recommends {sampler}, which draws fresh noise; a draft can have none.")


def make_paths(config: Teaching, teacher: LatentDiffusion, place: Path) -> Iterator[TrainStep]:
    """Let the teacher draw the chunks that are not there."""
    objects = known_objects(teacher)
    began, drawn = time.perf_counter(), 0
    for number in range(config.chunks):
        path = place / f"paths-{number:03d}.safetensors"
        if path.exists():
            continue
        first, made = number * config.chunk, []
        prompts = captions(config, number, objects)
        for i in range(0, config.chunk, config.together):
            made.append(draw_paths(config, teacher, prompts[i : i + config.together], first + i))
            drawn += config.together
            done, speed = first + i + config.together, drawn / (time.perf_counter() - began)
            yield TrainStep("paths", done // config.together, done, 0.0, 0.0, speed)
        tokenizer = teacher.cond_stage_model.tokenizer
        ids = torch.tensor([tokenizer.ids(prompt) for prompt in prompts], dtype=torch.int32)
        save_state(path, {"x": torch.cat(made), "ids": ids}, {})


def known_objects(model: LatentDiffusion) -> tuple[str, ...]:
    """The objects a model has learned to draw, by its vocabulary.

    Raises:
        LdmError: it names none of those that captions are made of.
    """
    words = {word for kind in model.config.vocabulary.values() for word in kind}
    known = tuple(name for name in OBJECTS if name in words)
    if not known:
        raise LdmError(f"The vocabulary of {model.name} names no object that captions can be made of.")
    return known


def captions(config: Teaching, number: int, objects: tuple[str, ...]) -> list[str]:
    """What the teacher draws in one chunk; combinations that are held out are left out."""
    levels = list(config.shares)
    weights = torch.tensor([config.shares[level] for level in levels])
    generator = generator_for(config.seed, number)
    which = torch.multinomial(weights, config.chunk, replacement=True, generator=generator).tolist()
    first = number * config.chunk
    return [written(CAPTION_SEED, first + i, levels[w], objects, held_out=False) for i, w in enumerate(which)]


@torch.no_grad()
def draw_paths(config: Teaching, teacher: LatentDiffusion, prompts: list[str], first: int) -> Tensor:
    """(B, calls + 1, C, H, W) as in `Paths`, by the settings that the teacher recommends.

    Args:
        first: number of the first picture; each has noise of its own.
    """
    best, f = teacher.config.recommended, teacher.downsampling_factor
    shape = (teacher.latent_channels, best.height // f, best.width // f)
    noise = NoiseStream(NOISE_SEED + first, len(prompts), shape)
    sigmas = sampling_sigmas(teacher.schedule, config.steps)
    denoise = Denoiser(
        network=teacher.predict,
        schedule=teacher.schedule,
        prediction_type=teacher.prediction_type,
        context=teacher.get_text_conditioning(prompts),
        uncond=teacher.get_text_conditioning([""]).expand(len(prompts), -1, -1),
        guidance=Guidance(scale=best.cfg_scale, rescale=best.cfg_rescale),
    )
    x = noise(0) * (1 + float(sigmas[0]) ** 2) ** 0.5
    steps = list(SAMPLERS[best.sampler].run(denoise, x, sigmas, SamplerOptions(), noise, ()))
    visited = steps[:: config.steps // config.calls]
    levels = [step.x / (1 + step.sigma**2) ** 0.5 for step in visited]
    return torch.stack([*levels, steps[-1].x_next], dim=1).half()


def load_paths(config: Teaching, place: Path) -> Paths:
    """All chunks of a place."""
    chunks = [load_state(place / f"paths-{number:03d}.safetensors")[0] for number in range(config.chunks)]
    return Paths(torch.cat([c["x"] for c in chunks]), torch.cat([c["ids"] for c in chunks]))
