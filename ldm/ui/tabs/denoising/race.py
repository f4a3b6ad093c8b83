"""Several samplers from one noise, side by side: how near each comes to where it leads, at what cost."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import gradio as gr

from ....diffusion.samplers import SAMPLERS
from ....diffusion.spacing import SPACINGS
from ....engine import Limits
from ....errors import SettingsError, check_choice
from ....settings import Settings
from ...controls.rules import OF_SAMPLERS
from ...events import PRIVATE, owner_of, shows_errors
from ...parts import part
from .asking import Values, alone, asked, needed, tellable, told
from .bench import Bench, Updates
from .heat import Heat
from .live import Turns
from .muting import whole

TITLE = "Race"
DEFAULT = ("dpmpp_2m", "euler", "heun", "euler_ancestral")
MOST_SAMPLERS, MOST_SPACINGS, MOST = 6, 3, 8
STEPS = (1, 60)
# ends 0.005 (RMS of latents) from where 1000 network calls lead the default model; as many steps over
# "trailing" levels end 0.01 from it, by Heun's rule, UniPC or DPM-Solver++(3S) too
FINE_SAMPLER, FINE_SPACING, FINE_STEPS = "dpmpp_2m", "karras", 200
FINER = 3  # times the steps of those that are measured against it, at least
WORDS = (
    "All start from the same noise. First the model draws one run of many steps: where that noise leads when "
    "nothing is cut short. Without a spacing they have that of the first tab."
)


class Race:
    """What the buttons do.

    Args:
        asked_for: samplers, spacings and steps.
        ran: a State, ids of the runs of this page's last race.
    """

    def __init__(
        self,
        bench: Bench,
        asked_for: tuple[gr.Dropdown, gr.Dropdown, gr.Slider],
        board: gr.HTML,
        ran: gr.State,
        stop: gr.Button,
    ) -> None:
        self.bench, self.engine, self.turns = bench, bench.app.engine, Turns()
        self.samplers, self.spacings, self.steps = asked_for
        self.board, self.ran, self.halt = board, ran, stop

    def race(self, values: Values) -> Iterator[Updates]:
        """The fine run, then each of the others, and all that are there beside each other."""
        asking = asked(self.bench, values, picture=False)
        steps = whole("steps", values[self.steps], *STEPS)
        settings = replace(alone(asking.settings), steps=steps)
        each = entrants(settings, values[self.samplers], values[self.spacings])
        fine = fine_run(settings, self.engine.limits)
        self.forget(asking.owner, values[self.ran], values[self.bench.app.run])
        yield told(self.bench, asking)
        with self.turns.take() as mine:
            heat = Heat(self.bench, asking, [fine, *each.values()], mine)
            try:
                for board in heat.lead(fine):
                    yield self._going(heat, board)
                for name, entrant in each.items():
                    for board in heat.enter(name, entrant):
                        yield self._going(heat, board)
            except Exception:
                yield self._rest(heat)
                raise
            yield self._rest(heat)

    def stop(self, token: object, ran: tuple[str, ...]) -> None:
        """End the race: the run in progress is forgotten, those before it stay."""
        owner = owner_of(token)
        with self.turns.take():  # the race gives up
            for run in self.engine.runs(owner):
                if run.id in ran and not run.resting:
                    self.engine.delete(run.id, owner)

    def forget(self, owner: str, ran: tuple[str, ...], shown: str | None) -> None:
        """Let go of this page's last race, but for what was named, branched off, or is in the player."""
        runs = self.engine.runs(owner)
        parents = {run.parent[0] for run in runs if run.parent is not None}
        for run in runs:
            if run.id in ran and not (run.name or run.id in parents or run.id == shown):
                self.engine.delete(run.id, owner)

    def _going(self, heat: Heat, board: dict[str, Any]) -> Updates:
        return {self.board: board, self.ran: heat.runs, self.halt: gr.update(interactive=True)}

    def _rest(self, heat: Heat) -> Updates:
        return {
            self.board: heat.result(),
            self.ran: heat.runs,
            self.halt: gr.update(interactive=False),
        }


