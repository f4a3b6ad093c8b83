"""What a LoRA file stores of one layer, and the change of a weight that it stands for.

Every form is a function in `FORMS`: from a few small tensors to a matrix of the weight's size, before its
scale.  Knows nothing about files and models.  To add a form, write its function and add a line.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True)
class Form:
    """One way to write down a change.

    Attributes:
        needs: the tensors it cannot do without.
        may_have: those it knows besides.
        change: tensors -> the change, before its scale.
        rank: what alpha is divided by; None where alpha has no part in the change.
    """

    needs: tuple[str, ...]
    may_have: tuple[str, ...]
    change: Callable[[Tensors], Tensor]
    rank: Callable[[Tensors], int | None]


def low_rank(parts: Tensors) -> Tensor:
    """`up @ down`; of convolutions `down` holds the kernel, and a `mid` stands between two 1 x 1 ones.

    Args:
        parts: "up" (out, r), "down" (r, in); each may end in a kernel's (k, k), that of `up` 1 x 1; "mid"
            (r, r, k, k).

    Returns:
        (out, in) or (out, in, k, k).

    Source: Hu et al. 2021 (arXiv:2106.09685), equation 3; LyCORIS (arXiv:2309.14859), section 3.
    """
    up, down = parts["up"], parts["down"]
    if up.ndim == 4 and up.shape[2:] != (1, 1):
        raise ValueError(f"a second convolution of {up.shape[2]} x {up.shape[3]}")
    if "mid" in parts:
        return torch.einsum("oa,abkl,bi->oikl", up.flatten(1), parts["mid"], down.flatten(1))
    return (up.flatten(1) @ down.flatten(1)).unflatten(1, tuple(down.shape[1:]))


def hadamard(parts: Tensors) -> Tensor:
    """LoHa: the product, number by number, of two low-rank matrices.

    Args:
        parts: "w1_a" (out, r), "w1_b" (r, in), and the same of "w2"; with "t1" and "t2" (r, r, k, k) the
            "_a" are (r, out).

    Source: Hyeon-Woo et al. 2021 (arXiv:2108.06098), equation 2; LyCORIS.
    """
    return _factor(parts, "w1", "t1") * _factor(parts, "w2", "t2")


def kronecker(parts: Tensors) -> Tensor:
    """LoKr: the Kronecker product of a small matrix and a larger one, each whole or of low rank.

    Args:
        parts: "w1" (a, b) or its factors, "w2" (c, d) or (c, d, k, k) or its factors, "t2" (r, r, k, k).

    Returns:
        (a c, b d) or (a c, b d, k, k).

    Source: LyCORIS (arXiv:2309.14859), section 3.
    """
    first, second = _factor(parts, "w1"), _factor(parts, "w2", "t2")
    return torch.kron(first.reshape(*first.shape, *[1] * (second.ndim - first.ndim)), second)


def full(parts: Tensors) -> Tensor:
    """The whole difference: "diff", as large as the weight."""
    return parts["diff"]


def _factor(parts: Tensors, name: str, core: str = "") -> Tensor:
    if name in parts:
        return parts[name]
    a, b = parts[f"{name}_a"], parts[f"{name}_b"]
    return torch.einsum("ijkl,ip,jr->prkl", parts[core], a, b) if core in parts else a @ b


def _kronecker_rank(parts: Tensors) -> int | None:
    """The rank of the last factor that has one; None where both are whole."""
    ranks = [parts[name].shape[0] for name in ("w2_b", "w1_b") if name in parts]
    return ranks[0] if ranks else None


FORMS: dict[str, Form] = {
    "LoRA": Form(("up", "down"), ("mid",), low_rank, lambda parts: parts["down"].shape[0]),
    "LoHa": Form(
        ("w1_a", "w1_b", "w2_a", "w2_b"), ("t1", "t2"), hadamard, lambda parts: parts["w1_b"].shape[0]
    ),
    "LoKr": Form(("w1", "w2"), ("w1_a", "w1_b", "w2_a", "w2_b", "t2"), kronecker, _kronecker_rank),
    "full": Form(("diff",), (), full, lambda _: None),
}


@dataclass(frozen=True, eq=False)
class Delta:
    """The change of one weight: `scale * form`.

    Attributes:
        name: of the layer in its file, for people.
        part: "unet", "text", or "text_2" for Stable Diffusion XL's second text encoder.
        module: the layer's name within its part, as the file has it, with `_` for every dot.
        parameter: "weight" or "bias".
        form: a key of `FORMS`.
        tensors: what the form takes; on the meta device where only a file's header was read.
        scale: alpha / rank.
        shape: of the change.
    """

    name: str
    part: str
    module: str
    parameter: str
    form: str
    tensors: dict[str, Tensor]
    scale: float
    shape: tuple[int, ...]

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether it can be added to a weight of this shape; a 1 x 1 convolution is a matrix."""
        ours = _without_ones(self.shape)
        flat = len(ours) == 2 and len(shape) == 4 and ours == (shape[0], shape[1] * shape[2] * shape[3])
        # a matrix is spread over a kernel only where its form knows no kernels
        return ours == _without_ones(shape) or (flat and self.form in ("LoHa", "LoKr"))

    def same(self, other: "Delta") -> bool:
        """Whether it is the same change written the same way; without values, of the same shapes."""
        ours, theirs = self.tensors, other.tensors
        return (self.form, self.scale, ours.keys()) == (other.form, other.scale, theirs.keys()) and all(
            tensor.shape == theirs[role].shape and (tensor.is_meta or torch.equal(tensor, theirs[role]))
            for role, tensor in ours.items()
        )

    def unscaled(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        """What is added to the weight `scale` times, of shape `shape`; may be the file's own tensor."""
        parts = {key: tensor.to(device, dtype) for key, tensor in self.tensors.items()}
        return FORMS[self.form].change(parts)

    def norm(self) -> float:
        """The Frobenius norm of the change; of a LoRA without building it."""
        if self.form == "LoRA" and "mid" not in self.tensors:
            up, down = (self.tensors[key].flatten(1).double() for key in ("up", "down"))
            squared = float(((up.T @ up) * (down @ down.T)).sum())
            return abs(self.scale) * max(squared, 0.0) ** 0.5
        return abs(self.scale) * float(self.unscaled(torch.device("cpu"), torch.float32).double().norm())


def shape_of(form: str, tensors: Tensors) -> tuple[int, ...]:
    """The shape of a change, without computing it.

    Raises:
        ValueError: the tensors do not fit together.
    """
    try:
        return tuple(FORMS[form].change({key: value.to("meta") for key, value in tensors.items()}).shape)
    except (RuntimeError, KeyError, IndexError) as error:
        found = [f"{role} {list(tensor.shape)}" for role, tensor in sorted(tensors.items())]
        raise ValueError(", ".join(found)) from error


def _without_ones(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A matrix where it is a convolution of one point."""
    return shape[:2] if set(shape[2:]) <= {1} else tuple(shape)
