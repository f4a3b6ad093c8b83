"""The judge of the default model: a small classifier that has seen renders and nothing else.

It names the object, its colour and the background of a picture.  It never sees a generated picture, so a
model cannot please it but by drawing what renders look like.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.backgrounds import BACKGROUNDS
from ..data.scenes import render
from ..data.vocabulary import COLORS, THINGS
from .optim import Optimiser
from .state import TrainStep, generator_for, load_state, save_state

SIZE = 64  # pixels the judge looks at
SEED, HELD_OUT_SEED = 31, 32
NATURAL = "natural"


@dataclass(frozen=True)
class JudgeTraining:
    """How the judge is trained.

    Attributes:
        pictures: rendered once and seen again in every epoch, each time blurred and shifted anew.
    """

    objects: tuple[str, ...]
    pictures: int = 12000
    steps: int = 2200
    batch: int = 64
    seed: int = 0


class Judge(nn.Module):
    """Pictures to scores of objects, colours and backgrounds."""

    def __init__(self, objects: Sequence[str], width: int = 32) -> None:
        super().__init__()
        self.objects = tuple(objects)
        self.colors = (NATURAL, *COLORS)
        self.backgrounds = tuple(BACKGROUNDS)
        widths = (3, width, 2 * width, 4 * width, 6 * width)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(8, after), nn.SiLU()]
            layers += [nn.Conv2d(after, after, 3, padding=1), nn.GroupNorm(8, after), nn.SiLU()]
        self.body = nn.Sequential(*layers)
        self.neck = nn.Sequential(nn.Linear(widths[-1] * 16, 256), nn.SiLU())
        self.heads = nn.ModuleList(
            nn.Linear(256, len(names)) for names in (self.objects, self.colors, self.backgrounds)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, h, w) in [-1, 1] -> scores (B, objects), (B, colours), (B, backgrounds)."""
        x = shrink(images)
        h = self.neck(self.body(x.to(next(self.parameters()))).flatten(1))
        return [head(h).float() for head in self.heads]

    @torch.no_grad()
    def names(self, images: Tensor) -> list[tuple[str, str, str]]:
        """(object, colour, background) of each picture."""
        o, c, b = (scores.argmax(1).tolist() for scores in self(images))
        return [
            (self.objects[i], self.colors[j], self.backgrounds[k]) for i, j, k in zip(o, c, b, strict=True)
        ]


def shrink(images: Tensor) -> Tensor:
    """(B, 3, SIZE, SIZE) by averaging."""
    return images if images.shape[-1] == SIZE else F.adaptive_avg_pool2d(images.float(), SIZE)


def color_of(name: str, color: str | None) -> str:
    """The colour a judge should name: an object's own colour is no tint, asked for or not."""
    return NATURAL if color is None or color == THINGS[name].color else color


def rendered(seed: int, count: int, objects: Sequence[str], held_out: bool | None) -> tuple[Tensor, Tensor]:
    """(count, 3, SIZE, SIZE) uint8 renders of level "easy" and (count, 3) their labels."""
    colors, backgrounds = (NATURAL, *COLORS), tuple(BACKGROUNDS)
    pictures, labels = [], []
    for i in range(count):
        scene = render(seed, i, "easy", objects, held_out=held_out)
        pixels = torch.from_numpy(scene.pixels.copy()).permute(2, 0, 1)[None].float()
        pictures.append(F.adaptive_avg_pool2d(pixels, SIZE)[0].round().byte())
        name, color = scene.labels.objects[0], scene.labels.colors[0]
        labels.append(
            (
                list(objects).index(name),
                colors.index(color_of(name, color)),
                backgrounds.index(scene.labels.background),
            )
        )
    return torch.stack(pictures), torch.tensor(labels)


def _worn(images: Tensor, generator: torch.Generator) -> Tensor:
    """Blurred, noised and shifted a little, so that the judge looks at shapes and not at single pixels."""
    x = images.float() / 127.5 - 1
    blurred = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    share = torch.rand((len(x), 1, 1, 1), generator=generator)
    x = x + share * (blurred - x)
    x = x + 0.15 * torch.rand((len(x), 1, 1, 1), generator=generator) * torch.randn(
        x.shape, generator=generator
    )
    dy, dx = torch.randint(-3, 4, (2,), generator=generator).tolist()
    return torch.roll(F.pad(x, (3, 3, 3, 3), mode="replicate"), (dy, dx), (2, 3))[..., 3:-3, 3:-3]


def train_judge(config: JudgeTraining, path: Path) -> Iterator[TrainStep]:
    """Train the judge and write it to `path`; its accuracy on held-out renders is its own to measure."""
    images, labels = rendered(SEED, config.pictures, config.objects, held_out=None)
    torch.manual_seed(config.seed)
    judge = Judge(config.objects)
    optimiser = Optimiser(
        judge.named_parameters(),
        muon_lr=0.02,
        adamw_lr=1e-3,
        smallest=16,
        adamw_only=("heads",),
        ema_decay=0.998,
    )
    for step in range(1, config.steps + 1):
        generator = generator_for(config.seed, step)
        rows = torch.randint(len(images), (config.batch,), generator=generator)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            scores = judge(_worn(images[rows], generator))
        loss = torch.stack([F.cross_entropy(s.float(), labels[rows, i]) for i, s in enumerate(scores)]).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = optimiser.step(min(1.0, step / 50, max(0.03, (config.steps - step) / (0.5 * config.steps))))
        yield TrainStep("judge", step, step * config.batch, float(loss.detach()), norm, 0.0)
    save_state(path, optimiser.ema, {"objects": list(config.objects)})


def load_judge(path: Path) -> Judge:
    """A judge written by `train_judge`."""
    tensors, info = load_state(path)
    judge = Judge(info["objects"])
    judge.load_state_dict(tensors)
    return judge.eval().requires_grad_(False)


def accuracy_on_renders(judge: Judge, count: int = 512) -> dict[str, float]:
    """The judge's own accuracy on renders it has not seen, of combinations it may have."""
    images, labels = rendered(HELD_OUT_SEED, count, judge.objects, held_out=None)
    guessed = [scores.argmax(1) for scores in judge(images.float() / 127.5 - 1)]
    return {
        kind: float((guess == labels[:, i]).float().mean())
        for i, (kind, guess) in enumerate(zip(("object", "color", "background"), guessed, strict=True))
    }
