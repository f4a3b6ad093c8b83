"""The pointing game: does a noun's attention fall on its object?

    python benchmarks/pointing.py             # the figure, 20 seconds on one core
    python benchmarks/pointing.py --choose    # what other definitions of a word's map would give, and layers

Renders of two objects with a combination that training never saw are encoded, noised to several levels and
shown to the network once, with their caption.  A noun's map is the mean of its tokens' attention, over heads
and layers as they are recorded, enlarged to the picture.  A hit: its brightest pixel lies on the noun's
object.  Energy is the map's mass on the object, divided by what an even map has there.

The definition was chosen on the scenes of `--choose`; the figure is of other scenes.  Needs the emoji font.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

import ldm
from ldm.data.captions import RELATIONS, Labels
from ldm.data.scenes import DEFAULT_OBJECTS, render
from ldm.data.vocabulary import COLOR_WORDS, THINGS
from ldm.models.tokenizer import Tokenizer

LEVELS = (0.3, 0.6, 1.2, 2.5, 5.0)
SCENES = 200
CHOOSING, REPORTED = 101, 102  # seeds of the scenes


@dataclass(frozen=True)
class Words:
    """Where the words of a caption about two objects are among its tokens.

    Attributes:
        nouns: tokens of each object's name.
        colors: tokens of the colour before each name; empty where none is said.
        end: position of the end mark, which is also how many tokens the caption has with its start.
    """

    nouns: tuple[tuple[int, ...], tuple[int, ...]]
    colors: tuple[tuple[int, ...], tuple[int, ...]]
    end: int


@dataclass(frozen=True, eq=False)
class Question:
    """What the network is asked about one scene.

    Attributes:
        x: (levels, C, H, W) noisy latents of unit variance.
        t: (levels,) their timesteps.
        context: (levels, T, D) the caption.
        masks: (2, 256, 256) bool, where each object shows.
    """

    x: Tensor
    t: Tensor
    context: Tensor
    words: Words
    masks: Tensor


@dataclass(frozen=True, eq=False)
class Seen:
    """What the network looked at in one scene.

    Attributes:
        maps: (levels, T, h, w) attention, or (layers * levels, T, h, w).
        masks: (2, 256, 256) bool, where each object shows.
    """

    maps: Tensor
    words: Words
    masks: Tensor


@dataclass(frozen=True)
class Score:
    """Means over both nouns of all scenes, at one noise level.

    Attributes:
        hit: share of maps that are brightest on their own object.
        other: share that are brightest on the other one.
        energy: mass on the object, 1 is an even map's.
        chance: share of the picture that an object covers: the hits of a random pixel.
    """

    hit: float
    other: float
    energy: float
    chance: float


Definition = Callable[[Tensor, Words, int], Tensor]


def noun(maps: Tensor, words: Words, which: int) -> Tensor:
    """(levels, h, w): the mean over the tokens of a noun, as `ldm.views.attention.word_map` shows it."""
    return maps[:, list(words.nouns[which])].mean(1)


def _with_color(maps: Tensor, words: Words, which: int) -> Tensor:
    return maps[:, [*words.colors[which], *words.nouns[which]]].mean(1)


def _relative(maps: Tensor, words: Words, which: int) -> Tensor:
    return noun(maps, words, which) / maps[:, 1 : words.end].mean(1)


def _over_levels(maps: Tensor, words: Words, which: int) -> Tensor:
    return noun(maps, words, which).mean(0, keepdim=True)


DEFINITIONS: dict[str, Definition] = {
    "the noun": noun,
    "the noun's last piece": lambda maps, words, which: maps[:, words.nouns[which][-1]],
    "its colour and the noun": _with_color,
    "the noun, divided by the mean of all words": _relative,
    "the token after the noun": lambda maps, words, which: maps[:, words.nouns[which][-1] + 1],
    "the end mark": lambda maps, words, which: maps[:, words.end],
    "the noun, mean over levels": _over_levels,
}


def words_of(tokenizer: Tokenizer, labels: Labels, caption: str) -> Words:
    """Find the nouns of a caption that `ldm.data.captions` wrote for a pair.

    By its grammar and not by their letters, so that an orange car is no orange.

    Raises:
        ValueError: the caption does not name the pair.
    """
    relation = _any_of(RELATIONS[labels.relation or ""])
    pattern = rf"\b{_noun_pattern(labels.objects[0], 0)} {relation} {_noun_pattern(labels.objects[1], 1)}\b"
    found = re.search(pattern, caption.lower())
    if found is None:
        raise ValueError(f"No {' and '.join(labels.objects)} in the caption {caption!r}.")

    def tokens(group: str) -> tuple[int, ...]:
        first, last = found.span(group)
        # every word is split into pieces by itself, so a beginning of the caption has as many as it has there
        return tuple(
            range(*(len(tokenizer.unpadded(caption[:at])) - 1 for at in (max(first, 0), max(last, 0))))
        )

    end = len(tokenizer.unpadded(caption)) - 1
    return Words((tokens("noun0"), tokens("noun1")), (tokens("color0"), tokens("color1")), end)


def _noun_pattern(name: str, which: int) -> str:
    colors = _any_of(word for words in COLOR_WORDS.values() for word in words)
    names = _any_of(other.removeprefix("an ").removeprefix("a ") for other in THINGS[name].names)
    return rf"(?:an? )?(?:(?P<color{which}>{colors}) )?(?P<noun{which}>{names})"


def _any_of(words: Iterable[str]) -> str:
    return f"(?:{'|'.join(sorted(map(re.escape, words), key=len, reverse=True))})"


@torch.no_grad()
def questions(
    model: ldm.LatentDiffusion, seed: int, count: int, levels: Sequence[float] = LEVELS
) -> Iterator[Question]:
    """`count` held-out pairs under noise.

    Args:
        seed: of the scenes and of their noise.
    """
    sigmas = torch.tensor(levels)[:, None, None, None]
    t = torch.tensor([model.schedule.timestep(sigma) for sigma in levels])
    for index in range(count):
        scene = render(seed, index, "pairs", DEFAULT_OBJECTS, held_out=True)
        pixels = torch.from_numpy(scene.pixels).permute(2, 0, 1)[None] / 127.5 - 1
        x0 = model.autoencoder_encode(pixels.to(model.dtype), mean=True).float().cpu()
        generator = torch.Generator().manual_seed(seed * 100_000 + index)
        noise = torch.randn(len(levels), *x0.shape[1:], generator=generator)
        context = model.get_text_conditioning([scene.caption]).expand(len(levels), -1, -1)
        words = words_of(model.cond_stage_model.tokenizer, scene.labels, scene.caption)
        x = (x0 + sigmas * noise) / (1 + sigmas**2) ** 0.5
        yield Question(x, t, context, words, torch.from_numpy(scene.object_masks))


@torch.no_grad()
def seen(
    model: ldm.LatentDiffusion, seed: int, count: int, levels: Sequence[float] = LEVELS, layers: bool = False
) -> Iterator[Seen]:
    """Show `count` held-out pairs to the network.

    Args:
        layers: keep each layer's map (in the order of the network, the levels of one after those of another)
            instead of what is recorded, the mean over layers.
    """
    for asked in questions(model, seed, count, levels):
        if layers:
            heads = model.model.diffusion_model.heads(
                asked.x.to(model.dtype), asked.t, asked.context.to(model.dtype)
            )
            found = [maps.mean(1) for _, maps in heads]
            largest = max(maps.shape[-2:] for maps in found)
            maps = torch.cat([m for m in found if m.shape[-2:] == largest])
        else:
            maps = model.predict(asked.x, asked.t, asked.context, record=True)[1][0]
        yield Seen(maps.float().cpu(), asked.words, asked.masks)


def scores(shown: Iterable[Seen], definition: Definition = noun) -> list[Score]:
    """Play the game with every noun; one score for each level of the maps."""
    rows = [_played(one, definition(one.maps, one.words, k), k) for one in shown for k in (0, 1)]
    return [Score(*row.tolist()) for row in torch.stack(rows).mean(0).T]


def _played(one: Seen, maps: Tensor, which: int) -> Tensor:
    """(4, levels): hit, on the other object, energy and chance of one noun's (levels, h, w) maps."""
    own, other = one.masks[which], one.masks[1 - which]
    wide = F.interpolate(maps[:, None], size=own.shape, mode="bilinear")[:, 0]  # (levels, height, width)
    peaks = wide.flatten(1).argmax(1)
    share = own.float().mean()
    energy = (wide * own).sum((1, 2)) / wide.sum((1, 2)).clamp(min=1e-12) / share
    return torch.stack([own.flatten()[peaks], other.flatten()[peaks], energy, share.expand(len(maps))])


