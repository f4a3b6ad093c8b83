"""From a network that predicts eps, v or x0 to one question: what is the clean picture?

Knows the three ways to ask a network, what guidance asks it for, and what else it is shown or held to.  The
network itself is any function of (x, t, context), so everything here can be tested against one whose answer
is known.
"""

from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cached_property
from typing import Literal, get_args

import torch
from torch import Tensor

from ..errors import SettingsError, check_choice
from ..trace import AttentionMaps, Prediction
from .guidance import Guidance, combine, limited, progress
from .mute import Mute
from .schedule import NoiseSchedule

PredictionType = Literal["eps", "v", "x0"]
PREDICTION_TYPES: tuple[PredictionType, ...] = get_args(PredictionType)

# What a call asks about, unconditional first as in CompVis: the parts of its batch of B, 2 * B or 3 * B.
Branch = Literal["uncond", "third", "cond"]
Branches = tuple[Branch, ...]

Given = tuple[Tensor, Tensor | None, Tensor | None]  # context, channels, vector

Network = Callable[..., tuple[Tensor, tuple[Tensor, ...]]]


def to_x0(x: Tensor, sigma: float | Tensor, output: Tensor, prediction_type: PredictionType) -> Tensor:
    """(B, C, H, W) clean latents from a network's output.

        eps:  x0 = x - sigma * output
        v:    x0 = x / (1 + sigma**2) - output * sigma / sqrt(1 + sigma**2)
        x0:   x0 = output

    Args:
        x: (B, C, H, W) noisy latents, x0 + sigma * eps.
        sigma: noise level, a number or (B, 1, 1, 1).
        output: (B, C, H, W) what the network returned for x / sqrt(1 + sigma**2).

    Source: eps, Ho et al. 2020 (arXiv:2006.11239) eq. 15; v, Salimans & Ho 2022 (arXiv:2202.00512)
    appendix D; both in terms of sigma.
    """
    check_choice("prediction_type", prediction_type, PREDICTION_TYPES)
    if prediction_type == "eps":
        return x - sigma * output
    if prediction_type == "v":
        variance = 1 + sigma**2
        return x / variance - output * (sigma / variance**0.5)
    return output


def from_x0(x: Tensor, sigma: float | Tensor, x0: Tensor, prediction_type: PredictionType) -> Tensor:
    """(B, C, H, W) the network's output that means x0, the inverse of `to_x0`.

    Args:
        x: (B, C, H, W) noisy latents, x0 + sigma * eps.
        sigma: noise level, a number or (B, 1, 1, 1); above 0.
        x0: (B, C, H, W) clean latents.

        eps:  output = (x - x0) / sigma
        v:    output = (eps - sigma * x0) / sqrt(1 + sigma**2)
        x0:   output = x0

    Source: v, Salimans & Ho 2022 (arXiv:2202.00512), section 4.
    """
    check_choice("prediction_type", prediction_type, PREDICTION_TYPES)
    if prediction_type == "eps":
        return (x - x0) / sigma
    if prediction_type == "v":
        # x - x0 first: at small sigma the two are almost equal, and their difference is exact
        scale = (1 + sigma**2) ** 0.5
        return (x - x0) / (sigma * scale) - x0 * (sigma / scale)
    return x0


def guide(
    x: Tensor,
    sigma: float,
    x0_cond: Tensor,
    x0_uncond: Tensor | None,
    x0_third: Tensor | None,
    guidance: Guidance,
    prediction_type: PredictionType,
) -> Tensor:
    """(B, C, H, W) clean latents after guidance: its formula, the rescale, then dynamic thresholding.

    The network's output is x0 stretched and shifted by numbers that depend on x and sigma only, and the
    weights of every formula in `guidance` sum to one, so guiding x0 is guiding eps or v.

    A pure function of what a `Step` stores: guidance can be done again after the run.

    Args:
        x: (B, C, H, W) noisy latents the predictions are about.
        x0_uncond: None turns guidance off.
        guidance: what holds at this noise level: `Guidance.at`.

    Returns:
        Of pictures whose scale is 1, x0_cond to the last bit, wherever that is what 1 means.

    Raises:
        SettingsError: two_scale without x0_third.
    """
    exact = guidance.is_conditional_at_1(has_third=x0_third is not None)
    ones = [exact and scale == 1 for scale in guidance.scales]
    if x0_uncond is None or all(ones):
        return x0_cond
    x0 = combine(x0_cond, x0_uncond, x0_third, guidance)
    if guidance.rescale != 0:
        x0 = _rescaled(x, sigma, x0, x0_cond, guidance.rescale, prediction_type)
    if guidance.threshold != 0:
        x0 = limited(x0, x0_cond, guidance.threshold)
    if any(ones):
        x0 = torch.where(torch.tensor(ones, device=x.device)[:, None, None, None], x0_cond, x0)
    return x0


