"""Fields of `Settings` that a model leaves no choice about: they are not shown, and have one value."""

from typing import Any

from ...generation.shown import INDEXED, NEEDS, ONLY_SHOWN
from ...latent_diffusion import LatentDiffusion
from ...settings import Settings
from .loras import loras_there

UNCONDITIONAL = "unconditional"  # stands where a prompt would, of a model that reads none
WORDS = ("clip", "openclip", "sdxl", "bert", "neighbours")
"""Kinds of condition that are texts."""
SCORED = 5  # numbers that Stable Diffusion XL's refiner is told, the last one a score
GUIDANCE = (
    "cfg_method", "cfg_schedule", "cfg_start", "cfg_stop", "cfg_final", "cfg_scales", "dynamic_threshold",
    "negative_scale", "image_cfg_scale", "negative_prompt",
)  # fmt: skip
MUTING = ("muted_tokens", "mute_start", "mute_stop")
SIZES = ("original_width", "original_height", "crop_left", "crop_top")


def fixed(model: LatentDiffusion) -> dict[str, Any]:
    """Field -> the only value that it has with this model, for the fields of which that is so."""
    config, reads = model.config, model.conditioner
    text = config.text
    idle = [] if getattr(config.unet, "time_cond_proj_dim", None) else ["distilled_scale"]
    idle += [] if loras_there(model) else ["loras"]
    idle += [] if config.picture == "upscale" else ["noise_level"]
    idle += [] if text.kind == "sdxl" else SIZES
    idle += [] if getattr(text, "sizes", None) == SCORED else ["aesthetic_score"]
    idle += [] if reads.length > 1 else MUTING
    idle += [] if reads.guides else GUIDANCE
    idle += [] if has_words(model) else ["negative_prompt"]
    idle += ["strength", "full_strength"] if config.picture in (*ONLY_SHOWN, "inpaint_signed") else []
    values = {name: getattr(Settings, name) for name in idle}
    if not reads.guides:
        values |= {"cfg_scale": 1.0, "cfg_rescale": 0.0}
    if config.picture == "inpaint_signed":  # CompVis begins with noise alone
        values["full_strength"] = "noise"
    if text.kind == "none":
        values["prompt"] = UNCONDITIONAL
    return values


def has_words(model: LatentDiffusion) -> bool:
    """Whether a prompt of this model is a text in somebody's own words."""
    text = model.config.text
    return text.kind in WORDS and not getattr(text, "layout", False)


def some_prompt(model: LatentDiffusion) -> str:
    """A prompt that can be read whatever the model, where it does not matter which."""
    text = model.config.text
    if text.kind == "class":
        return "0"
    return "0 0 0 1 1" if getattr(text, "layout", False) else "?"


def what_to_do(model: LatentDiffusion) -> str:
    """What the tray says while it is empty."""
    config, needs = model.config, (*NEEDS, "inpaint_signed")
    if config.picture in INDEXED:
        first = "Paint classes, or put in a picture of them"
    elif config.picture in needs:
        first = "Put in a picture" if config.text.kind == "none" else "Put in a picture and write a prompt"
    elif getattr(config.text, "layout", False):
        first = "Draw boxes"
    else:
        said = {"class": "Choose a class", "neighbours": "Drop in a file of neighbours", "none": ""}
        first = said.get(config.text.kind, "Write a prompt")
    if first == "Write a prompt":
        return f"The tray is empty. {first}{', or pick an example' if config.examples else ''}."
    return f"The tray is empty. {f'{first}, then press' if first else 'Press'} Generate."
