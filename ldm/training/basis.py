"""The target latents of the default model: the principal components of patches.

Encoder, decoder and U-Net can be trained apart, in any order, when all agree beforehand on what a latent is.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import LdmError
from ..latent_diffusion import LatentDiffusion


@dataclass(frozen=True, eq=False)
class Basis:
    """A linear map between patches of pixels and latents of unit variance.

    Attributes:
        encode_weight: (C, 3, f, f) applied with stride f to a picture less its mean colour.
        decode_weight: (C, 3, f, f) its pseudo-inverse, for a transposed convolution.
        mean: (3,) the mean colour, in [-1, 1].
    """

    encode_weight: Tensor
    decode_weight: Tensor
    mean: Tensor

    @property
    def f(self) -> int:
        """Pixels per latent along each side."""
        return self.encode_weight.shape[-1]

    def encode(self, images: Tensor) -> Tensor:
        """(B, 3, f*H, f*W) in [-1, 1] -> (B, C, H, W)."""
        return F.conv2d(images - self.mean[:, None, None], self.encode_weight, stride=self.f)

    def decode(self, z: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 3, f*H, f*W)."""
        return F.conv_transpose2d(z, self.decode_weight, self.mean, stride=self.f)

    def tensors(self) -> dict[str, Tensor]:
        """For a file."""
        return {"encode": self.encode_weight, "decode": self.decode_weight, "mean": self.mean}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> "Basis":
        """The inverse of `tensors`."""
        return cls(tensors["encode"], tensors["decode"], tensors["mean"])


def fit_basis(images: Tensor, channels: int, f: int) -> Basis:
    """The first `channels` principal components of all f x f patches.

    Each is divided by the square root of its standard deviation, so that the small ones are heard and the
    large ones still count for more; then the whole is brought to unit variance.

    Args:
        images: (B, 3, h, w) in [-1, 1].
    """
    mean = images.mean((0, 2, 3))
    rows = F.unfold(images - mean[:, None, None], f, stride=f).transpose(1, 2).flatten(0, 1)  # (M, 3 f f)
    covariance = (rows.T @ rows / len(rows)).double()
    values, vectors = torch.linalg.eigh(covariance)
    order = values.argsort(descending=True)[:channels]
    std, components = values[order].sqrt(), vectors[:, order].T  # (C,), (C, 3 f f)
    scale = std.sqrt()
    scale = scale * (std / scale).square().mean().sqrt()  # latents of unit variance on the whole
    encode = (components / scale[:, None]).float().unflatten(1, (3, f, f))
    decode = (components * scale[:, None]).float().unflatten(1, (3, f, f))
    return Basis(encode.contiguous(), decode.contiguous(), mean)


def basis_of(model: LatentDiffusion) -> Basis:
    """The linear codec whose inverse is the model's preview.

    Raises:
        LdmError: its preview is not linear.
    """
    preview = model.preview
    if not isinstance(preview, nn.ConvTranspose2d) or preview.bias is None:
        raise LdmError(f"{model.name} carries no linear preview, from which its latents could be made again.")
    decode = preview.weight.detach().float()  # (C, 3, f, f), rows at right angles
    encode = decode / decode.square().sum((1, 2, 3), keepdim=True)
    return Basis(encode, decode.clone(), preview.bias.detach().float().clone())
