"""Names in a tensor's place: what comes out of a formula is a coefficient for each of them."""

from typing import cast

from torch import Tensor

NEGLIGIBLE = 1e-12  # a coefficient below this share of the largest is what rounding leaves of none


class Combination:
    """A sum of named tensors times numbers, which does what samplers do with a tensor."""

    def __init__(self, parts: dict[str, float]) -> None:
        self.parts = parts

    def __add__(self, other: "Combination") -> "Combination":
        return self._plus(other, 1.0)

    def __sub__(self, other: "Combination") -> "Combination":
        return self._plus(other, -1.0)

    def __mul__(self, factor: float) -> "Combination":
        return Combination({name: factor * value for name, value in self.parts.items()})

    __rmul__ = __mul__

    def __truediv__(self, divisor: float) -> "Combination":
        return Combination({name: value / divisor for name, value in self.parts.items()})

    def to(self, like: object) -> "Combination":
        """Itself: a name is on no device."""
        return self

    def _plus(self, other: "Combination", factor: float) -> "Combination":
        parts = dict(self.parts)
        for name, value in other.parts.items():
            parts[name] = parts.get(name, 0.0) + factor * value
        return Combination(parts)


def named(key: str) -> Tensor:
    """A name in a tensor's place."""
    return cast(Tensor, Combination({key: 1.0}))


def parts_of(value: Tensor) -> dict[str, float]:
    """Coefficients of what came out, without those that rounding has left of none."""
    parts = cast(Combination, value).parts
    largest = max((abs(v) for v in parts.values()), default=0.0)
    return {key: v for key, v in parts.items() if abs(v) > NEGLIGIBLE * largest}
