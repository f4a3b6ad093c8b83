"""The study's U-Net: unconditional, or told a text, a class, a mask picture, or any of them together."""

from itertools import pairwise
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import SettingsError
from ..attention import Asked, maps_by_size
from ..blocks import group_norm
from ..heads import Listening
from ..study_config import StudyUNetConfig
from .blocks import DownBlock, MidBlock, UpBlock, time_embedding


class StudyUNet(Listening, nn.Module):
    """The denoising network; it predicts noise.

    Source: explainingai-code/StableDiffusion-PyTorch, models/unet_base.py and models/unet_cond_base.py, whose
    parameter names these are; the class embedding is added to that of the time, and the mask goes through a
    1 x 1 convolution to the latents' side.
    """

    def __init__(self, config: StudyUNetConfig) -> None:
        super().__init__()
        self.config = config
        widths, emb = config.down_channels, config.time_emb_dim
        every: dict[str, Any] = {
            "heads": config.num_heads,
            "groups": config.norm_channels,
            "emb_channels": emb,
            "context_dim": config.text_dim,
        }
        if config.n_classes is not None:
            self.class_emb = nn.Embedding(config.n_classes, emb)
        if config.mask_channels is None or config.mask_out is None:
            self.conv_in = nn.Conv2d(config.im_channels, widths[0], 3, padding=1)
        else:
            self.cond_conv_in = nn.Conv2d(config.mask_channels, config.mask_out, 1, bias=False)
            self.conv_in_concat = nn.Conv2d(config.im_channels + config.mask_out, widths[0], 3, padding=1)
        self.t_proj = nn.Sequential(nn.Linear(emb, emb), nn.SiLU(), nn.Linear(emb, emb))
        self.downs = nn.ModuleList(
            DownBlock(a, b, config.num_down_layers, halve=halve, self_attention=attention, **every)
            for a, b, halve, attention in zip(
                widths[:-1], widths[1:], config.down_sample, config.attn_down, strict=True
            )
        )
        middle = pairwise(config.mid_channels)
        layers = config.num_mid_layers
        self.mids = nn.ModuleList(MidBlock(a, b, layers + 1, layers, **every) for a, b in middle)
        outs = (config.conv_out_channels, *widths[:-2])
        self.ups = nn.ModuleList(
            UpBlock(2 * a, b, config.num_up_layers, skip=a, double=double, **every)
            for a, b, double in reversed(list(zip(widths[:-1], outs, config.down_sample, strict=True)))
        )
        self.norm_out = group_norm(config.conv_out_channels, config.norm_channels)
        self.conv_out = nn.Conv2d(config.conv_out_channels, config.im_channels, 3, padding=1)

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are stored and computed in."""
        return self.conv_out.weight.dtype

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        context: Tensor | None = None,
        y: Tensor | None = None,
        record: bool = False,
        heard: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, tuple[Tensor, ...]]:
        """The noise in x.

        Args:
            x: (B, in_channels, H, W) noisy latents of unit variance, and after them the mask picture where
                the network reads one: a channel of 0 and 1 for each class, zeros are no mask.
            t: (B,) timesteps, whole or fractional.
            context: (B, T, D) embedding of the prompts; ignored by a network that reads no text.
            y: (B,) class numbers, -1 for none; None is none for all.  Ignored by a network without classes.
            record: also return the cross-attention.
            heard: (B, T) bool, False where no layer listens to a position of the context; None is all True.

        Returns:
            (B, im_channels, H, W); with `record` also one (B, T, h, w) float32 map per feature-map size,
            largest first, averaged over heads and layers; none without a text.

        Raises:
            SettingsError: it reads a text and there is none, or the mask is missing.
        """
        asked: list[Asked] | None = [] if record else None
        output = self._run(x, t, context, y, asked, heard)
        return output if asked is None else (output, maps_by_size(asked))

    def cross_attentions(self) -> dict[str, tuple[int, int]]:
        """(times the size is halved, heads) of each layer with cross-attention, in the order they run."""
        config = self.config
        if config.text_dim is None:
            return {}
        levels = [sum(config.down_sample[:i]) for i in range(len(self.downs))]
        parts = {
            "downs": (levels, config.num_down_layers),
            "mids": ([config.downsamplings] * len(self.mids), config.num_mid_layers),
            "ups": (levels[::-1], config.num_up_layers),
        }
        return {
            f"{part}.{i}.cross_attentions.{j}": (level, config.num_heads)
            for part, (of_blocks, layers) in parts.items()
            for i, level in enumerate(of_blocks)
            for j in range(layers)
        }

    def _run(
        self,
        x: Tensor,
        t: Tensor,
        context: Tensor | None,
        y: Tensor | None,
        asked: list[Asked] | None,
        heard: Tensor | None,
    ) -> Tensor:
        if self.config.text_dim is None:
            context, heard = None, None
        elif context is None or context.shape[1] == 0:
            raise SettingsError("This network reads the embedding of a text, and there is none.")
        emb = self._embedding(x, t, y)
        h = self._first(x)
        skips: list[Tensor] = []
        for down in self.downs:
            skips.append(h)
            h = down(h, emb, context, asked, heard)
        for mid in self.mids:
            h = mid(h, emb, context, asked, heard)
        for up in self.ups:
            h = up(h, skips.pop(), emb, context, asked, heard)
        return self.conv_out(F.silu(self.norm_out(h)))

    def _embedding(self, x: Tensor, t: Tensor, y: Tensor | None) -> Tensor:
        """(B, E) of the timestep, and of the class if there is one."""
        emb: Tensor = self.t_proj(time_embedding(t.float(), self.config.time_emb_dim).to(x.dtype))
        if self.config.n_classes is None or y is None:
            return emb
        return emb + self.class_emb(y.clamp(min=0)) * (y >= 0)[:, None]

    def _first(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, C, H, W)."""
        if self.config.mask_channels is None:
            return self.conv_in(x)
        if x.shape[1] != self.config.in_channels:
            raise SettingsError(
                f"This network reads {self.config.im_channels} channels of latents and "
                f"{self.config.mask_channels} of a mask, got {x.shape[1]}."
            )
        latents, mask = x.split((self.config.im_channels, self.config.mask_channels), dim=1)
        return self.conv_in_concat(torch.cat([latents, self.cond_conv_in(mask)], dim=1))
