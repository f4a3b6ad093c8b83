"""A picture of one's own: under the noise, and drawn back from it."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import gradio as gr

from ....errors import SettingsError
from ....settings import LIMITS
from ... import pictures
from ...boxes import drop_box
from ...events import PRIVATE, shows_errors, visitor
from .asking import Values, alone, asked, needed, tellable, told
from .bench import Bench, Updates
from .muting import whole

TITLE = "Your picture"
STRENGTH = 0.7
STEPS = (1, 60)
NO_PICTURE = "Choose a picture first."
WORDS = (
    "The picture goes under as much noise as the strength says, and is drawn back with the prompt above. The "
    "player shows both ways."
)
TO_THE_PLAYER = """(...held) => {
  document.querySelector('#steps-player').scrollIntoView({ behavior: 'smooth', block: 'nearest' });
  return held;
}"""


class Forward:
    """What the button does.

    Args:
        file: the picture.
    """

    def __init__(self, bench: Bench, file: gr.File, strength: gr.Slider, steps: gr.Slider) -> None:
        self.bench, self.engine = bench, bench.app.engine
        self.file, self.strength, self.steps = file, strength, steps

    def go(self, values: Values) -> Iterator[Updates]:
        """Draw the picture anew, and show how it went under the noise and came back."""
        if values[self.file] is None:
            raise SettingsError(NO_PICTURE)
        asking = asked(self.bench, values, picture=False)
        steps = whole("steps", values[self.steps], *STEPS)
        settings = replace(alone(asking.settings), steps=steps, strength=values[self.strength])
        image = pictures.opened(values[self.file], settings.width, settings.height)
        start = partial(
            self.engine.start, settings, asking.owner, image, visitor=visitor(), draft=asking.draft
        )
        bench = self.bench
        run_id = bench.pressed.once("forward", start)
        if run_id is None:
            yield {bench.player: gr.skip()}
            return
        yield {**told(bench, asking), bench.app.run: run_id}
        before, other, picture, exact = (values[widget] for widget in bench.inputs)
        yield from bench.follow(run_id, asking.owner, before, other, picture, exact, forward=True)


def build(bench: Bench) -> None:
    """Lay out the tool and wire it."""
    recommended = bench.app.engine.model.config.recommended
    with gr.Row(elem_id="forward"):
        file = drop_box("Your picture", "forward-picture", height=130)
        with gr.Column(min_width=260):
            with gr.Row(elem_classes="ld-pair"):
                strength = gr.Slider(
                    *LIMITS["strength"],
                    value=STRENGTH,
                    step=0.01,
                    label="Strength",
                    info="How much of it is replaced: 0 none, 1 all.",
                    elem_id="forward-strength",
                )
                steps = gr.Slider(
                    *STEPS,
                    value=min(STEPS[1], recommended.steps),
                    step=1,
                    precision=0,
                    label="Steps",
                    info="Of a whole run; the strength is its share.",
                    elem_id="forward-steps",
                )
            go = gr.Button("Noise it and bring it back", variant="primary", elem_id="forward-go", size="md")
            gr.Markdown(WORDS, elem_classes="ld-note")
    does = Forward(bench, file, strength, steps)
    inputs = {file, strength, steps, *needed(bench)}
    outputs = [*tellable(bench), *bench.outputs]
    bench.following.append(
        go.click(shows_errors(does.go), inputs, outputs, js=TO_THE_PLAYER, trigger_mode="multiple", **PRIVATE)
    )
