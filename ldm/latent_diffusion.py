"""A loaded model: three networks and a noise schedule, under CompVis's names.

`LatentDiffusion` is labml's class of that name with its methods.  Latents are scaled in
`autoencoder_encode` and `autoencoder_decode`; what asks the encoder for more than latents (`roundtrip`)
scales by `latent_scaling_factor` itself.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from .diffusion.denoiser import PredictionType
from .diffusion.schedule import NoiseSchedule, build_schedule
from .errors import SettingsError
from .models.build import build_conditioner, build_first_stage, build_network
from .models.condition import Condition, Conditioner, Sizes
from .models.config import ModelConfig
from .models.tokenizer import Tokenizer
from .speed import Graphs, traced

Loras = tuple[tuple[str, float], ...]  # (name, weight) each
LINEAR_MAP, SMALL_DECODER, FULL_DECODER = "the linear map", "the small decoder", "the full decoder"


class DiffusionWrapper(nn.Module):
    """Holds the U-Net under the name that checkpoints give it, `model.diffusion_model`."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.diffusion_model: Any = network

    def forward(self, x: Tensor, t: Tensor, context: Tensor | None = None, y: Tensor | None = None) -> Tensor:
        """As `UNetModel.forward`."""
        output: Tensor = self.diffusion_model(x, t, context, y)
        return output


