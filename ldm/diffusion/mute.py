"""Words of a prompt that are not listened to: what a picture would be without them, all else the same."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Mute:
    """Words of the prompt that the network does not listen to, over a part of the way.

    In every cross-attention the others share what they would have got:

        attention = softmax(q @ k.T / sqrt(d)) over the positions that are heard

    Attributes:
        tokens: their positions in the prompt's context.
        start, stop: the part of the way, as `Guidance.start`; both ends belong to it.
    """

    tokens: tuple[int, ...]
    start: float = 0.0
    stop: float = 1.0

    def heard(self, context: Tensor, branches: int, progress: float) -> Tensor | None:
        """(N, T) bool for a call of the network; None where everything is heard.

        Args:
            context: (N, T, D) of all branches; the last one's is of the prompt, the only one that is muted.
        """
        if not self.start <= progress <= self.stop:
            return None
        heard = torch.ones(context.shape[:2], dtype=torch.bool, device=context.device)
        heard.chunk(branches)[-1][:, list(self.tokens)] = False
        return heard
