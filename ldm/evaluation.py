"""How good the default model is: fixed prompts, judged by a classifier that has seen renders only.

The prompts name combinations of object, colour and background that training never saw together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from .data.captions import Labels
from .data.scenes import evaluation_prompts
from .generation import run
from .images import to_tensor
from .latent_diffusion import LatentDiffusion
from .metrics import psnr, ssim
from .settings import Settings
from .trace import Trace
from .training.autoencoder import HELD_OUT_SEED, pictures
from .training.judge import Judge, color_of

PROMPTS = 128
PROMPT_SEED = 41


@dataclass(frozen=True, eq=False)
class Judged:
    """One prompt, its picture, and what the judge sees in it."""

    prompt: str
    labels: Labels
    trace: Trace
    object: str
    color: str
    background: str

    @property
    def object_right(self) -> bool:
        """The judge names the object that was asked for."""
        return self.object == self.labels.objects[0]

    @property
    def color_right(self) -> bool:
        """The judge names the colour that was asked for, or the object's own where none was."""
        return self.color == color_of(self.labels.objects[0], self.labels.colors[0])

    @property
    def background_right(self) -> bool:
        """The judge names the background that was asked for."""
        return self.background == self.labels.background

    @property
    def tinted(self) -> bool:
        """A colour that is not the object's own was asked for."""
        return color_of(self.labels.objects[0], self.labels.colors[0]) != "natural"


def judged(
    model: LatentDiffusion,
    judge: Judge,
    settings: Settings,
    count: int = PROMPTS,
    held_out: bool | None = True,
) -> Iterator[Judged]:
    """Draw `count` fixed prompts, seeds 0, 1, 2 ..., and ask the judge.

    Args:
        settings: everything but prompt and seed.
        held_out: True asks only for combinations that training never saw.
    """
    prompts = evaluation_prompts(count, judge.objects, held_out=held_out, seed=PROMPT_SEED)
    for seed, (prompt, labels) in enumerate(prompts):
        trace = run(model, replace(settings, prompt=prompt, seed=seed))
        yield Judged(prompt, labels, trace, *judge.names(to_tensor(trace.images))[0])


def accuracies(results: Sequence[Judged]) -> dict[str, float]:
    """Shares of right answers: all objects, objects in their own colour, asked colours, backgrounds."""

    def share(answers: list[bool]) -> float:
        return sum(answers) / len(answers) if answers else float("nan")

    return {
        "object": share([r.object_right for r in results]),
        "object_natural": share([r.object_right for r in results if not r.tinted]),
        "asked_color": share([r.color_right for r in results if r.tinted]),
        "background": share([r.background_right for r in results]),
    }


@torch.no_grad()
def reconstruction(model: LatentDiffusion, objects: Sequence[str], count: int = 48) -> dict[str, float]:
    """PSNR in dB and SSIM of round trips of held-out renders, each the mean over the pictures."""
    images = pictures(HELD_OUT_SEED, 0, count, tuple(objects))
    found: dict[str, list[float]] = {"psnr": [], "ssim": []}
    for image in images.split(1):
        back = model.autoencoder_decode(model.autoencoder_encode(image, mean=True)).float().cpu().clamp(-1, 1)
        found["psnr"].append(psnr(back, image))
        found["ssim"].append(ssim(back, image))
    return {name: sum(values) / len(values) for name, values in found.items()}


def judge_path(folder: Path) -> Path:
    """Where the judge lies once it is trained."""
    return folder / "judge.safetensors"
