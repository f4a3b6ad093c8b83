"""A LoRA beside a model: what of it finds its place, how strong it is there, and whom it was made for."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from ..errors import CheckpointError
from ..latent_diffusion import LatentDiffusion
from .delta import Delta
from .names import BY_WIDTH, Target, family, targets
from .reading import LoRA
from .state import originals

NAMED = 3  # names that a message spells out
# what trainers call the model they started from, as its beginning -> family
TRAINED_ON = {
    "sdxl": "Stable Diffusion XL",
    "stable-diffusion-xl": "Stable Diffusion XL",
    "sd_v1": "Stable Diffusion 1",
    "sd_1": "Stable Diffusion 1",
    "stable-diffusion-v1": "Stable Diffusion 1",
    "sd_v2": "Stable Diffusion 2",
    "sd_2": "Stable Diffusion 2",
    "stable-diffusion-v2": "Stable Diffusion 2",
}


@dataclass(frozen=True)
class LoraReport:
    """What a LoRA does to a model.

    Attributes:
        name: of the LoRA.
        matched: layers of the file that have a place in the model.
        ignored: names in the file that have none; they are left out, the rest is applied.
        strengths: group of layers -> norm of its change over the norm of the weights changed, at weight 1;
            empty where nothing was measured.
        changes_nothing: every change is zero; None where nothing was measured.
        note: one or two sentences that say all this.
    """

    name: str
    matched: tuple[str, ...]
    ignored: tuple[str, ...]
    strengths: dict[str, float]
    changes_nothing: bool | None
    note: str


@dataclass(frozen=True, eq=False)
class Match:
    """A LoRA, each of its changes with its place, and the names that have none."""

    lora: LoRA
    pairs: list[tuple[Delta, Target]]
    ignored: tuple[str, ...]


def match(lora: LoRA, model: LatentDiffusion, *, measure: bool = True) -> LoraReport:
    """What of a LoRA finds its place in a model, which stays as it is.

    Args:
        measure: compute the strengths too, which reads every weight that is changed; of a LoRA whose header
            alone was read there are none.

    Raises:
        CheckpointError: it is for another family, nothing of it has a place, or a shape differs.
    """
    found = pair(lora, model)
    return report(found, originals(model) if measure and not lora.only_shapes else None)


def pair(lora: LoRA, model: LatentDiffusion) -> Match:
    """Each change of a LoRA with its place in a model.

    Raises:
        CheckpointError: as `match`.
    """
    places = targets(model)
    found = [(delta, places.get((delta.part, delta.module, delta.parameter))) for delta in lora.deltas]
    pairs = _once(lora.name, [(delta, target) for delta, target in found if target is not None])
    homeless = [delta.name for delta, target in found if target is None]
    problem = _problem(pairs, len(found), model)
    ours, theirs = family(model.config), lora_family(lora)
    differ = theirs != ours and {theirs, ours} <= set(BY_WIDTH.values())
    if problem or (differ and (homeless or _context_widths(lora))):
        if theirs and theirs != ours:
            raise CheckpointError(f"{lora.name} is a LoRA for {theirs}, and {model.name} is {ours}.")
        raise CheckpointError(f"{lora.name} is no LoRA for {model.name}: {problem}.")
    return Match(lora, pairs, (*homeless, *lora.unread))


def report(found: Match, weights: Mapping[str, Tensor] | None = None) -> LoraReport:
    """What a match says.

    Args:
        weights: the model's, by name, to measure strengths with; None measures nothing.
    """
    matched = tuple(delta.name for delta, _ in found.pairs)
    nothing = None if weights is None else not any(delta.norm() for delta, _ in found.pairs)
    strengths = {} if weights is None else _strengths(found, weights)
    note = _note(found.lora.name, matched, found.ignored, bool(nothing))
    return LoraReport(found.lora.name, matched, found.ignored, strengths, nothing, note)


def lora_family(lora: LoRA) -> str:
    """What family a LoRA was made for, by its shapes or what its trainer says; "" if neither tells."""
    widths = _context_widths(lora)
    if len(widths) == 1:
        width = widths.pop()
        return BY_WIDTH.get(width, f"a model whose context has {width} channels")
    if any(delta.part == "text_2" for delta in lora.deltas):
        return "Stable Diffusion XL"
    base = lora.metadata.base_model.lower()
    told = next((words for start, words in TRAINED_ON.items() if base.startswith(start)), "")
    hidden = {_width(delta) for delta in lora.deltas if delta.module.endswith("self_attn_q_proj")}
    return told or (BY_WIDTH.get(hidden.pop(), "") if len(hidden) == 1 else "")


def _once(name: str, pairs: list[tuple[Delta, Target]]) -> list[tuple[Delta, Target]]:
    """Without changes that a file holds under two names of one layer; some files are for two programs.

    Raises:
        CheckpointError: the two differ, so that nobody can know what is meant.
    """
    seen: dict[Target, Delta] = {}
    for delta, target in pairs:
        other = seen.setdefault(target, delta)
        if other is not delta and not other.same(delta):
            raise CheckpointError(
                f"{name} has two different changes of one layer, {other.name} and {delta.name}."
            )
    return [(delta, target) for delta, target in pairs if seen[target] is delta]


def _problem(pairs: list[tuple[Delta, Target]], count: int, model: LatentDiffusion) -> str:
    if not pairs:
        return f"none of its {count} layers has a place there"
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    for delta, target in pairs:
        wanted = target.shape(shapes[target.parameter])
        if not delta.fits(wanted):
            return (
                f"{delta.name} changes a weight of shape {list(delta.shape)}, the model's is {list(wanted)}"
            )
    return ""


def _context_widths(lora: LoRA) -> set[int]:
    """Channels of the context that its cross-attentions read."""
    read = (delta for delta in lora.deltas if delta.module.endswith(("attn2_to_k", "attn2_to_v")))
    return {_width(delta) for delta in read}


def _width(delta: Delta) -> int:
    return delta.shape[1] if len(delta.shape) > 1 else 0


def _strengths(found: Match, weights: Mapping[str, Tensor]) -> dict[str, float]:
    changes: dict[str, float] = defaultdict(float)
    norms: dict[str, float] = defaultdict(float)
    for delta, target in found.pairs:
        weight = weights[target.parameter]
        changes[target.block] += delta.norm() ** 2
        norms[target.block] += float(weight[target.rows(len(weight))].float().norm()) ** 2
    return {
        block: (change / norms[block]) ** 0.5 if norms[block] else float("inf") if change else 0.0
        for block, change in changes.items()
    }


def _note(name: str, matched: tuple[str, ...], ignored: tuple[str, ...], nothing: bool) -> str:
    if nothing:
        sentences = [f"{name} changes nothing: all its changes are zero, as before training."]
    else:
        sentences = [f"{name} changes {len(matched)} weights."]
    if ignored:
        more = " ..." if len(ignored) > NAMED else ""
        sentences.append(f"{len(ignored)} of its names have no place: {', '.join(ignored[:NAMED])}{more}.")
    return " ".join(sentences)
