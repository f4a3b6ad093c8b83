"""Two runs against each other: where they first differ, how far apart they go, and what moved in the picture.

Distances of latents are in unit variance, x / sqrt(1 + sigma^2), in which every noise level weighs the same.
Attention is not compared: it may be recorded in one run and not in the other.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

from ..errors import SettingsError
from ..trace import Step, Trace
from .colour import cell_means, check_cell, delta_e, lab
from .latents import heat
from .layout import enlarge
from .predictions import check_picture

MOVED_RANGE = 50.0  # Delta E that is drawn brightest; black and white are 100 apart

Columns = dict[str, list[float]]


@dataclass(frozen=True)
class FirstDifference:
    """Where two runs part.

    Attributes:
        step: the first step with a number that is not the same in both, bit for bit.
        what: the first of them in the order in which a step makes them, as `Step` and `Prediction` name it.
        by: how far apart the two are: the largest |a - b|, of latents in unit variance; 0 for two zeros of
            another sign; None where nothing can be subtracted: one run has none, or one of another shape,
            or a number that is not finite.
    """

    step: int
    what: str
    by: float | None


@dataclass(frozen=True, eq=False)
class Moved:
    """How far two pictures are apart.

    Attributes:
        delta_e: (h, w) float32 distance of each cell's mean CIELAB colour.
        mean: of all cells, those at the edge counted like the others.
        picture: that as heat, at the size of the pictures.
    """

    delta_e: Tensor
    mean: float
    picture: Image.Image


def first_difference(a: Trace, b: Trace) -> FirstDifference | None:
    """Where two runs first differ; None if the steps that both have are the same, bit for bit.

    One may still have more of them: see `difference_sentence`.
    """
    for index, (first, second) in enumerate(zip(a.steps, b.steps, strict=False)):
        for (what, ours), (_, theirs) in zip(_stored(first), _stored(second), strict=True):
            if not _same(ours, theirs):
                scale = (1 + _SCALES[what](first) ** 2) ** 0.5 if what in _SCALES else 1.0
                return FirstDifference(index, what, _largest(ours, theirs, scale))
    return None


def difference_sentence(a: Trace, b: Trace) -> str:
    """`first_difference` for people, and how many steps one has more."""
    common, more = min(len(a.steps), len(b.steps)), len(b.steps) - len(a.steps)
    longer = f" The {'second' if more > 0 else 'first'} run has {abs(more)} more." if more else ""
    found = first_difference(a, b)
    if common == 0:
        return f"There is no step that both runs have.{longer}"
    if found is None:
        return f"{_steps(common)} the same, bit for bit.{longer}"
    by = "cannot be subtracted" if found.by is None else f"differs by up to {found.by:.3g}"
    before = f"{_steps(found.step)} the same, bit for bit. " if found.step else ""
    return f"{before}At step {found.step}, {found.what} {by}.{longer}"


def distances(a: Trace, b: Trace, picture: int = 0) -> Columns:
    """How far two runs are apart at each step that both have.

    Returns:
        step; sigma and sigma_b, the noise levels of both; x0 and x, root mean square of the differences.

    Raises:
        SettingsError: a batch has no such picture, or the latents are of different shapes.
    """
    _check_pair(a, b, picture)
    rows = [
        (
            float(k),
            s.sigma,
            t.sigma,
            _rms(_x0(s, picture), _x0(t, picture)),
            _rms(_x(s, picture), _x(t, picture)),
        )
        for k, (s, t) in enumerate(zip(a.steps, b.steps, strict=False))
    ]
    return _columns(("step", "sigma", "sigma_b", "x0", "x"), rows)


def distances_by_sigma(a: Trace, b: Trace, picture: int = 0) -> Columns:
    """How far `b` is from each step of `a` when it has the same noise level, whatever step that is.

    Between two of its steps `b` is taken to move evenly in log sigma.  Levels that it never passes are left
    out; of several passes (restart) the last one counts.

    Returns:
        step and sigma of `a`; step_b, which may be a fraction; x0 and x as in `distances`.

    Raises:
        SettingsError: a batch has no such picture, or the latents are of different shapes.
    """
    _check_pair(a, b, picture)
    rows = []
    for k, step in enumerate(a.steps):
        place = _place([s.sigma for s in b.steps], step.sigma)
        if place is None:
            continue
        low, high = b.steps[math.floor(place)], b.steps[math.ceil(place)]
        weight = place - math.floor(place)
        x0 = torch.lerp(_x0(low, picture), _x0(high, picture), weight)
        x = torch.lerp(_x(low, picture), _x(high, picture), weight)
        apart = _rms(_x0(step, picture), x0), _rms(_x(step, picture), x)
        rows.append((float(k), step.sigma, place, *apart))
    return _columns(("step", "sigma", "step_b", "x0", "x"), rows)


def moved(a: Image.Image, b: Image.Image, cell: int = 1, largest: float = MOVED_RANGE) -> Moved:
    """How far the colours of two pictures are apart, cell by cell, in Delta E of 1976.

    Args:
        cell: side of a cell in pixels; those at the right and lower edge may be cut off.
        largest: Delta E that is drawn brightest.

    Raises:
        SettingsError: pictures of two sizes, no such cell, or `largest` not above 0.
    """
    check_cell(cell)
    if not largest > 0:
        raise SettingsError(f"largest must be a Delta E above 0, got {largest}.")
    if a.size != b.size:
        raise SettingsError(f"Both pictures must have one size, got {_text(a.size)} and {_text(b.size)}.")
    apart = delta_e(cell_means(lab(a), cell), cell_means(lab(b), cell))
    blocks = apart.repeat_interleave(cell, 0).repeat_interleave(cell, 1)[: a.height, : a.width]
    return Moved(apart, float(apart.double().mean()), enlarge(heat(blocks / largest), a.size))


def _steps(count: int) -> str:
    return "The first step is" if count == 1 else f"The first {count} steps are"


def _stored(step: Step) -> Iterator[tuple[str, Tensor | float | None]]:
    """What a step holds, in the order in which it is made."""
    for name in ("sigma", "sigma_next", "x", "sigma_asked", "x_asked", "timestep"):
        yield name, getattr(step, name)
    for name in ("x0_cond", "x0_uncond", "x0_third", "keeps_uncond", "x0"):
        yield name, getattr(step.prediction, name)
    yield "x_next", step.x_next


_SCALES: dict[str, Callable[[Step], float]] = {  # noise levels of latents at unit signal
    "x": lambda step: step.sigma,
    "x_asked": lambda step: step.sigma if step.sigma_asked is None else step.sigma_asked,
    "x_next": lambda step: step.sigma_next,
}


def _same(a: Tensor | float | None, b: Tensor | float | None) -> bool:
    if not isinstance(a, Tensor) or not isinstance(b, Tensor):
        return type(a) is type(b) and a == b
    return a.dtype == b.dtype and a.shape == b.shape and torch.equal(_bits(a), _bits(b))


def _bits(x: Tensor) -> Tensor:
    return x.cpu().contiguous().flatten().view(torch.uint8)


def _largest(a: Tensor | float | None, b: Tensor | float | None, scale: float) -> float | None:
    if a is None or b is None:
        return None
    first, second = torch.as_tensor(a).double(), torch.as_tensor(b).double()
    if first.shape != second.shape:
        return None
    largest = float((first - second).abs().max()) / scale
    return largest if math.isfinite(largest) else None


def _place(sigmas: list[float], sigma: float) -> float | None:
    """The last place of a noise level on a list, a fraction between two entries; None if never passed."""
    if sigma in sigmas:
        return float(len(sigmas) - 1 - sigmas[::-1].index(sigma))
    for k in reversed(range(len(sigmas) - 1)):
        low, high = sorted(sigmas[k : k + 2])
        if low < sigma < high:
            start, end, at = (math.log(s) if low > 0 else s for s in (*sigmas[k : k + 2], sigma))
            return k + (at - start) / (end - start)
    return None


def _check_pair(a: Trace, b: Trace, picture: int) -> None:
    for trace in (a, b):
        check_picture(trace, picture)
    shapes = [tuple(t.steps[0].x.shape[1:]) for t in (a, b) if t.steps]
    if len(set(shapes)) > 1:
        first, second = (_text(shape) for shape in shapes)
        raise SettingsError(f"Both runs must have latents of one shape, got {first} and {second}.")


def _x0(step: Step, picture: int) -> Tensor:
    return step.prediction.x0[picture].double()


def _x(step: Step, picture: int) -> Tensor:
    return step.x[picture].double() / (1 + step.sigma**2) ** 0.5


def _rms(a: Tensor, b: Tensor) -> float:
    return float((a - b).square().mean().sqrt())


def _columns(names: tuple[str, ...], rows: Sequence[tuple[float, ...]]) -> Columns:
    return {name: [row[i] for row in rows] for i, name in enumerate(names)}


def _text(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
