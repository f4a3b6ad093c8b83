"""The public endpoints: /generate, /roundtrip and /steps, for programs.

Parameters carry the names of `Settings`.  The widgets behind them are plain and without ranges, so that what
is wrong is refused by `Settings`, in its own words, and not by a widget.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import gradio as gr

from .. import roundtrip as trips
from .. import run_file
from ..engine import required
from ..errors import SettingsError
from ..images import open_image
from ..settings import Settings
from ..views.predictions import lane
from ..words import notice
from . import files, first_stages
from .events import HEAVY, shows_errors, visitor
from .report import metrics
from .shared import App
from .tabs.roundtrip import checked_seed

MAX_FRAMES = 250  # pictures that /steps hands out
PUBLIC: dict[str, Any] = {"api_visibility": "public", "concurrency_limit": None, "show_progress": "hidden"}


def build(app: App) -> None:
    """Lay out hidden widgets and bind the endpoints to them."""
    with gr.Row(visible=False):
        _generate(app)
        _roundtrip(app)
        _steps(app)


def _generate(app: App) -> None:
    best = app.engine.model.config.recommended
    given = {
        "prompt": gr.Textbox(label="prompt"),
        "negative_prompt": gr.Textbox("", label="negative_prompt"),
        "steps": gr.Number(None, label="steps"),
        "sampler": gr.Textbox(best.sampler, label="sampler"),
        "spacing": gr.Textbox(Settings.spacing, label="spacing"),
        "final_sigma": gr.Textbox(Settings.final_sigma, label="final_sigma"),
        "cfg_scale": gr.Number(best.cfg_scale, label="cfg_scale"),
        "cfg_rescale": gr.Number(best.cfg_rescale, label="cfg_rescale"),
        "eta": gr.Number(None, label="eta"),
        "seed": gr.Number(Settings.seed, label="seed"),
        "batch_size": gr.Number(Settings.batch_size, label="batch_size"),
        "width": gr.Number(best.width, label="width"),
        "height": gr.Number(best.height, label="height"),
        "draft": gr.Checkbox(False, label="draft"),
    }
    pictures = gr.File(label="pictures", file_count="multiple")
    outputs = [
        pictures,
        gr.Number(label="seed_used", precision=0),
        gr.Textbox(label="run_id"),
        gr.Textbox(label="notice"),
    ]

    def generate(  # noqa: PLR0913 - the names are the interface
        prompt: str,
        negative_prompt: str,
        steps: float | None = None,
        sampler: str = Settings.sampler,
        spacing: str = Settings.spacing,
        final_sigma: str = Settings.final_sigma,
        cfg_scale: float = Settings.cfg_scale,
        cfg_rescale: float = Settings.cfg_rescale,
        eta: float | None = None,
        seed: float = 0,
        batch_size: float = 1,
        width: float = 256,
        height: float = 256,
        draft: bool = False,
    ) -> Iterator[tuple[list[str], int, str, str]]:
        """Draw pictures from a prompt with the latent diffusion model.

        Args:
            prompt: text the picture should match.
            negative_prompt: text guidance pushes away from.
            steps: denoising steps, 1 to 1000, of a draft 1 to 8; none is the model's own choice.
            sampler: dpmpp_2m, ddim, ddpm, euler, euler_ancestral or heun.
            spacing: trailing, leading or linspace.
            final_sigma: zero or first_timestep.
            cfg_scale: classifier-free guidance; 1 is off.
            cfg_rescale: 0 to 1, how much of the contrast that guidance adds is taken back.
            eta: fresh noise per step, 0 to 1; none is the sampler's own choice.
            seed: 0 to 4294967295; picture i of a batch has seed + i.
            batch_size: pictures, 1 to 16.
            width: pixels, a multiple of what the model needs.
            height: pixels, a multiple of what the model needs.
            draft: draw with the model's draft, in a few steps.  It has its own sampler, spacing, final_sigma,
                cfg_scale, cfg_rescale and eta, which take the place of those given; the PNGs say which.

        Returns:
            The pictures as PNG files that carry their settings, the seed used, the run's id for /steps, and
            a sentence about words of the prompts that the model never saw, empty if there are none.
        """
        if not isinstance(draft, bool):
            raise SettingsError(f"draft must be true or false, got {draft!r}.")
        chosen = required(app.engine.draft, app.engine.model) if draft else None
        if steps is None:
            steps = best.steps if chosen is None else chosen.recommended.steps
        settings = Settings.from_dict(
            {
                "prompt": prompt, "negative_prompt": negative_prompt, "steps": steps, "sampler": sampler,
                "spacing": spacing, "final_sigma": final_sigma, "cfg_scale": cfg_scale,
                "cfg_rescale": cfg_rescale, "eta": eta, "seed": seed, "batch_size": batch_size,
                "width": width, "height": height, **({} if chosen is None else chosen.fixed),
            }
        )  # fmt: skip
        said = notice(settings.prompt, settings.negative_prompt, app.engine.model.config)
        owner = f"api {files.fresh_key()}"  # on no sheet
        run_id = app.engine.start(settings, owner, visitor=visitor(), draft=draft)
        try:
            for run in app.engine.follow(run_id):
                made = [] if run.trace is None else [str(path) for path in files.pictures(run_id, run.trace)]
                yield made, settings.seed, run_id, said
        finally:
            app.engine.stop(run_id)  # nothing, once the run is over; a client that left wants no picture

    gr.Button().click(shows_errors(generate), list(given.values()), outputs, api_name="generate", **PUBLIC)


def _roundtrip(app: App) -> None:
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


def _steps(app: App) -> None:
    asked = gr.Textbox(label="run_id")
    outputs = [gr.File(label="run_file"), gr.File(label="frames", file_count="multiple")]

    def steps(run_id: str) -> tuple[str, list[str]]:
        """Every step of a run.

        Args:
            run_id: as /generate returned it.

        Returns:
            The run file (.safetensors), and the predicted picture x0 of each step as PNG files
            (of more than 250 steps: of 250 at most, evenly apart, the last one always).
        """
        trace = app.engine.trace(run_id)
        path = files.folder(run_id) / f"{files.stem(trace)}.safetensors"
        run_file.save(trace, path)
        return str(path), _frames(app, run_id)

    gr.Button().click(shows_errors(steps), asked, outputs, api_name="steps", **PUBLIC | HEAVY)


def _frames(app: App, run_id: str) -> list[str]:
    """The predicted pictures of a run as files: of at most MAX_FRAMES steps, the last one always."""
    trace = app.engine.trace(run_id)
    paths = []
    apart = -(-len(trace.steps) // MAX_FRAMES)
    # one at a time: a long run of large pictures fits in no memory
    for i in list(range(len(trace.steps) - 1, -1, -apart or -1))[::-1]:
        [image] = lane(replace(trace, steps=(trace.steps[i],)), "x0", app.engine.model.quick_decode)
        path = files.folder(run_id) / f"x0-{i:04d}.png"
        files.save_png(image, path)
        paths.append(str(path))
    return paths
