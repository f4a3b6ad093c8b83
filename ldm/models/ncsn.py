"""A noise-conditional score network (NCSN) as a network that predicts noise, with the original's names.

The original reads pictures in [0, 1] under Gaussian noise of one of its levels, and gives the score, the
gradient of the log density.  Here pictures are in [-1, 1], where the same noise has twice the sigma.
"""

import math
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .heads import Deaf
from .pixel_config import ScoreNetConfig


class InstanceNormPlus(nn.Module):
    """Instance norm whose scale, shift, and share of the channels' own means depend on the noise level.

    Source: Song & Ermon 2019 (arXiv:1907.05600), appendix A.
    """

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(levels, 3 * channels)
        nn.init.normal_(self.embed.weight[:, : 2 * channels], 1, 0.02)
        nn.init.zeros_(self.embed.weight[:, 2 * channels :])

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(B, C, H, W), (B,) levels -> (B, C, H, W)."""
        means = x.mean(dim=(2, 3))  # (B, C)
        spread = (means.var(dim=1, keepdim=True) + 1e-5).sqrt()
        means = (means - means.mean(dim=1, keepdim=True)) / spread
        gamma, alpha, beta = (part[..., None, None] for part in self.embed(y).chunk(3, dim=1))
        return gamma * (F.instance_norm(x) + alpha * means[..., None, None]) + beta


class ConvMeanPool(nn.Module):
    """A convolution, then the mean of 2 x 2."""

    def __init__(self, channels: int, out_channels: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out_channels, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C_out, H / 2, W / 2)."""
        return F.avg_pool2d(self.conv(x), 2)


class ScoreResBlock(nn.Module):
    """Norm, ELU, convolution, twice, and the way around them.

    Args:
        dilation: of all its convolutions, the way around included; 1 is a plain block.
        halves: take the mean of 2 x 2 at the end.  A dilated block never does: the original widens its view
            instead, where it says "down".
        projects: have a convolution on the way around even though the channels fit.
    """

    def __init__(
        self,
        channels: int,
        out_channels: int,
        levels: int,
        *,
        dilation: int = 1,
        halves: bool = False,
        projects: bool = False,
    ) -> None:
        super().__init__()
        inner = channels if halves else out_channels
        self.normalize1 = InstanceNormPlus(channels, levels)
        self.conv1 = _conv(channels, inner, dilation)
        self.normalize2 = InstanceNormPlus(inner, levels)
        self.conv2 = ConvMeanPool(inner, out_channels, 3) if halves else _conv(inner, out_channels, dilation)
        self.shortcut: nn.Module = nn.Identity()
        if halves:
            self.shortcut = ConvMeanPool(channels, out_channels, 1)
        elif projects:
            self.shortcut = _conv(channels, out_channels, dilation)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(B, C, H, W), (B,) levels -> (B, C_out, H, W), or half of H and W."""
        h = self.conv1(F.elu(self.normalize1(x, y)))
        return self.conv2(F.elu(self.normalize2(h, y))) + self.shortcut(x)


def _conv(channels: int, out_channels: int, dilation: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(channels, out_channels, 3, padding=dilation, dilation=dilation, bias=bias)


class ConvUnits(nn.Module):
    """RefineNet's residual convolution units: `blocks` of norm, ELU, convolution, twice."""

    def __init__(self, channels: int, blocks: int, levels: int) -> None:
        super().__init__()
        self.blocks = blocks
        for i in range(1, blocks + 1):
            for j in (1, 2):
                self.add_module(f"{i}_{j}_norm", InstanceNormPlus(channels, levels))
                self.add_module(f"{i}_{j}_conv", _conv(channels, channels, bias=False))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(B, C, H, W), (B,) levels -> the same shape."""
        for i in range(1, self.blocks + 1):
            h = x
            for j in (1, 2):
                norm, conv = self.get_submodule(f"{i}_{j}_norm"), self.get_submodule(f"{i}_{j}_conv")
                h = conv(F.elu(norm(h, y)))
            x = x + h
        return x


class ChainedPooling(nn.Module):
    """RefineNet's chained pooling, two stages, with means in place of maxima."""

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        self.norms = nn.ModuleList(InstanceNormPlus(channels, levels) for _ in range(2))
        self.convs = nn.ModuleList(_conv(channels, channels, bias=False) for _ in range(2))

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """(B, C, H, W), (B,) levels -> the same shape."""
        x = path = F.elu(x)
        for norm, conv in zip(self.norms, self.convs, strict=True):
            path = conv(F.avg_pool2d(norm(path, y), 5, stride=1, padding=2))
            x = path + x
        return x


