"""Files of every family as their owners write them, tiny and random, in a folder of their own each."""

from dataclasses import replace
from pathlib import Path

import torch

from ldm.checkpoints.compvis_export import write_compvis
from ldm.checkpoints.zoo import ROWS
from ldm.models.config import ScheduleConfig
from ldm.models.ddpm import DDPMUNet

from .checkpoints import test_pixel, test_study
from .checkpoints.twins import family_configs, training_state, twin, zoo_config


def write(family: str, folder: Path) -> list[Path]:
    """What somebody would drop in, the model first."""
    folder.mkdir(parents=True)
    with torch.no_grad():
        return WRITERS[family](folder)


def _trained(name):
    """A file of CompVis's training, with averaged weights."""

    def written(folder):
        path = folder / f"{name}.ckpt"
        torch.save({"epoch": 3, "state_dict": training_state(twin(family_configs()[name]))}, path)
        return [path]

    return written


def _one_file(name):
    """A file as it is published, with its YAML."""

    def written(folder):
        path = folder / f"{name}.safetensors"
        write_compvis(twin(family_configs()[name.replace("-", " ")]), path)
        return [path, path.with_suffix(".yaml")]

    return written


def _zoo(name):
    def written(folder):
        row = next(row for row in ROWS if name in row.names)
        start, end = row.betas
        config = replace(zoo_config(row), schedule=ScheduleConfig(linear_start=start, linear_end=end))
        path = folder / f"{name}.ckpt"
        torch.save({"state_dict": training_state(twin(config))}, path)
        return [path]

    return written


def _study(folder):
    unet = test_study.put(folder)
    return [unet, folder / test_study.STAGE_FILE]


def _labml(folder):
    torch.manual_seed(0)
    path = folder / "labml_ddpm.pth"
    torch.save(DDPMUNet(test_pixel.DDPM).state_dict(), path)
    return [path]


WRITERS = {
    "sd1": _trained("sd1"),
    "sd2": _one_file("sd2"),
    "sdxl": _one_file("sdxl"),
    "sd1-inpainting": _one_file("sd1-inpainting"),
    "cin256": _zoo("cin256"),
    "celeba256": _zoo("celeba256"),
    "bsr_sr": _zoo("bsr_sr"),
    "labml": _labml,
    "study": _study,
}
