"""The draft of the model: which settings it draws with, and opening it when it is first drawn with."""

from pathlib import Path
from typing import Any

from .. import checkpoints
from ..checkpoints.draft import MOST_STEPS
from ..diffusion.samplers import USES_ETA
from ..errors import SettingsError
from ..latent_diffusion import LatentDiffusion
from ..models.config import ModelConfig, RecommendedSettings
from ..settings import Settings
from .weights import choose, equip


class Draft:
    """A model that was distilled to a few steps; its file lies beside the one of the model it stands for.

    Attributes:
        config: as in the file.
        fixed: fields of `Settings` -> the only values it draws with, those it was distilled for.
    """

    def __init__(self, path: Path, config: ModelConfig, stands_for: LatentDiffusion) -> None:
        self.config = config
        self._path, self._stands_for = path, stands_for
        self._model: LatentDiffusion | None = None
        best = config.recommended
        self.fixed: dict[str, Any] = {
            "sampler": best.sampler,
            "spacing": Settings.spacing,
            "final_sigma": Settings.final_sigma,
            "cfg_scale": best.cfg_scale,
            "cfg_scales": None,
            "cfg_rescale": best.cfg_rescale,
            "cfg_method": Settings.cfg_method,
            "cfg_schedule": Settings.cfg_schedule,
            "eta": 0.0 if best.sampler in USES_ETA else None,
            "s_churn": Settings.s_churn,
        }

    @property
    def name(self) -> str:
        """For people, and in pictures."""
        return self.config.name

    @property
    def recommended(self) -> RecommendedSettings:
        """What to draw with when nothing else is asked for."""
        return self.config.recommended

    def check(self, settings: Settings) -> None:
        """Refuse what it was not distilled for.

        Raises:
            SettingsError: says what is allowed.
        """
        if settings.steps > MOST_STEPS:
            raise SettingsError(
                f"steps must be between 1 and {MOST_STEPS} for a draft, got {settings.steps}."
            )
        for name, value in self.fixed.items():
            given = getattr(settings, name)
            if given != value and (name != "eta" or given is not None):
                wanted, got = (str(v).removesuffix(".0") for v in (value, given))
                raise SettingsError(
                    f"{name} must be {wanted} for a draft, which was distilled for it, got {got}."
                )

    @property
    def held(self) -> LatentDiffusion | None:
        """The model, where it was drawn with; None where its file was not opened yet."""
        return self._model

    def open(self) -> LatentDiffusion:
        """The model, on the device and in the type of the one it stands for; opened once.

        Raises:
            CheckpointError: the file cannot be read any more.
        """
        if self._model is None:
            like = self._stands_for
            made = checkpoints.load(self._path, like.device, like.dtype)
            if made.preview is not None:
                made.preview.to("cpu")  # where steps are kept
            made.small_decoder = like.small_decoder
            equip(made, self._path.parent)
            self._model = made
        return self._model


def required(draft: Draft | None, model: LatentDiffusion) -> Draft:
    """The draft of a model.

    Raises:
        SettingsError: it has none.
    """
    if draft is None:
        raise SettingsError(f"{model.name} has no draft.")
    return draft


def find_draft(model: LatentDiffusion, weights: Path | None, folder: Path | None = None) -> Draft | None:
    """The draft beside the checkpoint that `open_model` opens for the same arguments, if there is one.

    Raises:
        CheckpointError: it is damaged, or another model's.
    """
    checkpoint = weights or choose(folder)
    config = checkpoints.draft_config(model, checkpoint)
    return None if config is None else Draft(checkpoints.draft_path(checkpoint), config, model)
