"""Small runs made of random numbers, and a decoder that is a formula: views and files need no model."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ldm.images import to_images
from ldm.settings import Settings
from ldm.trace import AttentionMaps, Prediction, Step, Trace

TOKENS = ("[start]", "a", "red", "circle", "[end]", "[pad]", "[pad]", "[pad]")
FACTOR = 8


def decode(latents):
    """(B, C, H, W) -> (B, 3, 8 H, 8 W): three channels, each latent a block of pixels."""
    return torch.nn.functional.interpolate(latents[:, [0, 1, -1]].clamp(-1, 1), scale_factor=FACTOR)


def make_trace(
    *,
    steps=4,
    batch=1,
    channels=4,
    height=8,
    width=8,
    guided=True,
    attention=True,
    finished=True,
    seed=0,
):
    """A run whose numbers fit together: every x is x0 + sigma * eps, every x_next the next step's x."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(shape, generator=generator)

    def maps():
        sizes = [(height, width), (height // 2, width // 2)]
        logits = (2 * randn(batch, len(TOKENS), h, w) for h, w in sizes)
        return AttentionMaps(tuple(m.softmax(1).half() for m in logits))

    shape = (batch, channels, height, width)
    sigmas = [*torch.linspace(14.6, 0.03, steps, dtype=torch.float64).tolist(), 0.0]
    x = randn(*shape) * (1 + sigmas[0] ** 2) ** 0.5
    made = []
    for k in range(steps):
        cond, uncond = (randn(*shape) for _ in range(2))
        x0 = uncond + 3 * (cond - uncond) if guided else cond
        x_next = x0 + sigmas[k + 1] / sigmas[k] * (x - x0)
        prediction = Prediction(
            x0,
            cond if guided else x0,
            uncond if guided else None,
            maps() if attention else None,
            maps() if attention and guided else None,
        )
        made.append(Step(k, sigmas[k], sigmas[k + 1], 999.0 - 250.3 * k, x, prediction, x_next))
        x = x_next
    settings = Settings(
        prompt="a red circle",
        steps=max(1, steps),
        cfg_scale=3.0 if guided else 1.0,
        batch_size=batch,
        width=FACTOR * width,
        height=FACTOR * height,
        seed=7,
    )
    return Trace(
        settings=settings,
        model_name="tiny",
        prediction_type="v",
        tokens=TOKENS,
        negative_tokens=TOKENS if guided else (),
        steps=tuple(made),
        images=tuple(to_images(decode(x))),
        seconds=0.125,
        finished=finished,
    )


def without_pictures(trace):
    return dataclasses.replace(trace, images=())


def grey_ramp():
    """16 x 16 pixels, every grey level once."""
    return Image.frombytes("L", (16, 16), bytes(range(256))).convert("RGB")


def pixels(image):
    """(w * h) colours, row by row."""
    return [tuple(colour) for colour in np.asarray(image).reshape(-1, 3).tolist()]


def with_a_small_disk(imports, call, path):
    """What a call says in a process that may write no file over 4 kB: a real error of the system.

    Args:
        call: Python that writes to sys.argv[1], which is `path`.
    """
    resource = pytest.importorskip("resource")
    code = (
        "import sys; from PIL import Image\n"
        "from ldm.errors import LdmError; from ldm.settings import Settings\n"
        f"{imports}\ntry: {call}\nexcept LdmError as error: print(type(error).__name__, error)"
    )
    return subprocess.run(
        [sys.executable, "-B", "-c", code, path],
        cwd=Path(__file__).parent.parent,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)),
        capture_output=True,
        text=True,
        check=True,
    ).stdout


TRACES = {
    "guided": make_trace(),
    "unguided": make_trace(guided=False),
    "stopped after one step": make_trace(steps=1, finished=False),
    "batch of 2": make_trace(batch=2),
    "not square": make_trace(height=6, width=10),
    "16 channels": make_trace(channels=16),
    "2 channels": make_trace(channels=2),
    "attention not recorded": make_trace(attention=False),
}
