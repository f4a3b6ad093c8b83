"""From step k on, with something changed: another run that shares the steps before."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import gradio as gr
from PIL import Image

from ....diffusion.samplers import DEFAULT_ETA, SAMPLERS
from ....errors import SettingsError
from ....generation.shown import is_start
from ....settings import LIMITS, Settings
from ....trace import Trace
from ... import pictures
from ...controls import fixed, negative_box, prompt_box
from ...events import PRIVATE, owner_of, shows_errors, visitor
from ...parts import part
from ...scrubber import Shown
from .bench import Bench, Updates
from .muting import asked_by_player

TITLE = "Branch"
FIELDS = ("prompt", "negative_prompt", "cfg_scale", "cfg_rescale", "sampler", "eta", "steps", "seed")
NOTHING = "There is no run in the player to go on from."
# the first input is where the scrubber stands; the page comes to where the steps will appear
READ_STEP = """(at, ...rest) => {
  const scrub = document.querySelector('#ld-scrubber .scrub');
  scrub?.scrollIntoView({ behavior: 'smooth', block: 'nearest' });
  return [scrub && scrub.dataset.step !== undefined ? Math.max(0, +scrub.dataset.step) : null, ...rest];
}"""
Values = Mapping[str, Any]


def build(bench: Bench) -> None:
    """Lay out the fields and wire them."""
    where, model = part("from", None), bench.app.engine.model
    only = fixed(model)
    with gr.Row(elem_id="branch"):
        with gr.Column(min_width=260):
            of: dict[str, Any] = {
                "prompt": prompt_box(model, "branch-prompt", most_lines=4, fresh=False, any_value=True),
                "negative_prompt": negative_box(model, "branch-negative"),
            }
            with gr.Accordion("Only here", open=False, elem_id="branch-here", visible=is_start(model)):
                paint = part("paint", None, "ld-branch-paint")
                none = gr.Markdown("", elem_classes="ld-note", elem_id="branch-paint-note")
        with gr.Column(min_width=260):
            of |= _numbers("cfg_scale" not in only)
            go = gr.Button("Go on from here", variant="primary", elem_id="branch-go")
    at = gr.Number(0, precision=0, visible=False)
    Branch(bench, where, {name: of[name] for name in FIELDS}, paint, none, at).wire(go)


def _numbers(guides: bool) -> dict[str, Any]:
    with gr.Row(elem_classes="ld-pair"):
        scale = _number("cfg_scale", "Guidance", "1 is off.", step=0.5, visible=guides)
        rescale = _number("cfg_rescale", "Rescale", "Less contrast; 0 is off.", step=0.05, visible=guides)
    with gr.Row(elem_classes="ld-pair"):
        sampler = gr.Dropdown(
            list(SAMPLERS), label="Sampler", info="The way from here.", elem_id="branch-sampler"
        )
        eta = _number("eta", "Eta", "Fresh noise per step, 0 to 1.", step=0.05)
    with gr.Row(elem_classes="ld-pair"):
        steps = _number("steps", "Steps", "Of the whole run.", step=1)
        seed = _number("seed", "Noise seed", "Of noise drawn on the way.", step=1)
    values = (scale, rescale, sampler, eta, steps, seed)
    return dict(zip(("cfg_scale", "cfg_rescale", "sampler", "eta", "steps", "seed"), values, strict=True))


def _number(name: str, label: str, info: str, step: float, visible: bool = True) -> gr.Number:
    low, high = LIMITS[name]
    whole = 0 if step == 1 else None
    return gr.Number(
        label=label,
        info=info,
        minimum=low,
        maximum=high,
        step=step,
        precision=whole,
        visible=visible,
        elem_id=f"branch-{name}",
    )


class Branch:
    """The form, and what it does.

    Args:
        where: says which steps stay and how many are made anew.
        of: field of `Settings` -> its widget.
        paint: what is to be painted anew; none: says why there is nothing to paint on.
        at: which step, read from the player when the button is pressed.
    """

    def __init__(
        self,
        bench: Bench,
        where: gr.HTML,
        of: dict[str, Any],
        paint: gr.HTML,
        none: gr.Markdown,
        at: gr.Number,
    ) -> None:
        self.bench, self.engine = bench, bench.app.engine
        self.where, self.of, self.paint, self.none, self.at = where, of, paint, none, at

    def wire(self, go: gr.Button) -> None:
        """Which event calls what."""
        bench, of = self.bench, self.of
        looks = [bench.app.owner, *bench.inputs]
        inputs, outputs = [self.at, *of.values(), self.paint, *looks], [bench.app.owner, *bench.outputs]
        at_once = {**PRIVATE, "trigger_mode": "multiple"}
        branched = go.click(shows_errors(self.go_on), inputs, outputs, js=READ_STEP, **at_once)
        changed = bench.player.branch(shows_errors(self.from_player), looks, outputs, **at_once)
        bench.following.extend([branched, changed])
        filled = [self.where, *of.values(), self.paint, self.none]
        bench.shown.change(self.fill, bench.shown, filled, trigger_mode="always_last", **PRIVATE)
        of["sampler"].input(on_sampler, of["sampler"], of["eta"], **PRIVATE)
        of["steps"].change(None, of["steps"], self.where, js="(steps) => ({ steps })", **PRIVATE)

    def fill(self, shown: Shown | None) -> dict[Any, Any]:
        """The fields as the run in the player has them."""
        if shown is None:
            return {self.where: None, self.paint: None}
        trace = self.engine.trace(shown.run_id)
        held = as_held(trace.settings)
        updates = {self.of[name]: gr.update(value=held[name]) for name in FIELDS}
        updates[self.of["eta"]] = on_sampler(trace.settings.sampler, held["eta"])
        why = why_unpainted(trace)
        plate = None if why else pictures.plate(trace.images[0])
        return {**updates, self.where: {"steps": held["steps"]}, self.paint: plate, self.none: why}

    def go_on(self, at: object, *given: Any) -> Iterator[Updates]:  # noqa: ANN401 - what the widgets hold
        """Another run from the step in the player on, with what the fields say."""
        held, rest = dict(zip(FIELDS, given, strict=False)), given[len(FIELDS) :]
        plate, token, before, *_ = rest
        if before is None:
            raise SettingsError(NOTHING)
        trace = self.engine.trace(before.run_id)
        settings = meant(trace.settings, held)
        mask = painted_on(trace, plate)
        image = None if mask is None else trace.images[0]
        yield from self._fork(before, at, settings, owner_of(token), rest[2:], image, mask)

    def from_player(
        self,
        token: object,
        before: Shown | None,
        other: Shown | None,
        picture: int,
        exact: bool,
        event: gr.EventData,
    ) -> Iterator[Updates]:
        """A change that a panel of the player asks for."""
        if before is None:
            raise SettingsError(NOTHING)
        trace = self.engine.trace(before.run_id)
        at, settings = asked_by_player(event, trace, len(self.engine.model.schedule))
        yield from self._fork(before, at, settings, owner_of(token), (before, other, picture, exact))

    def _fork(
        self,
        before: Shown,
        at: object,
        settings: Settings,
        owner: str,
        looks: Any,  # noqa: ANN401 - as `Bench.inputs`
        image: Image.Image | None = None,
        mask: Image.Image | None = None,
    ) -> Iterator[Updates]:
        """Fork, follow, and show with the run it branched off beside it."""
        if isinstance(at, bool) or not isinstance(at, int):
            raise SettingsError(f"The step to go on from must be a whole number, got {at!r:.40}.")
        fork = partial(self.engine.fork, before.run_id, at, settings, owner, visitor=visitor())
        run_id = self.bench.pressed.once("branch", partial(fork, init_image=image, mask=mask))
        if run_id is None:
            yield {self.bench.player: gr.skip()}
            return
        yield {self.bench.app.owner: owner, self.bench.app.run: run_id}
        shown, _, picture, exact = looks
        yield from self.bench.follow(run_id, owner, shown, replace(before), picture, exact)


def as_held(settings: Settings) -> dict[str, Any]:
    """What the fields hold for these settings."""
    held = {name: getattr(settings, name) for name in FIELDS}
    if settings.eta is None:
        held["eta"] = DEFAULT_ETA.get(settings.sampler, 0.0)
    return held


def meant(base: Settings, held: Values) -> Settings:
    """The settings that the fields ask for; a field that is as it was changes nothing, not even None.

    Raises:
        SettingsError: a value cannot be used.
    """
    was = as_held(base)
    if held["sampler"] != base.sampler:  # eta and order are the sampler's own
        base = replace(base, sampler=held["sampler"], eta=None, order=None)
        was |= {"sampler": held["sampler"], "eta": DEFAULT_ETA.get(str(held["sampler"]), 0.0)}
    return replace(base, **{name: held[name] for name in FIELDS if held[name] != was[name]})


def on_sampler(sampler: object, eta: float | None = None) -> dict[str, Any]:
    """The field of eta beside a sampler: not there for one that has none."""
    entry = SAMPLERS.get(str(sampler))
    there = entry is not None and entry.eta is not None
    own: dict[str, Any] = gr.update(
        value=DEFAULT_ETA.get(str(sampler), 0.0) if eta is None else eta, visible=there
    )
    return own


def why_unpainted(trace: Trace) -> str:
    """Why there is no picture to paint on; empty if there is one."""
    if trace.only_shown:
        return "What this run was shown is no picture of its own to keep a part of."
    if len(trace.images) > 1:
        return "A run of several pictures cannot be painted on; draw the one you want alone."
    return "" if trace.images else "There is a picture to paint on when the run is at its end."


def painted_on(trace: Trace, plate: object) -> Image.Image | None:
    """What was painted, at the size of the run; None if nothing was."""
    if why_unpainted(trace):
        return None
    return pictures.painted(plate, trace.settings.width, trace.settings.height)
