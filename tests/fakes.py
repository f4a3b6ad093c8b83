"""A model that is a formula, and runs that wait for the test: what the engine needs, without a network."""

import threading
from pathlib import Path

import torch

from ldm.diffusion.schedule import NoiseSchedule, scaled_linear_betas
from ldm.engine import Draft, Engine
from ldm.errors import SettingsError
from ldm.generation.start import first_step
from ldm.models.config import ModelConfig, RecommendedSettings
from ldm.trace import Trace

from .traces import TOKENS, decode, make_trace


class FakeConditioner:
    """Reads any text, all of it."""

    length = 77
    guides = True

    def check(self, prompt):
        pass

    def unread(self, prompt):
        return ""


class FakeModel:
    """Four latent channels, eight pixels a latent."""

    device = torch.device("cpu")
    dtype = torch.float32
    latent_channels = 4
    downsampling_factor = 8
    latent_scaling_factor = 1.0
    quick_decoder = "the linear map"
    n_steps = 1000
    schedule = NoiseSchedule.from_betas(scaled_linear_betas())

    def __init__(self, name="tiny"):
        self.name = name
        self.config = ModelConfig(name=name)
        self.conditioner = FakeConditioner()
        self.quick_decode = self.autoencoder_decode = decode


class FakeDraft(Draft):
    """Four steps of Euler; knows whether it was opened."""

    BEST = RecommendedSettings(steps=4, sampler="euler", cfg_scale=1.0, cfg_rescale=0.0, width=64, height=64)

    def __init__(self):
        super().__init__(
            Path("tiny-draft.safetensors"), ModelConfig("tiny draft", recommended=self.BEST), None
        )
        self.opened = 0

    def open(self):
        if not self.opened:
            self._model = FakeModel("tiny draft")
        self.opened += 1
        return self._model


class Pace:
    """Lets a run make one step for each `step()`; made with open=True nothing waits.

    Attributes:
        models: names of those that drew, one for each run.
        pictures: (init_image, mask) that they started from.
        at_once: the largest number of runs that were making a step at the same time.
    """

    def __init__(self, open=True):
        self.open = open
        self.allowed = threading.Semaphore(0)
        self.fails = None
        self.made = 0
        self.models = []
        self.pictures = []
        self.at_once = 0
        self._inside = 0
        self._lock = threading.Lock()

    def step(self, count=1):
        for _ in range(count):
            self.allowed.release()

    def generate(self, model, settings, init_image=None, mask=None):
        self.models.append(model.name)
        self.pictures.append((init_image, mask))
        return self._steps(steps_for(settings, init_image))

    def resume(self, model, trace, at, settings, init_image=None, mask=None):
        self.models.append(model.name)
        self.pictures.append((init_image, mask))
        return self._steps(steps_for(settings, trace.init_image)[at:])

    def _steps(self, steps):
        for step in steps:
            with self._lock:
                self._inside += 1
                self.at_once = max(self.at_once, self._inside)
            try:
                if not self.open and not self.allowed.acquire(timeout=20):
                    raise TimeoutError("the test let no step be made")
                if self.fails is not None:
                    raise self.fails
            finally:
                with self._lock:
                    self._inside -= 1
            self.made += 1
            yield step


def steps_for(settings, init_image):
    skipped = 0 if init_image is None else first_step(settings)
    return make_trace(steps=settings.steps - skipped, batch=settings.batch_size).steps


def check(model, settings):
    if settings.width % 32:
        raise SettingsError(f"width must be a multiple of 32 for {model.name}, got {settings.width}.")


def finish(  # as `ldm.generation.finish`
    model,
    settings,
    steps,
    seconds,
    finished=True,
    parent=None,
    *,
    init_image=None,
    mask=None,
    sigmas=None,
    decode=True,
):
    images = make_trace(batch=settings.batch_size).images if decode else ()
    of_run = (settings, model.name, "eps", TOKENS, (), tuple(steps), images, seconds, finished)
    levels = None if sigmas is None else tuple(sigmas.tolist())
    return Trace(*of_run, parent=parent, init_image=init_image, mask=mask, sigmas=levels)


def way_on(model, trace, at, settings):
    return torch.linspace(14.6, 0.0, settings.steps + 1, dtype=torch.float64)


def make_engine(monkeypatch, pace=None, draft=None, **options):
    """An engine over the fakes, with or without a `FakeDraft`; close it."""
    pace = pace or Pace()
    monkeypatch.setattr("ldm.engine.open_model", lambda *given: FakeModel())
    monkeypatch.setattr("ldm.engine.find_draft", lambda *given: draft)
    fakes = {
        "generate": pace.generate,
        "resume": pace.resume,
        "check": check,
        "check_fork": lambda *given: None,
        "way_on": way_on,
        "finish": finish,
    }
    for name, fake in fakes.items():
        monkeypatch.setattr(f"ldm.engine.device.{name}", fake)
    return Engine(**options)
