"""Samplers: walk down a list of noise levels, one Step at a time.  `base` says how.

To add one, write the generator function and add a line to SAMPLERS; the UI and the tests find it there.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from ...trace import Step
from ..noise import Noise
from .base import Denoise, Given, Sampler, SamplerOptions, ancestral_step
from .first_order import ddim, ddpm, ddpm_large, euler, euler_ancestral, lcm, tcd
from .langevin import langevin, langevin_levels
from .multistep import deis, dpmpp_1, dpmpp_2m, dpmpp_3m, ipndm, lms, plms
from .restart import restart, restart_levels, stretches
from .sde import dpmpp_2m_sde, dpmpp_2m_sde_heun, dpmpp_3m_sde, dpmpp_sde
from .single_step import dpm_2, dpm_2_ancestral, dpm_fast, dpmpp_2s, dpmpp_2s_ancestral, dpmpp_3s, heun
from .unipc import unipc

__all__ = [
    "CFG_PP",
    "DEFAULT_ETA",
    "SAMPLERS",
    "USES_ETA",
    "Denoise",
    "Given",
    "Sampler",
    "SamplerEntry",
    "SamplerOptions",
    "ancestral_step",
    "sampler_levels",
    "stretches",
]

Levels = Callable[[Callable[[int], Tensor], int, SamplerOptions], Tensor]


@dataclass(frozen=True)
class SamplerEntry:
    """A sampler and what a menu, a test or a reader wants to know of it.

    Attributes:
        sampler: the generator function.
        title: what other programs call it.
        order: of convergence of its steps without fresh noise, on the probability-flow ODE, with exact
            starting values where it remembers; on any levels, even ones do some more good.
        calls: of the network in a step that does not end at sigma 0; there it is always one.
        first_calls: the same of the first step.
        eta: its own share of fresh noise where that can be chosen; None where it cannot.
        fresh: whether it draws noise whatever is chosen.
        churns: whether it stirs noise in (s_churn).
        distilled: whether it is for models distilled to few steps.
        orders: what `SamplerOptions.order` may be.
        levels: how noise levels are laid out for a number of steps; None is one for each.
        note: a line for a menu.
    """

    sampler: Sampler
    title: str
    order: int
    note: str
    calls: int = 1
    first_calls: int | None = None
    eta: float | None = None
    fresh: bool = False
    churns: bool = False
    distilled: bool = False
    cfg_pp: bool = False
    orders: tuple[int, ...] = ()
    levels: Levels | None = None

    def run(
        self,
        denoise: Denoise,
        x: Tensor,
        sigmas: Tensor,
        options: SamplerOptions,
        noise: Noise,
        history: Sequence[Step] = (),
    ) -> Iterator[Step]:
        """The steps from number len(history) on; the arguments are the fields of `Given`."""
        return self.sampler(Given(denoise, x, sigmas, options, noise, history))


SAMPLERS: dict[str, SamplerEntry] = {
    "dpmpp_2m": SamplerEntry(
        dpmpp_2m, "DPM++ 2M", 2, "Remembers one answer; as good as any that was measured.", cfg_pp=True
    ),
    "ddim": SamplerEntry(ddim, "DDIM", 1, "The classic; eta adds fresh noise.", eta=0.0, cfg_pp=True),
    "ddpm": SamplerEntry(
        ddpm, "DDPM", 1, "Ancestral sampling, the smaller variance.", fresh=True, cfg_pp=True
    ),
    "ddpm_large": SamplerEntry(
        ddpm_large, "DDPM, large variance", 1, "Ancestral sampling, variance beta; for many steps.",
        fresh=True, cfg_pp=True,
    ),
    "plms": SamplerEntry(
        plms, "PLMS", 2, "Latent diffusion's fast sampler; for evenly spaced timesteps.", first_calls=2
    ),
    "euler": SamplerEntry(euler, "Euler", 1, "The plainest; can stir noise in.", churns=True, cfg_pp=True),
    "euler_ancestral": SamplerEntry(
        euler_ancestral, "Euler a", 1, "Euler with fresh noise in every step.", eta=1.0, cfg_pp=True
    ),
    "heun": SamplerEntry(heun, "Heun", 2, "The average of the slopes at both ends.", calls=2, churns=True),
    "dpm_2": SamplerEntry(dpm_2, "DPM2", 2, "The slope in the middle.", calls=2, churns=True),
    "dpm_2_ancestral": SamplerEntry(
        dpm_2_ancestral, "DPM2 a", 2, "DPM2 with fresh noise.", calls=2, eta=1.0
    ),
    "lms": SamplerEntry(lms, "LMS", 4, "Remembers four slopes.", orders=(1, 2, 3, 4)),
    "dpmpp_2s_ancestral": SamplerEntry(
        dpmpp_2s_ancestral, "DPM++ 2S a", 2, "The answer in the middle, and fresh noise.", calls=2, eta=1.0
    ),
    "dpmpp_sde": SamplerEntry(
        dpmpp_sde, "DPM++ SDE", 2, "The answer in the middle, and Brownian noise.", calls=2, eta=1.0
    ),
    "dpmpp_2m_sde": SamplerEntry(
        dpmpp_2m_sde, "DPM++ 2M SDE", 2, "DPM++ 2M with Brownian noise.", eta=1.0
    ),
    "dpmpp_2m_sde_heun": SamplerEntry(
        dpmpp_2m_sde_heun, "DPM++ 2M SDE Heun", 2, "The same by Heun's rule.", eta=1.0
    ),
    "dpmpp_3m_sde": SamplerEntry(
        dpmpp_3m_sde, "DPM++ 3M SDE", 2, "Remembers two answers, Brownian noise; for many steps.", eta=1.0
    ),
    "dpm_fast": SamplerEntry(
        dpm_fast, "DPM fast", 3, "Third order, but for the last two steps.", calls=3
    ),
    "dpmpp_1": SamplerEntry(dpmpp_1, "DPM-Solver++(1)", 1, "First order: DDIM without noise."),
    "dpmpp_3m": SamplerEntry(dpmpp_3m, "DPM-Solver++(3M)", 3, "Remembers two answers, third order."),
    "dpmpp_2s": SamplerEntry(dpmpp_2s, "DPM-Solver++(2S)", 2, "The answer in the middle.", calls=2),
    "dpmpp_3s": SamplerEntry(dpmpp_3s, "DPM-Solver++(3S)", 3, "Answers at one and two thirds.", calls=3),
    "unipc": SamplerEntry(
        unipc, "UniPC", 3, "Predicts, and corrects with the next answer.", orders=(1, 2, 3)
    ),
    "deis": SamplerEntry(deis, "DEIS", 3, "Remembers three slopes, in log sigma.", orders=(1, 2, 3)),
    "ipndm": SamplerEntry(
        ipndm, "IPNDM", 2, "Remembers four slopes, as if steps were even.", orders=(1, 2, 3, 4)
    ),
    "restart": SamplerEntry(
        restart, "Restart", 2, "Heun; goes up again by adding noise, and comes down twice.",
        calls=2, fresh=True, levels=restart_levels,
    ),
    "lcm": SamplerEntry(
        lcm, "LCM", 1, "For models distilled to a few steps.", fresh=True, distilled=True, cfg_pp=True
    ),
    "tcd": SamplerEntry(
        tcd, "TCD", 1, "For distilled models; eta is its gamma.", eta=0.3, distilled=True, cfg_pp=True
    ),
    "langevin": SamplerEntry(
        langevin, "Annealed Langevin", 1, "How NCSN drew: small noisy steps at each level; needs hundreds.",
        fresh=True, levels=langevin_levels,
    ),
}  # fmt: skip

USES_ETA = frozenset(name for name, entry in SAMPLERS.items() if entry.eta is not None)
CFG_PP = frozenset(name for name, entry in SAMPLERS.items() if entry.cfg_pp)
DEFAULT_ETA: dict[str, float] = {
    name: entry.eta if entry.eta is not None else float(entry.fresh) for name, entry in SAMPLERS.items()
}


def sampler_levels(
    name: str, sigmas_of: Callable[[int], Tensor], steps: int, options: SamplerOptions
) -> Tensor:
    """The noise levels a sampler needs for exactly `steps` steps.

    Args:
        name: a key of SAMPLERS.
        sigmas_of: (n + 1,) falling noise levels for n steps.
    """
    levels = SAMPLERS[name].levels
    return sigmas_of(steps) if levels is None else levels(sigmas_of, steps, options)
