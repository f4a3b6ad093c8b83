"""The U-Net that predicts noise in latents, with CompVis's parameter names.

One class for the whole family: Stable Diffusion 1, 2 and XL, inpainting, the unconditional and
class-conditional models of the latent diffusion paper.  What differs is data in `UNetConfig`.
"""

from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn

from .attention import Asked, AttentionBlock, BasicTransformerBlock, SpatialTransformer, maps_by_size
from .blocks import Downsample, ResBlock, Upsample, group_norm, timestep_embedding
from .config import UNetConfig
from .heads import Listening


class TimestepEmbedSequential(nn.Sequential):
    """Layers in a row, each given what it takes: the embedding, the context, or nothing."""

    def forward(  # type: ignore[override]
        self,
        x: Tensor,
        emb: Tensor,
        context: Tensor | None,
        asked: list[Asked] | None = None,
        heard: Tensor | None = None,
    ) -> Tensor:
        """(B, C, H, W) through every layer."""
        for layer in self:
            if isinstance(layer, ResBlock):
                x = layer(x, emb)
            elif isinstance(layer, SpatialTransformer):
                x = layer(x, context, asked, heard)
            else:
                x = layer(x)
        return x


class UNetModel(Listening, nn.Module):
    """The denoising network.

    Source: Rombach et al. 2022 (arXiv:2112.10752), section 3.3 and appendix E; Dhariwal & Nichol 2021.
    """

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        channels, emb = config.model_channels, 4 * config.model_channels
        self.time_embed = nn.Sequential(nn.Linear(channels, emb), nn.SiLU(), nn.Linear(emb, emb))
        if config.num_classes == "sequential":
            self.label_emb: nn.Module = nn.Sequential(
                nn.Sequential(nn.Linear(config.adm_in_channels or 0, emb), nn.SiLU(), nn.Linear(emb, emb))
            )
        elif isinstance(config.num_classes, int):
            self.label_emb = nn.Embedding(config.num_classes, emb)
        if config.time_cond_proj_dim is not None:
            self.time_cond_proj = nn.Linear(config.time_cond_proj_dim, channels, bias=False)
        layers = _Layers(config)
        skips = [channels]
        self.input_blocks = nn.ModuleList(
            [TimestepEmbedSequential(nn.Conv2d(config.in_channels, channels, 3, padding=1))]
        )
        for block, width in layers.down():
            self.input_blocks.append(block)
            skips.append(width)
        self.middle_block = layers.middle()
        self.output_blocks = nn.ModuleList(layers.up(skips))
        self.out = nn.Sequential(
            group_norm(channels, config.num_groups),
            nn.SiLU(),
            nn.Conv2d(channels, config.out_channels, 3, padding=1),
        )

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are stored and computed in."""
        return cast(nn.Conv2d, self.out[2]).weight.dtype

    def forward(
        self,
        x: Tensor,
        t: Tensor,
        context: Tensor | None = None,
        y: Tensor | None = None,
        record: bool = False,
        heard: Tensor | None = None,
    ) -> Tensor | tuple[Tensor, tuple[Tensor, ...]]:
        """What the network predicts (noise, v or x0).

        Args:
            x: (B, in_channels, H, W) noisy latents of unit variance.
            t: (B,) timesteps, whole or fractional.
            context: (B, T, D) embedding of the prompts; without one cross-attention looks at positions.
            y: (B,) class numbers, or (B, adm_in_channels) SDXL's vector; of a distilled model its last
                `time_cond_proj_dim` numbers are the embedding of the guidance scale.
            record: also return the cross-attention.
            heard: (B, T) bool, False where no layer listens to a position of the context; None is all True.

        Returns:
            (B, out_channels, H, W); with `record` also one (B, T, h, w) float32 map per feature-map size,
            largest first, averaged over heads and layers.
        """
        asked: list[Asked] | None = [] if record else None
        output = self._run(x, t, context, y, asked, heard)
        return output if asked is None else (output, maps_by_size(asked))

    def cross_attentions(self) -> dict[str, tuple[int, int]]:
        """(times the size is halved, heads) of each layer with cross-attention, in the order they run."""
        level, found = 0, {}
        for name, module in self.named_modules():
            if isinstance(module, BasicTransformerBlock):
                found[f"{name}.attn2"] = (level, module.attn2.heads)
            elif isinstance(module, Downsample) and not name.endswith("x_upd"):  # h_upd tells of both
                level += 1
            elif isinstance(module, Upsample) and not name.endswith("x_upd"):
                level -= 1
        return found

    def _run(
        self,
        x: Tensor,
        t: Tensor,
        context: Tensor | None,
        y: Tensor | None,
        asked: list[Asked] | None,
        heard: Tensor | None,
    ) -> Tensor:
        emb = timestep_embedding(t, self.config.model_channels).to(x.dtype)
        if self.config.time_cond_proj_dim is not None and y is not None:
            dim = self.config.time_cond_proj_dim
            emb = emb + self.time_cond_proj(y[:, -dim:])
            y = y[:, :-dim]
        emb = self.time_embed(emb)
        if self.config.num_classes is not None:
            emb = emb + self.label_emb(y)
        h, skips = x, []
        for block in self.input_blocks:
            h = block(h, emb, context, asked, heard)
            skips.append(h)
        h = self.middle_block(h, emb, context, asked, heard)
        for block in self.output_blocks:
            h = block(torch.cat([h, skips.pop()], dim=1), emb, context, asked, heard)
        return self.out(h)


class _Layers:
    """Builds the blocks of a U-Net in CompVis's order."""

    def __init__(self, config: UNetConfig) -> None:
        self.config = config
        self.emb = 4 * config.model_channels
        self.widths = [m * config.model_channels for m in config.channel_mult]

    def down(self) -> Iterator[tuple[TimestepEmbedSequential, int]]:
        """Blocks after the first convolution, each with the channels it gives."""
        channels = self.config.model_channels
        for level, width in enumerate(self.widths):
            for _ in range(self._blocks(level)):
                layers = [self._res(channels, width)]
                if self._attends(level):
                    layers.append(self._attention(width, self._depth(level), level))
                yield TimestepEmbedSequential(*layers), width
                channels = width
            if level < len(self.widths) - 1:
                if self.config.resblock_updown:
                    halve: nn.Module = self._res(channels, channels, "down")
                else:
                    halve = Downsample(channels, self.config.conv_resample)
                yield TimestepEmbedSequential(halve), channels

    def middle(self) -> TimestepEmbedSequential:
        width, config = self.widths[-1], self.config
        depth = config.transformer_depth_middle
        depth = self._depth(len(self.widths) - 1) if depth is None else depth
        return TimestepEmbedSequential(
            self._res(width, width), self._attention(width, depth), self._res(width, width)
        )

    def up(self, skips: list[int]) -> Iterator[TimestepEmbedSequential]:
        """Blocks on the way up; each takes the channels of its skip too."""
        channels = self.widths[-1]
        for level, width in reversed(list(enumerate(self.widths))):
            count = self._blocks(level) + 1
            for i in range(count):
                layers = [self._res(channels + skips.pop(), width)]
                channels = width
                if self._attends(level):
                    layers.append(self._attention(width, self._depth(level), level))
                if level > 0 and i == count - 1:
                    if self.config.resblock_updown:
                        layers.append(self._res(channels, channels, "up"))
                    else:
                        layers.append(Upsample(channels, self.config.conv_resample))
                yield TimestepEmbedSequential(*layers)

    def _blocks(self, level: int) -> int:
        blocks = self.config.num_res_blocks
        return blocks if isinstance(blocks, int) else blocks[level]

    def _depth(self, level: int) -> int:
        depth = self.config.transformer_depth
        return depth if isinstance(depth, int) else depth[level]

    def _attends(self, level: int) -> bool:
        return 2**level in self.config.attention_resolutions and self._depth(level) > 0

    def _res(self, channels: int, out: int, resample: str | None = None) -> nn.Module:
        config = self.config
        return ResBlock(
            channels,
            self.emb,
            out,
            scale_shift=config.use_scale_shift_norm,
            resample=resample,
            groups=config.num_groups,
        )

    def _attention(self, channels: int, depth: int, level: int | None = None) -> nn.Module:
        """Attention of a level; of the middle block without one."""
        config = self.config
        both = level is not None and any(config.disable_self_attentions[level : level + 1])
        width = config.num_head_channels
        heads = config.num_heads if width == -1 else channels // width
        if not config.use_spatial_transformer:
            return AttentionBlock(channels, heads, config.use_new_attention_order, config.num_groups)
        return SpatialTransformer(
            channels,
            heads,
            channels // heads,
            depth,
            config.context_dim,
            config.use_linear_in_transformer,
            config.num_groups,
            both,
        )
