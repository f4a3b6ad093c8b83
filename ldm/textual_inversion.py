"""Textual inversions: a word for a text encoder, as one or more vectors in place of its tokens' embeddings.

Files come in three forms: AUTOMATIC1111's, diffusers' and Stable Diffusion XL's.  None says which model it is
for; the length of its vectors does.  Source: Gal et al. 2022 (arXiv:2208.01618).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from .checkpoints.files import SUFFIXES, read_shapes, read_state_dict
from .errors import CheckpointError, LdmError
from .latent_diffusion import LatentDiffusion
from .lora.names import family
from .models.condition_config import OpenCLIPConfig, SDXLTextConfig, TextConfig

MARKS = 2  # places of a prompt that its start and end take
FAMILIES: dict[tuple[int, ...], str] = {  # by the length of the vectors for each text encoder
    (768,): "Stable Diffusion 1",
    (1024,): "Stable Diffusion 2",
    (768, 1280): "Stable Diffusion XL",
    (1280,): "the refiner of Stable Diffusion XL",
}
PAIR = ("clip_l", "clip_g")  # Stable Diffusion XL's text encoders, in their order
FIRST_FORM = "string_to_param."
MOST_BYTES = 64 << 20  # no file of one word is larger


@dataclass(frozen=True, eq=False)
class Embedding:
    """A word and what text encoders read for it.

    Attributes:
        word: what to write into a prompt.
        vectors: (n, D) for each text encoder, CLIP ViT-L's before OpenCLIP's.
        form: "AUTOMATIC1111", "diffusers" or "Stable Diffusion XL", as which the file is written.
    """

    word: str
    vectors: tuple[Tensor, ...]
    form: str

    @property
    def widths(self) -> tuple[int, ...]:
        """Lengths of its vectors, D for each text encoder."""
        return tuple(rows.shape[1] for rows in self.vectors)

    @property
    def family(self) -> str:
        """What kind of model it is for, in words."""
        lengths = " and ".join(map(str, self.widths))
        return FAMILIES.get(self.widths, f"a text encoder with embeddings of {lengths} numbers")


def read_embedding(path: str | Path, name: str | None = None) -> Embedding:
    """A textual inversion from a file.

    Args:
        path: .safetensors, or a file of `torch.save`, which is read without running anything it says.
        name: the word; None is the one in diffusers' file, else the file's name without its ending.

    Raises:
        CheckpointError: it cannot be read, or is no textual inversion of one word.
    """
    path = Path(path)
    tensors, _ = read_state_dict(path)
    form, keys = _form({key: tuple(tensor.shape) for key, tensor in tensors.items()})
    if not form:
        several = len(tensors) > 1 and all(tensor.ndim <= 2 for tensor in tensors.values())
        what = f"holds {len(tensors)} tensors, not one word" if several else "is no textual inversion"
        raise CheckpointError(f"{path.name} {what}.")
    vectors = tuple(rows[None] if rows.ndim == 1 else rows for rows in (tensors[key] for key in keys))
    for key, rows in zip(keys, vectors, strict=True):
        if not rows.is_floating_point() or not rows.numel() or not bool(rows.isfinite().all()):
            raise CheckpointError(f"{path.name} is damaged: {key} is not all finite numbers.")
    inside = keys[0] if form == "diffusers" else path.stem
    return Embedding((name if name is not None else inside).strip(), vectors, form)


def is_embedding(path: str | Path) -> bool:
    """Whether a file is a textual inversion, by the names and shapes in it."""
    path = Path(path)
    try:
        small = path.suffix.lower() in SUFFIXES and path.is_file() and path.stat().st_size <= MOST_BYTES
        return small and bool(_form(read_shapes(path)[0])[0])
    except (LdmError, OSError):
        return False


def apply_embedding(model: LatentDiffusion, path: str | Path, name: str | None = None) -> Embedding:
    """Teach a model the word of a file; prompts without it keep their bits.

    Args:
        name: the word; None as in `read_embedding`.  A word that was taught before is taught anew.

    Raises:
        CheckpointError: as `read_embedding`; or it is for another family, the model reads no words, or it has
            more vectors than a prompt has places.
    """
    embedding = read_embedding(path, name)
    wanted = _widths(model)
    if not wanted:
        raise CheckpointError(f"{model.name} reads no words, so it cannot be taught {embedding.word!r}.")
    if embedding.widths != wanted:
        ours = FAMILIES.get(wanted, family(model.config))
        raise CheckpointError(
            f"{Path(path).name} is a textual inversion for {embedding.family}, and {model.name} is {ours}."
        )
    places, count = model.conditioner.length - MARKS, len(embedding.vectors[0])
    if count > places:
        raise CheckpointError(
            f"{Path(path).name} has {count} vectors, and a prompt of {model.name} has {places} places."
        )
    conditioner: Any = model.cond_stage_model
    if isinstance(model.config.text, SDXLTextConfig):
        small = embedding.vectors[0] if len(wanted) == len(PAIR) else None
        conditioner.learn(embedding.word, small, embedding.vectors[-1])
    else:
        conditioner.learn(embedding.word, embedding.vectors[0])
    return embedding


def remove_embedding(model: LatentDiffusion, word: str) -> None:
    """Have a model read a word as it did before it was taught; one that was not taught changes nothing."""
    if _widths(model):
        model.cond_stage_model.forget(word)


def taught_words(model: LatentDiffusion) -> dict[str, int]:
    """The words a model was taught, and how many places of a prompt each takes."""
    if not _widths(model):
        return {}
    conditioner: Any = model.cond_stage_model
    tower = conditioner.openclip if isinstance(model.config.text, SDXLTextConfig) else conditioner
    return {word: len(ids) for word, ids in tower.taught.ids.items()}


def _form(shapes: Mapping[str, tuple[int, ...]]) -> tuple[str, tuple[str, ...]]:
    """How a file is written, and the names of its vectors; ("", ()) where it is no textual inversion."""
    if any(len(shape) not in (1, 2) for shape in shapes.values()):
        return "", ()
    if set(shapes) == set(PAIR):
        return "Stable Diffusion XL", PAIR
    if len(shapes) != 1:
        return "", ()
    (key,) = shapes
    if key in PAIR:
        return "Stable Diffusion XL", (key,)
    if key == "emb_params" or key.startswith(FIRST_FORM):
        return "AUTOMATIC1111", (key,)
    is_word = not key.endswith((".weight", ".bias", ".alpha"))
    return ("diffusers", (key,)) if is_word else ("", ())


def _widths(model: LatentDiffusion) -> tuple[int, ...]:
    """Lengths of the embeddings of a model's text encoders; () where it has none."""
    text = model.config.text
    if isinstance(text, TextConfig):
        return (text.hidden_size,)
    if isinstance(text, OpenCLIPConfig):
        return (text.width,)
    if isinstance(text, SDXLTextConfig):
        return (*((text.clip.hidden_size,) if text.clip else ()), text.openclip.width)
    return ()
