"""Latent diffusion you can watch: load a model, generate, look at every step."""

from .checkpoints import load
from .errors import CheckpointError, ImageError, LdmError, SettingsError, TraceError
from .generation import finish, generate, invert, resume, run
from .latent_diffusion import LatentDiffusion
from .settings import Settings
from .trace import Prediction, Step, Trace

__all__ = [
    "CheckpointError",
    "ImageError",
    "LatentDiffusion",
    "LdmError",
    "Prediction",
    "Settings",
    "SettingsError",
    "Step",
    "Trace",
    "TraceError",
    "finish",
    "generate",
    "invert",
    "load",
    "resume",
    "run",
]
