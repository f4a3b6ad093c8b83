"""What a run from a picture undoes: the picture's own way under the noise."""

from dataclasses import replace
from itertools import pairwise

from ..errors import SettingsError
from ..latent_diffusion import LatentDiffusion
from ..trace import Prediction, Step, Trace
from .forks import started_from_picture, way_on
from .start import encoded, first_step


def forward(model: LatentDiffusion, trace: Trace) -> Trace:
    """The noising before a run that started from a picture, as a run of steps that go up.

        x_k = x0 + sigma_k * eps

    with x0 the picture's latents and eps the noise that the run started with, over the run's noise levels
    from below: the last x_next is the run's first x to the last bit.

    Returns:
        Steps whose `prediction.x0` is the picture's latents and whose `eps` is the noise; no pictures.

    Raises:
        SettingsError: the run did not start from a picture, or made no step.

    Source: Ho et al. 2020 (arXiv:2006.11239) eq. 4, in terms of sigma.
    """
    settings = trace.settings
    if (
        trace.init_image is None
        or trace.only_shown
        or (first_step(settings) > 0 and not started_from_picture(trace))
    ):
        raise SettingsError("The run started from noise, so there is no picture that was noised before it.")
    if not trace.steps:
        raise SettingsError("The run made no step, so nothing was noised before it.")
    first = trace.steps[0]
    x0 = encoded(model, trace.init_image).expand_as(first.x)
    eps = (first.x - x0) / first.sigma
    between = {s for s in way_on(model, trace, 0, settings).tolist() if 0 < s < first.sigma}
    levels = [0.0, *sorted(between), first.sigma]
    xs = [x0, *(x0 + sigma * eps for sigma in levels[1:-1]), first.x]
    prediction = Prediction(x0, x0)
    steps = [
        Step(k, sigma, after, model.schedule.timestep(after), xs[k], prediction, xs[k + 1], after, xs[k + 1])
        for k, (sigma, after) in enumerate(pairwise(levels))
    ]
    return replace(trace, steps=tuple(steps), images=(), seconds=0.0, finished=True, sigmas=tuple(levels))
