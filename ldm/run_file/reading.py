"""What a run file says, made into a `Trace`: nothing of it is trusted."""

import reprlib
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from ..errors import SettingsError, TraceError
from ..settings import LIMITS, Settings
from ..trace import AttentionMaps, Prediction, Step, Trace

# 1 knows no picture to start from, one way of guiding, and steps down that ask about their x; 1 and 2 have
# a map for each position of the padding, and hear every word; 1 to 3 know no codebook that x0 is moved to
VERSION = 4
SHOWN_SINCE = 4  # the version from which a picture need not be one to start from
MOST_SHOWN = int(LIMITS["width"][1])
MAX_HEADS = 10_000  # of all layers of a size
MAX_CHANNELS = 64
TOP = 2e6  # the largest noise level there can be: a list's largest, with noise stirred in
FACTORS = (4, 64)  # pixels a latent covers, in either direction
LATENTS = ("x", "x0", "x0_cond", "x0_uncond", "x0_third", "x0_free", "x_asked", "x_next")


def _take(record: object, key: str, *kinds: type) -> Any:  # noqa: ANN401
    """`record[key]`, which must be of one of `kinds`; True is no number."""
    value = record.get(key) if isinstance(record, dict) else None
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise TraceError(f"its {key} is {reprlib.repr(value)}")
    return value


def _float(record: object, key: str) -> float:
    value = _take(record, key, float, int)
    if not abs(value) < 1e300:  # also NaN and whole numbers that no float holds
        raise TraceError(f"its {key} is {reprlib.repr(value)}")
    return float(value)


def _words(record: object, key: str) -> tuple[str, ...]:
    values = _take(record, key, list)
    if not all(isinstance(value, str) for value in values):
        raise TraceError(f"its {key} are not all text")
    return tuple(values)


def trace_of(record: object, tensors: dict[str, Tensor]) -> Trace:
    """The record and the tensors of a file, both of them untrusted."""
    if _take(record, "version", int) > VERSION:
        raise TraceError("it was written by a newer version of this app")
    try:
        settings = Settings.from_dict(_take(record, "settings", dict))
    except SettingsError as error:
        raise TraceError(f"its settings are refused ({str(error).rstrip('.')})") from error
    numbers = _take(record, "steps", list)
    if len(numbers) > LIMITS["steps"][1]:
        raise TraceError(f"it has {len(numbers)} steps, at most {LIMITS['steps'][1]} are read")
    left = dict(tensors)
    steps: list[Step] = []
    for k in reversed(range(len(numbers))):  # backwards: x_next may be the next step's x
        steps.insert(0, _step(k, numbers[k], left, steps[0].x if steps else None))
    images: list[Image.Image] = []
    while (pixels := left.pop(f"images.{len(images)}", None)) is not None:
        images.append(_picture(f"picture {len(images)}", pixels, settings))
    given = {name: left.pop(name, None) for name in ("init_image", "mask")}
    look = _shown if _take(record, "version", int) >= SHOWN_SINCE else _picture
    start = None if given["init_image"] is None else look("init_image", given["init_image"], settings)
    mask = None if given["mask"] is None else _picture("mask", given["mask"], settings)
    if left:
        raise TraceError(f"it holds {reprlib.repr(min(left))}, which no run has")
    if mask is not None and start is None:
        raise TraceError("it has a mask for no picture")
    _check_shapes(steps, settings.batch_size, len(images))
    _check_sizes(steps, settings)
    _check_maps(steps)
    return Trace(
        settings=settings,
        model_name=_take(record, "model_name", str),
        prediction_type=_take(record, "prediction_type", str),
        tokens=_words(record, "tokens"),
        negative_tokens=_words(record, "negative_tokens"),
        steps=tuple(steps),
        images=tuple(images),
        seconds=_float(record, "seconds"),
        finished=_take(record, "finished", bool),
        parent=_parent(record),
        init_image=start,
        mask=mask,
        sigmas=_sigmas(record),
    )


