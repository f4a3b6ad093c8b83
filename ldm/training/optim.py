"""The optimiser of the default model: Muon for matrices and convolutions, AdamW for the rest, and an EMA.

Weights that compute may be bfloat16; the optimiser keeps float32 masters and writes them back.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

MUON_MOMENTUM = 0.95
ADAM_BETAS = (0.9, 0.99)


def orthogonalised(gradients: Tensor) -> Tensor:
    """(K, rows, cols) matrices with singular values near 1, by five Newton-Schulz steps in bfloat16.

    Source: Jordan et al. 2024, "Muon: an optimizer for hidden layers in neural networks".
    """
    x = gradients.bfloat16()
    tall = x.shape[1] > x.shape[2]
    x = x.transpose(1, 2) if tall else x
    x = x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)
    for _ in range(5):
        gram = x @ x.transpose(1, 2)
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return (x.transpose(1, 2) if tall else x).float()


class Optimiser:
    """Muon and AdamW over float32 masters of a module's parameters, with an exponential moving average.

    Args:
        named: parameters by name, in the dtype they compute in.
        adamw_only: names that contain one of these never go to Muon (first and last layers, embeddings).
        smallest: a matrix goes to Muon when its smaller side is at least this.
        ema_decay: of the moving average, ramped up as min(decay, (1 + n) / (10 + n)).
    """

    def __init__(
        self,
        named: Iterable[tuple[str, nn.Parameter]],
        *,
        muon_lr: float,
        adamw_lr: float,
        smallest: int,
        adamw_only: tuple[str, ...] = (),
        ema_decay: float = 0.9995,
    ) -> None:
        self.muon_lr, self.adamw_lr, self.ema_decay = muon_lr, adamw_lr, ema_decay
        self.params = dict(named)
        self.masters = {n: p.detach().float().clone() for n, p in self.params.items()}
        self.ema = {n: m.clone() for n, m in self.masters.items()}
        self.muon: dict[tuple[int, ...], list[str]] = {}
        self.adamw: list[str] = []
        for name, p in self.params.items():
            matrix = p.ndim >= 2 and min(p.shape[0], p[0].numel()) >= smallest
            if matrix and not any(word in name for word in adamw_only):
                self.muon.setdefault((p.shape[0], p[0].numel()), []).append(name)
            else:
                self.adamw.append(name)
        muon_names = [n for names in self.muon.values() for n in names]
        self.momentum = {n: torch.zeros_like(self.masters[n]) for n in muon_names}
        self.first = {n: torch.zeros_like(self.masters[n]) for n in self.adamw}
        self.second = {n: torch.zeros_like(self.masters[n]) for n in self.adamw}
        self.updates = 0

    @torch.no_grad()
    def step(self, scale: float, clip: float = 1.0) -> float:
        """One update from the parameters' gradients, which are cleared.

        Args:
            scale: of both learning rates, the schedule's value.
            clip: gradients are scaled down to this norm.

        Returns:
            The norm of the gradients before clipping.
        """
        self.updates += 1
        names = [n for n, p in self.params.items() if p.grad is not None]
        grads = {n: self.params[n].grad.float() for n in names}  # type: ignore[union-attr]
        norm = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(list(grads.values())))))
        if norm != norm or norm == float("inf"):  # a batch that overflowed teaches nothing
            for p in self.params.values():
                p.grad = None
            return norm
        if norm > clip:
            torch._foreach_mul_(list(grads.values()), clip / norm)
        self._muon_step(grads, scale)
        self._adamw_step(grads, scale)
        decay = min(self.ema_decay, (1 + self.updates) / (10 + self.updates))
        torch._foreach_lerp_(list(self.ema.values()), list(self.masters.values()), 1 - decay)
        for name, p in self.params.items():
            p.copy_(self.masters[name])
            p.grad = None
        return norm

    def _muon_step(self, grads: dict[str, Tensor], scale: float) -> None:
        for (rows, cols), names in self.muon.items():
            names = [n for n in names if n in grads]
            if not names:
                continue
            nesterov = []
            for name in names:
                self.momentum[name].lerp_(grads[name], 1 - MUON_MOMENTUM)
                nesterov.append(grads[name].lerp(self.momentum[name], MUON_MOMENTUM).flatten(1))
            updates = orthogonalised(torch.stack(nesterov))  # (K, rows, cols)
            lr = self.muon_lr * scale * max(1.0, rows / cols) ** 0.5
            for name, update in zip(names, updates, strict=True):
                self.masters[name].sub_(update.view_as(self.masters[name]), alpha=lr)

    def _adamw_step(self, grads: dict[str, Tensor], scale: float) -> None:
        names = [n for n in self.adamw if n in grads]
        given = [grads[n] for n in names]
        first, second = [self.first[n] for n in names], [self.second[n] for n in names]
        torch._foreach_lerp_(first, given, 1 - ADAM_BETAS[0])
        torch._foreach_mul_(second, ADAM_BETAS[1])
        torch._foreach_addcmul_(second, given, given, 1 - ADAM_BETAS[1])
        lr = self.adamw_lr * scale / (1 - ADAM_BETAS[0] ** self.updates)
        roots = torch._foreach_sqrt(torch._foreach_div(second, 1 - ADAM_BETAS[1] ** self.updates))
        torch._foreach_add_(roots, 1e-8)
        torch._foreach_addcdiv_([self.masters[n] for n in names], first, roots, -lr)

    def state_dict(self) -> dict[str, Tensor]:
        """Everything that decides the next update, as flat tensors."""
        groups = {
            "master": self.masters,
            "ema": self.ema,
            "momentum": self.momentum,
            "first": self.first,
            "second": self.second,
        }
        state = {f"{group}/{n}": t for group, tensors in groups.items() for n, t in tensors.items()}
        return state | {"updates": torch.tensor(self.updates)}

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """The inverse of `state_dict`; also writes the weights back to the module."""
        self.updates = int(state["updates"])
        for key, value in state.items():
            group, _, name = key.partition("/")
            if name:
                attribute = {"master": "masters"}.get(group, group)
                getattr(self, attribute)[name].copy_(value)
        for name, p in self.params.items():
            p.copy_(self.masters[name])
