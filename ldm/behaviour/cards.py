"""Drawn pictures to try a model on: gradients, discs and bars of all colours, the same ones every time."""

import numpy as np
from PIL import Image, ImageDraw


def cards(count: int, width: int, height: int, first: int = 0) -> list[Image.Image]:
    """`count` RGB pictures, numbered from `first`; the same for the same numbers."""
    return [_card(np.random.default_rng(number), width, height) for number in range(first, first + count)]


def _card(numbers: np.random.Generator, width: int, height: int) -> Image.Image:
    down, right = np.linspace(0, 1, height)[:, None, None], np.linspace(0, 1, width)[None, :, None]
    first, second, third = numbers.uniform(0, 255, (3, 3))
    ground = first * (1 - down) + second * down * (1 - right) + third * down * right
    image = Image.fromarray(ground.round().astype(np.uint8), "RGB")
    draw = ImageDraw.Draw(image)
    for number in range(5):
        x, y = numbers.uniform(0.1, 0.9, 2) * (width, height)
        w, h = numbers.uniform(0.08, 0.3, 2) * (width, height)
        colour = tuple(int(value) for value in numbers.integers(0, 256, 3))
        shape = draw.ellipse if number % 2 else draw.rectangle
        shape((x - w, y - h, x + w, y + h), fill=colour)
    return image
