"""Drawing from this tab: start, pause, one step more, go on, end; and a run that an address names."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import gradio as gr

from ....errors import LdmError
from ....settings import Settings
from ...controls import shown_prompt, some_prompt
from ...events import PRIVATE, owner_of, shows_errors, visitor
from ...links import kept, linked
from ...shared import App
from .bench import Bench, Updates
from .row import AS_THERE, memory_note

GONE = "The run in this page's address is not kept any more."
# a player that shows the run writes it there again
FORGET_ADDRESS = """() => {
  if (document.querySelector('#ld-scrubber .scrub')?.offsetParent) return;
  const here = new URL(location.href);
  here.searchParams.delete('run');
  history.replaceState(history.state, '', here);
}"""
# what is typed since counts, and not what was there when the tab was opened
FILL = "(mine, first) => document.querySelector('#steps-prompt textarea')?.value || mine || first"
Values = Mapping[Any, Any]


class Running:
    """What the buttons do."""

    def __init__(self, bench: Bench) -> None:
        self.bench, self.app, self.row = bench, bench.app, bench.row

    @property
    def inputs(self) -> set[Any]:
        """What an event must carry."""
        asks, switch = self.app.asks, self.app.switch
        asked = set() if asks is None else asks.inputs
        box = set() if switch is None else {switch.box}
        return {self.app.owner, self.app.run, self.row.prompt, *self.bench.inputs, *asked, *box}

    @property
    def outputs(self) -> list[Any]:
        """What drawing changes."""
        seed = [] if self.app.asks is None else [self.app.asks.of["seed"]]
        return [self.app.owner, self.row.note, *seed, *self.bench.outputs]

    def run(self, values: Values, until: int | None = None) -> Iterator[Updates]:
        """Start what is asked for, and follow it."""
        asks, switch, owner = self.app.asks, self.app.switch, owner_of(values[self.app.owner])
        if asks is None:
            raise LdmError("There is nothing that says what to draw.")
        values = {**values, asks.of["prompt"]: values[self.row.prompt]}
        settings = asks.read(values)
        draft = switch is not None and values[switch.box] is True
        image, mask = asks.start.read(values, settings)
        start = partial(self.app.engine.start, settings, owner, image, mask=mask, visitor=visitor())
        run_id = self.bench.pressed.once("run", partial(start, draft=draft, until=until))
        if run_id is None:
            yield {self.row.note: gr.skip()}
            return
        asked: Updates = {
            self.app.owner: owner,
            self.app.run: run_id,
            asks.of["seed"]: settings.seed,
            self.row.note: self._note(settings, image is not None),
        }
        alone = {**values, self.app.owner: owner, self.bench.other: None}  # compared with none
        following = self._follow(run_id, alone)
        next(following)  # which says nothing yet; every value costs the page a frame before the first preview
        for made in following:
            yield {**asked, **made}
            asked = {}
        if asked:
            yield asked

    def step(self, values: Values) -> Iterator[Updates]:
        """One step more of a run that is paused; where there is none, the first one of another run."""
        run_id = values[self.app.run]
        run = self.bench.run_of(run_id) if kept(self.app.engine, run_id) else None
        if run is None or run.over:
            yield from self.run(values, until=1)
            return
        if run.status == "paused":
            self.app.engine.go_on(run.id, 1, visitor=visitor())
        yield from self._follow(run.id, values)

    def go_on(self, values: Values) -> Iterator[Updates]:
        """A paused run to its end."""
        self.app.engine.go_on(values[self.app.run], visitor=visitor())
        yield from self._follow(values[self.app.run], values)

    def pause(self, values: Values) -> Iterator[Updates]:
        """Let it rest after the step it is in, and show the steps so far."""
        self.app.engine.pause(values[self.app.run])
        yield from self._follow(values[self.app.run], values)

    def stop(self, values: Values) -> Iterator[Updates]:
        """End it for good, and show what there is."""
        self.app.engine.stop(values[self.app.run])
        yield from self._follow(values[self.app.run], values)

    def arrive(self, values: Values) -> Iterator[Updates]:
        """The tab is opened: the run that is looked at, in progress or not."""
        yield from self._follow(values[self.app.run], values)

    def find(self, request: gr.Request) -> Updates:
        """The run that the page's address names, and this tab with it."""
        run_id = linked(request)
        if run_id is None:
            return {self.app.tabs: gr.skip()}
        if not kept(self.app.engine, run_id):
            gr.Warning(GONE, title="")
            return {self.app.tabs: gr.skip()}
        prompt = shown_prompt(self.app.engine.model, self.bench.run_of(run_id).settings.prompt)
        return {self.app.tabs: gr.Tabs(selected="denoising"), self.app.run: run_id, self.row.prompt: prompt}

    def note(self, values: Values) -> str:
        """What a run would take in memory; never an error, since it is asked with whatever is typed."""
        asks = self.app.asks
        try:
            if asks is None:
                return AS_THERE
            settings = asks.read({**values, asks.of["prompt"]: some_prompt(self.app.engine.model)})
            return self._note(settings, asks.has_picture(values))
        except LdmError:
            return AS_THERE

    def _note(self, settings: Settings, from_picture: bool) -> str:
        size = self.app.engine.cost(replace(settings), from_picture)
        return memory_note(size, self.app.engine.limits)

    def _follow(self, run_id: str | None, values: Values) -> Iterator[Updates]:
        bench = self.bench
        yield from bench.follow(run_id, owner_of(values[self.app.owner]), *(values[w] for w in bench.inputs))


def wire(bench: Bench, tab: gr.Tab, app: App) -> None:
    """Which event calls what."""
    running, row = Running(bench), bench.row
    outputs, inputs = running.outputs, running.inputs
    # whoever is quick need not wait for the player to have everything
    at_once = {**PRIVATE, "trigger_mode": "multiple"}
    asks = [row.run.click, *([row.prompt.submit] if hasattr(row.prompt, "submit") else [])]
    bench.following.append(gr.on(asks, shows_errors(running.run), inputs, outputs, **at_once))
    buttons = ((row.step, running.step), (row.go_on, running.go_on), (row.pause, running.pause))
    for button, does in (*buttons, (row.stop, running.stop)):
        bench.following.append(button.click(shows_errors(does), inputs, outputs, **at_once))
    bench.following.append(tab.select(shows_errors(running.arrive), inputs, outputs, **at_once))
    found = app.page.load(shows_errors(running.find), None, [app.tabs, app.run, row.prompt], **PRIVATE)
    found.then(None, None, None, js=FORGET_ADDRESS, **PRIVATE)
    if app.asks is not None:
        asked = {*app.asks.inputs}
        tab.select(running.note, asked, row.note, preprocess=False, queue=False, **PRIVATE)
        prompts = [row.prompt, app.asks.of["prompt"]]
        tab.select(None, prompts, row.prompt, js=FILL, **PRIVATE)
