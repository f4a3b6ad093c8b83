"""Training of the autoencoder in two parts that know only the basis: decoder and encoder.

The decoder learns to draw what the linear decode blurs; the encoder learns to give the basis's latents, with
the log-variance of its own error.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.scenes import render
from ..models.autoencoder import AutoencoderKL
from ..models.config import AutoencoderConfig
from .basis import Basis, fit_basis
from .optim import Optimiser
from .state import TrainStep, generator_for, load_state, save_state

LEVEL_CYCLE = ("easy", "free", "many", "free")
BASIS_SEED, TRAIN_SEED, HELD_OUT_SEED = 11, 12, 13
SMALLEST_LOGVAR = -10.0


@dataclass(frozen=True)
class AutoencoderTraining:
    """How the autoencoder is trained.

    Attributes:
        basis_objects: what the basis is fitted on; all objects if empty.
        decoder_steps, encoder_steps: of the two parts.
        crops: per step, `crop` pixels square.
        noise: up to this much is added to the decoder's latents, so that it forgives the U-Net.
    """

    model: AutoencoderConfig
    objects: tuple[str, ...]
    basis_objects: tuple[str, ...] = ()
    decoder_steps: int = 2400
    encoder_steps: int = 1400
    crops: int = 16
    crop: int = 128
    noise: float = 0.05
    muon_lr: float = 0.02
    adamw_lr: float = 2e-3
    basis_pictures: int = 1500
    warmup: int = 50
    seed: int = 0


def pictures(seed: int, start: int, count: int, objects: tuple[str, ...], level: str | None = None) -> Tensor:
    """(count, 3, 256, 256) in [-1, 1] rendered pictures; levels take turns unless one is given."""
    scenes = [
        render(
            seed,
            i,
            level or LEVEL_CYCLE[i % len(LEVEL_CYCLE)],
            objects,
            held_out=None if level is None else False,
        )
        for i in range(start, start + count)
    ]
    return torch.stack([torch.from_numpy(s.pixels.copy()) for s in scenes]).permute(0, 3, 1, 2) / 127.5 - 1


def basis_for(config: AutoencoderTraining, folder: Path) -> Basis:
    """The basis, fitted once and kept in the folder."""
    path = folder / "basis.safetensors"
    if not path.exists():
        objects = config.basis_objects or config.objects
        images = pictures(BASIS_SEED, 0, config.basis_pictures, objects)
        basis = fit_basis(images, config.model.embed_dim, config.model.downsampling_factor)
        save_state(path, basis.tensors(), {"objects": list(objects)})
    return Basis.from_tensors(load_state(path)[0])


def rate(step: int, steps: int, warmup: int, last: float = 0.03) -> float:
    """Learning-rate schedule: a short rise, then flat, then down to `last` over the last 40 %."""
    rise = min(1.0, step / max(1, warmup))
    fall = min(1.0, max(0.0, (steps - step) / (0.4 * steps)))
    return rise * (last + (1 - last) * fall)


def optimiser_for(net: AutoencoderKL, part: str, config: AutoencoderTraining) -> Optimiser:
    """Of "decoder" or "encoder", over that half's parameters."""
    prefixes = {"decoder": ("decoder.", "post_quant_conv."), "encoder": ("encoder.", "quant_conv.")}[part]
    named = [(n, p) for n, p in net.named_parameters() if n.startswith(prefixes)]
    return Optimiser(named, muon_lr=config.muon_lr, adamw_lr=config.adamw_lr, smallest=16, ema_decay=0.999)


def train_part(
    part: str,
    config: AutoencoderTraining,
    folder: Path,
    save_every: float = 120.0,
    *,
    device: str | torch.device = "cpu",
) -> Iterator[TrainStep]:
    """Train "decoder" or "encoder", resuming from the folder's state if there is one."""
    basis = basis_for(config, folder)
    torch.manual_seed(config.seed)
    net = AutoencoderKL(config.model).bfloat16().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    net.to(device).train()
    optimiser = optimiser_for(net, part, config)
    steps = config.decoder_steps if part == "decoder" else config.encoder_steps
    path, done = folder / f"{part}.safetensors", 0
    if path.exists():
        tensors, info = load_state(path)
        optimiser.load_state_dict(tensors)
        done = info["step"]
    started, first, saved = time.perf_counter(), done, time.perf_counter()
    for step in range(done + 1, steps + 1):
        images = _crops(config, step)
        loss = (_decoder_loss if part == "decoder" else _encoder_loss)(net, basis, images, config, step)
        loss.backward()
        norm = optimiser.step(rate(step, steps, config.warmup))
        if time.perf_counter() - saved > save_every or step == steps:
            save_state(path, optimiser.state_dict(), {"step": step})
            saved = time.perf_counter()
        speed = (step - first) * config.crops / (time.perf_counter() - started)
        yield TrainStep(part, step, step * config.crops, float(loss.detach()), norm, speed)


def crops(objects: tuple[str, ...], count: int, side: int, multiple: int, *, seed: int, step: int) -> Tensor:
    """(count, 3, side, side) in [-1, 1]: four of each fresh picture, on the grid of latents.

    Args:
        multiple: pixels of that grid, f.
    """
    fresh = max(1, count // 4)
    images = pictures(TRAIN_SEED, step * fresh, fresh, objects)
    generator = generator_for(seed, step)
    places = (images.shape[-1] - side) // multiple + 1
    found = []
    for i in range(count):
        y, x = (int(v) * multiple for v in torch.randint(places, (2,), generator=generator))
        found.append(images[i % fresh, :, y : y + side, x : x + side])
    return torch.stack(found)


def _crops(config: AutoencoderTraining, step: int) -> Tensor:
    f = config.model.downsampling_factor
    return crops(config.objects, config.crops, config.crop, f, seed=config.seed, step=step)


def _decoder_loss(
    net: AutoencoderKL, basis: Basis, images: Tensor, config: AutoencoderTraining, step: int
) -> Tensor:
    z = basis.encode(images)
    generator = generator_for(config.seed, step, 1)
    noise = torch.randn(z.shape, generator=generator)
    z = z + noise * config.noise * torch.rand((len(z), 1, 1, 1), generator=generator)
    z, images = z.to(_place(net)), images.to(_place(net))
    out = net.decoder(net.post_quant_conv(z.bfloat16().to(memory_format=torch.channels_last))).float()
    return (out - images).abs().mean() + 0.5 * F.mse_loss(out, images) + 0.5 * edges(out - images)


def edges(difference: Tensor) -> Tensor:
    """Mean absolute gradient, over both directions."""
    return difference.diff(dim=2).abs().mean() + difference.diff(dim=3).abs().mean()


def _encoder_loss(
    net: AutoencoderKL, basis: Basis, images: Tensor, config: AutoencoderTraining, step: int
) -> Tensor:
    del config, step
    z, images = basis.encode(images).to(_place(net)), images.to(_place(net))
    moments = net.quant_conv(net.encoder(images.bfloat16().to(memory_format=torch.channels_last))).float()
    mean, logvar = moments.chunk(2, dim=1)
    logvar = logvar.clamp(SMALLEST_LOGVAR, 4.0)
    error = (mean - z).square()
    # the likelihood teaches the log-variance alone: through the mean it would forgive where it is unsure
    nll = 0.5 * (logvar + error.detach() / logvar.exp()).mean()
    return error.mean() + 0.1 * (mean - z).abs().mean() + 0.02 * nll


def _place(net: AutoencoderKL) -> torch.device:
    return net.quant_conv.weight.device
