"""A run as the page gets it: lanes as sheets of pictures, numbers as lists."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from ..settings import Settings
from ..trace import Trace
from ..views.curves import curves
from ..views.layout import SHEET_AREA, atlas
from ..views.predictions import LANES, Decode, lane

Put = Callable[[str, bytes], dict[str, Any]]
"""(file name, content) -> what the page finds it by, with or soon with a `url`."""

DEFAULT_LANES = ("x_t", "x0", "eps")
PIXELS = ("eps", "guidance", "change")  # drawn latent by latent, so they are sent at the latents' size
PER_STEP = ("x_t", "x0", "eps", "x0_cond", "x0_uncond")  # drawn from one step alone
PIECE = 32
QUALITY = 82


@dataclass(frozen=True)
class Look:
    """How a run is shown.

    Attributes:
        picture: which one of the batch.
        lanes: keys of LANES to show at first; all of them can be.
        decoder: what `decode` is, in words.
    """

    picture: int = 0
    lanes: tuple[str, ...] = DEFAULT_LANES
    decoder: str = ""


def pack(
    trace: Trace, decode: Decode, look: Look, put: Put, names: Sequence[str] = tuple(LANES)
) -> dict[str, Any]:
    """A run without its parts: `run_pack` with `lanes_pack` of the lanes named."""
    return {**run_pack(trace, look), "lanes": lanes_pack(trace, names, decode, look, put)}


def run_pack(trace: Trace, look: Look) -> dict[str, Any]:
    """The numbers of a run, and what it was asked.

    Returns:
        JSON: prompt, facts, steps, width, height, sigma, sigma_next, timestep (one for each step), curves,
        lanes (none yet), show (names of lanes to show at first).
    """
    settings = trace.settings
    numbers = curves(trace, look.picture)
    return {
        "prompt": settings.prompt,
        "facts": facts(trace.model_name, settings, look.picture),
        "steps": len(trace.steps),
        "width": settings.width,
        "height": settings.height,
        "lanes": [],
        "show": list(look.lanes),
        "sigma": numbers["sigma"],
        "sigma_next": [step.sigma_next for step in trace.steps],
        "timestep": numbers["timestep"],
        "curves": [
            {"title": "Noise level sigma (logarithmic)", "values": numbers["sigma"], "log": True},
            {"title": "Change of x0, share of its size", "values": numbers["relative_change"], "log": False},
            {"title": "How much the prompt moves x0", "values": numbers["guidance"], "log": False},
        ],
    }


def lanes_pack(
    trace: Trace, names: Sequence[str], decode: Decode, look: Look, put: Put
) -> list[dict[str, Any]]:
    """Lanes, each on a sheet of its own, so that the page fetches what it shows.

    Args:
        names: keys of LANES.
        decode: latents to pictures; `look.decoder` says in words what it is.

    Returns:
        name, title, how (it was drawn), sheet (a file), columns, rows, pixels (whether a cell is as small as
        the latents, to be enlarged in blocks).
    """
    return [_lane_pack(trace, name, decode, look, put) for name in names]


def _lane_pack(trace: Trace, name: str, decode: Decode, look: Look, put: Put) -> dict[str, Any]:
    pixels = name in PIXELS
    size = latent_size(trace) if pixels else fitted(trace, SHEET_AREA / len(trace.steps))
    sheet, columns, rows = atlas([frames(trace, name, decode, size, look.picture)], QUALITY, lossless=pixels)
    digest = hashlib.sha256(sheet).hexdigest()[:16]
    return {
        "name": name,
        "title": LANES[name][0],
        "how": how_drawn(name, look.decoder),
        "sheet": put(f"{name}-{digest}.{'png' if pixels else 'jpg'}", sheet),
        "columns": columns,
        "rows": rows,
        "pixels": pixels,
    }


def x0_frames(trace: Trace, decode: Decode, look: Look) -> tuple[Image.Image, ...]:
    """The predicted pictures as the lane x0 shows them."""
    size = fitted(trace, SHEET_AREA / len(trace.steps))
    return tuple(frames(trace, "x0", decode, size, look.picture))


def frames(
    trace: Trace, name: str, decode: Decode, size: tuple[int, int], picture: int = 0
) -> list[Image.Image]:
    """A lane at a size, drawn in pieces: a long run of full pictures fits in no memory."""
    if name in PIXELS or size == (trace.settings.width, trace.settings.height):
        return lane(trace, name, decode, picture, size)
    # a lane of amounts has one scale for the whole run
    piece = PIECE if name in PER_STEP else len(trace.steps)
    return [
        image.resize(size, Image.Resampling.BOX)
        for start in range(0, len(trace.steps), piece)
        for image in lane(replace(trace, steps=trace.steps[start : start + piece]), name, decode, picture)
    ]


def latent_size(trace: Trace) -> tuple[int, int]:
    """(width, height) of the latents."""
    height, width = trace.steps[0].x.shape[-2:]
    return width, height


def fitted(trace: Trace, area: float) -> tuple[int, int]:
    """The size of the run's pictures, shrunk to at most `area` pixels."""
    width, height = trace.settings.width, trace.settings.height
    shrink = min(1.0, (area / (width * height)) ** 0.5)
    return (width, height) if shrink == 1 else (max(16, int(width * shrink)), max(16, int(height * shrink)))


def how_drawn(name: str, decoder: str) -> str:
    """How a lane was made visible, for its label."""
    how = LANES[name][1]
    return how if how.startswith("not decoded") else f"{how} by {decoder}"


def facts(model_name: str, settings: Settings, picture: int) -> str:
    """The run in one line."""
    size = f"{settings.width} x {settings.height}"
    seed = seed_of(settings, picture)
    return f"{model_name}, seed {seed}, {settings.sampler}, cfg_scale {settings.cfg_scale:g}, {size}"


def seed_of(settings: Settings, i: int) -> str:
    """The seed of picture i for people: "7", or "7 + 12" where it is turned to the noise of seed 12."""
    alone = settings.of_picture(i)
    return f"{alone.seed} + {alone.variation_seed}" if alone.variation_strength > 0 else str(alone.seed)
