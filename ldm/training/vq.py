"""Training of the VQ first stage: encoder, codebook and decoder together.

It begins with the outer levels of a trained KL autoencoder, which take the longest to learn.  While they rest
the inner ones learn to hand the KL decoder's own features across; then all of them learn pictures.  Latents
are not quantised at first; when there is something to them they are clustered into a codebook.  Codes that
nothing comes near to are moved to where one is missing.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoints.first_stage import save_first_stage
from ..errors import LdmError
from ..first_stage import FirstStage
from ..metrics import perplexity, psnr, ssim
from ..models.autoencoder import AutoencoderKL
from ..models.first_stage_config import FirstStageConfig
from ..models.vq import VectorQuantizer, VQConfig, VQModel
from .autoencoder import BASIS_SEED, HELD_OUT_SEED, crops, edges, pictures
from .optim import Optimiser
from .state import TrainStep, generator_for, load_state, save_state

PART = "vq"
CODEBOOK = "quantize.embedding.weight"


@dataclass(frozen=True)
class VQTraining:
    """How the VQ first stage is trained.

    Attributes:
        name: of the first stage, for people.
        steps: in all.
        free_steps: the first of them, in which nothing is quantised.
        inner_steps: the first of them, in which the outer levels rest.
        crops: per step, `crop` pixels square.
        shown: of the crops, are decoded to pixels while the outer levels rest.
        cluster_steps: steps' worth of crops that the codebook is made from, in `rounds` of k-means.
        revive_every: steps after which codes that were not used are moved; not in the last quarter.
    """

    name: str
    model: VQConfig
    objects: tuple[str, ...]
    steps: int = 1300
    free_steps: int = 200
    inner_steps: int = 700
    crops: int = 8
    crop: int = 128
    shown: int = 2
    muon_lr: float = 0.02
    adamw_lr: float = 2e-3
    warmup: int = 30
    ema_decay: float = 0.99
    cluster_steps: int = 24
    rounds: int = 6
    revive_every: int = 20
    seed: int = 0


def train_vq(
    config: VQTraining, teacher: AutoencoderKL, folder: Path, save_every: float = 120.0
) -> Iterator[TrainStep]:
    """Train the first stage, resuming from the folder's state if there is one, to the same bits.

    Args:
        teacher: the autoencoder that training begins with, in bfloat16 and without gradients.

    Raises:
        LdmError: its outer levels have other sizes.
    """
    torch.manual_seed(config.seed)
    net = VQModel(config.model)
    take_over(net, teacher)
    net.bfloat16().to(memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    optimiser = optimiser_for(net, config)
    uses = torch.zeros(config.model.n_embed, dtype=torch.int64)  # of each code since the last revival
    path, done = folder / f"{PART}.safetensors", 0
    if path.exists():
        tensors, info = load_state(path)
        optimiser.load_state_dict(tensors)
        uses, done = tensors["uses"], info["step"]
    started = saved = time.perf_counter()
    for step in range(done + 1, config.steps + 1):
        if step == config.free_steps + 1:
            place_codes(optimiser, torch.arange(config.model.n_embed), clustered(net, config))
        z, loss = _latents_and_loss(config, net, teacher, step, uses)
        loss.backward()  # type: ignore[no-untyped-call]
        norm = optimiser.step(rate(config, step))
        if step > config.free_steps and step % config.revive_every == 0:
            if step < 0.75 * config.steps:
                revive(net, optimiser, uses, z.detach(), generator_for(config.seed, step, 1))
            uses.zero_()
        if time.perf_counter() - saved > save_every or step == config.steps:
            save_state(path, optimiser.state_dict() | {"uses": uses}, {"step": step})
            saved = time.perf_counter()
        speed = (step - done) * config.crops / (time.perf_counter() - started)
        yield TrainStep(PART, step, step * config.crops, float(loss.detach()), norm, speed)


def rate(config: VQTraining, step: int, last: float = 0.03) -> float:
    """Learning-rate schedule: a short rise, and all the way down to `last`."""
    return min(1.0, step / max(1, config.warmup)) * (last + (1 - last) * (1 - step / config.steps))


@torch.no_grad()
def take_over(net: VQModel, teacher: AutoencoderKL) -> None:
    """Copy the weights that have the same name and shape: of an autoencoder with more levels, the outer ones.

    Raises:
        LdmError: the outer levels have other sizes.
    """
    mine, theirs = net.config.autoencoder, teacher.config
    levels = len(mine.ch_mult)
    same = ("ch", "num_res_blocks", "num_groups", "attn_resolutions", "in_channels", "out_ch")
    if theirs.ch_mult[:levels] != mine.ch_mult or any(getattr(mine, n) != getattr(theirs, n) for n in same):
        raise LdmError(
            f"The autoencoder to begin with must have {mine.ch} x {mine.ch_mult} channels in its outer "
            f"levels, it has {theirs.ch} x {theirs.ch_mult}, or other blocks."
        )
    own, lent = net.state_dict(), teacher.state_dict()
    fitting = {name: lent[name] for name in own if name in lent and lent[name].shape == own[name].shape}
    net.load_state_dict(fitting, strict=False)


def optimiser_for(net: VQModel, config: VQTraining) -> Optimiser:
    """Muon for convolutions, AdamW for the codebook and the rest."""
    return Optimiser(
        net.named_parameters(),
        muon_lr=config.muon_lr,
        adamw_lr=config.adamw_lr,
        smallest=16,
        adamw_only=(CODEBOOK,),
        ema_decay=config.ema_decay,
    )


def crops_of(config: VQTraining, step: int) -> Tensor:
    """(crops, 3, crop, crop) in [-1, 1], a function of the step."""
    f = config.model.autoencoder.downsampling_factor
    return crops(config.objects, config.crops, config.crop, f, seed=config.seed, step=step)


def picture_loss(difference: Tensor) -> Tensor:
    """Absolute error, half the squared one, and half the absolute error of gradients; a mean each."""
    return difference.abs().mean() + 0.5 * difference.square().mean() + 0.5 * edges(difference)


def _latents_and_loss(
    config: VQTraining, net: VQModel, teacher: AutoencoderKL, step: int, uses: Tensor
) -> tuple[Tensor, Tensor]:
    """The latents before the nearest code is taken, and what this step minimises; adds to `uses`."""
    images = crops_of(config, step)
    resting, quantised = step <= config.inner_steps, step > config.free_steps
    level = len(config.model.autoencoder.ch_mult) - 1
    if resting:
        features = teacher.encoder.outer(_laid_out(images), level)
        # PyTorch's GroupNorm crashes backwards where its input asks for no gradient (bfloat16, channels last)
        z = net.quant_conv(net.encoder.inner(features.detach().requires_grad_(), level)).float()
    else:
        z = net.prequantised(images)
    taken, loss = z, z.new_zeros(())
    if quantised:
        found = net.quantize(z)
        taken, loss = found.latents, found.loss
        uses += torch.bincount(found.indices.flatten(), minlength=len(uses))
    h = net.decoder.inner(net.post_quant_conv(_laid_out(taken)), level)
    if not resting:
        return z, loss + picture_loss(net.decoder.outer(h, level).float() - images)
    pixels = teacher.decoder.outer(h[: config.shown], level).float() - images[: config.shown]
    return z, loss + feature_loss(teacher, features, h, level) + picture_loss(pixels)


def feature_loss(teacher: AutoencoderKL, features: Tensor, h: Tensor, level: int) -> Tensor:
    """Squared error of a level's features against those of the teacher's own decoder, in its variance.

    Args:
        features: of that level of the teacher's encoder.
    """
    with torch.no_grad():
        mean = teacher.quant_conv(teacher.encoder.inner(features, level)).chunk(2, dim=1)[0]
        wanted = teacher.decoder.inner(teacher.post_quant_conv(mean), level).float()
    return (h.float() - wanted).square().mean() / wanted.var()


def _laid_out(x: Tensor) -> Tensor:
    return x.bfloat16().to(memory_format=torch.channels_last)


@torch.no_grad()
def clustered(net: VQModel, config: VQTraining) -> Tensor:
    """(n_embed, C) float32 centres of the encoder's latents, by k-means.

    Source: Lloyd 1982, "Least squares quantization in PCM".
    """
    steps = range(config.free_steps + 1, config.free_steps + 1 + config.cluster_steps)
    z = torch.cat([net.prequantised(crops_of(config, step)) for step in steps])
    rows = z.permute(0, 2, 3, 1).flatten(0, 2)  # (N, C)
    generator = generator_for(config.seed, config.free_steps, 2)
    book = VectorQuantizer(config.model.n_embed, rows.shape[1])
    centres = book.embedding.weight
    centres.copy_(rows[torch.randint(len(rows), (len(centres),), generator=generator)])
    for _ in range(config.rounds):
        nearest = book.nearest(z).flatten()  # (N,)
        sizes = torch.bincount(nearest, minlength=len(centres))
        found = torch.zeros_like(centres).index_add_(0, nearest, rows) / sizes.clamp(min=1)[:, None]
        found[sizes == 0] = far_from_codes(book, z, int((sizes == 0).sum()), generator)
        centres.copy_(found)
    return centres.detach()


def far_from_codes(book: VectorQuantizer, z: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """(count, C) latents drawn from `z` (B, C, H, W), as likely as their squared distance to the next code.

    Source: Arthur & Vassilvitskii 2007, "k-means++".
    """
    rows, codes = (x.permute(0, 2, 3, 1).flatten(0, 2).float() for x in (z, book.codes(book.nearest(z))))
    if count == 0:
        return rows[:0]
    distances = (rows - codes).square().sum(1) + 1e-12  # also where every latent is a code
    return rows[torch.multinomial(distances, count, replacement=True, generator=generator)]


@torch.no_grad()
def revive(net: VQModel, optimiser: Optimiser, uses: Tensor, z: Tensor, generator: torch.Generator) -> int:
    """Move the codes that were not used to where latents `z` (B, C, H, W) lack one; gives how many."""
    dead = (uses == 0).nonzero().flatten()
    place_codes(optimiser, dead, far_from_codes(net.quantize, z, len(dead), generator))
    return len(dead)


@torch.no_grad()
def place_codes(optimiser: Optimiser, which: Tensor, values: Tensor) -> None:
    """Put codes somewhere else, in the weights and in all that the optimiser keeps about them.

    Args:
        which: (K,) indices.
        values: (K, C).
    """
    for tensors in (optimiser.params, optimiser.masters, optimiser.ema):
        tensors[CODEBOOK][which] = values.to(tensors[CODEBOOK].dtype)
    for moments in (optimiser.first, optimiser.second):
        moments[CODEBOOK][which] = 0.0


@torch.no_grad()
def export_vq(config: VQTraining, folder: Path, path: Path, count: int = 48) -> dict[str, float]:
    """Write the moving averages as they stand in the folder, in bfloat16; the file says how good they are.

    Args:
        count: pictures for that.

    Returns:
        As `quality`.
    """
    tensors, info = load_state(folder / f"{PART}.safetensors")
    net = VQModel(config.model)
    net.load_state_dict({name: tensors[f"ema/{name}"] for name in net.state_dict()})
    net.bfloat16().to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    latents = [net.encode(image).latents for image in pictures(BASIS_SEED, 0, count, config.objects).split(1)]
    scale = 1 / float(torch.cat(latents).std())
    stage = FirstStage(FirstStageConfig(config.name, config.model, scale), net)
    found = quality(stage, config.objects, count)
    training = {"steps": info["step"], "samples": info["step"] * config.crops, **found}
    save_first_stage(stage, path, replace(stage.config, training=training))
    return found


@torch.no_grad()
def quality(stage: FirstStage, objects: tuple[str, ...], count: int = 48) -> dict[str, float]:
    """How good round trips of held-out renders are.

    Returns:
        psnr in dB and ssim, each the mean over the pictures; used, the share of the codes that all pictures
        together take; their perplexity.
    """
    found: dict[str, list[float]] = {"psnr": [], "ssim": []}
    indices = []
    for image in pictures(HELD_OUT_SEED, 0, count, objects).split(1):
        codes = stage.quantise(stage.autoencoder_encode(image))
        back = stage.autoencoder_decode(codes.latents).float().cpu().clamp(-1, 1)
        found["psnr"].append(psnr(back, image))
        found["ssim"].append(ssim(back, image))
        indices.append(codes.indices.cpu())
    taken = torch.cat(indices)
    mean = {name: sum(values) / len(values) for name, values in found.items()}
    return mean | {"used": len(taken.unique()) / stage.n_embed, "perplexity": perplexity(taken)}
