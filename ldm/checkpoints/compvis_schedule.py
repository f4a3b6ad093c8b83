"""The noise schedule that a table inside a CompVis file is of: its betas, or what is left of a picture."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ..diffusion.schedule import BETAS, build_schedule
from ..errors import CheckpointError
from ..models.config import ScheduleConfig

# the tables that are read, the telling one first, and how far a half-precision copy of them may be off
TABLES: dict[str, float] = {"betas": 2e-3, "beta": 2e-3, "alphas_cumprod": 4e-3}


EXACT = 3e-4  # of a copy of `alphas_cumprod` in full precision


def has_schedule(names: Mapping[str, object]) -> bool:
    """Whether a file has a table that tells its schedule."""
    return any(name in names for name in TABLES)


def schedule_of(tensors: Mapping[str, Tensor], usual: ScheduleConfig, name: str) -> ScheduleConfig:
    """The schedule that the file's own table is of; `usual` if it has none.

    Args:
        name: of the file, for messages.

    Raises:
        CheckpointError: it is of none that is known.
    """
    kind = next((kind for kind in TABLES if kind in tensors), None)
    if kind is None or tensors[kind].ndim != 1 or len(tensors[kind]) < 2:
        return usual
    table = tensors[kind].double()
    betas = _betas(table) if kind == "alphas_cumprod" else table
    exact = kind == "alphas_cumprod" and tensors[kind].element_size() >= 4
    for config in _candidates(betas, replace(usual, n_steps=len(table)), (3, 6) if exact else (6, 3)):
        schedule = build_schedule(
            n_steps=config.n_steps,
            betas=config.betas,
            linear_start=config.linear_start,
            linear_end=config.linear_end,
            zero_terminal_snr=config.zero_terminal_snr,
        )
        expected = schedule.alphas_cumprod if kind == "alphas_cumprod" else schedule.betas
        if torch.allclose(expected, table, rtol=EXACT if exact else TABLES[kind], atol=1e-6):
            return config
    raise CheckpointError(
        f"{name} was trained on a noise schedule that is none of {', '.join(BETAS)} "
        f"(betas from {betas[0]:.6g} to {betas[-1]:.6g})."
    )


def _betas(alphas_cumprod: Tensor) -> Tensor:
    """(T,) the betas of a table of what is left; each is 1 minus a quotient of neighbours."""
    before = torch.cat([torch.ones(1, dtype=alphas_cumprod.dtype), alphas_cumprod[:-1]])
    return 1 - alphas_cumprod / before


def _candidates(
    betas: Tensor, usual: ScheduleConfig, precisions: tuple[int, ...]
) -> Iterator[ScheduleConfig]:
    """What it may be: the usual one, then all kinds between its own ends, rounded as configs are written.

    Args:
        precisions: how many digits of the ends to try, in that order.
    """
    yield replace(usual, zero_terminal_snr=False)
    yield replace(usual, zero_terminal_snr=True)
    for digits in precisions:
        start, end = (float(f"{beta:.{digits}g}") for beta in (betas[0], betas[-1]))
        for kind in BETAS:
            try:
                yield replace(usual, linear_start=start, linear_end=end, betas=kind)
            except (
                CheckpointError
            ):  # ends that this kind cannot have, as of a last timestep without a picture
                continue