def _parent(record: object) -> tuple[str, int] | None:
    """The run that it was taken up from, and the step."""
    parent = _take(record, "parent", list, type(None))
    if parent is None:
        return None
    if [type(value) for value in parent] != [str, int] or parent[1] < 0:
        raise TraceError(f"its parent is {reprlib.repr(parent)}")
    return parent[0], parent[1]


def _sigmas(record: object) -> tuple[float, ...] | None:
    """The noise levels the run was to walk down; not in version 1, and none where its settings tell them."""
    values = _take(record, "sigmas", list, type(None))
    if values is None:
        return None
    most = 2 * int(LIMITS["steps"][1]) + 1  # a restart is one more
    is_number = [isinstance(v, int | float) and not isinstance(v, bool) and 0 <= v <= TOP for v in values]
    if not 1 <= len(values) <= most or not all(is_number):
        raise TraceError(f"its sigmas are {reprlib.repr(values)}")
    return tuple(float(value) for value in values)


def _picture(name: str, pixels: Tensor, settings: Settings) -> Image.Image:
    """A picture of (h, w, 3) bytes, or a mask of (h, w), of the size the settings name.

    Whoever draws it goes by that size.
    """
    channels = () if name == "mask" else (3,)
    if pixels.dtype != torch.uint8 or pixels.dim() < 2 or pixels.shape[2:] != channels or not pixels.numel():
        raise TraceError(f"its {name} is no picture")
    (high, wide), (width, height) = pixels.shape[:2], (settings.width, settings.height)
    if (wide, high) != (width, height):
        raise TraceError(f"its {name} has {wide} x {high} pixels, not {width} x {height}")
    return Image.fromarray(pixels.numpy())


def _shown(name: str, pixels: Tensor, settings: Settings) -> Image.Image:
    """A picture that the network looked at: small, or of class numbers, (h, w) bytes."""
    numbers, colours = pixels.dim() == 2, pixels.dim() == 3 and pixels.shape[2] == 3
    if pixels.dtype != torch.uint8 or not (numbers or colours) or not pixels.numel():
        raise TraceError(f"its {name} is no picture")
    high, wide = pixels.shape[:2]
    if (not numbers and (wide > settings.width or high > settings.height)) or max(high, wide) > MOST_SHOWN:
        raise TraceError(f"its {name} has {wide} x {high} pixels, too many")
    return Image.fromarray(pixels.numpy())


def _step(k: int, numbers: object, left: dict[str, Tensor], next_x: Tensor | None) -> Step:
    """Step k; what it uses is taken out of `left`."""
    found = {name: left.pop(f"steps.{k}.{name}", None) for name in LATENTS}
    maps: dict[str, AttentionMaps | None] = {}
    for name in ("attention", "attention_uncond"):
        parts: list[Tensor] = []
        while (part := left.pop(f"steps.{k}.{name}.{len(parts)}", None)) is not None:
            parts.append(part)
        maps[name] = (
            AttentionMaps(tuple(parts), _heads(numbers, f"{name}_heads", len(parts))) if parts else None
        )
    x, x0 = found["x"], found["x0"]
    x_next = next_x if found["x_next"] is None else found["x_next"]
    if x is None or x0 is None or x_next is None:
        raise TraceError(f"its step {k} is incomplete")
    x0_cond = x0 if found["x0_cond"] is None else found["x0_cond"]
    sigma, sigma_next, sigma_asked = _levels(k, numbers)
    keeps = bool(_take(numbers, "keeps_uncond", bool, type(None)))  # not in version 1
    if _take(numbers, "index", int) != k:
        raise TraceError(f"its step {k} is numbered {reprlib.repr(_take(numbers, 'index', int))}")
    return Step(
        index=k,
        sigma=sigma,
        sigma_next=sigma_next,
        timestep=_float(numbers, "timestep"),
        x=x,
        prediction=Prediction(
            x0,
            x0_cond,
            found["x0_uncond"],
            maps["attention"],
            maps["attention_uncond"],
            found["x0_third"],
            keeps,
            found["x0_free"],
        ),
        x_next=x_next,
        sigma_asked=sigma_asked,
        x_asked=found["x_asked"],
    )