def _rescaled(
    x: Tensor, sigma: float, x0: Tensor, x0_cond: Tensor, rescale: float, prediction_type: PredictionType
) -> Tensor:
    """(B, C, H, W) guided x0, its network output nearer to the spread it has without guidance.

        output = output * (1 - rescale + rescale * std(output_cond) / std(output))

    Source: Lin et al. 2023 (arXiv:2305.08891) eq. 15 and 16.
    """
    output = from_x0(x, sigma, x0, prediction_type)
    # per picture, over C, H and W
    spread = output.std(dim=(1, 2, 3), correction=0, keepdim=True)  # (B, 1, 1, 1)
    spread_cond = from_x0(x, sigma, x0_cond, prediction_type).std(dim=(1, 2, 3), correction=0, keepdim=True)
    # an output without any spread has none to bring back
    ratio = torch.where(spread > 0, spread_cond / spread, 1.0)
    return to_x0(x, sigma, output * (1 - rescale + rescale * ratio), prediction_type)


@dataclass(frozen=True, eq=False)
class Keep:
    """A part of the picture that is not to change.

    Every sampler goes from x to x0 and some of the noise, so what x0 is held to, x follows at every level.

    Attributes:
        latents: (B, C, H, W) clean latents that stay.
        mask: (B, 1, H, W) or (1, 1, H, W) in [0, 1]: 1 is painted anew, 0 stays.

    Source: Avrahami et al. 2022 (arXiv:2206.02779), who blend the noisy latents instead.
    """

    latents: Tensor
    mask: Tensor

    def blend(self, x0: Tensor) -> Tensor:
        """(B, C, H, W) x0 where the mask is 1, the latents where it is 0, both to the last bit."""
        latents, mask = self.latents.to(x0), self.mask.to(x0)
        soft = latents + mask * (x0 - latents)
        return torch.where(mask == 0, latents, torch.where(mask == 1, x0, soft))

    def hold(self, prediction: Prediction) -> Prediction:
        """The same of every x0 in a prediction."""
        p, cond = prediction, self.blend(prediction.x0_cond)
        return replace(
            p,
            x0=cond if p.x0 is p.x0_cond else self.blend(p.x0),
            x0_cond=cond,
            x0_uncond=None if p.x0_uncond is None else self.blend(p.x0_uncond),
            x0_third=None if p.x0_third is None else self.blend(p.x0_third),
        )


