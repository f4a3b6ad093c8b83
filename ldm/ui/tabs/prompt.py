"""Prompt to image: write, watch the picture come up, stop, keep, look back."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import gradio as gr

from ... import png
from ...engine import Run
from ...generation.shown import INDEXED
from ...settings import MAX_PROMPT, Settings
from ...trace import Trace
from .. import controls, files, words
from ..controls import Controls
from ..draft import Switch, box_for, switch_for
from ..events import PRIVATE, owner_of, session, shows_errors, visitor
from ..links import kept, linked
from ..parts import part
from ..shared import App
from ..tray import build_sheet, build_tray, listed, sheet_value, tray_value

TITLE = "Prompt to image"
ID = "prompt"
OFTEN = 5  # of so many snapshots of a run in progress one tells the buttons again
NO_PICTURE = (
    "It was made from another picture, with strength {:g}. A PNG does not carry that one; put it under "
    "“Start from a picture”."
)
SHOW_START = "() => document.querySelector('#start').scrollIntoView({ behavior: 'smooth', block: 'nearest' })"
Updates = dict[Any, Any]


@dataclass(frozen=True, eq=False)
class Page:
    """The widgets of this tab, and what happens to them.

    Attributes:
        switch: from the model to its draft; None where there is none.
        newest: of each open page the follower that fills its tray; an older one gives up.
    """

    app: App
    asks: Controls
    switch: Switch | None
    go: gr.Button
    stop: gr.Button
    chips: gr.HTML
    tray: gr.HTML
    see: gr.Button
    reuse: gr.Button
    start_from: gr.Button
    sheet: gr.HTML
    dropped: gr.File
    newest: dict[str, object] = field(default_factory=dict)

    @property
    def asked(self) -> list[Any]:
        """What says what to draw, and with what."""
        return [*self.asks.inputs, *([] if self.switch is None else [self.switch.box])]

    @property
    def outputs(self) -> list[Any]:
        """What a run changes."""
        buttons = [self.go, self.stop, self.see, self.reuse, self.start_from]
        return [self.app.owner, self.app.run, self.tray, self.sheet, *buttons, self.asks.of["seed"]]

    @property
    def written(self) -> list[Any]:
        """What asking for other settings changes."""
        return [*self.asks.outputs, *([] if self.switch is None else [self.switch.box])]

    def show(self, run: Run, owner: str) -> Updates:
        """A run as it stands."""
        there = run.trace is not None
        made = run.trace is not None and bool(run.trace.images)  # not yet, of one that is paused
        return {
            self.tray: tray_value(run),
            self.app.run: run.id,
            self.sheet: sheet_value(self.app.engine.runs(owner)),
            **self.held(run),
            **{b: gr.update(interactive=there) for b in (self.see, self.reuse)},
            self.start_from: gr.update(interactive=made),
        }

    def held(self, run: Run) -> Updates:
        """Which of the two can be pressed that begin and end it."""
        return {
            self.go: gr.update(interactive=run.resting),
            self.stop: gr.update(interactive=not run.resting),
        }

    def follow(self, run_id: str, owner: str) -> Iterator[Updates]:
        """A run until it rests; the buttons come back whatever happens."""
        page, mine = session(), object()
        self.newest[page] = mine
        try:
            for i, run in enumerate(self.app.engine.follow(run_id)):
                if self.newest.get(page) is not mine:
                    return
                # between the first snapshot and the last one only the tray changes
                shown = self.show(run, owner) if i == 0 or run.resting else {self.tray: tray_value(run)}
                if i and i % OFTEN == 0:  # a page that was still being laid out missed the first one
                    shown |= self.held(run)
                if i > 0:
                    shown.pop(self.app.run, None)  # another tab may look at another one by now
                yield shown
        except Exception:
            yield {self.go: gr.update(interactive=True), self.stop: gr.update(interactive=False)}
            raise
        finally:
            if self.newest.get(page) is mine:
                del self.newest[page]

    def draw(self, values: Updates) -> Iterator[Updates]:
        """Start what the page asks for, and follow it."""
        owner = owner_of(values[self.app.owner])
        settings = self.asks.read(values)
        draft = self.switch is not None and values[self.switch.box] is True
        image, mask = self.asks.start.read(values, settings)
        run_id = self.app.engine.start(
            settings, owner, init_image=image, mask=mask, visitor=visitor(), draft=draft
        )
        yield {self.app.owner: owner, self.app.run: run_id, self.asks.of["seed"]: settings.seed}
        yield from self.follow(run_id, owner)

    def welcome(self, token: object) -> Iterator[Updates]:
        """A refreshed page finds its run again: one in progress goes on, else the last one is shown.

        A run that the address names comes first, whoever's it is.
        """
        owner, named = owner_of(token), linked()
        runs = listed(self.app.engine.runs(owner))
        yield {self.app.owner: owner, self.sheet: sheet_value(runs)}
        if named is not None and kept(self.app.engine, named):
            yield from self.follow(named, owner)
        elif runs:
            yield from self.follow(runs[0].id, owner)

    def back(self, run_id: str | None, token: object) -> Iterator[Updates]:
        """The tab is opened: the run that another tab looked at comes into the tray."""
        yield {self.tray: gr.skip()}  # an event that says nothing would empty all that it may change
        if run_id is not None and kept(self.app.engine, run_id):
            yield from self.follow(run_id, owner_of(token))

    def pick(self, token: object, event: gr.EventData) -> Iterator[Updates]:
        """Show a run of the contact sheet."""
        yield from self.follow(str(event.run), owner_of(token))

    def reuse_settings(self, run_id: str) -> Updates:
        """Ask again for what made the picture in the tray."""
        trace = self.app.engine.trace(run_id)
        return self.write(trace.settings, trace.model_name, *self._start(run_id, trace))

    def start_from_tray(self, values: Updates) -> Updates:
        """Start from the picture in the tray, the first one of a batch."""
        run_id, start = values[self.app.run], self.asks.start
        path = str(files.pictures(run_id, self.app.engine.trace(run_id))[0])
        return {**self.asks.take(values, path), start.file: path, start.group: start.opened}

    def restore(self, path: str | None) -> Updates:
        """Ask again for what made a PNG."""
        if path is None:
            return {}
        settings, model_name = png.read(path)
        here = self.app.engine.model.name
        if model_name and model_name != here and not self.app.engine.is_by_draft(model_name):
            gr.Info(f"The picture was made by {model_name}; this is {here}.", title="")
        if settings.strength < 1 and "strength" not in self.asks.fixed:
            gr.Info(NO_PICTURE.format(settings.strength), title="")
        return self.write(settings, model_name)

    def write(
        self, settings: Settings, model_name: str, picture: str | None = None, plate: object = None
    ) -> Updates:
        """Ask for `settings`, of the draft where it bears that name.

        Args:
            picture, plate: as `Controls.write` takes them.
        """
        updates = self.asks.write(settings, picture, plate)
        if self.switch is None:
            return updates
        return self.switch.hold(updates, settings, self.app.engine.is_by_draft(model_name))

    def _start(self, run_id: str, trace: Trace) -> tuple[()] | tuple[str, dict[str, Any]]:
        """The picture that a run was given, as a file and to paint on; nothing if there was none."""
        if trace.init_image is None:
            return ()
        path = files.folder(run_id) / "start.png"
        files.save_png(trace.init_image, path)
        return str(path), self.asks.start.plate(trace.init_image, trace.mask)

    def example(self, event: gr.EventData) -> str:
        """The prompt that was clicked."""
        return str(event.text)[:MAX_PROMPT]

    def put(self, prompt: str | None, event: gr.EventData) -> str:
        """The prompt with the word that was clicked."""
        config = self.app.engine.model.config
        return words.put(str(prompt or ""), str(event.text)[:MAX_PROMPT], config, str(event.kind))


def build(app: App) -> App:
    """Lay out the tab and wire it."""
    model = app.engine.model
    with gr.Tab(TITLE, id=ID) as tab, gr.Row(elem_id="darkroom"):
        with gr.Column(elem_id="words"):
            prompts = controls.prompts(model)
            with gr.Row(elem_classes="ld-go"):
                go = gr.Button("Generate", variant="primary", elem_id="generate", scale=3, min_width=120)
                box = box_for(app.engine.draft)
                stop = gr.Button("Stop", elem_id="stop", interactive=False, scale=1, min_width=90)
            chips = part("chips", words.chips(model.config))
        with gr.Column(elem_id="tray"):
            tray = build_tray(controls.what_to_do(model))
            with gr.Row(elem_classes="ld-go"):
                see = gr.Button("See the steps", elem_id="see-steps", size="md", interactive=False)
                reuse = gr.Button("Use its settings", elem_id="reuse", size="md", interactive=False)
                start_from = gr.Button(
                    "Start from it",
                    elem_id="start-from",
                    size="md",
                    interactive=False,
                    visible=model.config.picture not in INDEXED,  # no picture of colours
                )
            sheet = build_sheet()
        with gr.Column(elem_id="settings"):
            asks = controls.settings(model, prompts)
            switch = switch_for(app.engine.draft, box, model.config.recommended, asks)
            dropped = gr.File(
                label="Settings from a PNG made here",
                type="filepath",
                height=96,
                elem_id="settings-png",
                elem_classes="ld-drop",
            )
    wire(Page(app, asks, switch, go, stop, chips, tray, see, reuse, start_from, sheet, dropped), tab)
    return replace(app, asks=asks, switch=switch)


def wire(page: Page, tab: gr.Tab) -> None:
    """Which event calls what."""
    app, asks, prompt = page.app, page.asks, page.asks.of["prompt"]
    inputs = {app.owner, *page.asked}
    asking = [page.go.click, *([prompt.submit] if hasattr(prompt, "submit") else [])]
    # one event for both, so that Enter does nothing while a run of this page goes on
    runs = [
        gr.on(asking, shows_errors(page.draw), inputs, page.outputs, trigger_mode="once", **PRIVATE),
        app.page.load(shows_errors(page.welcome), app.owner, page.outputs, **PRIVATE),
        tab.select(shows_errors(page.back), [app.run, app.owner], page.outputs, **PRIVATE),
    ]
    page.stop.click(shows_errors(app.engine.stop), app.run, None, **PRIVATE)
    # the run goes on, only this page looks elsewhere; its tile leads back to it
    page.sheet.pick(
        shows_errors(page.pick), app.owner, page.outputs, cancels=runs, trigger_mode="always_last", **PRIVATE
    )
    page.chips.example(page.example, None, prompt, **PRIVATE)
    page.chips.word(page.put, prompt, prompt, **PRIVATE)
    controls.wire(asks, app.engine.model)
    page.reuse.click(shows_errors(page.reuse_settings), app.run, page.written, **PRIVATE)
    page.dropped.upload(shows_errors(page.restore), page.dropped, page.written, **PRIVATE)
    inputs, outputs = {app.run, *asks.inputs}, [*asks.outputs, asks.start.group]
    taken = page.start_from.click(shows_errors(page.start_from_tray), inputs, outputs, **PRIVATE)
    taken.success(None, None, None, js=SHOW_START, **PRIVATE)
    page.see.click(lambda: gr.Tabs(selected="denoising"), None, app.tabs, **PRIVATE)
