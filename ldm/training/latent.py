"""Training of text encoder and U-Net together, on cached latents.

v-prediction; every batch has its timesteps spread evenly; the object's cells weigh more than the
background's; one caption in ten is replaced with the empty one, which is what guidance needs.
"""

import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..diffusion.denoiser import to_x0
from ..diffusion.gaussian import q_sample, target
from ..diffusion.schedule import NoiseSchedule, build_schedule
from ..models.config import ScheduleConfig, TextConfig, UNetConfig
from ..models.text import CLIPTextEmbedder
from ..models.unet import UNetModel
from .cache import Batch, Cache
from .optim import Optimiser
from .state import TrainStep, generator_for, load_state, save_state
from .team import ALONE, Team

ADAMW_ONLY = ("embedding", "input_blocks.0.0", "out.2", "time_embed")


@dataclass(frozen=True)
class Phase:
    """A stretch of the curriculum.

    Attributes:
        until: the phase ends when so many steps are made.
        shares: level -> share of the pictures.
        chunks: of each level that are drawn from.
        object_weight: of the loss in an object's cells, relative to 1 elsewhere.
        objects: what is drawn; all of the training's if empty.
    """

    until: int
    shares: dict[str, float]
    chunks: int
    object_weight: float = 2.0
    objects: tuple[str, ...] = ()


@dataclass(frozen=True)
class LatentTraining:
    """How text encoder and U-Net are trained.

    Attributes:
        batch: pictures per step.
        phases: the curriculum, in order.
        decay: share of all steps, at the end, over which the learning rate falls to 3 %.
        dropout: share of captions replaced with the empty one.
    """

    unet: UNetConfig
    text: TextConfig
    schedule: ScheduleConfig
    phases: tuple[Phase, ...]
    batch: int = 64
    muon_lr: float = 0.02
    adamw_lr: float = 1e-3
    warmup: int = 100
    decay: float = 0.2
    dropout: float = 0.1
    ema_decay: float = 0.9995
    seed: int = 0

    @property
    def steps(self) -> int:
        """Of the whole curriculum."""
        return self.phases[-1].until

    def phase(self, step: int) -> Phase:
        """The phase that step number `step`, from 1, belongs to."""
        return next(p for p in self.phases if step <= p.until)

    def rate(self, step: int) -> float:
        """Scale of the learning rates."""
        rise = min(1.0, step / max(1, self.warmup))
        fall = min(1.0, max(0.0, (self.steps - step) / (self.decay * self.steps)))
        return rise * (0.03 + 0.97 * fall)


@dataclass(eq=False)
class Networks:
    """What is trained: the pair, in the dtype it computes in."""

    unet: UNetModel
    text: CLIPTextEmbedder
    schedule: NoiseSchedule = field(repr=False)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.unet.parameters()).device

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """Under the names a checkpoint gives them."""
        for prefix, module in (("model.diffusion_model.", self.unet), ("cond_stage_model.", self.text)):
            for name, p in module.named_parameters():
                yield prefix + name, p


