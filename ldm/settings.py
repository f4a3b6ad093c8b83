"""Everything that decides a picture, in one frozen record.

The same record is what the UI fills in, what the samplers obey, what a PNG carries
and what a test writes down.
"""

import math
import reprlib
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from .errors import SettingsError

LIMITS: dict[str, tuple[float, float]] = {
    "steps": (1, 1000),
    "cfg_scale": (0.0, 30.0),
    "cfg_rescale": (0.0, 1.0),
    "eta": (0.0, 1.0),
    "strength": (0.0, 1.0),
    "seed": (0, 2**32 - 1),
    "batch_size": (1, 16),
    "width": (16, 2048),
    "height": (16, 2048),
}
WHOLE = ("steps", "seed", "batch_size", "width", "height")
MAX_PROMPT = 2000  # characters


@dataclass(frozen=True)
class Settings:
    """What to generate and how.

    Attributes:
        prompt: text the picture should match, 1 to MAX_PROMPT characters.
        negative_prompt: text guidance pushes away from; used only when cfg_scale != 1.
        steps: number of denoising steps, 1 to 1000.
        sampler: a key of `diffusion.samplers.SAMPLERS`.
        spacing: a key of `diffusion.schedule.SPACINGS`.
        final_sigma: where the last step ends, a key of `diffusion.schedule.FINAL_SIGMAS`: "zero", or
            "first_timestep" as CompVis and labml end.
        cfg_scale: classifier-free guidance, `uncond + cfg_scale * (cond - uncond)`; 1 is off.
        cfg_rescale: 0 to 1, how much of the guided prediction's standard deviation is brought back to
            that of the prediction with the prompt (Lin et al. 2023, arXiv:2305.08891, eq. 16).
        eta: fresh noise per step, 0 (deterministic) to 1; None is the sampler's own choice
            (`diffusion.samplers.DEFAULT_ETA`).
        strength: how much of an init image to replace, 0 to 1; ignored without one.
        seed: picture i of the batch uses seed + i, so a batch is reproducible one by one.
        width, height: pixels, a multiple of the model's `size_multiple`.

    Raises:
        SettingsError: a value is of the wrong kind or out of its range.
    """

    prompt: str
    negative_prompt: str = ""
    steps: int = 20
    sampler: str = "dpmpp_2m"
    spacing: str = "trailing"
    final_sigma: str = "zero"
    cfg_scale: float = 3.0
    cfg_rescale: float = 0.7
    eta: float | None = None
    strength: float = 1.0
    seed: int = 0
    batch_size: int = 1
    width: int = 256
    height: int = 256

    def __post_init__(self) -> None:
        for name in ("prompt", "negative_prompt", "sampler", "spacing", "final_sigma"):
            _check_text(name, getattr(self, name))
        for name in ("prompt", "negative_prompt"):
            length = len(getattr(self, name))
            if length > MAX_PROMPT:
                raise SettingsError(f"{name} must have at most {MAX_PROMPT} characters, got {length}.")
        if not self.prompt.strip():
            raise SettingsError(f"prompt must say what to draw, got {self.prompt!r}.")
        for name, (low, high) in LIMITS.items():
            if name == "eta" and self.eta is None:
                continue
            object.__setattr__(self, name, _number(name, getattr(self, name), low, high))
        last = int(LIMITS["seed"][1]) - self.batch_size + 1
        if self.seed > last:  # picture i of the batch has seed + i, which must be a seed too
            raise SettingsError(
                f"seed must be at most {last} for batch_size {self.batch_size}, got {self.seed}."
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, in field order."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Read settings written by any version: unknown keys are ignored, missing ones default."""
        known = {field.name for field in fields(cls)}
        if "prompt" not in values:
            raise SettingsError("The settings name no prompt.")
        return cls(**{key: value for key, value in values.items() if key in known})


def _check_text(name: str, value: object) -> None:
    """Refuse what is not text, and halves of characters, which no tokenizer and no file takes."""
    if not isinstance(value, str):
        raise SettingsError(f"{name} must be text, got {reprlib.repr(value)}.")
    half = next((c for c in value if "\ud800" <= c <= "\udfff"), None)
    if half is not None:
        raise SettingsError(f"{name} holds {half!r}, half of a character; type or paste it again.")


def _number(name: str, value: object, low: float, high: float) -> int | float:
    """`value` as an int or a float within its limits; 20.0 is a whole number, True and NaN are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SettingsError(f"{name} must be a number, got {reprlib.repr(value)}.")
    if not low <= value <= high:  # also refuses NaN
        raise SettingsError(f"{name} must be between {_short(low)} and {_short(high)}, got {_short(value)}.")
    if name in WHOLE:
        if value != math.floor(value):
            raise SettingsError(f"{name} must be a whole number, got {_short(value)}.")
        return int(value)
    return float(value)


def _short(value: float) -> str:
    """A number for a sentence: 7.0 is "7"; of whole numbers beyond 20 digits only their length."""
    if isinstance(value, int) and abs(value) >= 10**20:
        return f"a number of {math.floor(math.log10(abs(value))) + 1} digits"
    return str(value).removesuffix(".0")
