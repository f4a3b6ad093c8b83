"""/roundtrip: a picture through the autoencoder and back."""

from functools import partial
from typing import Any

import gradio as gr

from ... import roundtrip as trips
from ...errors import SettingsError
from ...images import open_image
from .. import files, first_stages
from ..events import PUBLIC, shows_errors, visitor
from ..report import metrics
from ..shared import App
from ..tabs.roundtrip import checked_seed


def build(app: App) -> None:
    """Bind the endpoint."""
    given = [
        gr.File(label="image", type="filepath"),
        gr.Textbox("pad", label="policy"),
        gr.Checkbox(False, label="sample"),
        gr.Number(0, label="seed"),
        gr.Textbox(first_stages.OWN, label="first_stage"),
    ]
    outputs = [gr.Image(label="reconstruction", format="png", type="filepath"), gr.JSON(label="metrics")]

    def roundtrip(
        image: str, policy: str, sample: bool, seed: float, first_stage: str = first_stages.OWN
    ) -> tuple[str, dict[str, Any]]:
        """Send a picture through the autoencoder and back, and measure what was lost.

        Args:
            image: a picture file.
            policy: pad or crop, for sides that are no multiple of what the autoencoder needs.
            sample: decode a sample of what the encoder says instead of its mean.
            seed: of that sample.
            first_stage: model for the model's own, or default-vq, or another first stage in weights/.

        Returns:
            The reconstruction, and its psnr (null for equal pictures), ssim, mae, what was done to fit, and
            of a VQ first stage the codes that were used.
        """
        if not isinstance(image, str):
            raise SettingsError(f"image must be a picture file, got {image!r}.")
        if not isinstance(sample, bool):
            raise SettingsError(f"sample must be true or false, got {sample!r}.")
        travels = partial(
            trips.roundtrip_with,
            first_stage=first_stages.path_of(first_stage),
            image=open_image(image),
            policy=policy,
            sample=sample,
            seed=checked_seed(seed),
        )
        trip = app.engine.call(travels, visitor())
        path = files.folder(files.fresh_key()) / "reconstruction.png"
        files.save_png(trip.reconstruction, path)
        return str(path), metrics(trip)

    gr.Button().click(shows_errors(roundtrip), given, outputs, api_name="roundtrip", **PUBLIC)
