"""From the record of what was asked to what the mathematics takes; runs and views read it alike."""

from ..settings import Settings
from .guidance import Guidance
from .mute import Mute
from .samplers import DEFAULT_ETA, SamplerOptions


def guidance_of(settings: Settings) -> Guidance:
    """How predictions are combined.

    Raises:
        SettingsError: unknown method or schedule, or an interval that ends before it starts.
    """
    return Guidance(
        scale=settings.cfg_scale if settings.cfg_scales is None else settings.cfg_scales,
        rescale=settings.cfg_rescale,
        method=settings.cfg_method,
        schedule=settings.cfg_schedule,
        start=settings.cfg_start,
        stop=settings.cfg_stop,
        final_scale=settings.cfg_final,
        threshold=settings.dynamic_threshold,
        negative_scale=settings.negative_scale,
        image_scale=settings.image_cfg_scale,
    )


def mute_of(settings: Settings) -> Mute | None:
    """What of the prompt is not listened to."""
    if not settings.muted_tokens:
        return None
    return Mute(settings.muted_tokens, settings.mute_start, settings.mute_stop)


def options_of(settings: Settings) -> SamplerOptions:
    """What the sampler is told besides the noise levels."""
    return SamplerOptions(
        eta=DEFAULT_ETA[settings.sampler] if settings.eta is None else settings.eta,
        s_churn=settings.s_churn,
        s_tmin=settings.s_tmin,
        s_tmax=float("inf") if settings.s_tmax is None else settings.s_tmax,
        s_noise=settings.s_noise,
        order=settings.order,
        step_lr=settings.step_lr,
        steps_per_level=settings.steps_per_level,
    )
