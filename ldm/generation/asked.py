"""From settings to what the mathematics takes: options, guidance, noise levels, the denoiser."""

from collections.abc import Sequence

import torch
from torch import Tensor

from ..diffusion.denoiser import Denoiser, Keep
from ..diffusion.from_settings import guidance_of, mute_of, options_of
from ..diffusion.noise import NOISES, Noise, noise_of
from ..diffusion.samplers import CFG_PP, SAMPLERS, sampler_levels
from ..diffusion.spacing import FINAL_SIGMAS, SPACINGS, sampling_sigmas
from ..errors import SettingsError, check_choice
from ..latent_diffusion import LatentDiffusion
from ..settings import Settings


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
    if settings.steps > model.n_steps:
        raise SettingsError(
            f"steps must be between 1 and {model.n_steps}, the model's training timesteps; "
            f"got {settings.steps}."
        )
    guidance_of(settings)
    if settings.cfg_method == "two_scale" and model.config.unet.in_channels != 2 * model.latent_channels:
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


def _check_muted(model: LatentDiffusion, settings: Settings) -> None:
    """Positions that the text encoder has, and something left to listen to."""
    muted = set(settings.muted_tokens or ())
    if not muted:
        return
    length = model.cond_stage_model.tokenizer.length
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
    concat: Tensor | None = None,
    keep: Keep | None = None,
) -> Denoiser:
    """The model, told the prompts, one for each picture, and how to weigh them.

    Args:
        concat: (B, c, H, W) channels the network reads besides the latents.
        keep: what is not to be painted anew.
    """
    perpendicular = settings.cfg_method == "perpendicular"
    texts = dict.fromkeys([*prompts, settings.negative_prompt, ""] if settings.guided else prompts)
    if settings.guided and not perpendicular and settings.negative_prompt:
        texts.pop("")
    rows = dict(zip(texts, model.get_text_conditioning(list(texts)).split(1), strict=True))

    def repeated(text: str) -> Tensor:
        return rows[text].expand(len(prompts), -1, -1)

    def network(x: Tensor, t: Tensor, context: Tensor, *heard: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        return model.predict(x, t, context, record_attention, *heard)

    uncond = repeated("" if perpendicular else settings.negative_prompt) if settings.guided else None
    return Denoiser(
        network=network,
        schedule=model.schedule,
        prediction_type=model.prediction_type,
        context=torch.cat([rows[prompt] for prompt in prompts]),
        uncond=uncond,
        guidance=guidance_of(settings),
        third=repeated(settings.negative_prompt) if perpendicular and settings.negative_prompt else None,
        concat=concat,
        keep=keep,
        mute=mute_of(settings),
    )
