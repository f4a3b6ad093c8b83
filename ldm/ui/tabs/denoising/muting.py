"""What a panel of the player asks to go on with: another guidance, words that are not heard for a while."""

from dataclasses import replace
from typing import Any

import gradio as gr

from ....diffusion.guidance import progress
from ....errors import SettingsError
from ....settings import Settings
from ....trace import Trace

ALLOWED = ("cfg_scale", "cfg_rescale", "muted_tokens", "mute_from_step", "mute_to_step")


def asked_by_player(event: gr.EventData, trace: Trace, training_steps: int) -> tuple[int, Settings]:
    """The step to go on from, and with which settings.

    Args:
        event: `at` and `settings`, from a browser and unchecked.
        trace: the run in the player.
        training_steps: T of the model.

    Raises:
        SettingsError: names what cannot be used.
    """
    given: Any = getattr(event, "_data", None)
    if not isinstance(given, dict) or not isinstance(given.get("settings"), dict):
        raise SettingsError("A branch needs a step and its settings.")
    at, asked = whole("at", given.get("at"), 0, len(trace.steps)), given["settings"]
    unknown = [str(name)[:40] for name in asked if name not in ALLOWED]
    if unknown:
        raise SettingsError(f"A branch changes {', '.join(ALLOWED)}, and not {', '.join(unknown)}.")
    changes = {name: asked[name] for name in ("cfg_scale", "cfg_rescale") if name in asked}
    return at, replace(trace.settings, **changes, **muted(asked, trace, training_steps))


def muted(asked: dict[str, Any], trace: Trace, training_steps: int) -> dict[str, Any]:
    """Steps from and to as shares of the way: midpoints, so that no rounding moves a step across."""
    if "muted_tokens" not in asked:
        return {}
    tokens = asked["muted_tokens"]
    if not isinstance(tokens, list) or len(tokens) > len(trace.tokens):
        raise SettingsError(f"muted_tokens must be a list of positions, got {tokens!r:.40}.")
    places = tuple(whole("muted_tokens", token, 0, len(trace.tokens) - 1) for token in tokens)
    if not places:
        return {"muted_tokens": None, "mute_start": 0.0, "mute_stop": 1.0}
    last = len(trace.steps) - 1
    first = whole("mute_from_step", asked.get("mute_from_step", 0), 0, last)
    final = whole("mute_to_step", asked.get("mute_to_step", last), first, last)
    way = [min(1.0, max(0.0, progress(step.timestep, training_steps))) for step in trace.steps]
    start = 0.0 if first == 0 else (way[first - 1] + way[first]) / 2
    stop = 1.0 if final == last else (way[final] + way[final + 1]) / 2
    return {"muted_tokens": places, "mute_start": start, "mute_stop": stop}


def whole(name: str, value: object, low: int, high: int) -> int:
    """A whole number within its ends; a browser's 3.0 is none.

    Raises:
        SettingsError: says what is allowed.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise SettingsError(f"{name} must be a whole number from {low} to {high}, got {value!r:.40}.")
    return value