def mean_of(found: Sequence[Score]) -> Score:
    """The mean over levels."""
    values = torch.tensor([[s.hit, s.other, s.energy, s.chance] for s in found])
    return Score(*values.mean(0).tolist())


def figure(shown: Sequence[Seen], levels: Sequence[float] = LEVELS) -> Iterator[str]:
    """The table of the figure: each level, all of them, the best one, and the mean map."""
    yield "| noise level | on its object | on the other object | chance | energy on it, even is 1 |"
    yield "|---|---|---|---|---|"
    found = scores(shown)
    best = max(range(len(levels)), key=lambda k: found[k].hit)
    rows = [(f"{sigma:g}", score) for sigma, score in zip(levels, found, strict=True)]
    rows += [("all", mean_of(found)), (f"the best, {levels[best]:g}", found[best])]
    rows += [("one map, the mean over levels", scores(shown, _over_levels)[0])]
    for name, s in rows:
        yield f"| {name} | {s.hit:.3f} | {s.other:.3f} | {s.chance:.3f} | {s.energy:.2f} |"


def choices(model: ldm.LatentDiffusion, count: int) -> Iterator[str]:
    """Definitions, then layers, on the scenes that are there to choose by."""
    shown = list(seen(model, CHOOSING, count))
    yield "| the map of a word | on its object | on the other object | energy |"
    yield "|---|---|---|---|"
    for name, definition in DEFINITIONS.items():
        s = mean_of(scores(shown, definition))
        yield f"| {name} | {s.hit:.3f} | {s.other:.3f} | {s.energy:.2f} |"
    start = torch.stack([one.maps[:, 0].mean((1, 2)) for one in shown]).mean(0)
    yield ""
    yield "The start mark's share of attention, by level: " + ", ".join(f"{v:.2f}" for v in start) + "."
    yield ""
    yield "| layer | on its object | on the other object | share of attention on nouns |"
    yield "|---|---|---|---|"
    shown = list(seen(model, CHOOSING, count, layers=True))
    found = scores(shown)
    for layer in range(len(found) // len(LEVELS)):
        part = slice(layer * len(LEVELS), (layer + 1) * len(LEVELS))
        nouns = torch.stack([_on_nouns(one)[part].mean() for one in shown]).mean()
        s = mean_of(found[part])
        yield f"| {layer + 1} | {s.hit:.3f} | {s.other:.3f} | {float(nouns):.1e} |"


def _on_nouns(one: Seen) -> Tensor:
    """(levels,) share of all attention that both nouns get."""
    return one.maps[:, [token for tokens in one.words.nouns for token in tokens]].sum(1).mean((1, 2))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--scenes", type=int, default=SCENES)
    parser.add_argument("--choose", action="store_true", help="compare definitions and layers instead")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model = ldm.load()
    chosen = choices(model, options.scenes) if options.choose else None
    for line in chosen or figure(list(seen(model, REPORTED, options.scenes))):
        print(line, flush=True)


if __name__ == "__main__":
    main()