@dataclass(frozen=True, eq=False)
class Denoiser:
    """The network, conditioned and guided.  Call it with latents and a noise level.

    Attributes:
        network: called as network(x, t, context) with x (N, C, H, W) of unit variance, t (N,) timesteps that
            may be fractions, and context (N, T, D); returns its output (N, C, H, W) in the type of x, and one
            (N, T, h, w) tensor of attention per feature-map size, none when not recorded.  N is B for each
            prediction that guidance needs at this noise level: one, two or three of them.  Where words are
            muted it is given `Mute.heard` as a fourth argument, and where there are vectors y=(N, V).
        schedule: what the network was trained on.
        prediction_type: what the network returns.
        context: (B, T, D) embedding of the prompts; (B, 0, 0) of a network without cross-attention.
        uncond: (B, T, D) embedding of the negative prompts, of the empty one with perpendicular guidance;
            None turns guidance off.
        guidance: where it is off the negative prompts cost nothing.
        third: (B, T, D) what else guidance asks about.  With "perpendicular" the negative prompts, None if
            there are none; with "two_scale" the words beside the picture alone, None is `uncond`.
        concat: (B, c, H, W) channels that the network sees after those of x, as they are: the mask and the
            masked picture for inpainting, the picture for editing.
        concat_uncond: (B, c, H, W) the same beside `uncond`; None is zeros with "two_scale", else `concat`.
        vector, vector_uncond, vector_third: (B, V) numbers or (B,) class numbers beside `context`, `uncond`
            and `third`; None where the network reads none.
        keep: what every prediction is held to.
        mute: what of the prompts is not listened to.
        quantise: moves (B, C, H, W) clean latents to the nearest codes of the first stage's codebook; None
            leaves them.  Source: CompVis's DDIM sampler, `quantize_denoised`.

    Raises:
        SettingsError: guidance has scales for another number of pictures, or misses the picture it needs.
    """

    network: Network
    schedule: NoiseSchedule
    prediction_type: PredictionType
    context: Tensor
    uncond: Tensor | None = None
    guidance: Guidance = field(default_factory=Guidance)
    _: KW_ONLY
    third: Tensor | None = None
    concat: Tensor | None = None
    concat_uncond: Tensor | None = None
    vector: Tensor | None = None
    vector_uncond: Tensor | None = None
    vector_third: Tensor | None = None
    keep: Keep | None = None
    mute: Mute | None = None
    quantise: Callable[[Tensor], Tensor] | None = None

    def __post_init__(self) -> None:
        check_choice("prediction_type", self.prediction_type, PREDICTION_TYPES)
        scale, pictures = self.guidance.scale, len(self.context)
        if isinstance(scale, tuple) and len(scale) != pictures:
            raise SettingsError(f"Guidance has {len(scale)} scales for a batch of {pictures}.")
        if self.guidance.method == "two_scale" and self.uncond is not None and self.concat is None:
            raise SettingsError("two_scale guidance needs a picture to edit, and there is none.")

    def __call__(self, x: Tensor, sigma: float) -> Prediction:
        """Predict the clean latents in x: (B, C, H, W) float32 or float64, whose noise level is sigma > 0."""
        timestep = self.timestep(sigma)
        guidance = self.guidance.at(progress(timestep, len(self.schedule)))
        branches = self._branches(guidance)
        output, maps = self._ask(x / (1 + sigma**2) ** 0.5, timestep, branches)
        x0s = dict(
            zip(branches, (to_x0(x, sigma, part, self.prediction_type) for part in output), strict=True)
        )
        cond, uncond, third = x0s["cond"], x0s.get("uncond"), x0s.get("third")
        negative = int(guidance.method == "perpendicular" and third is not None)  # uncond is of the empty one
        prediction = Prediction(
            guide(x, sigma, cond, uncond, third, guidance, self.prediction_type),
            cond,
            uncond,
            attention=_attention(tuple(parts[-1] for parts in maps)),
            attention_uncond=None if uncond is None else _attention(tuple(parts[negative] for parts in maps)),
            x0_third=third,
            keeps_uncond=guidance.method == "cfg_pp" and uncond is not None,
        )
        if self.quantise is not None:
            prediction = replace(prediction, x0=self.quantise(prediction.x0), x0_free=prediction.x0)
        return prediction if self.keep is None else self.keep.hold(prediction)

    def timestep(self, sigma: float) -> float:
        """What the network is told at this noise level, in [0, T - 1]."""
        return self.schedule.timestep(sigma)

    def sigma_at(self, t: float) -> float:
        """Noise level of a timestep, the inverse of `timestep`."""
        return self.schedule.sigma_at(t)

    def _ask(
        self, inputs: Tensor, timestep: float, branches: Branches
    ) -> tuple[tuple[Tensor, ...], list[tuple[Tensor, ...]]]:
        """The network's output and its maps for each branch, from one call."""
        count = len(branches)
        context, concat, vector = self._conditions(branches)
        inputs = torch.cat([inputs] * count)  # (N, C, H, W)
        t = inputs.new_full((len(inputs),), timestep)
        if concat is not None:
            inputs = torch.cat([inputs, concat.to(inputs)], dim=1)  # (N, C + c, H, W)
        done = progress(timestep, len(self.schedule))
        heard = None if self.mute is None else self.mute.heard(context, count, done)
        more = {} if vector is None else {"y": vector}
        output, maps = self.network(inputs, t, context, *(() if heard is None else (heard,)), **more)
        return output.chunk(count), [m.chunk(count) for m in maps]

    def _branches(self, guidance: Guidance) -> Branches:
        """What must be asked about for the guidance of a noise level."""
        has_third = self.third is not None or guidance.method == "two_scale"
        if self.uncond is None or guidance.is_off(has_third):
            return ("cond",)
        if has_third and guidance.method in ("perpendicular", "two_scale"):
            return ("uncond", "third", "cond")
        return ("uncond", "cond")

    def _conditions(self, branches: Branches) -> Given:
        """(N, T, D) contexts, (N, c, H, W) channels and (N, V) vectors of these branches; made once."""
        if branches not in self._made:
            contexts, concats, vectors = zip(*(self._condition(branch) for branch in branches), strict=True)
            self._made[branches] = (
                torch.cat(contexts),
                None if self.concat is None else torch.cat(concats),
                None if self.vector is None else torch.cat(vectors),
            )
        return self._made[branches]

    def _condition(self, branch: Branch) -> Given:
        """(B, T, D) context, (B, c, H, W) channels and (B, V) vector of one branch."""
        if branch == "cond" or self.uncond is None:
            return self.context, self.concat, self.vector
        if branch == "third" and self.third is not None:
            return self.third, self.concat, self.vector_third
        if branch == "third":
            return self.uncond, self.concat, self.vector_uncond
        concat = self.concat_uncond
        if concat is None and self.concat is not None:
            concat = torch.zeros_like(self.concat) if self.guidance.method == "two_scale" else self.concat
        return self.uncond, concat, self.vector_uncond

    @cached_property
    def _made(self) -> dict[Branches, Given]:
        return {}


def _attention(maps: tuple[Tensor, ...]) -> AttentionMaps | None:
    return AttentionMaps(maps) if maps else None
