"""The widgets that mirror `Settings`, field by field, and the way between them."""

import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import gradio as gr

from ..diffusion.samplers import DEFAULT_ETA, SAMPLERS, USES_ETA
from ..diffusion.schedule import FINAL_SIGMAS, SPACINGS
from ..latent_diffusion import LatentDiffusion
from ..settings import LIMITS, MAX_PROMPT, Settings
from .unknown import name_unknown

COMMON_STEPS = 60  # the slider's end; a restored picture may ask for more


@dataclass(frozen=True, eq=False)
class Controls:
    """The widgets of one tab.

    Attributes:
        of: field of `Settings` -> its widget.
        fresh: draw a new seed each time.
    """

    of: dict[str, Any]
    fresh: gr.Checkbox

    @property
    def inputs(self) -> set[Any]:
        """What an event must carry for `read`."""
        return {*self.of.values(), self.fresh}

    def read(self, values: Mapping[Any, Any]) -> Settings:
        """What the page asks for.

        Raises:
            SettingsError: a value cannot be used.
        """
        given = {name: values[widget] for name, widget in self.of.items()}
        if given["sampler"] not in USES_ETA:
            given["eta"] = None
        if values[self.fresh]:
            given["seed"] = secrets.randbelow(2**31)
        return Settings(**given)

    def write(self, settings: Settings) -> dict[Any, Any]:
        """Updates that make the page ask for `settings`."""
        values = asdict(settings)
        if values["eta"] is None:
            values["eta"] = DEFAULT_ETA.get(settings.sampler, 0.0)
        updates = {widget: gr.update(value=values[name]) for name, widget in self.of.items()}
        for name, widget in self.of.items():
            if isinstance(widget, gr.Slider) and values[name] > widget.maximum:
                updates[widget] = gr.update(value=values[name], maximum=LIMITS[name][1])
        updates[self.of["eta"]] = gr.update(value=values["eta"], visible=settings.sampler in USES_ETA)
        return {**updates, self.fresh: gr.update(value=False)}


def prompts(model: LatentDiffusion) -> dict[str, Any]:
    """Prompt and negative prompt, each with the line that names its unknown words."""
    examples = model.config.examples
    prompt = gr.Textbox(
        label="Prompt",
        placeholder=examples[0] if examples else "What to draw",
        lines=1,
        max_lines=5,
        max_length=MAX_PROMPT,
        elem_id="prompt",
        autofocus=True,
    )
    name_unknown(prompt, model.config)
    negative_prompt = gr.Textbox(
        label="Negative prompt",
        placeholder="What to stay away from",
        lines=1,
        max_lines=3,
        max_length=MAX_PROMPT,
        elem_id="negative_prompt",
    )
    name_unknown(negative_prompt, model.config, "In the negative prompt")
    return {"prompt": prompt, "negative_prompt": negative_prompt}


def settings(model: LatentDiffusion, given: dict[str, Any]) -> Controls:
    """All other fields, laid out where they are called; `given` are the prompts."""
    best = model.config.recommended
    of = dict(given)
    with gr.Row(elem_classes="ld-pair"):
        of["steps"] = gr.Slider(
            1, COMMON_STEPS, best.steps, step=1, precision=0, label="Steps", elem_id="steps", buttons=[],
            info="More is slower and finer.",
        )  # fmt: skip
        of["cfg_scale"] = gr.Slider(
            0, 15, best.cfg_scale, step=0.1, label="Guidance", elem_id="cfg_scale", buttons=[],
            info="How hard the prompt pulls; 1 is off.",
        )  # fmt: skip
    with gr.Row(elem_classes="ld-pair"):
        of["sampler"] = gr.Dropdown(
            list(SAMPLERS), value=best.sampler, label="Sampler", elem_id="sampler", filterable=False,
            info="The way from noise to picture.",
        )  # fmt: skip
        of["eta"] = gr.Slider(
            0, 1, DEFAULT_ETA[best.sampler], step=0.05, label="Eta", elem_id="eta", buttons=[],
            info="Fresh noise per step; 0 draws none.", visible=best.sampler in USES_ETA,
        )  # fmt: skip
    fresh = _seed(of)
    with gr.Row(elem_classes="ld-pair"):
        for name, value in (("width", best.width), ("height", best.height)):
            of[name] = gr.Slider(
                model.config.size_multiple, max(2 * value, 512), value, step=model.config.size_multiple,
                precision=0, label=name.capitalize(), elem_id=name, buttons=[],
                info=f"Pixels; made for {value}.",
            )  # fmt: skip
    of["batch_size"] = gr.Slider(
        1, LIMITS["batch_size"][1], 1, step=1, precision=0, label="Batch", elem_id="batch_size", buttons=[],
        info="Pictures at once; picture i has seed + i.",
    )  # fmt: skip
    with gr.Accordion("Finer settings", open=False, elem_id="finer"):
        _finer(of, model)
    order = [field.name for field in fields(Settings) if field.name in of]
    return Controls({name: of[name] for name in order}, fresh)


def _seed(of: dict[str, Any]) -> gr.Checkbox:
    with gr.Row(elem_classes="ld-seed"):
        seed = of["seed"] = gr.Number(
            0, precision=0, label="Seed", elem_id="seed", info="One seed, one picture, on every machine.",
        )  # fmt: skip
        dice = gr.Button("Dice", size="sm", elem_id="dice", min_width=72, scale=0)
    fresh = gr.Checkbox(True, label="New seed each time", elem_id="fresh")
    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    dice.click(None, None, [seed, fresh], js="() => [Math.floor(Math.random() * 2 ** 31), false]", **quiet)
    seed.input(None, None, fresh, js="() => false", **quiet)  # who types a seed wants that one
    return fresh


def _finer(of: dict[str, Any], model: LatentDiffusion) -> None:
    of["cfg_rescale"] = gr.Slider(
        0, 1, model.config.recommended.cfg_rescale, step=0.05, label="Guidance rescale", buttons=[],
        elem_id="cfg_rescale",
        info="Brings the contrast that guidance adds back to that of the plain prediction; 0 is off.",
    )  # fmt: skip
    with gr.Row(elem_classes="ld-pair"):
        of["spacing"] = gr.Dropdown(
            list(SPACINGS), value=Settings.spacing, label="Spacing", elem_id="spacing", filterable=False,
            info="Which timesteps are visited.",
        )  # fmt: skip
        of["final_sigma"] = gr.Dropdown(
            list(FINAL_SIGMAS), value=Settings.final_sigma, label="Final sigma", elem_id="final_sigma",
            filterable=False, info="Where the last step ends.",
        )  # fmt: skip


def on_sampler(sampler: str) -> dict[str, Any]:
    """The eta slider as this sampler has it."""
    return gr.update(visible=sampler in USES_ETA, value=DEFAULT_ETA.get(sampler, 0.0))
