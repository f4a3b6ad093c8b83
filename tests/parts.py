"""Parts of the player's page, made of a trace, with their files in memory."""

import torch

from ldm.player.pack import Look
from ldm.player.parts.context import Context

from .traces import decode


class Files(dict):
    """Where a part puts its files."""

    def put(self, name, content):
        self[name] = content
        return {"url": name}


def made_part(trace, part, picture=0, factor=4):
    """(what a part gives, its files)."""
    files = Files()
    channels = trace.steps[0].x.shape[1] if trace.steps else 4
    generator = torch.Generator().manual_seed(3)
    weight = torch.randn(channels, 3, factor, factor, generator=generator) / 4
    linear = weight, torch.tensor([0.1, -0.2, 0.0])
    return part(trace, Context(Look(picture), decode, files.put, (), linear)), files
