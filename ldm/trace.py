"""The record of one denoising run, kept on the CPU so that any view can be drawn later.

`run_file` writes a `Trace` to disk and reads it back; the views draw it.
"""

from dataclasses import dataclass

from PIL import Image
from torch import Tensor

from .settings import Settings

# Records that hold tensors use eq=False: comparing tensors has no truth value, and
# identity hashing is what gr.State.change needs to notice a new record.


@dataclass(frozen=True, eq=False)
class AttentionMaps:
    """Cross-attention of one U-Net call, averaged over heads and over layers of equal size.

    Attributes:
        maps: one (B, T, H, W) tensor per feature-map size, largest first; each sums to 1 over T.
    """

    maps: tuple[Tensor, ...]

    def at(self, height: int, width: int) -> Tensor:
        """(B, T, height, width) of that feature-map size."""
        return next(m for m in self.maps if m.shape[-2:] == (height, width))

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Feature-map sizes recorded, largest first."""
        return [(m.shape[-2], m.shape[-1]) for m in self.maps]


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the network says about one noisy batch.

    Attributes:
        x0: (B, C, H, W) the clean latents it predicts, after guidance and rescale.
        x0_cond: (B, C, H, W) predicted with the prompt.
        x0_uncond: (B, C, H, W) predicted with the negative prompt; None when guidance is off.
        x0_third: (B, C, H, W) predicted with what else the guidance asks about: the negative prompt where
            x0_uncond is of the empty one (perpendicular), the picture alone (two-scale); None otherwise.
        keeps_uncond: whether a sampler keeps the noise that x0_uncond leaves instead of x0's (CFG++).
        attention: cross-attention of the half with the prompt; None when not recorded.
        attention_uncond: the same of the half with the negative prompt.
    """

    x0: Tensor
    x0_cond: Tensor
    x0_uncond: Tensor | None = None
    attention: AttentionMaps | None = None
    attention_uncond: AttentionMaps | None = None
    x0_third: Tensor | None = None
    keeps_uncond: bool = False

    @property
    def anchor(self) -> Tensor:
        """(B, C, H, W) the clean latents whose distance from x is the noise that a step keeps part of.

        Source: CFG++, Chung et al. 2024 (arXiv:2406.08070): x0 is guided, the noise is not.
        """
        return self.x0_uncond if self.keeps_uncond and self.x0_uncond is not None else self.x0


@dataclass(frozen=True, eq=False)
class Step:
    """One denoising step.

    Attributes:
        index: 0 for the noisiest step.
        sigma, sigma_next: noise level before and after; sigma_next is 0 on the last step.  It is above sigma
            where the step ends by adding noise (restart), or where the run goes from a picture to its noise.
        timestep: what the network was told at its first call, in [0, T - 1]; may be a fraction.
        x: (B, C, H, W) latents going in, at unit signal scale, x0 + sigma * eps.
        prediction: what the network said about x.
        x_next: (B, C, H, W) latents coming out.
        sigma_asked, x_asked: what the network was asked about, where that is not sigma and x: noise was
            stirred in first (s_churn), or the step runs the other way and starts without any.
    """

    index: int
    sigma: float
    sigma_next: float
    timestep: float
    x: Tensor
    prediction: Prediction
    x_next: Tensor
    sigma_asked: float | None = None
    x_asked: Tensor | None = None

    @property
    def eps(self) -> Tensor:
        """(B, C, H, W) the noise that matches the guided x0, `(x - x0) / sigma` of what was asked about."""
        x = self.x if self.x_asked is None else self.x_asked
        sigma = self.sigma if self.sigma_asked is None else self.sigma_asked
        return (x - self.prediction.x0) / sigma


@dataclass(frozen=True, eq=False)
class Trace:
    """A run: what was asked, every step, and the pictures.

    Attributes:
        settings: what was asked.
        model_name: the checkpoint that drew it.
        prediction_type: "eps", "v" or "x0": what its network predicts.
        tokens: the prompt as the text encoder reads it, one string per position.
        negative_tokens: the same of the negative prompt; empty without guidance.
        steps: every step made, noisiest first; fewer than asked for if the run was stopped.
        images: the pictures, decoded from the last step.
        seconds: wall-clock time of the steps and the decode.
        finished: False if the run was stopped before its last step.
        parent: (run id, step) that it was taken up from.
        init_image: the picture it started from, at the size of the run; None if from noise.
        mask: which part of it was painted anew, white; None if all.
        sigmas: the noise levels it was to walk down, where the settings alone do not tell them: it was taken
            up from another run with other settings; None if they do.
    """

    settings: Settings
    model_name: str
    prediction_type: str
    tokens: tuple[str, ...]
    negative_tokens: tuple[str, ...]
    steps: tuple[Step, ...]
    images: tuple[Image.Image, ...]
    seconds: float
    finished: bool = True
    parent: tuple[str, int] | None = None
    init_image: Image.Image | None = None
    mask: Image.Image | None = None
    sigmas: tuple[float, ...] | None = None