def _heads(numbers: object, name: str, sizes: int) -> tuple[int, ...]:
    """Of how many heads each map is the mean; not in versions 1 and 2."""
    heads = _take(numbers, name, list, type(None))
    if heads is None:
        return ()
    if len(heads) != sizes or not all(type(h) is int and 1 <= h <= MAX_HEADS for h in heads):
        raise TraceError(f"its {name} is {reprlib.repr(heads)}")
    return tuple(heads)


def _levels(k: int, numbers: object) -> tuple[float, float, float | None]:
    """sigma, sigma_next and sigma_asked of step k; nobody asks about latents without noise."""
    sigma, sigma_next = _float(numbers, "sigma"), _float(numbers, "sigma_next")
    asked = _take(numbers, "sigma_asked", float, int, type(None))  # not in version 1
    if asked is not None and not (asked := _float(numbers, "sigma_asked")) > 0:
        raise TraceError(f"its step {k} asks about sigma {asked!r}")
    if (
        min(sigma, sigma_next) < 0
        or max(sigma, sigma_next, asked or 0) > TOP
        or (sigma == 0 and asked is None)
    ):
        raise TraceError(f"its step {k} goes from sigma {sigma!r} to {sigma_next!r}")
    return sigma, sigma_next, asked


def _check_shapes(steps: list[Step], batch_size: int, images: int) -> None:
    if steps and images not in (0, batch_size):
        raise TraceError(f"it has {images} pictures for a batch of {batch_size}")
    for k, step in enumerate(steps):
        p = step.prediction
        optional = (p.x0_uncond, p.x0_third, p.x0_free, step.x_asked)
        latents = [step.x, p.x0, p.x0_cond, step.x_next, *(t for t in optional if t is not None)]
        maps = [m for a in (p.attention, p.attention_uncond) if a is not None for m in a.maps]
        if any(t.shape != steps[0].x.shape for t in latents):
            raise TraceError(f"its step {k} has latents of another shape than step 0")
        if any(t.dim() != 4 or len(t) != batch_size or t.numel() == 0 for t in [*latents, *maps]):
            raise TraceError(f"its step {k} does not fit a batch of {batch_size}")
        if not all(t.is_floating_point() for t in [*latents, *maps]):
            raise TraceError(f"its step {k} holds whole numbers for latents")


def _check_sizes(steps: list[Step], settings: Settings) -> None:
    """Latents must be of the size the settings name: whoever draws them goes by that."""
    width, height = settings.width, settings.height
    if not steps:
        return
    channels, rows, columns = steps[0].x.shape[1:]
    if channels > MAX_CHANNELS:
        raise TraceError(f"its latents have {channels} channels, at most {MAX_CHANNELS} are read")
    factor = width // columns
    low, high = FACTORS
    if (columns * factor, rows * factor) != (width, height) or not low <= factor <= high:
        raise TraceError(f"its latents of {columns} x {rows} do not fit a picture of {width} x {height}")


def _check_maps(steps: list[Step]) -> None:
    """Maps of a step must be of the same positions, and those of the same positions of the same sizes."""
    for name in ("attention", "attention_uncond"):
        sizes: dict[int, list[tuple[int, int]]] = {}
        for k, step in enumerate(steps):
            maps: AttentionMaps | None = getattr(step.prediction, name)
            if maps is None:
                continue
            count = maps.maps[0].shape[1]
            if any(m.shape[1] != count for m in maps.maps):
                raise TraceError(f"the {name} of its step {k} has maps of several prompts")
            if sizes.setdefault(count, maps.sizes) != maps.sizes:
                raise TraceError(f"the {name} of its step {k} has other sizes than that of steps before")