class Fusion(nn.Module):
    """RefineNet's fusion: everything convolved to the same channels, brought to the same size and added."""

    def __init__(self, channels: tuple[int, ...], out_channels: int, levels: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(_conv(width, out_channels) for width in channels)
        self.norms = nn.ModuleList(InstanceNormPlus(width, levels) for width in channels)

    def forward(self, xs: list[Tensor], y: Tensor) -> Tensor:
        """Features of several sizes, (B,) levels -> (B, C_out, H, W) at the first one's size."""
        size = xs[0].shape[2:]
        layers = zip(self.norms, self.convs, xs, strict=True)
        fused = [conv(norm(x, y)) for norm, conv, x in layers]
        return torch.stack(
            [F.interpolate(h, size=size, mode="bilinear", align_corners=True) for h in fused]
        ).sum(dim=0)


class Refine(nn.Module):
    """A RefineNet block: each input through units, fused if there are several, pooled, and units again."""

    def __init__(self, channels: tuple[int, ...], out_channels: int, levels: int, last: bool = False) -> None:
        super().__init__()
        self.adapt_convs = nn.ModuleList(ConvUnits(width, 2, levels) for width in channels)
        if len(channels) > 1:
            self.msf = Fusion(channels, out_channels, levels)
        self.crp = ChainedPooling(out_channels, levels)
        self.output_convs = ConvUnits(out_channels, 3 if last else 1, levels)

    def forward(self, xs: list[Tensor], y: Tensor) -> Tensor:
        """Features, the finest first, (B,) levels -> (B, C_out, H, W) at the first one's size."""
        hs = [units(x, y) for units, x in zip(self.adapt_convs, xs, strict=True)]
        h = self.msf(hs, y) if len(hs) > 1 else hs[0]
        return self.output_convs(self.crp(h, y), y)


class ScoreNet(Deaf, nn.Module):
    """Predicts the noise in a picture, by way of the score.  There is no prompt.

    Timestep 0 is the least noise, the original's last label.  Between two levels the nearer one's score is
    taken.

    Source: Song & Ermon 2019 (arXiv:1907.05600); `CondRefineNetDilated` of github.com/ermongroup/ncsn.
    """

    def __init__(self, config: ScoreNetConfig) -> None:
        super().__init__()
        self.config = config
        width, levels = config.ngf, config.num_classes
        double = 2 * width
        self.begin_conv = nn.Conv2d(config.channels, width, 3, padding=1)
        self.normalizer = InstanceNormPlus(width, levels)
        self.end_conv = nn.Conv2d(width, config.channels, 3, padding=1)
        self.res1 = _pair(width, width, levels)
        self.res2 = _pair(width, double, levels, halves=True)
        self.res3 = _pair(double, double, levels, dilation=2)
        self.res4 = _pair(double, double, levels, dilation=4)
        self.refine1 = Refine((double,), double, levels)
        self.refine2 = Refine((double, double), double, levels)
        self.refine3 = Refine((double, double), width, levels)
        self.refine4 = Refine((width, width), width, levels, last=True)

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are stored and computed in."""
        return self.end_conv.weight.dtype

    def sigma(self, t: Tensor) -> Tensor:
        """(B,) timesteps -> (B,) noise levels of pictures in [0, 1], geometric between the levels too."""
        config = self.config
        if config.num_classes == 1:
            return torch.full_like(t, config.sigma_end, dtype=torch.float32)
        step = math.log(config.sigma_begin / config.sigma_end) / (config.num_classes - 1)
        return config.sigma_end * torch.exp(t.float() * step)

    def score(self, pictures: Tensor, labels: Tensor) -> Tensor:
        """The gradient of the log density, what the original's network gives.

        Args:
            pictures: (B, 3, H, W) in [0, 1], under noise.
            labels: (B,) int64 noise levels, the largest first.
        """
        h = self.begin_conv(2 * pictures - 1)
        layers = []
        for stage in (self.res1, self.res2, self.res3, self.res4):
            for block in cast(nn.ModuleList, stage):
                h = block(h, labels)
            layers.append(h)
        h = self.refine1([layers[3]], labels)
        for refine, layer in (
            (self.refine2, layers[2]),
            (self.refine3, layers[1]),
            (self.refine4, layers[0]),
        ):
            h = refine([layer, h], labels)
        return self.end_conv(F.elu(self.normalizer(h, labels)))

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        context: Tensor | None = None,
        y: Tensor | None = None,
        record: bool = False,
        heard: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, tuple[Tensor, ...]]:
        """As `UNetModel.forward`; `context`, `y`, `heard` mean nothing here, and no attention is recorded.

            pictures = (x * sqrt(1 + (2 * sigma)**2) + 1) / 2
            eps = -sigma * score(pictures)

        The noise is the same in both units: half of `2 * sigma * eps` is `sigma * eps`.
        """
        sigma = self.sigma(t)[:, None, None, None]
        pictures = (x.float() * (1 + 4 * sigma**2).sqrt() + 1) / 2
        last = self.config.num_classes - 1
        labels = last - t.float().round().long().clamp(0, last)
        output = (-sigma * self.score(pictures.to(x.dtype), labels)).to(x.dtype)
        return (output, ()) if record else output


def _pair(
    channels: int, out_channels: int, levels: int, *, dilation: int = 1, halves: bool = False
) -> nn.ModuleList:
    """A stage: a block that halves or widens its view, and a plain one."""
    first = ScoreResBlock(
        channels, out_channels, levels, dilation=dilation, halves=halves, projects=dilation > 1
    )
    return nn.ModuleList([first, ScoreResBlock(out_channels, out_channels, levels, dilation=dilation)])
