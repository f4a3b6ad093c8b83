"""From settings to what the mathematics takes: options, guidance, noise levels, the denoiser."""

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ..diffusion.denoiser import Denoiser
from ..diffusion.from_settings import guidance_of, mute_of, options_of
from ..diffusion.noise import NOISES, Noise, noise_of
from ..diffusion.samplers import CFG_PP, SAMPLERS, sampler_levels
from ..diffusion.spacing import FINAL_SIGMAS, SPACINGS, sampling_sigmas
from ..errors import SettingsError, check_choice
from ..latent_diffusion import LatentDiffusion
from ..models.blocks import sinusoidal_embedding
from ..models.condition import Condition, Sizes
from ..settings import Settings
from .reads import Reads

NEGATIVE_SCORE = (
    2.5  # the aesthetic score that the refiner is told of the negative prompt, as diffusers has it
)
SCORED = 5  # numbers of the size conditioning where the last one is a score


def check(model: LatentDiffusion, settings: Settings) -> None:
    """Raise SettingsError if this model cannot do what is asked."""
    check_choice("sampler", settings.sampler, SAMPLERS)
    check_choice("spacing", settings.spacing, SPACINGS)
    check_choice("final_sigma", settings.final_sigma, FINAL_SIGMAS)
    check_choice("noise", settings.noise, NOISES)
    multiple = model.config.size_multiple
    for name in ("width", "height"):
        size = getattr(settings, name)
        if size % multiple:
            raise SettingsError(f"{name} must be a multiple of {multiple} for {model.name}, got {size}.")
    # Langevin dynamics stays at each level for several steps; how many levels there are is checked with them
    if settings.steps > model.n_steps and settings.sampler != "langevin":
        raise SettingsError(
            f"steps must be between 1 and {model.n_steps}, the model's training timesteps; "
            f"got {settings.steps}."
        )
    guidance_of(settings)
    _check_prompts(model, settings)
    if settings.cfg_method == "two_scale" and model.config.picture != "edit":
        raise SettingsError(
            f"{model.name} reads no picture beside its latents, so cfg_method 'two_scale' has nothing "
            "to weigh."
        )
    _check_muted(model, settings)
    _check_sampler(settings)
    sigmas = levels_of(model, settings)
    if settings.sampler == "langevin" and settings.step_lr is not None:
        most = 2 * float(sigmas[sigmas > 0][-1]) ** 2
        if settings.step_lr >= most:
            raise SettingsError(
                f"step_lr must be less than {most:.3g}, twice the square of the last noise level, "
                f"for 'langevin' to settle; got {settings.step_lr:g}."
            )


def _check_prompts(model: LatentDiffusion, settings: Settings) -> None:
    """Prompts that can be read, and no guidance where there is nothing to guide away from."""
    text = model.conditioner
    text.check(settings.prompt)
    if not settings.guided:
        return
    if not text.guides and model.config.picture != "study_mask":  # a mask can be left out, as in training
        raise SettingsError(
            f"cfg_scale must be 1 for {model.name}: it never learned to draw without its condition, so "
            f"there is nothing to guide away from; got {settings.cfg_scale:g}."
        )
    text.check(settings.negative_prompt)


def _check_muted(model: LatentDiffusion, settings: Settings) -> None:
    """Positions that the text encoder has, and something left to listen to."""
    muted = set(settings.muted_tokens or ())
    if not muted:
        return
    length = model.conditioner.length
    if max(muted) >= length:
        raise SettingsError(
            f"muted_tokens must be between 0 and {length - 1}, the positions {model.name} reads; "
            f"got {max(muted)}."
        )
    if len(muted) == length:
        raise SettingsError(f"muted_tokens must leave one of the {length} positions to listen to.")


def _check_sampler(settings: Settings) -> None:
    """What one sampler has and another has not."""
    name, entry = settings.sampler, SAMPLERS[settings.sampler]
    if settings.cfg_method == "cfg_pp" and name not in CFG_PP:
        allowed = ", ".join(sorted(CFG_PP))
        raise SettingsError(f"cfg_method 'cfg_pp' is not for the sampler {name!r}; choose one of: {allowed}.")
    if settings.order is not None and settings.order not in entry.orders:
        orders = ", ".join(map(str, entry.orders)) or "none"
        raise SettingsError(f"The sampler {name!r} has no order {settings.order}; it has: {orders}.")
    if settings.s_churn > 0 and not entry.churns:
        churning = ", ".join(key for key, other in SAMPLERS.items() if other.churns)
        raise SettingsError(f"s_churn is not for the sampler {name!r}; choose one of: {churning}.")
    if settings.spacing == "custom" and entry.levels is not None:
        raise SettingsError(f"The sampler {name!r} lays out noise levels itself; 'custom' is not for it.")


