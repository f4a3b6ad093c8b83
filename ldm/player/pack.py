"""A run as the page gets it: lanes as sheets of pictures, numbers as lists."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from ..settings import Settings
from ..trace import Trace
from ..views.curves import curves
from ..views.layout import SHEET_AREA, atlas
from ..views.predictions import LANES, NO_GUIDANCE, Decode, check_step, lane
from ..views.updates import planned

Put = Callable[[str, bytes], dict[str, Any]]
"""(file name, content) -> what the page finds it by, with or soon with a `url`."""

DEFAULT_LANES = ("x_t", "x0", "eps")
PIXELS = ("eps", "guidance", "change")  # drawn latent by latent, so they are sent at the latents' size
SHORT = {  # on buttons
    "x_t": "Noisy x_t",
    "x0": "x0",
    "eps": "Noise",
    "x0_cond": "With the prompt",
    "x0_uncond": "Without",
    "guidance": "Pull of the prompt",
    "change": "Change",
}
WITHOUT = ("x0_uncond", "guidance")  # made of what is predicted without the prompt
PER_STEP = ("x_t", "x0", "eps", "x0_cond", "x0_uncond")  # drawn from one step alone
PIECE = 32
QUALITY = {"x_t": 70}  # of noise, in which nobody sees it; QUALITIES of the others
QUALITIES = 82
ALL_COLOURS = ("x0",)  # what is enlarged, subtracted and made brighter in the browser


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
    trace: Trace,
    decode: Decode,
    look: Look,
    put: Put,
    names: Sequence[str] = tuple(LANES),
    x0: Sequence[Image.Image] | None = None,
) -> dict[str, Any]:
    """A run without its parts: `run_pack` with `lanes_pack` of the lanes named."""
    return {**run_pack(trace, look), "lanes": lanes_pack(trace, names, decode, look, put, x0)}


def run_pack(trace: Trace, look: Look) -> dict[str, Any]:
    """The numbers of a run, and what it was asked.

    Returns:
        JSON: prompt, facts, steps (made), planned (of the whole run), width, height, sigma,
        sigma_next, timestep (one for each step), curves, lanes (none yet), show (names of lanes to show
        at first).
    """
    settings = trace.settings
    numbers = curves(trace, look.picture)
    made = {
        "prompt": settings.prompt,
        "facts": facts(trace.model_name, settings, look.picture),
        "steps": len(trace.steps),
        "planned": planned(trace) or len(trace.steps),
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
            {"title": "Pull of the prompt on x0", "values": numbers["guidance"], "log": False},
        ],
    }
    return {key: finite(value) for key, value in made.items()}


def finite(value: Any) -> Any:  # noqa: ANN401 - JSON
    """What is no number becomes null, for JSON has no other word for it."""
    if isinstance(value, dict):
        return {key: finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def lanes_pack(
    trace: Trace,
    names: Sequence[str],
    decode: Decode,
    look: Look,
    put: Put,
    x0: Sequence[Image.Image] | None = None,
) -> list[dict[str, Any]]:
    """Lanes, each on a sheet of its own, so that the page fetches what it shows.

    Args:
        names: keys of LANES.
        decode: latents to pictures; `look.decoder` says in words what it is.
        x0: what `x0_frames` gave, where that is there already: decoding takes most of the time.

    Returns:
        name, title, short (for a button), how (it was drawn), sheet (a file), columns, rows, pixels (whether
        a cell is as small as the latents, to be enlarged in blocks), why (there is nothing in it at any step;
        null where there is).
    """
    packs = []
    for name in names:
        drawn = x0 if x0 is not None and _is_x0(trace, name) else _drawn(trace, name, decode, look)
        packs.append({**_lane_pack(name, drawn, look, put), "why": _why_empty(trace, name)})
    return packs


def _why_empty(trace: Trace, name: str) -> str | None:
    if name not in WITHOUT or any(step.prediction.x0_uncond is not None for step in trace.steps):
        return None
    return NO_GUIDANCE


def _is_x0(trace: Trace, name: str) -> bool:
    """Whether a lane shows the same latents as the lane x0."""
    if name == "x0_cond":
        return all(step.prediction.x0_cond is step.prediction.x0 for step in trace.steps)
    return name == "x0"


def _drawn(trace: Trace, name: str, decode: Decode, look: Look) -> list[Image.Image]:
    check_step(trace, 0)
    size = latent_size(trace) if name in PIXELS else fitted(trace, SHEET_AREA / len(trace.steps))
    return frames(trace, name, decode, size, look.picture)


def _lane_pack(name: str, drawn: Sequence[Image.Image], look: Look, put: Put) -> dict[str, Any]:
    pixels = name in PIXELS
    quality = QUALITY.get(name, QUALITIES)
    sheet, columns, rows = atlas([drawn], quality, lossless=pixels, all_colours=name in ALL_COLOURS)
    return {
        "name": name,
        "title": LANES[name][0],
        "short": SHORT[name],
        "how": how_drawn(name, look.decoder),
        "sheet": put(f"{name}.{'png' if pixels else 'jpg'}", sheet),
        "columns": columns,
        "rows": rows,
        "pixels": pixels,
    }


def x0_frames(trace: Trace, decode: Decode, look: Look) -> tuple[Image.Image, ...]:
    """The predicted pictures as the lane x0 shows them."""
    return tuple(_drawn(trace, "x0", decode, look))


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
