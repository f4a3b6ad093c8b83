"""Cross-attention in full: every head of every layer, which a run does not keep."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..diffusion.guidance import progress
from ..errors import SettingsError, check_index
from ..latent_diffusion import LatentDiffusion
from ..trace import Trace
from .asked import condition_of, mute_of
from .shown import Picture
from .start import conditions


@dataclass(frozen=True, eq=False)
class HeadMaps:
    """The attention of one layer's heads.

    Attributes:
        name: of the layer, as the checkpoint has it below `model.diffusion_model`.
        attention: (h, T, H, W) float32, of all T positions that the text encoder reads; sums to 1 over T.
    """

    name: str
    attention: Tensor


@torch.no_grad()
def heads(
    model: LatentDiffusion, trace: Trace, step: int, picture: int = 0, *, negative: bool = False
) -> list[HeadMaps]:
    """Every head's attention in one step of a picture, layer by layer, by one call of the network.

    `heads_bytes` says before how much memory that takes.

    Args:
        step, picture: their index.
        negative: of the half with the negative prompt.

    Raises:
        SettingsError: the run has no such step, picture or half.
    """
    settings = trace.settings
    for name, value, count in (("step", step, len(trace.steps)), ("picture", picture, settings.batch_size)):
        check_index(name, value, count)
    if negative and not settings.guided:
        raise SettingsError("This run was made at guidance 1: the network was not shown a negative prompt.")
    made = trace.steps[step].of_picture(picture)
    x = made.x if made.x_asked is None else made.x_asked
    sigma = made.sigma if made.sigma_asked is None else made.sigma_asked
    x = x / (1 + sigma**2) ** 0.5
    alone = replace(settings, batch_size=1, cfg_scales=None)
    start = None if trace.init_image is None else Picture(trace.init_image, trace.mask)
    model.adapt(settings.loras)
    reads = conditions(model, alone, start)
    concat = reads.concat
    if concat is not None:
        # of neither the words nor the picture
        blind = negative and (settings.cfg_method == "two_scale" or model.config.picture == "study_mask")
        x = torch.cat([x, torch.zeros_like(concat) if blind else concat], dim=1)
    prompt = settings.negative_prompt if negative else settings.prompt
    condition = condition_of(model, settings, [prompt], negative=negative)
    context, y = condition.context, condition.vector
    if reads.level is not None:
        y = torch.full((1,), reads.level, device=model.device)
    mute = None if negative else mute_of(settings)
    heard = None if mute is None else mute.heard(context, 1, progress(made.timestep, model.n_steps))
    like = torch.empty(0, device=model.device, dtype=model.dtype)
    t = torch.full((1,), made.timestep, device=model.device)
    if y is not None and y.is_floating_point():
        y = y.to(like)
    found = model.model.diffusion_model.heads(x.to(like), t, context.to(like), heard, y)
    return [HeadMaps(name, attention[0].cpu()) for name, attention in found]


def heads_bytes(model: LatentDiffusion, trace: Trace) -> int:
    """The memory that `heads` takes for this run."""
    settings, f = trace.settings, model.downsampling_factor
    tokens, rows, columns = model.conditioner.length, settings.height // f, settings.width // f
    layers = model.model.diffusion_model.cross_attentions().values()
    return sum(4 * count * tokens * (rows >> level) * (columns >> level) for level, count in layers)
