"""`schedule`: the noise levels a run would visit, one line for each step."""

import argparse
import math
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from ..settings import Settings
from . import Command

if TYPE_CHECKING:
    from ..diffusion.schedule import NoiseSchedule
    from ..models.config import ModelConfig

HEADER = ("step", "sigma", "sigma_next", "timestep", "nearest", "log SNR")
ROW = "{:>4} {:>12} {:>12} {:>10} {:>8} {:>9}"


def add(command: Command) -> None:
    """Register it."""
    schedule = command("schedule", _schedule, "List the noise levels that a run visits.")
    schedule.add_argument(
        "--weights", type=Path, default=None, help="a checkpoint, of which only the schedule is read"
    )
    schedule.add_argument("--steps", type=int, default=None, help="the model's own number if not given")
    schedule.add_argument("--spacing", default=None, help=f"{Settings.spacing} if not given")
    schedule.add_argument("--rho", type=float, default=None, help="of karras and polyexponential")
    schedule.add_argument(
        "--sigmas", type=float, nargs="+", default=None, help="your own falling noise levels"
    )
    schedule.add_argument("--final-sigma", default=Settings.final_sigma, help="zero or first_timestep")


def _schedule(options: argparse.Namespace) -> None:
    from ..checkpoints import find_file, read
    from ..diffusion.spacing import sampling_sigmas

    config = read(find_file(options.weights)).config
    schedule = _schedule_of(config)
    spacing, steps = options.spacing, options.steps
    if options.sigmas is not None:
        spacing = spacing or "custom"
        steps = sum(sigma != 0 for sigma in options.sigmas) if steps is None else steps
    steps = config.recommended.steps if steps is None else steps
    sigmas = sampling_sigmas(
        schedule,
        steps,
        spacing or Settings.spacing,
        options.final_sigma,
        rho=options.rho,
        custom=options.sigmas,
    ).tolist()
    print(ROW.format(*HEADER))
    for number, (sigma, sigma_next) in enumerate(pairwise(sigmas), start=1):
        t = schedule.timestep(sigma)
        numbers = (f"{sigma:.6g}", f"{sigma_next:.6g}", f"{round(t, 3):g}", round(t))
        print(ROW.format(number, *numbers, f"{2 * math.log(1 / sigma):.4f}"))
    said = _compvis(steps, len(schedule))
    if said:
        print(said)


def _schedule_of(config: "ModelConfig") -> "NoiseSchedule":
    from ..diffusion.schedule import build_schedule

    return build_schedule(
        n_steps=config.schedule.n_steps,
        betas=config.schedule.betas,
        linear_start=config.schedule.linear_start,
        linear_end=config.schedule.linear_end,
        zero_terminal_snr=config.schedule.zero_terminal_snr,
    )


def _compvis(steps: int, train: int) -> str:
    """What CompVis's own program would make of this number of steps, where it is something else."""
    from ..diffusion.spacing_formulas import compvis_timesteps

    if steps > train:
        return ""
    timesteps = compvis_timesteps("uniform", steps, train)
    if timesteps[-1] >= train:
        return (
            f"CompVis's own list for {steps} steps would stop with an error: "
            f"it asks for timestep {timesteps[-1]} of 0 to {train - 1}."
        )
    if len(timesteps) != steps:
        return f"CompVis's own list for {steps} steps would run {len(timesteps)} of them."
    return ""