class LatentDiffusion(nn.Module):
    """Pictures <-> latents <-> noise, and prompts.

    Attributes:
        model: the network that denoises, mostly a U-Net, as `model.diffusion_model`.
        first_stage_model: the autoencoder, or what stands in its place.
        cond_stage_model: the text encoder, or what else reads prompts (`Conditioner`).
        preview: a linear map from latents to f x f pixels, fitted to this autoencoder; None until
            `fit_preview` where the checkpoint has none.
        small_decoder: (B, C, H, W) latents -> (B, 3, f*H, f*W) on the CPU; None without one.  Not part of
            the model's weights: it has a file of its own.
        schedule: the noise schedule it was trained on.
        adapter: makes the LoRAs of a run act, `ldm.lora.Adapter`; None where there are none.
        assumed: fields of the config that nothing in its file tells, so that they are guesses.

    Source: Rombach et al. 2022 (arXiv:2112.10752).
    """

    def __init__(self, config: ModelConfig, tokenizer: Tokenizer | None, preview: bool = False) -> None:
        super().__init__()
        self.config = config
        self.model = DiffusionWrapper(build_network(config.unet))
        self.first_stage_model: Any = build_first_stage(config.autoencoder)
        self.cond_stage_model: Any = build_conditioner(config.text, tokenizer)
        self.preview: nn.ConvTranspose2d | None = _preview_layer(config) if preview else None
        self.small_decoder: Callable[[Tensor], Tensor] | None = None
        self.adapter: Callable[[Loras], None] | None = None
        self.assumed: tuple[str, ...] = ()
        self.graphs = Graphs(self.model.diffusion_model)
        with torch.device("cpu"):  # stays real where the networks are built on the meta device
            self.schedule: NoiseSchedule = build_schedule(
                n_steps=config.schedule.n_steps,
                betas=config.schedule.betas,
                linear_start=config.schedule.linear_start,
                linear_end=config.schedule.linear_end,
                zero_terminal_snr=config.schedule.zero_terminal_snr,
            )

    @property
    def name(self) -> str:
        """For people."""
        return self.config.name

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def dtype(self) -> torch.dtype:
        """What the weights are stored and computed in."""
        dtype: torch.dtype = self.model.diffusion_model.dtype
        return dtype

    @property
    def latent_scaling_factor(self) -> float:
        """Makes latents unit variance; Stable Diffusion's is 0.18215."""
        return self.config.latent_scaling_factor

    @property
    def prediction_type(self) -> PredictionType:
        """What the U-Net predicts: "eps", "v" or "x0"."""
        return cast(PredictionType, self.config.prediction_type)

    @property
    def n_steps(self) -> int:
        """Training timesteps, T."""
        return self.config.schedule.n_steps

    @property
    def linear_start(self) -> float:
        """Where the betas start."""
        return self.config.schedule.linear_start

    @property
    def linear_end(self) -> float:
        """Where the betas end."""
        return self.config.schedule.linear_end

    @property
    def downsampling_factor(self) -> int:
        """Pixels per latent along each side, f."""
        return self.config.autoencoder.downsampling_factor

    @property
    def latent_channels(self) -> int:
        """Channels of the latents, C."""
        return self.config.autoencoder.embed_dim

    @property
    def conditioner(self) -> Conditioner:
        """What reads prompts: `cond_stage_model`."""
        return cast(Conditioner, self.cond_stage_model)

    def get_conditioning(self, prompts: Sequence[str], sizes: Sizes | None = None) -> Condition:
        """B prompts -> everything the network is told, in float32.

        Args:
            sizes: of the picture, where the network is told (Stable Diffusion XL).

        Raises:
            SettingsError: a prompt that cannot be read: no such class, no vocabulary ...
        """
        return self.conditioner.condition(list(prompts), sizes)

    def adapt(self, loras: Loras) -> None:
        """Have exactly these LoRAs act from now on; every run calls it, also one without any.

        Raises:
            SettingsError: there is no such LoRA, or it is another family's.
        """
        if self.adapter is not None:
            self.adapter(loras)
        elif loras:
            raise SettingsError(f"There is no LoRA {loras[0][0]!r}: none can be found for {self.name} here.")

    def get_text_conditioning(self, prompts: Sequence[str]) -> Tensor:
        """B prompts -> (B, T, D) context."""
        return self.get_conditioning(prompts).context

    def autoencoder_encode(
        self, images: Tensor, noise: Tensor | None = None, *, mean: bool = False
    ) -> Tensor:
        """(B, 3, f*H, f*W) in [-1, 1] -> (B, C, H, W) latents, sampled and scaled to unit variance.

        Args:
            noise: (B, C, H, W) unit noise for the sample; fresh if None.
            mean: give the posterior's mean instead of a sample.
        """
        images = images.to(self.device)
        if self.config.autoencoder.in_channels == 1 and images.shape[1] > 1:
            images = images.mean(1, keepdim=True)  # a model of grey pictures
        posterior = self.first_stage_model.posterior(images)
        z: Tensor = posterior.mode() if mean else posterior.sample(noise)
        return z * self.latent_scaling_factor

    def autoencoder_decode(self, z: Tensor) -> Tensor:
        """(B, C, H, W) latents of unit variance -> (B, 3, f*H, f*W), about [-1, 1], not clipped."""
        images: Tensor = self.first_stage_model.decode(z.to(self.device) / self.latent_scaling_factor)
        return images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images

    def preview_decode(self, z: Tensor) -> Tensor:
        """As `autoencoder_decode`, by the linear map: a blur of it, in under a millisecond."""
        if self.preview is None:
            self.fit_preview()
        layer = cast(nn.ConvTranspose2d, self.preview)
        # in float32 on the latents' own device: a page asks for this while the model is busy
        weight = layer.weight.to(z.device, torch.float32)
        bias = cast(Tensor, layer.bias).to(z.device, torch.float32)
        f = self.downsampling_factor
        # patch by patch, a fifth of the time of the transposed convolution that it is
        patches = nn.functional.conv2d(
            z.float(), weight.flatten(1).T[:, :, None, None], bias.repeat_interleave(f * f)
        )  # (B, 3 f f, H, W)
        return nn.functional.pixel_shuffle(patches, f)

    def use_small_decoder(self, decoder: nn.Module) -> None:
        """Draw quick pictures with `decoder` from now on; it stays on the CPU, where steps are kept."""
        self.small_decoder = traced(decoder, torch.zeros(1, self.latent_channels, 2, 2))

    def quick_decode(self, z: Tensor) -> Tensor:
        """As `autoencoder_decode`, in milliseconds: by the small decoder, or the linear map without one.

        Safe to call from any thread while the model is busy.
        """
        if self.small_decoder is None:
            return self.preview_decode(z)
        return self.small_decoder(z.detach().to("cpu", torch.float32))

    @property
    def quick_decoder(self) -> str:
        """What `quick_decode` decodes with, in words."""
        return LINEAR_MAP if self.small_decoder is None else SMALL_DECODER

    @torch.no_grad()
    def fit_preview(self, size: int = 32) -> None:
        """Fit `preview` by least squares to what the decoder makes of smooth random latents.

        Args:
            size: latents are size x size; one decode of that size is the cost.
        """
        generator = torch.Generator().manual_seed(0)
        coarse = torch.randn(2, self.latent_channels, size // 4, size // 4, generator=generator)
        z = nn.functional.interpolate(coarse, scale_factor=4.0, mode="bicubic")
        z = z / z.std() + 0.3 * torch.randn(z.shape, generator=generator)
        f = self.downsampling_factor
        images = self.autoencoder_decode(z).float().cpu().clamp(-1, 1)  # (B, 3, f*size, f*size)
        patches = nn.functional.unfold(images, f, stride=f).transpose(1, 2).flatten(0, 1)  # (M, 3 f f)
        rows = z.permute(0, 2, 3, 1).flatten(0, 2)  # (M, C)
        inputs = torch.cat([rows, torch.ones(len(rows), 1)], dim=1)
        # a little ridge: few patches, many pixels
        gram = inputs.T @ inputs + 1e-3 * len(rows) * torch.eye(inputs.shape[1])
        solution = torch.linalg.solve(gram, inputs.T @ patches)  # (C + 1, 3 f f)
        layer = _preview_layer(self.config)
        layer.weight.copy_(solution[:-1].unflatten(1, (3, f, f)))
        cast(Tensor, layer.bias).copy_(solution[-1].unflatten(0, (3, f, f)).mean((1, 2)))
        self.preview = layer  # on the CPU, where pages ask for it

    def predict(
        self,
        x: Tensor,
        t: Tensor,
        context: Tensor,
        record: bool = False,
        heard: Tensor | None = None,
        y: Tensor | None = None,
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """As `forward`, in float32 on either side, by a traced graph where that is faster.

        Args:
            heard: (B, T) bool, False where no layer listens to a position of the context.
            y: as `Condition.vector`.

        Returns:
            (B, C, H, W) and, with `record`, the cross-attention as `UNetModel.forward` gives it.
        """
        dtype = self.dtype
        inputs = x.to(self.device, dtype).contiguous(memory_format=torch.channels_last)
        heard = None if heard is None else heard.to(inputs.device)
        if y is not None:
            y = y.to(inputs) if y.is_floating_point() else y.to(inputs.device)
        output, *maps = self.graphs(inputs, t.to(inputs.device), context.to(inputs), record, heard, y)
        return output.to(x.dtype), tuple(maps)

    def forward(self, x: Tensor, t: Tensor, context: Tensor, y: Tensor | None = None) -> Tensor:
        """What the U-Net predicts.

        Args:
            x: (B, C, H, W) noisy latents of unit variance.
            t: (B,) timesteps.
            context: (B, T, D).
            y: as `Condition.vector`.

        Returns:
            (B, C, H, W) in the type of x, whatever the network computes in.
        """
        vector = y.to(self.dtype) if y is not None and y.is_floating_point() else y
        output: Tensor = self.model(x.to(self.dtype), t, context.to(self.dtype), vector)
        return output.to(x.dtype)


def _preview_layer(config: ModelConfig) -> nn.ConvTranspose2d:
    f = config.autoencoder.downsampling_factor
    return nn.ConvTranspose2d(config.autoencoder.embed_dim, 3, f, stride=f)
