"""LoRAs as they are typed, "name:0.8, other", and as `Settings` has them."""

import reprlib

from ..errors import SettingsError


def as_text(loras: tuple[tuple[str, float], ...]) -> str:
    """What the box holds for these."""
    return ", ".join(name if weight == 1 else f"{name}:{weight:g}" for name, weight in loras)


def as_pairs(text: object) -> tuple[tuple[str, float], ...]:
    """The names that were typed, each with its weight; without one it is 1.

    Raises:
        SettingsError: what stands after a colon is no number.
    """
    pairs = []
    for part in filter(None, (each.strip() for each in str(text or "").replace("\n", ",").split(","))):
        name, colon, weight = part.rpartition(":")
        try:
            pairs.append((name.strip(), float(weight)) if colon else (part, 1.0))
        except ValueError:
            raise SettingsError(
                f"loras must be names with weights such as name:0.8, other; got {reprlib.repr(part)}."
            ) from None
    return tuple(pairs)
