"""How good the default model is: fixed prompts, judged by a classifier that has seen renders only.

The prompts name combinations of object, colour and background that training never saw together.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

import torch
from PIL import Image
from torch import Tensor

from .data.captions import Labels
from .data.scenes import evaluation_prompts
from .diffusion.samplers import SAMPLERS
from .generation import check, denoiser_of, levels_of, noise_stream, options_of
from .images import to_images, to_tensor
from .latent_diffusion import LatentDiffusion
from .metrics import psnr, ssim
from .settings import Settings
from .training.autoencoder import HELD_OUT_SEED, pictures
from .training.judge import Judge, Seen, color_of

PROMPTS = 160
PROMPT_SEED = 41
BATCH = 16
LEVELS = ("easy", "to three", "to five", "pairs")  # of `data.scenes`, in the order of a report
STEPS = (4, 8, 12, 20, 30)
GUIDANCE = (1.0, 2.0, 3.0, 4.0, 5.0, 8.0)
OTHER_SAMPLERS = ("ddim", "euler_ancestral")


@dataclass(frozen=True, eq=False)
class Judged:
    """One prompt, its picture, and what the judge sees in it.

    Attributes:
        seen: one answer for each object that was asked for.
    """

    prompt: str
    labels: Labels
    image: Image.Image
    seen: tuple[Seen, ...]

    @property
    def object_right(self) -> bool:
        """Each object is what was asked for, of a pair in its own place."""
        return tuple(seen.object for seen in self.seen) == self.labels.objects

    @property
    def color_right(self) -> bool:
        """Each colour is what was asked for, or the object's own where none was."""
        return all(
            seen.color == color_of(name, color)
            for seen, name, color in zip(self.seen, self.labels.objects, self.labels.colors, strict=True)
        )

    @property
    def background_right(self) -> bool:
        """The background is what was asked for."""
        return self.seen[0].background == self.labels.background

    @property
    def count_right(self) -> bool:
        """There are as many as were asked for."""
        return self.seen[0].count == self.labels.count

    @property
    def tinted(self) -> bool:
        """A colour that is not the object's own was asked for."""
        asked = zip(self.labels.objects, self.labels.colors, strict=True)
        return any(color_of(name, color) != "natural" for name, color in asked)


@torch.no_grad()
def draw(model: LatentDiffusion, prompts: Sequence[str], settings: Settings) -> Tensor:
    """Pictures of several prompts in one batch, picture i from the seed settings.seed + i.

    Args:
        settings: everything but prompt and batch size.

    Returns:
        (B, 3, height, width) in [-1, 1], float32 on the CPU.

    Raises:
        SettingsError: the model cannot do what is asked.
    """
    settings = replace(settings, batch_size=1)
    check(model, settings)
    denoise = denoiser_of(model, settings, prompts)
    sigmas = levels_of(model, settings)
    noise = noise_stream(model, replace(settings, batch_size=len(prompts)))
    x = (noise(0) * (1 + float(sigmas[0]) ** 2) ** 0.5).to(model.device)
    options = options_of(settings)
    for step in SAMPLERS[settings.sampler].run(denoise, x, sigmas, options, noise, ()):
        x = step.x_next
    return model.autoencoder_decode(x).float().cpu().clamp(-1, 1)


def known_objects(model: LatentDiffusion, judge: Judge) -> tuple[str, ...]:
    """The judge's objects that the model learned; all of them where it does not say what it learned."""
    words = {word for words in model.config.vocabulary.values() for word in words}
    return tuple(name for name in judge.objects if name in words) or judge.objects


def judged(
    model: LatentDiffusion,
    judge: Judge,
    settings: Settings,
    count: int = PROMPTS,
    held_out: bool | None = True,
    level: str = "easy",
    objects: Sequence[str] = (),
) -> Iterator[Judged]:
    """Draw `count` fixed prompts, seeds 0, 1, 2 ..., and ask the judge.

    Args:
        settings: everything but prompt and seed.
        held_out: True asks only for combinations that training never saw.
        level: a key of `data.scenes.LEVELS`.
        objects: what is asked for; all that model and judge know if empty.
    """
    asked = objects or known_objects(model, judge)
    prompts = evaluation_prompts(count, asked, held_out=held_out, seed=PROMPT_SEED, level=level)
    for first in range(0, count, BATCH):
        some = prompts[first : first + BATCH]
        images = draw(model, [prompt for prompt, _ in some], replace(settings, seed=first))
        for (prompt, labels), image in zip(some, images.split(1), strict=True):
            [picture] = to_images(image)
            yield Judged(prompt, labels, picture, judge.look(to_tensor([picture]), labels))


def accuracies(results: Sequence[Judged]) -> dict[str, float]:
    """Shares of right answers: all objects, objects in their own colour, asked colours, backgrounds, counts.

    Background and count are of the whole picture, so they are not given for pairs.
    """

    def share(answers: list[bool]) -> float:
        return sum(answers) / len(answers) if answers else float("nan")

    whole = [r for r in results if r.labels.relation is None]
    return {
        "object": share([r.object_right for r in results]),
        "object_natural": share([r.object_right for r in results if not r.tinted]),
        "asked_color": share([r.color_right for r in results if r.tinted]),
        "background": share([r.background_right for r in whole]),
        "count": share([r.count_right for r in whole]),
    }


@dataclass(frozen=True)
class Row:
    """One line of the table: how a model is drawn from, and how often it is right.

    Attributes:
        calls: network evaluations of one picture, with and without the prompt counted as one.
        object, natural, color, background: of singles: all, in their own colour, asked colours.
        three, five: counts of two and three, of four and five.
        pairs: both objects right, each in its place.
    """

    calls: int
    cfg_scale: float
    sampler: str
    object: float
    natural: float
    color: float
    background: float
    three: float
    five: float
    pairs: float

    def markdown(self) -> str:
        """As a line of a Markdown table."""
        values = asdict(self)
        return "| " + " | ".join(f"{v:.3f}" if k in SHARES else f"{v}" for k, v in values.items()) + " |"


SHARES = ("object", "natural", "color", "background", "three", "five", "pairs")
HEADER = (
    "| calls | guidance | sampler | object | natural | asked colour | background | two, three | four, five "
    "| pairs |\n|" + "---|" * 10
)


def row(
    model: LatentDiffusion,
    judge: Judge,
    settings: Settings,
    count: int = PROMPTS,
    held_out: bool | None = True,
) -> Row:
    """Judge `count` prompts of singles, and half as many of each other level."""
    found = {
        level: accuracies(
            list(judged(model, judge, settings, count if level == "easy" else count // 2, held_out, level))
        )
        for level in LEVELS
    }
    single = found["easy"]
    return Row(
        calls=settings.steps,
        cfg_scale=settings.cfg_scale,
        sampler=settings.sampler,
        object=single["object"],
        natural=single["object_natural"],
        color=single["asked_color"],
        background=single["background"],
        three=found["to three"]["count"],
        five=found["to five"]["count"],
        pairs=found["pairs"]["object"],
    )


def table(model: LatentDiffusion, judge: Judge, settings: Settings, count: int = PROMPTS) -> Iterator[Row]:
    """Rows for each of STEPS, then each of GUIDANCE, then OTHER_SAMPLERS, all else as in the settings."""
    for steps in STEPS:
        yield row(model, judge, replace(settings, steps=steps), count)
    for cfg_scale in GUIDANCE:
        if cfg_scale != settings.cfg_scale:
            yield row(model, judge, replace(settings, cfg_scale=cfg_scale), count)
    for sampler in OTHER_SAMPLERS:
        yield row(model, judge, replace(settings, sampler=sampler), count)


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
