"""The judge of the default model: a small classifier that has seen renders and nothing else.

It names the object, its colour, the background and how many there are; of a pair it is shown the place where
each object was asked for, so a right answer means the right relation too.  It never sees a generated picture,
so a model cannot please it but by drawing what renders look like.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..data.backgrounds import BACKGROUNDS
from ..data.backgrounds import SIZE as RENDERED
from ..data.layout import pair_box
from ..data.scenes import Labels, render
from ..data.vocabulary import COLORS, THINGS
from .optim import Optimiser
from .state import TrainStep, generator_for, load_state, save_state

SIZE = 64  # pixels the judge looks at
SEED, HELD_OUT_SEED = 31, 32
NATURAL = "natural"
JUDGE = Path(__file__).parent / "judge.safetensors"  # the one every published figure is by
MOST = 5  # of a kind
LEVEL_CYCLE = ("easy", "pairs", "to three", "easy", "pairs", "to five", "easy", "pairs", "free", "pairs")


@dataclass(frozen=True)
class JudgeTraining:
    """How the judge is trained.

    Attributes:
        pictures: rendered once and seen again in every epoch, each time blurred and shifted anew.
    """

    objects: tuple[str, ...]
    pictures: int = 24000
    steps: int = 3600
    batch: int = 64
    seed: int = 0


@dataclass(frozen=True)
class Seen:
    """What the judge sees in a picture, or in one object's part of it.

    Attributes:
        count: how many of the object.
    """

    object: str
    color: str
    background: str
    count: int


class Judge(nn.Module):
    """Pictures to scores of objects, colours, backgrounds and counts."""

    def __init__(self, objects: Sequence[str], width: int = 24) -> None:
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
            nn.Linear(256, n) for n in (len(self.objects), len(self.colors), len(self.backgrounds), MOST)
        )

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, h, w) in [-1, 1] -> scores (B, objects), (B, colours), (B, backgrounds), (B, counts)."""
        x = shrink(images)
        h = self.neck(self.body(x.to(next(self.parameters()))).flatten(1))
        return [head(h).float() for head in self.heads]

    @torch.no_grad()
    def names(self, images: Tensor) -> list[Seen]:
        """What it sees in each picture."""
        o, c, b, n = (scores.argmax(1).tolist() for scores in self(images))
        return [
            Seen(self.objects[i], self.colors[j], self.backgrounds[k], count + 1)
            for i, j, k, count in zip(o, c, b, n, strict=True)
        ]

    def look(self, image: Tensor, labels: Labels) -> tuple[Seen, ...]:
        """One `Seen` for each object that was asked for; of a pair each is looked for in its own place.

        Args:
            image: (1, 3, S, S) in [-1, 1].
        """
        return tuple(self.names(view)[0] for view in views_of(image, labels))


def views_of(image: Tensor, labels: Labels) -> list[Tensor]:
    """The whole picture, or of a pair the square around either object; (1, 3, h, w) each."""
    if labels.relation is None:
        return [image]
    scale = image.shape[-1] / RENDERED
    boxes = [[round(edge * scale) for edge in pair_box(labels.relation, which)] for which in (0, 1)]
    return [image[..., top:bottom, left:right] for left, top, right, bottom in boxes]


def shrink(images: Tensor) -> Tensor:
    """(B, 3, SIZE, SIZE) by averaging."""
    return images if images.shape[-1] == SIZE else F.adaptive_avg_pool2d(images.float(), SIZE)


def color_of(name: str, color: str | None) -> str:
    """The colour a judge should name: an object's own colour is no tint, asked for or not."""
    return NATURAL if color is None or color == THINGS[name].color else color


def rendered(
    seed: int, count: int, objects: Sequence[str], held_out: bool | None, levels: Sequence[str] = LEVEL_CYCLE
) -> tuple[Tensor, Tensor]:
    """(count, 3, SIZE, SIZE) uint8 renders, levels taking turns, and (count, 4) their labels.

    A pair is shown as the squares around either object, by turns.
    """
    colors, backgrounds = (NATURAL, *COLORS), tuple(BACKGROUNDS)
    pictures = torch.empty((count, 3, SIZE, SIZE), dtype=torch.uint8)
    labels = torch.empty((count, 4), dtype=torch.int64)
    for i in range(count):
        scene = render(seed, i, levels[i % len(levels)], objects, held_out=held_out)
        which = i % len(scene.labels.objects)
        pixels = torch.from_numpy(scene.pixels.copy()).permute(2, 0, 1)[None].float()
        view = views_of(pixels, scene.labels)[which]
        pictures[i] = F.adaptive_avg_pool2d(view, SIZE)[0].round().byte()
        name, color = scene.labels.objects[which], scene.labels.colors[which]
        behind = backgrounds.index(scene.labels.background)
        hue = colors.index(color_of(name, color))
        labels[i] = torch.tensor([list(objects).index(name), hue, behind, scene.labels.count - 1])
    return pictures, labels


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
    weights = {name: value.bfloat16() for name, value in optimiser.ema.items()}
    save_state(path, weights, {"objects": list(config.objects), "training": asdict(config)})


def load_judge(path: Path) -> Judge:
    """A judge written by `train_judge`."""
    tensors, info = load_state(path)
    judge = Judge(info["objects"])
    judge.load_state_dict(tensors)
    return judge.eval().requires_grad_(False)


def accuracy_on_renders(judge: Judge, count: int = 512) -> dict[str, float]:
    """The judge's own accuracy on renders it has not seen, of combinations it may have.

    Object, colour and background of singles; the objects of pairs; counts from two to five.
    """
    found: dict[str, float] = {}
    for levels, heads in (
        (("easy",), {"object": 0, "color": 1, "background": 2}),
        (("pairs",), {"object of a pair": 0}),
        (("to three", "to five"), {"count": 3}),
    ):
        images, labels = rendered(HELD_OUT_SEED, count, judge.objects, None, levels)
        guessed = [scores.argmax(1) for scores in judge(images.float() / 127.5 - 1)]
        for kind, head in heads.items():
            found[kind] = float((guessed[head] == labels[:, head]).float().mean())
    return found
