"""Everything that decides a picture, in one frozen record.

The same record is what the UI fills in, what the samplers obey, what a PNG carries
and what a test writes down.
"""

import math
import reprlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Self

from .errors import SettingsError, check_choice

LIMITS: dict[str, tuple[float, float]] = {
    "steps": (1, 1000),
    "rho": (0.1, 100.0),
    "cfg_scale": (-2.0, 30.0),
    "cfg_rescale": (0.0, 1.0),
    "cfg_start": (0.0, 1.0),
    "cfg_stop": (0.0, 1.0),
    "cfg_final": (0.0, 30.0),
    "dynamic_threshold": (0.0, 1.0),
    "negative_scale": (0.0, 10.0),
    "image_cfg_scale": (0.0, 30.0),
    "mute_start": (0.0, 1.0),
    "mute_stop": (0.0, 1.0),
    "eta": (0.0, 1.0),
    "s_churn": (0.0, 1000.0),
    "s_tmin": (0.0, 1e5),
    "s_tmax": (0.0, 1e5),
    "s_noise": (0.0, 2.0),
    "order": (1, 4),
    "step_lr": (1e-9, 1.0),
    "steps_per_level": (1, 1000),
    "strength": (0.0, 1.0),
    "seed": (0, 2**32 - 1),
    "variation_seed": (0, 2**32 - 1),
    "variation_strength": (0.0, 1.0),
    "batch_size": (1, 16),
    "width": (16, 2048),
    "height": (16, 2048),
    "original_width": (0, 8192),
    "original_height": (0, 8192),
    "crop_left": (0, 8192),
    "crop_top": (0, 8192),
    "aesthetic_score": (0.0, 10.0),
    "noise_level": (0, 999),
    "distilled_scale": (1.0, 30.0),
}
WHOLE = (
    "steps",
    "order",
    "steps_per_level",
    "seed",
    "variation_seed",
    "batch_size",
    "width",
    "height",
    "muted_tokens",
    "original_width",
    "original_height",
    "crop_left",
    "crop_top",
    "noise_level",
)
OPTIONAL = (
    "rho",
    "eta",
    "s_tmax",
    "order",
    "step_lr",
    "variation_seed",
    "original_width",
    "original_height",
)  # None leaves it to the sampler
TEXTS = (
    "prompt",
    "negative_prompt",
    "sampler",
    "spacing",
    "final_sigma",
    "cfg_method",
    "cfg_schedule",
    "full_strength",
    "noise",
)
LISTS: dict[str, tuple[float, float, int]] = {  # least, most, how many at most
    "sigmas": (0.0, 1e6, 1001),
    "cfg_scales": (-2.0, 30.0, 16),
    "muted_tokens": (0, 1000, 77),
}
FULL_STRENGTHS = ("picture", "noise")
BATCH_NOISE = ("diffusers", "comfyui")  # draw one stream of numbers for a whole batch
MAX_PROMPT = 2000  # characters
MOST_LORAS, MAX_WEIGHT = 8, 4.0
MAX_FILE = 200  # characters of a file's name
MAX_NAME = 64  # of a sampler, a spacing ...