def build(bench: Bench) -> None:
    """Lay out the tool and wire it."""
    recommended = bench.app.engine.model.config.recommended
    with gr.Row(elem_id="race", elem_classes="ld-tool"):
        samplers = gr.Dropdown(
            list(SAMPLERS),
            value=list(DEFAULT),
            multiselect=True,
            max_choices=MOST_SAMPLERS,
            label="Samplers",
            elem_id="race-samplers",
            scale=3,
        )
        spacings = gr.Dropdown(
            [name for name in SPACINGS if name != "custom"],
            value=[],
            multiselect=True,
            max_choices=MOST_SPACINGS,
            label="Spacings",
            elem_id="race-spacings",
            scale=2,
        )
        steps = gr.Slider(
            *STEPS,
            value=min(STEPS[1], recommended.steps),
            step=1,
            precision=0,
            label="Steps",
            elem_id="race-steps",
        )
        go = gr.Button("Race", variant="primary", elem_id="race-go", size="md", min_width=110)
        stop = gr.Button("Stop", elem_id="race-stop", size="md", min_width=84, interactive=False)
    gr.Markdown(WORDS, elem_classes="ld-note", elem_id="race-note")
    board, ran = part("race", None), gr.State(())
    does = Race(bench, (samplers, spacings, steps), board, ran, stop)
    inputs = {samplers, spacings, steps, ran, *needed(bench)}
    outputs = [*tellable(bench), board, ran, stop]
    go.click(shows_errors(does.race), inputs, outputs, trigger_mode="once", **PRIVATE)
    stop.click(shows_errors(does.stop), [bench.app.owner, ran], None, **PRIVATE)
    looks = [bench.app.owner, *bench.inputs]
    board.look(shows_errors(bench.look), looks, bench.outputs, trigger_mode="always_last", **PRIVATE)


def entrants(settings: Settings, samplers: object, spacings: object) -> dict[str, Settings]:
    """What is raced: name -> settings, a sampler's options its own.

    Args:
        samplers, spacings: as a page sent them; no spacing is that of the settings.

    Raises:
        SettingsError: there are none, too many, or unknown ones.
    """
    names = chosen("samplers", samplers, tuple(SAMPLERS), MOST_SAMPLERS)
    ways = chosen("spacings", spacings, tuple(SPACINGS), MOST_SPACINGS) or [settings.spacing]
    if not names:
        raise SettingsError("A race needs a sampler; choose at least one.")
    if len(names) * len(ways) > MOST:
        raise SettingsError(
            f"A race has at most {MOST} runs; {len(names)} samplers with {len(ways)} spacings are "
            f"{len(names) * len(ways)}."
        )
    return {
        name if len(ways) == 1 else f"{name}, {way}": walking(settings, name, way)
        for name, way in product(names, ways)
    }


def chosen(what: str, given: object, known: tuple[str, ...], most: int) -> list[str]:
    """What was chosen of a list, each once.

    Raises:
        SettingsError: it is no list, has too many, or one that is not known.
    """
    if not isinstance(given, list):
        raise SettingsError(f"{what} must be a list of names, got {given!r:.40}.")
    for name in given:
        check_choice(what.removesuffix("s"), name, known)
    found = list(dict.fromkeys(given))
    if len(found) > most:
        raise SettingsError(f"A race has at most {most} {what}, got {len(found)}.")
    return found


def walking(settings: Settings, sampler: str, spacing: str) -> Settings:
    """The same noise and words on another way down, with nothing that was set for the asked one."""
    own = {name: getattr(Settings, name) for name in (*OF_SAMPLERS, "rho")}
    levels = settings.sigmas if spacing == "custom" else None
    return replace(settings, **own, sampler=sampler, spacing=spacing, sigmas=levels)


def fine_run(settings: Settings, limits: Limits) -> Settings:
    """What the others are measured against: as many steps as this machine allows, at most FINE_STEPS.

    Raises:
        SettingsError: those are too few to measure against.
    """
    width, height = settings.width, settings.height
    steps = min(FINE_STEPS, limits.work // (width * height))
    if steps < FINER * settings.steps:
        raise SettingsError(
            f"steps must be at most {steps // FINER} for a race at {width} x {height}, got {settings.steps}: "
            f"the run to measure against may have {steps} and needs {FINER} times as many."
        )
    return replace(walking(settings, FINE_SAMPLER, FINE_SPACING), steps=steps, final_sigma="zero")
