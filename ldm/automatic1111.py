"""Settings in the words of AUTOMATIC1111's web UI, and back: the text its PNGs carry as `parameters`."""

import json
import re
from typing import Any

from .errors import SettingsError
from .settings import Settings

# Their samplers -> ours.  One that is not listed keeps its name, so that it is refused by that name.
SAMPLER_NAMES = {
    "DPM++ 2M": "dpmpp_2m",
    "DDIM": "ddim",
    "DDPM": "ddpm",
    "PLMS": "plms",
    "Euler": "euler",
    "Euler a": "euler_ancestral",
    "Heun": "heun",
    "DPM2": "dpm_2",
    "DPM2 a": "dpm_2_ancestral",
    "LMS": "lms",
    "DPM++ 2S a": "dpmpp_2s_ancestral",
    "DPM++ SDE": "dpmpp_sde",
    "DPM++ 2M SDE": "dpmpp_2m_sde",
    "DPM++ 2M SDE Heun": "dpmpp_2m_sde_heun",
    "DPM++ 3M SDE": "dpmpp_3m_sde",
    "DPM fast": "dpm_fast",
    "UniPC": "unipc",
    "DEIS": "deis",
    "IPNDM": "ipndm",
    "Restart": "restart",
    "LCM": "lcm",
    "TCD": "tcd",
}
# Their schedules -> our spacings; any other is "linspace", the timesteps of their plain samplers.
SPACING_NAMES = {
    "Uniform": "linspace",
    "Normal": "normal",
    "Karras": "karras",
    "Exponential": "exponential",
    "Polyexponential": "polyexponential",
    "SGM Uniform": "sgm_uniform",
    "Simple": "simple",
    "Beta": "beta",
    "KL Optimal": "kl_optimal",
    "Align Your Steps": "ays_sd1",
    "DDIM": "leading",
}
# what "Automatic" means, by sampler
AUTOMATIC = {
    "DPM++ 2M": "Karras",
    "DPM++ SDE": "Karras",
    "DPM++ 2S a": "Karras",
    "DPM2": "Karras",
    "DPM2 a": "Karras",
    "Restart": "Karras",
    "DPM++ 2M SDE": "Exponential",
    "DPM++ 2M SDE Heun": "Exponential",
    "DPM++ 3M SDE": "Exponential",
    "DDIM": "DDIM",
    "PLMS": "DDIM",
}
SUFFIXES = ("Karras", "Exponential", "Polyexponential", "SGM Uniform")  # of a sampler, until version 1.9
# their source of random numbers -> ours; the GPU where nothing is said, "NV" the same on any machine
NOISE_NAMES = {"NV": "a1111_gpu", "GPU": "a1111_gpu", "CPU": "per_picture"}
NUMBERS = {  # their name -> our field, for those that are written only where they are not the default
    "Denoising strength": "strength",
    "Variation seed": "variation_seed",
    "Variation seed strength": "variation_strength",
    "Eta": "eta",
    "Eta DDIM": "eta",
    "Sigma churn": "s_churn",
    "Sigma tmin": "s_tmin",
    "Sigma tmax": "s_tmax",
    "Sigma noise": "s_noise",
}


def write(settings: Settings, model_name: str) -> str:
    """What their web UI would write."""
    names = {ours: theirs for theirs, ours in SAMPLER_NAMES.items()}
    spacings = {ours: theirs for theirs, ours in SPACING_NAMES.items()}
    fields: dict[str, Any] = {
        "Steps": settings.steps,
        "Sampler": names.get(settings.sampler, settings.sampler),
        "Schedule type": spacings.get(settings.spacing, settings.spacing),
        "CFG scale": f"{settings.cfg_scale if settings.cfg_scales is None else settings.cfg_scales[0]:g}",
        "Seed": settings.seed,
        "Size": f"{settings.width}x{settings.height}",
        "Model": json.dumps(model_name) if re.search(r'[,:"\n]', model_name) else model_name,
    }
    plain = Settings("-")
    for theirs, ours in NUMBERS.items():
        value = getattr(settings, ours)
        is_named = theirs != ("Eta DDIM" if settings.sampler != "ddim" else "Eta")
        if value != getattr(plain, ours) and value is not None and is_named:
            fields[theirs] = f"{value:.10f}".rstrip("0").rstrip(".") if isinstance(value, float) else value
    if settings.noise in NOISE_NAMES.values():
        fields["RNG"] = {"a1111_gpu": "NV", "per_picture": "CPU"}[settings.noise]
    lines = [settings.prompt]
    if settings.negative_prompt:
        lines.append(f"Negative prompt: {settings.negative_prompt}")
    lines.append(", ".join(f"{key}: {value}" for key, value in fields.items()))
    return "\n".join(lines)


