"""Training of the small decoder that draws previews, from a model that is there already.

It learns two things at once.  From a picture's own latents it draws the picture.  From latents as the U-Net
predicts them halfway, blurred or wrong, it draws what the full decoder makes of them: an early preview then
shows what the picture would be.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoints.preview import save_preview
from ..data.scenes import render
from ..diffusion.denoiser import to_x0
from ..latent_diffusion import LatentDiffusion
from ..models.preview import PreviewConfig, PreviewDecoder
from .autoencoder import LEVEL_CYCLE, TRAIN_SEED, edges, rate
from .basis import basis_of
from .optim import Optimiser
from .state import TrainStep, generator_for, load_state, save_state

PART = "preview"


@dataclass(frozen=True)
class PreviewTraining:
    """How the small decoder is trained.

    Attributes:
        channels, blocks: as `PreviewConfig`.
        pictures: fresh ones a step.
        crops: of each picture, `crop` pixels square.
        predicted: this many of a step's pictures are seen as the U-Net predicts them.
        noise: up to this much is added to the latents of the others.
    """

    objects: tuple[str, ...]
    channels: tuple[int, ...]
    blocks: tuple[int, ...]
    steps: int = 4000
    pictures: int = 4
    crops: int = 4
    crop: int = 128
    predicted: int = 1
    noise: float = 0.1
    muon_lr: float = 0.02
    adamw_lr: float = 2e-3
    warmup: int = 50
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Lesson:
    """One step's crops.

    Attributes:
        z: (B, C, H, W) latents.
        images: (B, 3, f*H, f*W) in [-1, 1], what is to be drawn.
    """

    z: Tensor
    images: Tensor


def decoder_for(config: PreviewTraining, model: LatentDiffusion) -> PreviewDecoder:
    """A small decoder for a model's latents, as yet drawing what its linear map does."""
    torch.manual_seed(config.seed)
    decoder = PreviewDecoder(
        PreviewConfig(
            model=model.name,
            latent_channels=model.latent_channels,
            downsampling_factor=model.downsampling_factor,
            channels=config.channels,
            blocks=config.blocks,
        )
    )
    basis = basis_of(model)
    decoder.start_from(basis.decode_weight, basis.mean)
    return decoder


@torch.no_grad()
def lesson(config: PreviewTraining, model: LatentDiffusion, step: int) -> Lesson:
    """What one step learns from: a function of the step alone, so that a training can be resumed."""
    numbers = range(step * config.pictures, (step + 1) * config.pictures)
    scenes = [render(TRAIN_SEED, i, LEVEL_CYCLE[i % 4], config.objects, held_out=None) for i in numbers]
    pixels = torch.stack([torch.from_numpy(s.pixels.copy()) for s in scenes])
    images = pixels.permute(0, 3, 1, 2) / 127.5 - 1  # (pictures, 3, h, w)
    latents = basis_of(model).encode(images)
    generator = generator_for(config.seed, step)
    # in turn, so that every level is seen both ways
    seen = [(step + i) % config.pictures for i in range(config.predicted)]
    parts: list[Lesson] = []
    for i, scene in enumerate(scenes):
        z = latents[i : i + 1]
        if i in seen:
            z = predicted(model, z, scene.caption, generator)
        crops = _crops(z, images[i : i + 1], config, generator)
        if i in seen:
            crops = Lesson(crops.z, model.autoencoder_decode(crops.z).float().clamp(-1, 1))
        else:
            amounts = config.noise * torch.rand((config.crops, 1, 1, 1), generator=generator)
            noise = torch.randn(crops.z.shape, generator=generator)
            crops = Lesson(crops.z + amounts * noise, crops.images)
        parts.append(crops)
    return Lesson(torch.cat([p.z for p in parts]), torch.cat([p.images for p in parts]))


def predicted(model: LatentDiffusion, z: Tensor, caption: str, generator: torch.Generator) -> Tensor:
    """(1, C, H, W) what the U-Net takes the latents z for at a timestep drawn at random."""
    t = float(torch.randint(model.n_steps, (), generator=generator))
    sigma = model.schedule.sigma_at(t)
    x = z + sigma * torch.randn(z.shape, generator=generator)
    # not by a graph: the first calls of one may sum in another order than the later ones
    output = model(x / (1 + sigma**2) ** 0.5, torch.tensor([t]), model.get_text_conditioning([caption]))
    return to_x0(x, sigma, output.float(), model.prediction_type)


def _crops(z: Tensor, image: Tensor, config: PreviewTraining, generator: torch.Generator) -> Lesson:
    """Crops of one picture and the same cells of its latents."""
    f = image.shape[-1] // z.shape[-1]
    side, found = config.crop // f, []
    for _ in range(config.crops):
        y, x = torch.randint(z.shape[-1] - side + 1, (2,), generator=generator).tolist()
        pixels = image[:, :, f * y : f * (y + side), f * x : f * (x + side)]
        found.append((z[:, :, y : y + side, x : x + side], pixels))
    return Lesson(torch.cat([z for z, _ in found]), torch.cat([image for _, image in found]))


def loss_of(decoder: PreviewDecoder, given: Lesson) -> Tensor:
    """Mean absolute error, half the squared one, and half the mean absolute error of gradients."""
    error = decoder(given.z) - given.images
    return error.abs().mean() + 0.5 * error.square().mean() + 0.5 * edges(error)


def train_preview(
    config: PreviewTraining, model: LatentDiffusion, folder: Path, save_every: float = 120.0
) -> Iterator[TrainStep]:
    """Train the small decoder of a model, resuming from the folder's state if there is one."""
    decoder = decoder_for(config, model).bfloat16().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser, path, done = optimiser_for(decoder, config), _state(folder), 0
    if path.exists():
        tensors, info = load_state(path)
        optimiser.load_state_dict(tensors)
        done = info["step"]
    started = saved = time.perf_counter()
    for step in range(done + 1, config.steps + 1):
        loss = loss_of(decoder, lesson(config, model, step))
        loss.backward()
        norm = optimiser.step(rate(step, config.steps, config.warmup))
        if time.perf_counter() - saved > save_every or step == config.steps:
            save_state(path, optimiser.state_dict(), {"step": step})
            saved = time.perf_counter()
        each = config.pictures * config.crops
        speed = (step - done) * each / (time.perf_counter() - started)
        yield TrainStep(PART, step, step * each, float(loss.detach()), norm, speed)


def optimiser_for(decoder: PreviewDecoder, config: PreviewTraining) -> Optimiser:
    """Over everything but the linear map, which stays the model's own."""
    named = [(n, p) for n, p in decoder.named_parameters() if not n.startswith("linear.")]
    return Optimiser(
        named,
        muon_lr=config.muon_lr,
        adamw_lr=config.adamw_lr,
        smallest=32,
        adamw_only=("conv_in",),
        ema_decay=0.999,
    )


@torch.no_grad()
def export_preview(config: PreviewTraining, model: LatentDiffusion, folder: Path, path: Path) -> None:
    """Write the moving averages as they stand in the folder, in bfloat16."""
    decoder, (tensors, info) = decoder_for(config, model), load_state(_state(folder))
    for name, p in decoder.named_parameters():
        if not name.startswith("linear."):
            p.copy_(tensors[f"ema/{name}"])
    record = {"samples": info["step"] * config.pictures * config.crops, "steps": info["step"]}
    save_preview(decoder, path, record, dtype=torch.bfloat16)


def _state(folder: Path) -> Path:
    return folder / f"{PART}.safetensors"