def build(
    config: LatentTraining,
    cache: Cache,
    dtype: torch.dtype = torch.bfloat16,
    device: str | torch.device = "cpu",
) -> Networks:
    """Fresh networks, a function of the seed; the last layers start at zero, as the originals' do."""
    torch.manual_seed(config.seed)
    unet = UNetModel(config.unet)
    zero_last_layers(unet)
    text = CLIPTextEmbedder(config.text, cache.tokenizer)
    schedule = build_schedule(
        n_steps=config.schedule.n_steps,
        betas=config.schedule.betas,
        linear_start=config.schedule.linear_start,
        linear_end=config.schedule.linear_end,
        zero_terminal_snr=config.schedule.zero_terminal_snr,
    )
    unet = unet.to(device, dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Networks(unet.train(), text.to(device, dtype).train(), schedule)


def optimiser_for(networks: Networks, config: LatentTraining) -> Optimiser:
    """Over the parameters of both networks."""
    return Optimiser(
        networks.named_parameters(),
        muon_lr=config.muon_lr,
        adamw_lr=config.adamw_lr,
        smallest=32,
        adamw_only=ADAMW_ONLY,
        ema_decay=config.ema_decay,
    )


@torch.no_grad()
def zero_last_layers(unet: UNetModel) -> None:
    """Residual branches and the output start at zero (CompVis's `zero_module`)."""
    for name, p in unet.named_parameters():
        if any(word in name for word in (".out_layers.3.", "proj_out.")) or name.startswith("out.2."):
            p.zero_()


def train(
    config: LatentTraining,
    cache: Cache,
    folder: Path,
    save_every: float = 150.0,
    *,
    team: Team = ALONE,
    device: str | torch.device = "cpu",
) -> Iterator[TrainStep]:
    """Train, resuming from the folder's state if there is one; same bits as if it had never stopped.

    Args:
        team: the processes that share each batch; the first of them writes the state.
        device: where the networks are.  What is random is drawn on the CPU, alike for every device and team.

    Raises:
        LdmError: a batch that the team cannot share evenly.
    """
    team.check(config.batch)
    networks = build(config, cache, device=device)
    optimiser = optimiser_for(networks, config)
    path, done = folder / "latent.safetensors", 0
    if path.exists():
        tensors, info = load_state(path)
        optimiser.load_state_dict(tensors)
        done = info["step"]
    empty = torch.tensor(cache.tokenizer.ids(""))
    started = saved = time.perf_counter()
    for step in range(done + 1, config.steps + 1):
        phase, generator = config.phase(step), generator_for(config.seed, step)
        batch = cache.batch(phase.shares, phase.chunks, config.batch, generator, phase.objects)
        loss = loss_of(networks, batch, config, phase.object_weight, empty, generator, team)
        loss.backward()  # type: ignore[no-untyped-call]
        loss = team.average(loss.detach(), [p for _, p in networks.named_parameters()])
        norm = optimiser.step(config.rate(step))
        if team.first and (time.perf_counter() - saved > save_every or step == config.steps):
            save_state(path, optimiser.state_dict(), {"step": step})
            saved = time.perf_counter()
        speed = (step - done) * config.batch / (time.perf_counter() - started)
        yield TrainStep("latent", step, step * config.batch, float(loss), norm, speed)


def steps_done(folder: Path) -> int:
    """By the state in the folder; 0 where there is none."""
    path = folder / "latent.safetensors"
    return int(load_state(path)[1]["step"]) if path.exists() else 0


def loss_of(
    networks: Networks,
    batch: Batch,
    config: LatentTraining,
    object_weight: float,
    empty: Tensor,
    generator: torch.Generator,
    team: Team = ALONE,
) -> Tensor:
    """Mean squared error of v, weighted by cell, over this process's share of the batch.

    Source: Salimans & Ho 2022 (arXiv:2202.00512), appendix D; evenly spread timesteps, Kingma et al. 2021
    (arXiv:2107.00630), appendix I.1.
    """
    size = len(batch.latents)
    n_steps = len(networks.schedule)
    spread = (torch.randperm(size, generator=generator) + torch.rand(size, generator=generator)) / size
    t = (spread * n_steps).long().clamp(max=n_steps - 1)
    noise = torch.randn(batch.latents.shape, generator=generator)
    dropped = torch.rand(size, generator=generator) < config.dropout
    ids = torch.where(dropped[:, None], empty[None], batch.ids)
    weight = 1 + (object_weight - 1) * batch.masks  # (B, 1, H, W)
    weight = weight / weight.mean()
    x = q_sample(networks.schedule, batch.latents, t, noise)
    v = target(networks.schedule, batch.latents, t, noise, "v")
    device, dtype = networks.device, networks.unet.dtype
    x, v, weight, t, ids = (team.share(tensor).to(device) for tensor in (x, v, weight, t, ids))
    context = networks.text.encode_ids(ids)
    # the CPU's fused kernel is slow backwards
    with sdpa_kernel(SDPBackend.MATH) if device.type == "cpu" else nullcontext():
        output = networks.unet(x.to(dtype).to(memory_format=torch.channels_last), t, context)
    return ((output.float() - v).square() * weight).mean()


@torch.no_grad()
def x0_errors(
    networks: Networks, batch: Batch, timesteps: tuple[int, ...] = (150, 400, 600, 750, 900)
) -> dict[int, float]:
    """Mean squared error of the predicted x0 per timestep; 1 is what a constant prediction gives."""
    found = {}
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(batch.latents.shape, generator=generator)
    context = networks.text.encode_ids(batch.ids)
    for timestep in timesteps:
        t = torch.full((len(batch.latents),), timestep)
        sigma = networks.schedule.sigma_at(timestep)
        x = q_sample(networks.schedule, batch.latents, t, noise)
        v = networks.unet(x.to(networks.unet.dtype), t, context)
        x0 = to_x0(x * (1 + sigma**2) ** 0.5, sigma, v.float(), "v")
        found[timestep] = float((x0 - batch.latents).square().mean())
    return found