@dataclass(frozen=True)
class Settings:
    """What to generate and how.

    Attributes:
        prompt: text the picture should match, 1 to MAX_PROMPT characters.
        negative_prompt: text guidance pushes away from; used only when cfg_scale != 1.
        steps: number of denoising steps, 1 to 1000.
        sampler: a key of `diffusion.samplers.SAMPLERS`.
        spacing: a key of `diffusion.spacing.SPACINGS`.
        final_sigma: where the last step ends, a key of `diffusion.spacing.FINAL_SIGMAS`: "zero", or
            "first_timestep" as CompVis and labml end.
        rho: bend of the "karras" and "polyexponential" spacings; None is their own.
        sigmas: falling noise levels of the spacing "custom", one for each step; None otherwise.
        cfg_scale: classifier-free guidance, `uncond + cfg_scale * (cond - uncond)`; 1 is off,
            below 0 goes away from the prompt.
        cfg_scales: the same for each picture of the batch, in place of cfg_scale; None is one for all.
        cfg_rescale: 0 to 1, how much of the guided prediction's standard deviation is brought back to
            that of the prediction with the prompt (Lin et al. 2023, arXiv:2305.08891, eq. 16).
        cfg_method: how predictions are combined, a key of `diffusion.guidance.METHODS`.
        cfg_schedule: how cfg_scale changes on the way, a key of `diffusion.guidance.CFG_SCHEDULES`.
        cfg_start, cfg_stop: the part of the way where it acts or changes, 0 is the noisiest timestep.
        cfg_final: where a "linear" or "cosine" schedule ends.
        dynamic_threshold: percentile of |x0| that guidance may not pass; 0 is off.
        negative_scale: weight of the negative prompt with "perpendicular".
        image_cfg_scale: weight of the picture with "two_scale".
        eta: fresh noise per step, 0 (deterministic) to 1; None is the sampler's own choice
            (`diffusion.samplers.DEFAULT_ETA`).
        s_churn, s_tmin, s_tmax, s_noise, order, step_lr, steps_per_level: as
            `diffusion.samplers.SamplerOptions`; s_tmax None is without an end.
        strength: how much of an init image to replace, 0 to 1; ignored without one.
        full_strength: what strength 1 starts from: "picture", the picture under the most noise there is, of
            which a trace shows through; "noise", the noise alone, as without a picture.
        noise: whose random numbers, a key of `diffusion.noise.NOISES`.
        seed: picture i of the batch uses seed + i, so a batch is reproducible one by one, unless `noise` is
            one of BATCH_NOISE.
        variation_seed, variation_strength: the start noise is turned towards that of another seed; then
            picture i has seed and variation_seed + i.
        width, height: pixels, a multiple of the model's `size_multiple`.
        muted_tokens: positions in the prompt, as the text encoder reads it, that the network does not listen
            to; None is none.
        mute_start, mute_stop: the part of the way where it does not, as cfg_start and cfg_stop.
        original_width, original_height: size of the picture that Stable Diffusion XL is told this one was cut
            from; None is its own.
        crop_left, crop_top: where it is told the cut begins, in pixels.
        aesthetic_score: what its refiner is told of how beautiful it is.
        noise_level: how much noise an upscaler puts on the small picture it reads, a timestep.
        loras: names of LoRAs that act, each with its weight, -4 to 4; at most MOST_LORAS.
        distilled_scale: the guidance that a model is told which was distilled to need none (LCM).

    Raises:
        SettingsError: a value is of the wrong kind or out of its range.
    """

    prompt: str
    negative_prompt: str = ""
    steps: int = 20
    sampler: str = "dpmpp_2m"
    spacing: str = "trailing"
    final_sigma: str = "zero"
    rho: float | None = None
    sigmas: tuple[float, ...] | None = None
    cfg_scale: float = 3.0
    cfg_scales: tuple[float, ...] | None = None
    cfg_rescale: float = 0.7
    cfg_method: str = "cfg"
    cfg_schedule: str = "constant"
    cfg_start: float = 0.0
    cfg_stop: float = 1.0
    cfg_final: float = 1.0
    dynamic_threshold: float = 0.0
    negative_scale: float = 1.0
    image_cfg_scale: float = 1.5
    eta: float | None = None
    s_churn: float = 0.0
    s_tmin: float = 0.0
    s_tmax: float | None = None
    s_noise: float = 1.0
    order: int | None = None
    step_lr: float | None = None
    steps_per_level: int = 5
    strength: float = 1.0
    full_strength: str = "picture"
    noise: str = "per_picture"
    seed: int = 0
    variation_seed: int | None = None
    variation_strength: float = 0.0
    batch_size: int = 1
    width: int = 256
    height: int = 256
    muted_tokens: tuple[int, ...] | None = None
    mute_start: float = 0.0
    mute_stop: float = 1.0
    original_width: int | None = None
    original_height: int | None = None
    crop_left: int = 0
    crop_top: int = 0
    aesthetic_score: float = 6.0
    noise_level: int = 20
    distilled_scale: float = 8.5
    loras: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        self._check_texts()
        for name, (low, high) in LIMITS.items():
            if name in OPTIONAL and getattr(self, name) is None:
                continue
            value = _number(name, getattr(self, name), low, high, whole=name in WHOLE)
            object.__setattr__(self, name, value)
        for name in LISTS:
            if getattr(self, name) is not None:
                object.__setattr__(self, name, _numbers(name, getattr(self, name)))
        object.__setattr__(self, "loras", _loras(self.loras))
        self._check_seeds()
        if self.cfg_scales is not None and len(self.cfg_scales) != self.batch_size:
            raise SettingsError(
                f"cfg_scales must have {self.batch_size} numbers, one for each picture, "
                f"got {len(self.cfg_scales)}."
            )
        if self.mute_start > self.mute_stop:
            stop, start = _short(self.mute_stop), _short(self.mute_start)
            raise SettingsError(f"mute_start must be at most mute_stop {stop}, got {start}.")
        if self.s_tmax is not None and self.s_tmin > self.s_tmax:
            raise SettingsError(
                f"s_tmin must be at most s_tmax {_short(self.s_tmax)}, got {_short(self.s_tmin)}."
            )

    def _check_texts(self) -> None:
        for name in TEXTS:
            value, most = getattr(self, name), MAX_PROMPT if "prompt" in name else MAX_NAME
            _check_text(name, value)
            if len(value) > most:
                raise SettingsError(f"{name} must have at most {most} characters, got {len(value)}.")
        if not self.prompt.strip():
            raise SettingsError(f"prompt must say what to draw, got {self.prompt!r}.")
        check_choice("full_strength", self.full_strength, FULL_STRENGTHS)

    def _check_seeds(self) -> None:
        """Picture i of the batch has seed + i, or variation_seed + i, which must be seeds too."""
        if self.variation_strength > 0 and self.variation_seed is None:
            raise SettingsError(
                f"variation_strength {_short(self.variation_strength)} needs a variation_seed, it is None."
            )
        counted = "variation_seed" if self.variation_strength > 0 else "seed"
        last = int(LIMITS["seed"][1]) - self.batch_size + 1
        if getattr(self, counted) > last:
            raise SettingsError(
                f"{counted} must be at most {last} for batch_size {self.batch_size}, "
                f"got {getattr(self, counted)}."
            )

    @property
    def guided(self) -> bool:
        """Whether the prompt is weighed against anything: without it a step costs one call of the network."""
        if self.cfg_method != "cfg" or self.cfg_scales is not None:
            return True
        return self.cfg_scale != 1 or (self.cfg_schedule in ("linear", "cosine") and self.cfg_final != 1)

    def of_picture(self, index: int) -> Self:
        """What draws picture `index` of the batch alone: its own seed and guidance.

        With noise of BATCH_NOISE no settings do: there it is the settings of the batch.
        """
        if self.noise in BATCH_NOISE:
            return self
        varied = self.variation_strength > 0 and self.variation_seed is not None
        return replace(
            self,
            batch_size=1,
            seed=self.seed if varied else self.seed + index,
            variation_seed=(self.variation_seed or 0) + index if varied else self.variation_seed,
            cfg_scales=None if self.cfg_scales is None else (self.cfg_scales[index],),
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types, in field order."""
        values = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(self).items()}
        return {**values, "loras": [list(pair) for pair in self.loras]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """Read settings written by any version: unknown keys are ignored, missing ones default."""
        if not isinstance(values, dict):
            raise SettingsError(f"Settings must be a record of names and values, got {reprlib.repr(values)}.")
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


def _numbers(name: str, values: object) -> tuple[float, ...]:
    """`values` as numbers, each within the limits of the field, not too many of them."""
    low, high, most = LISTS[name]
    if isinstance(values, str) or not isinstance(values, Sequence) or not 1 <= len(values) <= most:
        raise SettingsError(f"{name} must be a list of 1 to {most} numbers, got {reprlib.repr(values)}.")
    whole = name in WHOLE
    return tuple(_number(f"{name}[{i}]", value, low, high, whole=whole) for i, value in enumerate(values))


def _loras(given: object) -> tuple[tuple[str, float], ...]:
    """Pairs of a name and a weight, each name once."""
    if isinstance(given, str) or not isinstance(given, Sequence) or len(given) > MOST_LORAS:
        raise SettingsError(
            f"loras must be a list of at most {MOST_LORAS} pairs of a name and a weight, "
            f"got {reprlib.repr(given)}."
        )
    made: list[tuple[str, float]] = []
    for i, pair in enumerate(given):
        if isinstance(pair, str) or not isinstance(pair, Sequence) or len(pair) != 2:
            raise SettingsError(f"loras[{i}] must be a name and a weight, got {reprlib.repr(pair)}.")
        name, weight = pair
        _check_text(f"loras[{i}]", name)
        if not 1 <= len(name) <= MAX_FILE:
            raise SettingsError(
                f"loras[{i}] must have a name of 1 to {MAX_FILE} characters, got {len(name)}."
            )
        if name in dict(made):
            raise SettingsError(f"loras[{i}] names {name!r} again; give each LoRA one weight.")
        made.append((name, float(_number(f"loras[{i}]", weight, -MAX_WEIGHT, MAX_WEIGHT, whole=False))))
    return tuple(made)


def _number(name: str, value: object, low: float, high: float, *, whole: bool) -> int | float:
    """`value` as an int or a float within its limits; 20.0 is a whole number, True and NaN are none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise SettingsError(f"{name} must be a number, got {reprlib.repr(value)}.")
    if not low <= value <= high:  # also refuses NaN
        raise SettingsError(f"{name} must be between {_short(low)} and {_short(high)}, got {_short(value)}.")
    if whole:
        if value != math.floor(value):
            raise SettingsError(f"{name} must be a whole number, got {_short(value)}.")
        return int(value)
    return float(value)


def _short(value: float) -> str:
    """A number for a sentence: 7.0 is "7"; of whole numbers beyond 20 digits only their length."""
    if isinstance(value, int) and abs(value) >= 10**20:
        return f"a number of {math.floor(math.log10(abs(value))) + 1} digits"
    return str(value).removesuffix(".0")
