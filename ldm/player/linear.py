"""The linear map from latents to pixels that a model's quickest previews are drawn with."""

from typing import cast

from torch import Tensor, nn

from ..latent_diffusion import LatentDiffusion


def linear_map(model: LatentDiffusion) -> tuple[Tensor, Tensor]:
    """(C, 3, f, f) weight and (3,) bias on the CPU; fitted first where the model has none yet."""
    if model.preview is None:
        model.fit_preview()
    layer = cast(nn.ConvTranspose2d, model.preview)
    return layer.weight.detach().float().cpu(), cast(Tensor, layer.bias).detach().float().cpu()
