"""Latent diffusion you can watch: load a model, generate, look at every step."""

from .checkpoints import load
from .errors import CheckpointError, ImageError, LdmError, SettingsError, TraceError
from .generation import finish, forward, generate, guided, heads, invert, resume, run
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
    "forward",
    "generate",
    "guided",
    "heads",
    "invert",
    "load",
    "resume",
    "run",
]
