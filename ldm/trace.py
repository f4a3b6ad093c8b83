"""The record of one denoising run, kept on the CPU so that any view can be drawn later.

`run_file` writes a `Trace` to disk and reads it back; the views draw it.
"""

from dataclasses import dataclass, replace
from typing import Self

from PIL import Image
from torch import Tensor

from .errors import SettingsError, check_index
from .settings import BATCH_NOISE, Settings

PADDING = "[padding]"  # the position that all padding is summed into

# Records that hold tensors use eq=False: comparing tensors has no truth value, and
# identity hashing is what gr.State.change needs to notice a new record.


@dataclass(frozen=True, eq=False)
class AttentionMaps:
    """Cross-attention of one U-Net call, averaged over heads and over layers of equal size.

    Attributes:
        maps: one (B, K, H, W) tensor per feature-map size, largest first; each sums to 1 over K.  A recorded
            one has the prompt's tokens and one last position for all its padding together
            (`Trace.recorded_tokens`), and may be smaller than its feature map.
        heads: of how many heads, all layers of that size together, each map is the mean; empty if not known.
    """

    maps: tuple[Tensor, ...]
    heads: tuple[int, ...] = ()

    def at(self, height: int, width: int) -> Tensor:
        """(B, K, height, width) of that feature-map size."""
        return next(m for m in self.maps if m.shape[-2:] == (height, width))

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Feature-map sizes recorded, largest first."""
        return [(m.shape[-2], m.shape[-1]) for m in self.maps]

    def of_picture(self, index: int) -> Self:
        """Those of one picture of the batch."""
        return replace(self, maps=tuple(m[index : index + 1] for m in self.maps))


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the network says about one noisy batch.

    Attributes:
        x0: (B, C, H, W) the clean latents it predicts, after guidance and rescale.
        x0_cond: (B, C, H, W) predicted with the prompt.
        x0_uncond: (B, C, H, W) predicted with the negative prompt; None when guidance is off.
        x0_third: (B, C, H, W) predicted with what else the guidance asks about: the negative prompt where
            x0_uncond is of the empty one (perpendicular), the picture alone (two-scale); None otherwise.
        x0_free: (B, C, H, W) what x0 was before it was moved to the nearest codes of a codebook; None where
            it was not.
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
    x0_free: Tensor | None = None

    @property
    def anchor(self) -> Tensor:
        """(B, C, H, W) the clean latents whose distance from x is the noise that a step keeps part of.

        Source: CFG++, Chung et al. 2024 (arXiv:2406.08070): x0 is guided, the noise is not.
        """
        if self.keeps_uncond and self.x0_uncond is not None:
            return self.x0_uncond
        return self.x0 if self.x0_free is None else self.x0_free

    def of_picture(self, index: int) -> Self:
        """What it says about one picture of the batch."""
        one = slice(index, index + 1)
        x0 = self.x0[one]
        return replace(
            self,
            x0=x0,
            x0_cond=x0 if self.x0_cond is self.x0 else self.x0_cond[one],
            x0_uncond=None if self.x0_uncond is None else self.x0_uncond[one],
            x0_third=None if self.x0_third is None else self.x0_third[one],
            x0_free=None if self.x0_free is None else self.x0_free[one],
            attention=None if self.attention is None else self.attention.of_picture(index),
            attention_uncond=None
            if self.attention_uncond is None
            else self.attention_uncond.of_picture(index),
        )


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

    def of_picture(self, index: int) -> Self:
        """The step of one picture of the batch."""
        one = slice(index, index + 1)
        return replace(
            self,
            x=self.x[one],
            prediction=self.prediction.of_picture(index),
            x_next=self.x_next[one],
            x_asked=None if self.x_asked is None else self.x_asked[one],
        )


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
        init_image: the picture it started from, at the size of the run; None if from noise.  Or one that its
            network looks at (`only_shown`), as that reads it.
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

    @property
    def only_shown(self) -> bool:
        """Whether `init_image` is no start: smaller than the pictures, or one of class numbers ("L")."""
        given, size = self.init_image, (self.settings.width, self.settings.height)
        return given is not None and (given.mode == "L" or given.size != size)

    @property
    def recorded_tokens(self) -> tuple[str, ...]:
        """What each of the K positions of the recorded attention is; all tokens where none was recorded.

        Of the last steps: those before a run was taken up are about the prompt that it had there.
        """
        maps = (step.prediction.attention for step in reversed(self.steps))
        return _recorded(self.tokens, next((m for m in maps if m is not None), None))

    @property
    def recorded_negative_tokens(self) -> tuple[str, ...]:
        """The same of the negative prompt."""
        maps = (step.prediction.attention_uncond for step in reversed(self.steps))
        return _recorded(self.negative_tokens, next((m for m in maps if m is not None), None))

    def of_picture(self, index: int) -> Self:
        """The run of one picture of the batch, which can be taken up again alone.

        Raises:
            SettingsError: there is no such picture, or its noise is drawn for the whole batch.
        """
        settings, last = self.settings, self.settings.batch_size - 1
        check_index("picture", index, last + 1)
        if last == 0:
            return self
        if settings.noise in BATCH_NOISE:
            raise SettingsError(
                f"The noise of {settings.noise!r} is drawn for the whole batch, so none of its pictures can "
                "go on alone."
            )
        return replace(
            self,
            settings=settings.of_picture(index),
            steps=tuple(step.of_picture(index) for step in self.steps),
            images=self.images[index : index + 1],
        )


def _recorded(tokens: tuple[str, ...], attention: AttentionMaps | None) -> tuple[str, ...]:
    if attention is None:
        return tokens
    kept = attention.maps[0].shape[1]
    return tokens if kept >= len(tokens) else (*tokens[: kept - 1], PADDING)
