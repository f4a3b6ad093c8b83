"""CLIP's text encoder beside a checkpoint, for models that read text as one embedding.

Retrieval-augmented models read CLIP embeddings, and their files hold nothing that makes them of text.  What
does is a folder as transformers writes it, of its `CLIPTextModelWithProjection` or its whole `CLIPModel`.

Source: Radford et al. 2021 (arXiv:2103.00020), section 2.4; Blattmann et al. 2022 (arXiv:2204.11824).
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from ..errors import CheckpointError
from ..latent_diffusion import LatentDiffusion
from ..models.condition_config import OpenCLIPConfig
from ..models.neighbours import NeighboursEmbedder
from ..models.openclip import OpenCLIPTextEmbedder
from ..models.tokenizer import Tokenizer
from .diffusers_files import read_json, read_weights
from .diffusers_folder import modern
from .diffusers_names import openclip_table, to_ours
from .diffusers_sizes import read_text_config
from .diffusers_text import openclip_config, read_tokenizer
from .report import load_strict

PLACES = ("text_encoder", "clip")  # folders beside a checkpoint, the first one found is read
PROJECTION = "text_projection.weight"
LEFTOVERS = ("vision_model.*", "visual_projection.*", "logit_scale", "*position_ids")


class ClipText:
    """Prompts -> the embeddings that pictures of them would have: a `models.neighbours.Clip`.

    It computes on the CPU in float32, where an embedding takes a moment, whatever the model runs on.
    """

    def __init__(self, encoder: OpenCLIPTextEmbedder) -> None:
        self.encoder = encoder

    @torch.no_grad()
    def embed(self, prompts: Sequence[str]) -> Tensor:
        """B prompts -> (B, D) of any length: the end mark's last state, after the norm and the projection."""
        return self.encoder.encode(self.encoder.ids(prompts))[1]

    def unread(self, prompt: str) -> str:
        """What of a prompt is cut off."""
        return self.encoder.unread(prompt)


def lend_clip(model: LatentDiffusion, path: Path) -> None:
    """Have a model of embeddings read text with the encoder in a folder beside its file, if there is one.

    Raises:
        CheckpointError: as `read_clip_text`, or its embeddings have another size than those the model reads.
    """
    reads = model.cond_stage_model
    if not isinstance(reads, NeighboursEmbedder):
        return
    places = [path.parent / name for name in PLACES]
    folder = next((place for place in places if (place / "config.json").is_file()), None)
    if folder is None:
        return
    clip = read_clip_text(folder)
    found, wanted = clip.encoder.config.embed_dim, reads.config.dim
    if found != wanted:
        raise CheckpointError(
            f"{folder.name}/ beside {path.name} makes embeddings of {found} numbers, "
            f"the model reads {wanted}."
        )
    reads.use_clip(clip)


def read_clip_text(folder: Path) -> ClipText:
    """CLIP's text encoder and its projection, of a folder as transformers writes it.

    Its vocabulary may lie in it or in `tokenizer/` beside it; CLIP's own need not be there.

    Raises:
        CheckpointError: it is another network, a part of it is missing, or it cannot be read.
    """
    text = read_text_config(read_json(folder / "config.json"))
    if text.intermediate_size != 4 * text.hidden_size or text.layer_norm_eps != 1e-5:
        raise CheckpointError(f"{folder.name}/ is no text encoder of CLIP, by its sizes.")
    weights = modern("text_encoder", read_weights(folder))
    if PROJECTION not in weights:
        raise CheckpointError(
            f"{folder.name}/ has no {PROJECTION}, without which it makes no embeddings: it must hold "
            "CLIPTextModelWithProjection or CLIPModel of transformers."
        )
    has_words = (folder / "vocab.json").is_file() or (folder / "tokenizer.json").is_file()
    tokenizer = read_tokenizer(folder if has_words else folder.with_name("tokenizer"), text)
    config = openclip_config(text, hidden_layer=-1, final_norm=True, projection=len(weights[PROJECTION]))
    encoder = _planned(config, tokenizer, folder.name)
    ours, rest = to_ours(openclip_table(encoder.state_dict(), text.num_hidden_layers), weights)
    load_strict(encoder, ours | rest, f"{folder.name}/", leftovers=LEFTOVERS, dtype=torch.float32)
    return ClipText(encoder.eval().requires_grad_(False))


def _planned(config: OpenCLIPConfig, tokenizer: Tokenizer, name: str) -> OpenCLIPTextEmbedder:
    """The encoder, its weights still to come."""
    try:
        with torch.device("meta"):
            return OpenCLIPTextEmbedder(config, tokenizer)
    except (ValueError, TypeError, RuntimeError, ArithmeticError) as error:
        raise CheckpointError(f"{name}/ has sizes that no network can have.") from error
