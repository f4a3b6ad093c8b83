"""Round trip: any picture through the autoencoder and back, with what that cost it."""

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import gradio as gr
from PIL import Image

from ... import roundtrip as trips
from ...behaviour.cards import cards
from ...errors import LdmError
from ...generation import run
from ...images import open_image
from ...latent_diffusion import LatentDiffusion
from ...settings import Settings
from ...views.codes import index_map
from ...views.latents import channel_maps, error_map
from .. import files, first_stages
from ..boxes import drop_box
from ..events import PRIVATE, owner_of, shows_errors, visitor
from ..parts import part
from ..report import report_value
from ..shared import App

TITLE = "Round trip"
ID = "roundtrip"
MEAN, SAMPLE = "mean", "sample"
LATENTS = "latents.safetensors"
EXAMPLE = 512  # pixels at most of a drawn picture
Updates = dict[Any, Any]


@dataclass(frozen=True, eq=False)
class Page:
    """The widgets of this tab, and what happens to them.

    Attributes:
        source: path of the picture on show.
        place: key of the folder where its files lie.
        gallery: key of the folder with the example, drawn once for everybody.
    """

    app: App
    upload: gr.File
    newest: gr.Button
    example: gr.Button
    stage: gr.Radio
    policy: gr.Radio
    take: gr.Radio
    seed: gr.Number
    slider: gr.ImageSlider
    report: gr.HTML
    download: gr.Button
    source: gr.State
    place: gr.State
    gallery: str

    @property
    def options(self) -> list[Any]:
        """How to travel, and who does."""
        return [self.stage, self.policy, self.take, self.seed, self.app.owner]

    @property
    def outputs(self) -> list[Any]:
        """What a round trip changes."""
        return [self.slider, self.report, self.source, self.place, self.download]

    @property
    def hidden(self) -> list[Any]:
        """What only some first stages have."""
        return [self.take, self.seed]

    def travel(self, path: str | None, *asked: Any) -> Updates:  # noqa: ANN401 - the widgets of `options`
        """A picture there and back."""
        if path is None:
            return {}
        stage, policy, take, seed, _ = asked
        travels = partial(
            trips.roundtrip_with,
            first_stage=first_stages.path_of(stage),
            image=open_image(path),
            policy=policy,
            sample=take == SAMPLE and self.can_draw(stage),
            seed=checked_seed(0 if seed is None else seed),
        )
        trip = self.app.engine.call(travels, visitor())
        place = files.fresh_key()
        return {**self.show(trip, place), self.source: path, self.place: place}

    def show(self, trip: trips.RoundTrip, place: str) -> Updates:
        """Everything about a round trip; its files go to `place`."""
        folder = files.folder(place)
        trips.save_latents(trip.latents, folder / LATENTS, trip.name, trip.latent_scaling_factor)
        drawn = {
            "original": trip.original,
            "reconstruction": trip.reconstruction,
            "error": error_map(trip.original, trip.reconstruction),
            "channels": channel_maps(trip.latents),
        }
        if trip.codes is not None:
            drawn["codes"] = index_map(trip.codes.indices)
        paths = {name: folder / f"{name}.png" for name in drawn}
        for name, image in drawn.items():
            files.save_png(image, paths[name])
        return {
            self.slider: (str(paths["original"]), str(paths["reconstruction"])),
            self.report: report_value(trip, paths["error"], paths["channels"], paths.get("codes")),
            self.download: gr.update(interactive=True),
        }

    def use_newest(self, *asked: Any) -> Updates:  # noqa: ANN401 - the widgets of `options`
        """The newest picture of this browser."""
        for made in self.app.engine.runs(owner_of(asked[-1])):
            if made.trace is not None and made.trace.images:
                path = files.pictures(made.id, made.trace)[0]
                return self.travel(str(path), *asked)
        raise LdmError("There is no picture yet. Draw one on the first tab.")

    def use_example(self, *asked: Any) -> Updates:  # noqa: ANN401 - the widgets of `options`
        """A picture by the model itself, or a drawn one."""
        path = files.folder(self.gallery) / "example.png"
        if not path.exists():
            image = self.app.engine.call(draw_example, visitor())
            files.save_png(image, path)
        return self.travel(str(path), *asked)

    def visit(self, path: str | None, *asked: Any) -> Updates:  # noqa: ANN401 - the widgets of `options`
        """The first visit finds the example, so that there is something to see."""
        found = {self.stage: self.offer()}
        return found if path is not None else {**found, **self.use_example(*asked)}

    def offer(self) -> dict[str, Any]:
        """The first stages there are now; hidden while there is only one."""
        there = offered(self.app)
        return gr.update(choices=there, visible=len(there) > 1)

    def fit(self, stage: str, take: str) -> Updates:
        """Show the choices that this first stage has."""
        can_draw = self.can_draw(stage)
        return {
            self.take: gr.update(visible=can_draw),
            self.seed: gr.update(visible=can_draw and take == SAMPLE),
        }

    def can_draw(self, stage: str) -> bool:
        """Whether a first stage gives a distribution to draw from."""
        return first_stages.can_draw(stage, self.app.engine.model.config.autoencoder)

    def save(self, place: str) -> dict[str, Any]:
        """Hand out the latents."""
        return self.app.save(files.folder(place) / LATENTS)


