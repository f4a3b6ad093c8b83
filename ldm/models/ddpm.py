"""The DDPM U-Net of labml's annotated papers, in pixel space, with its parameter names.

Not CompVis's: widths multiply from level to level, halving and doubling are layers of their own in the lists
`down` and `up`, and the way up doubles with a transposed convolution.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .blocks import group_norm, sinusoidal_embedding
from .heads import Deaf
from .pixel_config import DDPMUNetConfig


class TimeEmbedding(nn.Module):
    """The timestep as sines, then cosines, through two linear layers.

    Args:
        channels: of what comes out; the sinusoids have a quarter of that.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(channels // 4, channels)
        self.lin2 = nn.Linear(channels, channels)

    def forward(self, t: Tensor) -> Tensor:
        """(B,) -> (B, channels)."""
        waves = sinusoidal_embedding(t, self.lin1.in_features).to(self.lin1.weight.dtype)
        return self.lin2(F.silu(self.lin1(waves)))


class ResidualBlock(nn.Module):
    """Norm, SiLU, convolution, twice, the time added between, and the way around them."""

    def __init__(self, channels: int, out_channels: int, time_channels: int) -> None:
        super().__init__()
        self.norm1 = group_norm(channels)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1)
        self.norm2 = group_norm(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.shortcut = nn.Identity() if channels == out_channels else nn.Conv2d(channels, out_channels, 1)
        self.time_emb = nn.Linear(time_channels, out_channels)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """(B, C, H, W), (B, time_channels) -> (B, C_out, H, W)."""
        h = self.conv1(F.silu(self.norm1(x))) + self.time_emb(F.silu(t))[:, :, None, None]
        return self.conv2(F.silu(self.norm2(h))) + self.shortcut(x)


class AttentionBlock(nn.Module):
    """Attention with one head over all positions.

    Attributes:
        norm: is in every file and was never applied: labml's `forward` does not call it.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = group_norm(channels)
        self.projection = nn.Linear(channels, 3 * channels)
        self.output = nn.Linear(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W)."""
        rows = x.flatten(2).transpose(1, 2)  # (B, N, C)
        q, k, v = (part[:, None] for part in self.projection(rows).chunk(3, dim=-1))  # (B, 1, N, C)
        rows = rows + self.output(F.scaled_dot_product_attention(q, k, v)[:, 0])
        return rows.transpose(1, 2).unflatten(2, x.shape[2:])


class Block(nn.Module):
    """A residual block, and attention behind it or not."""

    def __init__(self, channels: int, out_channels: int, time_channels: int, attends: bool) -> None:
        super().__init__()
        self.res = ResidualBlock(channels, out_channels, time_channels)
        self.attn = AttentionBlock(out_channels) if attends else nn.Identity()

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """(B, C, H, W), (B, time_channels) -> (B, C_out, H, W)."""
        return self.attn(self.res(x, t))


class Middle(nn.Module):
    """Block, attention, block."""

    def __init__(self, channels: int, time_channels: int) -> None:
        super().__init__()
        self.res1 = ResidualBlock(channels, channels, time_channels)
        self.attn = AttentionBlock(channels)
        self.res2 = ResidualBlock(channels, channels, time_channels)

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        """(B, C, H, W), (B, time_channels) -> the same shape."""
        return self.res2(self.attn(self.res1(x, t)), t)


class Halve(nn.Module):
    """A convolution of stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H / 2, W / 2)."""
        return self.conv(x)


class Double(nn.Module):
    """A transposed convolution of stride 2."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(channels, channels, 4, stride=2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, 2H, 2W)."""
        return self.conv(x)


class DDPMUNet(Deaf, nn.Module):
    """Predicts the noise in a picture.  There is no prompt.

    Source: Ho et al. 2020 (arXiv:2006.11239); labml_nn/diffusion/ddpm/unet.py.
    """

    def __init__(self, config: DDPMUNetConfig) -> None:
        super().__init__()
        self.config = config
        width, last = config.n_channels, len(config.ch_mults) - 1
        time = 4 * width
        self.image_proj = nn.Conv2d(config.image_channels, width, 3, padding=1)
        self.time_emb = TimeEmbedding(time)
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        levels = list(zip(config.ch_mults, config.is_attn, strict=True))
        for level, (mult, attends) in enumerate(levels):
            for i in range(config.n_blocks):
                self.down.append(Block(width if i == 0 else width * mult, width * mult, time, attends))
            width *= mult
            if level < last:
                self.down.append(Halve(width))
        self.middle = Middle(width, time)
        for level, (mult, attends) in reversed(list(enumerate(levels))):
            for _ in range(config.n_blocks):
                self.up.append(Block(2 * width, width, time, attends))
            self.up.append(Block(width + width // mult, width // mult, time, attends))
            width //= mult
            if level > 0:
                self.up.append(Double(width))
        self.norm = group_norm(width, 8)
        self.final = nn.Conv2d(width, config.image_channels, 3, padding=1)

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are stored and computed in."""
        return self.final.weight.dtype

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        context: Tensor | None = None,
        y: Tensor | None = None,
        record: bool = False,
        heard: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, tuple[Tensor, ...]]:
        """As `UNetModel.forward`; `context`, `y`, `heard` mean nothing here, and no attention is recorded."""
        emb = self.time_emb(t)
        h = self.image_proj(x)
        skips = [h]
        for layer in self.down:
            h = layer(h) if isinstance(layer, Halve) else layer(h, emb)
            skips.append(h)
        h = self.middle(h, emb)
        for layer in self.up:
            h = layer(h) if isinstance(layer, Double) else layer(torch.cat([h, skips.pop()], dim=1), emb)
        output = self.final(F.silu(self.norm(h)))
        return (output, ()) if record else output
