"""Between what a widget holds and what `Settings` means, and which widgets say nothing beside the others."""

import re
import reprlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ...diffusion.samplers import DEFAULT_ETA, SAMPLERS
from ...diffusion.spacing import DEFAULT_RHO
from ...errors import SettingsError
from ...lora.typed import as_pairs, as_text
from ...settings import Settings

# fields that are typed, and how
LISTS = {"sigmas": "14.6, 7, 3.2", "cfg_scales": "7.5, 3, 1", "muted_tokens": "2, 3"}
TYPED = ("rho", "s_tmin", "s_tmax", "step_lr", "original_width", "original_height")
"""Numbers that may be left out: gradio's own box shows 0 then."""
OWN_ORDER = 0  # what the menu of orders holds for None
START_STRENGTH = 0.75  # what a picture starts with: at 1 next to nothing of it would be left
START_VARIATION = 1  # the seed that is proposed
LANGEVIN = "langevin"
_APART = re.compile(r"[\s,;]+")


def as_shown(settings: Settings) -> dict[str, Any]:
    """What the widgets hold for these settings: field -> value."""
    values = asdict(settings)
    for name in LISTS:
        values[name] = ", ".join(map(_text, values[name] or ()))
    values["loras"] = as_text(settings.loras)
    for name in TYPED:
        values[name] = "" if values[name] == getattr(Settings, name) else _text(values[name])
    if settings.eta is None:
        values["eta"] = DEFAULT_ETA.get(settings.sampler, 0.0)
    if settings.order is None:
        values["order"] = OWN_ORDER
    if settings.variation_seed is None:
        values["variation_seed"] = START_VARIATION
    return values


def as_meant(name: str, value: Any) -> Any:  # noqa: ANN401 - whatever a browser sent
    """The field's value that a widget's value stands for.

    Raises:
        SettingsError: something that was typed is no number.
    """
    if name in LISTS:
        return numbers(name, value)
    if name in TYPED:
        return _number(name, value)
    if name == "loras":
        return as_pairs(value)
    if name == "prompt" and value is None:  # of a menu where nothing was chosen
        return ""
    if name == "order" and value == OWN_ORDER:
        return None
    return value


def numbers(name: str, text: object) -> tuple[float, ...] | None:
    """The numbers of a list that was typed; None if there are none.

    Raises:
        SettingsError: a word is no number.
    """
    found = []
    for word in filter(None, _APART.split(str(text or ""))):
        try:
            found.append(float(word))
        except ValueError:
            raise SettingsError(
                f"{name} must be numbers such as {LISTS[name]}; got {reprlib.repr(word)}."
            ) from None
    return tuple(found) or None


def _number(name: str, text: object) -> float | None:
    """What was typed; the field's default if nothing was."""
    written = str(text or "").strip()
    try:
        return float(written) if written else getattr(Settings, name)
    except ValueError:
        raise SettingsError(f"{name} must be a number, got {reprlib.repr(written)}.") from None


def _text(number: float) -> str:
    return str(number).removesuffix(".0")


def hidden(given: Mapping[str, Any], from_picture: bool) -> frozenset[str]:
    """Fields whose widgets are hidden, since they change nothing beside the others; they are not read.

    Args:
        given: what the widgets hold: field -> value, unchecked.
        from_picture: whether there is a picture to start from.
    """
    return frozenset(name for name, there in _matters(given, from_picture).items() if not there)


def _matters(given: Mapping[str, Any], from_picture: bool) -> dict[str, bool]:
    """Whether a field changes anything, of those that do not always."""
    sampler, spacing, method, schedule = (
        str(given[name]) for name in ("sampler", "spacing", "cfg_method", "cfg_schedule")
    )
    entry = SAMPLERS.get(sampler)
    churns, draws = (False, False) if entry is None else (entry.churns, entry.fresh or entry.eta is not None)
    return {
        "eta": entry is not None and entry.eta is not None,
        "order": entry is not None and bool(entry.orders),
        "s_churn": churns,
        "s_tmin": churns,
        "s_tmax": churns,
        "s_noise": churns or draws,
        "steps_per_level": sampler == LANGEVIN,
        "step_lr": sampler == LANGEVIN,
        "rho": spacing in DEFAULT_RHO,
        "sigmas": spacing == "custom",
        "cfg_start": schedule != "constant",
        "cfg_stop": schedule != "constant",
        "cfg_final": schedule in ("linear", "cosine"),
        "negative_scale": method == "perpendicular",
        "image_cfg_scale": method == "two_scale",
        "variation_seed": bool(given["variation_strength"]),
        "strength": from_picture,
        "full_strength": from_picture and given["strength"] == 1,
    }


HIDEABLE = tuple(_matters(defaultdict(str), False))
OF_SAMPLERS = ("eta", "order", "s_churn", "s_tmin", "s_tmax", "s_noise", "steps_per_level", "step_lr")
