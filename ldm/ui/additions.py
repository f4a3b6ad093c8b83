"""LoRAs and taught words of the weights folder beside a model, as JSON for the page."""

from pathlib import Path
from typing import Any

from ..checkpoints import weights_folder
from ..engine.weights import embeddings
from ..errors import LdmError
from ..latent_diffusion import LatentDiffusion
from ..lora import find_loras, match, read_lora
from ..lora.matching import lora_family
from ..textual_inversion import read_embedding, taught_words
from .identities import listed


def additions(model: LatentDiffusion, *, measure: bool = False) -> dict[str, Any]:
    """What can be added to a model.

    Args:
        measure: read the weights, to say how strong each LoRA is in each block.
    """
    folder = weights_folder()
    return {
        "measured": measure,
        "loras": [_lora(name, path, model, measure) for name, path in find_loras(folder).items()],
        "words": [_word(path, model) for path in embeddings(folder)],
    }


def _lora(name: str, path: Path, model: LatentDiffusion, measure: bool) -> dict[str, Any]:
    told: dict[str, Any] = {"name": name, "family": "", "fits": False, "said": "", "strengths": []}
    try:
        lora = read_lora(path, only_shapes=not measure)
        told |= {
            "family": lora_family(lora),
            "forms": ", ".join(lora.forms),
            "ranks": ", ".join(map(str, lora.ranks)),
        }
        found = match(lora, model, measure=measure)
    except LdmError as error:
        return told | {"said": str(error)}
    return told | {
        "fits": True,
        "said": found.note,
        "matched": len(found.matched),
        "ignored": listed("ignored", found.ignored) if found.ignored else None,
        "strengths": [[block, strength] for block, strength in found.strengths.items()],
        "nothing": bool(found.changes_nothing),
    }


def _word(path: Path, model: LatentDiffusion) -> dict[str, Any]:
    try:
        made = read_embedding(path)
    except LdmError as error:
        return {"name": path.stem, "fits": False, "said": str(error)}
    places = taught_words(model).get(made.word)
    count = len(made.vectors[0])
    vectors = "1 place" if count == 1 else f"{count} places"
    said = f"takes {vectors} of the prompt" if places else f"is for {made.family}, and {model.name} is not"
    return {"name": made.word, "fits": bool(places), "said": said}