def read(text: str) -> tuple[Settings, str]:
    """Settings and the model's name from the text.

    `prompt`, `Negative prompt: ...` and `Steps: 20, Sampler: Euler a, ...`, each on lines of its own.

    Raises:
        SettingsError: it is something else, or a value cannot be used here.
    """
    *lines, last = text.strip().split("\n")
    if not last.startswith("Steps: "):
        raise SettingsError("their last line does not start with 'Steps: '.")
    prompt, _, negative = "\n".join(["", *lines]).partition("\nNegative prompt: ")
    sampler, schedule = _sampler(last)
    width, _, height = _field(last, "Size", "512x512").partition("x")
    settings = Settings(
        prompt=prompt.strip(),
        negative_prompt=negative.strip(),
        steps=_int("Steps", _field(last, "Steps", "20")),
        sampler=SAMPLER_NAMES.get(sampler, sampler),
        spacing=SPACING_NAMES.get(schedule, "linspace"),
        cfg_scale=_float("CFG scale", _field(last, "CFG scale", "7")),
        cfg_rescale=0.0,  # theirs has none
        noise=NOISE_NAMES.get(_field(last, "RNG", "GPU"), "a1111_gpu"),
        seed=_int("Seed", _field(last, "Seed", "0")),
        width=_int("Size", width),
        height=_int("Size", height),
    )
    written = [(ours, _field(last, theirs, "")) for theirs, ours in NUMBERS.items()]
    found = {ours: value for ours, value in written if value not in ("", "inf")}  # of tmax: no end
    numbers = {
        ours: _int(ours, value) if ours == "variation_seed" else _float(ours, value)
        for ours, value in found.items()
    }
    return Settings.from_dict(settings.to_dict() | numbers), _field(last, "Model", "")


def _sampler(line: str) -> tuple[str, str]:
    """Their sampler and schedule, whichever version wrote them."""
    sampler = _field(line, "Sampler", "DPM++ 2M")
    schedule = _field(line, "Schedule type", "")
    for name in SUFFIXES:
        if sampler.endswith(f" {name}"):
            return sampler.removesuffix(f" {name}"), name
    if schedule == "Automatic" or (not schedule and sampler in ("DDIM", "PLMS")):
        schedule = AUTOMATIC.get(sampler, "")
    return sampler, schedule


def _field(line: str, name: str, default: str) -> str:
    """A value of `Steps: 20, Model: "a, b"`, without its quotes."""
    found = re.search(rf'(?:^|, ){re.escape(name)}: ("(?:[^"\\]|\\.)*"|[^,]*)', line)
    if found is None:
        return default
    value = found[1].strip()
    if value.startswith('"'):
        try:
            return str(json.loads(value))
        except ValueError:
            return value.strip('"')
    return value


def _int(name: str, value: str) -> int:
    if not re.fullmatch(r"\d{1,20}", value):
        raise SettingsError(f"{name} must be a whole number, got {value[:40]!r}.")
    return int(value)


def _float(name: str, value: str) -> float:
    if not re.fullmatch(r"\d{1,20}(\.\d{0,20})?", value):
        raise SettingsError(f"{name} must be a number, got {value[:40]!r}.")
    return float(value)
