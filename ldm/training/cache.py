"""Rendered pictures as latents on disk, in chunks, so that training does not wait for a renderer.

A chunk is a pure function of (level, number, objects, basis, tokenizer): it can be made again, by anyone, at
any time, by as many processes as there are cores.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from ..data.scenes import LEVELS, render
from ..models.tokenizer import Tokenizer
from .basis import Basis
from .state import load_state, save_state

CHUNK = 4096
SEED = 21


@dataclass(frozen=True, eq=False)
class Batch:
    """Training pictures.

    Attributes:
        latents: (B, C, H, W) float32, unit variance.
        masks: (B, 1, H, W) float32, share of each cell that an object covers.
        ids: (B, T) int64 tokens of the captions.
    """

    latents: Tensor
    masks: Tensor
    ids: Tensor


@torch.no_grad()
def make_chunk(
    level: str, number: int, objects: Sequence[str], basis: Basis, tokenizer: Tokenizer, size: int = CHUNK
) -> dict[str, Tensor]:
    """Latents (N, C, H, W) bfloat16, masks (N, H, W) uint8, ids (N, T) int32 of pictures number * size ..."""
    start = (list(LEVELS).index(level) * 4096 + number) * size
    latents, masks, ids = [], [], []
    for i in range(start, start + size):
        scene = render(SEED, i, level, objects, held_out=False)
        pixels = torch.from_numpy(np.ascontiguousarray(scene.pixels)).permute(2, 0, 1)[None] / 127.5 - 1
        latents.append(basis.encode(pixels)[0].bfloat16())
        mask = torch.from_numpy(scene.mask.copy())[None, None].float()
        masks.append(F.avg_pool2d(mask, basis.f)[0, 0].round().byte())
        ids.append(torch.tensor(tokenizer.ids(scene.caption), dtype=torch.int32))
    return {"latents": torch.stack(latents), "masks": torch.stack(masks), "ids": torch.stack(ids)}


class Cache:
    """Chunks of one or more levels as one set of pictures.

    Args:
        objects: what is drawn where nothing else is asked for.
    """

    def __init__(self, folder: Path, objects: Sequence[str], basis: Basis, tokenizer: Tokenizer) -> None:
        self.folder, self.objects, self.basis, self.tokenizer = folder, tuple(objects), basis, tokenizer
        self._chunks: dict[Path, dict[str, Tensor]] = {}

    def path(self, level: str, number: int, objects: Sequence[str] = ()) -> Path:
        """Where a chunk lies: other objects, another place."""
        names = ",".join(objects or self.objects)
        digest = hashlib.blake2b(names.encode(), digest_size=4).hexdigest()
        return self.folder / "cache" / digest / f"{level}-{number:03d}.safetensors"

    def make(self, level: str, number: int, objects: Sequence[str] = ()) -> None:
        """Render a chunk if it is not there."""
        path = self.path(level, number, objects)
        if not path.exists():
            made = make_chunk(level, number, objects or self.objects, self.basis, self.tokenizer)
            save_state(path, made, {"objects": list(objects or self.objects)})

    def chunk(self, level: str, number: int, objects: Sequence[str] = ()) -> dict[str, Tensor]:
        """A chunk's tensors, from memory, disk or the renderer."""
        path = self.path(level, number, objects)
        if path not in self._chunks:
            self.make(level, number, objects)
            self._chunks[path] = load_state(path)[0]
        return self._chunks[path]

    def batch(
        self,
        shares: dict[str, float],
        chunks: int,
        size: int,
        generator: torch.Generator,
        objects: Sequence[str] = (),
    ) -> Batch:
        """`size` pictures drawn from the first `chunks` chunks of each level, by share.

        Pictures are drawn with replacement: which ones is a function of the generator alone.
        """
        levels = list(shares)
        weights = torch.tensor([float(shares[level]) for level in levels])
        which = torch.multinomial(weights, size, replacement=True, generator=generator).tolist()
        numbers = torch.randint(chunks, (size,), generator=generator).tolist()
        rows = torch.randint(CHUNK, (size,), generator=generator).tolist()
        found = [(self.chunk(levels[w], n, objects), r) for w, n, r in zip(which, numbers, rows, strict=True)]
        return Batch(
            torch.stack([c["latents"][r] for c, r in found]).float(),
            torch.stack([c["masks"][r] for c, r in found])[:, None].float() / 255,
            torch.stack([c["ids"][r] for c, r in found]).long(),
        )
