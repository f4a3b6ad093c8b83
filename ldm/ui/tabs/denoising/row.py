"""The row above the player: what is to be drawn, and the buttons that draw it, on when they do anything."""

from dataclasses import dataclass
from typing import Any

import gradio as gr

from ....engine import Limits, Run
from ....latent_diffusion import LatentDiffusion
from ...controls import prompt_box

AS_THERE = "Everything else as on the first tab."
MUCH = 50 * 2**20  # bytes of a run that are worth a word


@dataclass(frozen=True, eq=False)
class Row:
    """The widgets.

    Attributes:
        note: what the run takes in memory, where that is much.
    """

    prompt: gr.Textbox | gr.Dropdown
    run: gr.Button
    pause: gr.Button
    step: gr.Button
    go_on: gr.Button
    stop: gr.Button
    note: gr.Markdown

    @property
    def buttons(self) -> list[Any]:
        """What `held` changes."""
        return [self.run, self.pause, self.step, self.go_on, self.stop]

    def held(self, run: Run | None) -> dict[Any, Any]:
        """The buttons beside a run; None is no run."""
        going = run is not None and not run.resting
        paused = run is not None and run.status == "paused"
        on = {
            self.run: not going,
            self.pause: going,
            self.step: not going,
            self.go_on: paused,
            self.stop: going or paused,
        }
        return {button: gr.update(interactive=does) for button, does in on.items()}


def build_row(model: LatentDiffusion) -> Row:
    """Lay the row out where it is called."""
    with gr.Row(elem_id="steps-row"):
        prompt = prompt_box(model, "steps-prompt", fresh=False)
        with gr.Row(elem_id="steps-buttons"):
            run = gr.Button("Run", variant="primary", elem_id="steps-run", size="md", min_width=84)
            pause, step, go_on, stop = (
                gr.Button(
                    name,
                    elem_id=f"steps-{name.lower()}",
                    size="md",
                    min_width=72,
                    interactive=name == "Step",
                )
                for name in ("Pause", "Step", "Continue", "Stop")
            )
    note = gr.Markdown(AS_THERE, elem_classes="ld-note", elem_id="steps-note")
    return Row(prompt, run, pause, step, go_on, stop, note)


def build_asks() -> tuple[gr.Dropdown, gr.Checkbox, gr.Checkbox]:
    """How the run in the player is looked at: which picture, decoded how, with the noising before it."""
    with gr.Row(elem_id="steps-asks"):
        picture = gr.Dropdown(
            [("1", 0)],
            value=0,
            label="Picture",
            visible=False,
            filterable=False,
            elem_id="steps-picture",
            scale=0,
            min_width=110,
        )
        exact = gr.Checkbox(
            False,
            label="Decode every step with the autoencoder",
            info="Sharper than the quick preview, and as slow as decoding that many pictures.",
            elem_id="steps-exact",
        )
        noised = gr.Checkbox(
            False,
            label="Show the noising too",
            info="How the picture it started from went under the noise.",
            visible=False,
            elem_id="steps-noised",
        )
    return picture, exact, noised


def memory_note(size: int, limits: Limits) -> str:
    """The line under the row: what a run of that many bytes takes, and what becomes of it.

    Args:
        size: as `Engine.cost` tells it.
    """
    if size <= MUCH:
        return AS_THERE
    hours = limits.keep_seconds / 3600
    return (
        f"{AS_THERE} Its steps take about {size / 2**20:.0f} MB: kept in memory for {hours:g} hours; "
        "when memory is short, on disk."
    )