def levels_of(model: LatentDiffusion, settings: Settings) -> Tensor:
    """The noise levels of a whole run: steps + 1 of them, and one more for each time it goes up again.

    Raises:
        SettingsError: the schedule does not have so many, or a custom list does not fit.
    """

    def sigmas_of(steps: int) -> Tensor:
        return sampling_sigmas(
            model.schedule,
            steps,
            settings.spacing,
            settings.final_sigma,
            rho=settings.rho,
            custom=settings.sigmas,
        )

    return sampler_levels(settings.sampler, sigmas_of, settings.steps, options_of(settings))


def noise_stream(model: LatentDiffusion, settings: Settings) -> Noise:
    """Unit noise of this run, a function of (seed, picture, draw)."""
    f = model.downsampling_factor
    return noise_of(
        settings.noise,
        settings.seed,
        settings.batch_size,
        (model.latent_channels, settings.height // f, settings.width // f),
        variation_seed=settings.variation_seed,
        variation_strength=settings.variation_strength,
    )


def denoiser_of(
    model: LatentDiffusion,
    settings: Settings,
    prompts: Sequence[str],
    *,
    record_attention: bool = False,
    reads: Reads | None = None,
) -> Denoiser:
    """The model, told the prompts, one for each picture, and how to weigh them.

    Args:
        reads: what the network reads besides the latents, and what is not to be painted anew.
    """
    model.adapt(settings.loras)
    perpendicular, negative = settings.cfg_method == "perpendicular", settings.negative_prompt
    texts = dict.fromkeys([*prompts, negative, ""] if settings.guided else prompts)
    if settings.guided and not perpendicular and negative:
        texts.pop("")
    made = condition_of(model, settings, list(texts))
    rows = {text: _row(made, k) for k, text in enumerate(texts)}
    against = rows
    if settings.guided and _tells_scores(model):  # of the negative prompt it is told another one
        against = {
            text: _row(condition_of(model, settings, [text], negative=True), 0) for text in ("", negative)
        }
    reads, count = reads or Reads(), len(prompts)

    def repeated(text: str) -> Condition:
        return _stacked([against[text]] * count, reads.level)

    def network(
        x: Tensor, t: Tensor, context: Tensor, heard: Tensor | None = None, y: Tensor | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        return model.predict(x, t, context, record_attention, heard, y)

    asked = _stacked([rows[prompt] for prompt in prompts], reads.level)
    uncond = repeated("" if perpendicular else negative) if settings.guided else None
    third = repeated(negative) if perpendicular and negative else None
    return Denoiser(
        network=network,
        schedule=model.schedule,
        prediction_type=model.prediction_type,
        context=asked.context,
        uncond=None if uncond is None else uncond.context,
        guidance=guidance_of(settings),
        third=None if third is None else third.context,
        concat=reads.concat,
        concat_uncond=reads.concat_uncond,
        vector=asked.vector,
        vector_uncond=None if uncond is None else uncond.vector,
        vector_third=None if third is None else third.vector,
        keep=reads.keep,
        mute=mute_of(settings),
    )


def condition_of(
    model: LatentDiffusion, settings: Settings, prompts: Sequence[str], *, negative: bool = False
) -> Condition:
    """What the network is told of these prompts, sizes and a distilled model's guidance scale included.

    Args:
        negative: they are what is guided away from.
    """
    sizes = Sizes(
        original=(settings.original_height or settings.height, settings.original_width or settings.width),
        crop=(settings.crop_top, settings.crop_left),
        target=(settings.height, settings.width),
        aesthetic=NEGATIVE_SCORE if negative else settings.aesthetic_score,
    )
    made = model.get_conditioning(prompts, sizes)
    dim = getattr(model.config.unet, "time_cond_proj_dim", None)
    if dim is None:
        return made
    scale = made.context.new_full((len(prompts),), settings.distilled_scale)
    # Luo et al. 2023 (arXiv:2310.04378), section 4.2
    embedded = sinusoidal_embedding((scale - 1) * 1000, dim)
    vector = embedded if made.vector is None else torch.cat([made.vector, embedded], dim=1)
    return replace(made, vector=vector)


def _tells_scores(model: LatentDiffusion) -> bool:
    """Whether the network is told how beautiful the picture is to be: the refiner of Stable Diffusion XL."""
    return getattr(model.config.text, "sizes", None) == SCORED


def _row(made: Condition, k: int) -> Condition:
    """That of one prompt."""
    return Condition(made.context[k : k + 1], None if made.vector is None else made.vector[k : k + 1])


def _stacked(rows: Sequence[Condition], level: int | None) -> Condition:
    """One row for each picture.

    Args:
        level: the class number of all of them, where it is not the prompt that tells it.
    """
    context = torch.cat([row.context for row in rows])
    vectors = [row.vector for row in rows if row.vector is not None]
    if level is not None:
        return Condition(context, torch.full((len(rows),), level, dtype=torch.int64))
    return Condition(context, torch.cat(vectors) if vectors else None)
