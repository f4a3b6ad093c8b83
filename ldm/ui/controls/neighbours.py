"""Embeddings that a visitor brings: a file is dropped in, and the prompt names it."""

import re
import secrets
from pathlib import Path
from typing import Any

import gradio as gr
import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from ...errors import LdmError
from ...latent_diffusion import LatentDiffusion
from ...settings import MAX_PROMPT
from ..boxes import drop_box
from ..events import PRIVATE, shows_errors

MOST_BYTES = 16 * 2**20
MOST_KEPT = 256  # files of all visitors together that are remembered
ABOUT = "CLIP ViT-L/14's embeddings of up to {} pictures: .npy or .safetensors, {} numbers in each row."


def drop(model: LatentDiffusion, prompt: gr.Textbox) -> None:
    """Lay out the place for the file here; what is dropped in is remembered, and named in the prompt."""
    config: Any = model.config.text
    file = drop_box("Neighbours", "neighbours", (".npy", ".safetensors"))
    gr.Markdown(ABOUT.format(config.most, config.dim), elem_classes="ld-note", elem_id="neighbours-note")

    def brought(path: str | None, text: str | None) -> Any:  # noqa: ANN401
        return gr.skip() if path is None else with_name(text, remembered(model, path))

    file.upload(shows_errors(brought), [file, prompt], prompt, **PRIVATE)


def remembered(model: LatentDiffusion, path: str | Path) -> str:
    """A file's embeddings, remembered by the model; gives the name, which nobody else can guess.

    Raises:
        LdmError: the file holds none, or none that this model reads.
    """
    reads: Any = model.conditioner
    stem = re.sub(r"[^A-Za-z0-9]+", "-", Path(path).stem).strip("-")[:24] or "neighbours"
    name = f"{stem}-{secrets.token_hex(4)}"
    reads.remember(name, read_embeddings(path))
    for old in reads.remembered[:-MOST_KEPT]:
        reads.forget(old)
    return name


def with_name(text: object, name: str) -> str:
    """The prompt with this file named in it, in place of one that was named before."""
    kept = " ".join(word for word in str(text or "").split() if not word.startswith("@"))
    return f"{kept} @{name}".strip()[-MAX_PROMPT:]


def read_embeddings(path: str | Path) -> torch.Tensor:
    """(k, D) float32 of a file; of .safetensors the only tensor in it.

    Raises:
        LdmError: it cannot be read, or holds something else.
    """
    path = Path(path)
    if path.stat().st_size > MOST_BYTES:
        raise LdmError(f"{path.name} is larger than {MOST_BYTES // 2**20} MB, too large for embeddings.")
    try:
        if path.suffix.lower() == ".npy":
            return torch.from_numpy(np.load(path, allow_pickle=False).astype(np.float32))
        tensors = list(load_file(path).values())
    except (OSError, ValueError, TypeError, EOFError, SafetensorError) as error:
        raise LdmError(f"{path.name} is damaged, or no file of numbers.") from error
    if len(tensors) != 1:
        raise LdmError(f"{path.name} must hold one tensor of embeddings, it has {len(tensors)}.")
    return tensors[0].float()