def build(app: App) -> App:
    """Lay out the tab and wire it."""
    with gr.Tab(TITLE, id=ID) as tab, gr.Row(elem_id="trip"):
        with gr.Column(elem_id="trip-asks"):
            gr.Markdown(
                "The network never sees pixels. An autoencoder turns a picture into latents and latents into "
                "a picture; what is lost on the way cannot be drawn."
            )
            upload = drop_box("Your picture", "trip-upload", height=130)
            with gr.Row(elem_classes="ld-go"):
                newest = gr.Button("Newest picture", size="md", elem_id="trip-newest")
                example = gr.Button("Example", size="md", elem_id="trip-example")
            stage, policy, take, seed = _options(app)
        with gr.Column(elem_id="trip-shows"):
            slider = gr.ImageSlider(
                label="Original on the left, reconstruction on the right",
                type="filepath",
                format="png",
                interactive=False,
                buttons=["fullscreen"],
                max_height=560,
                elem_id="trip-slider",
            )
            report = part("report")
            download = gr.Button("Save the latents", elem_id="trip-save", size="md", interactive=False)
            source, place = gr.State(None), gr.State(None)
    asked = (upload, newest, example, stage, policy, take, seed)
    page = Page(app, *asked, slider, report, download, source, place, files.fresh_key())
    wire(page, tab)
    return app


def _options(app: App) -> tuple[gr.Radio, gr.Radio, gr.Radio, gr.Number]:
    there = offered(app)
    own = app.engine.model.config.autoencoder
    stage = gr.Radio(
        there,
        value=first_stages.OWN,
        label="First stage",
        info="KL gives each latent a distribution, VQ the nearest entry of a codebook.",
        visible=len(there) > 1,
        elem_id="trip-stage",
    )
    policy = gr.Radio(
        list(trips.POLICIES),
        value="pad",
        label="Sides that do not fit",
        info="Repeat the edge and cut it off afterwards, or cut out the centre.",
        elem_id="trip-policy",
    )
    take = gr.Radio(
        [MEAN, SAMPLE],
        value=MEAN,
        label="Latents",
        info="The encoder gives a distribution: decode its mean, or a draw from it.",
        visible=first_stages.can_draw(first_stages.OWN, own),
        elem_id="trip-take",
    )
    seed = gr.Number(0, precision=0, label="Seed of the draw", visible=False, elem_id="trip-seed")
    return stage, policy, take, seed


def wire(page: Page, tab: gr.Tab) -> None:
    """Which event calls what."""
    travel, options, outputs = shows_errors(page.travel), page.options, page.outputs
    page.upload.upload(travel, [page.upload, *options], outputs, trigger_mode="always_last", **PRIVATE)
    for option in (page.stage, page.policy, page.take, page.seed):
        option.input(travel, [page.source, *options], outputs, trigger_mode="always_last", **PRIVATE)
    page.newest.click(shows_errors(page.use_newest), options, outputs, **PRIVATE)
    page.example.click(shows_errors(page.use_example), options, outputs, **PRIVATE)
    tab.select(shows_errors(page.visit), [page.source, *options], [*outputs, page.stage], **PRIVATE)
    for choice in (page.stage, page.take):
        choice.change(page.fit, [page.stage, page.take], page.hidden, **PRIVATE)
    page.download.click(shows_errors(page.save), page.place, page.app.saver, **PRIVATE)


def offered(app: App) -> list[tuple[str, str]]:
    """(label, name) of the first stages that there are."""
    model = app.engine.model
    return first_stages.choices(model.name, model.config.autoencoder)


def checked_seed(seed: Any) -> int:  # noqa: ANN401 - whatever a client sent
    """The seed, or the sentence that `Settings` has for it."""
    return Settings("a seed", seed=seed).seed


def draw_example(model: LatentDiffusion) -> Image.Image:
    """The first of the model's own examples, seed 0; a drawn picture where it has none, as it may be slow."""
    best = model.config.recommended
    if not model.config.examples:
        return cards(1, min(best.width, EXAMPLE), min(best.height, EXAMPLE))[0]
    prompt = model.config.examples[0]
    return run(model, Settings(prompt, **asdict(best))).images[0]
