"""Names inside LoRA files: which layer of which network, and what of it.

One table for all layouts, since they differ in two places only: how a name begins (the network) and how it
ends (the role of the tensor).  Dots and underscores between are the same to us: kohya has no dots left.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

# how a name ends -> (form, role)
ENDINGS: tuple[tuple[str, str, str], ...] = (
    (r"\.lora_down\.weight", "LoRA", "down"),
    (r"\.lora_up\.weight", "LoRA", "up"),
    (r"\.lora_mid\.weight", "LoRA", "mid"),
    (r"\.lora_A(?:\.[^.]+)?\.weight", "LoRA", "down"),
    (r"\.lora_B(?:\.[^.]+)?\.weight", "LoRA", "up"),
    (r"\.lora(?:_linear_layer)?\.down\.weight", "LoRA", "down"),
    (r"\.lora(?:_linear_layer)?\.up\.weight", "LoRA", "up"),
    (r"_lora\.down\.weight", "LoRA", "down"),  # diffusers' attention processors
    (r"_lora\.up\.weight", "LoRA", "up"),
    *((rf"\.hada_{role}", "LoHa", role) for role in ("w1_a", "w1_b", "w2_a", "w2_b", "t1", "t2")),
    *((rf"\.lokr_{role}", "LoKr", role) for role in ("w1", "w1_a", "w1_b", "w2", "w2_a", "w2_b", "t2")),
    (r"\.diff", "full", "diff"),
    (r"\.w_norm", "full", "diff"),
    (r"\.diff_b", "full", "diff_b"),
    (r"\.b_norm", "full", "diff_b"),
    (r"(?:_lora)?\.alpha", "", "alpha"),
)
_ENDINGS = tuple((re.compile(pattern + "$"), form, role) for pattern, form, role in ENDINGS)

# how a name ends -> the form's name; these are refused, since half of one is worse than none
REFUSED: tuple[tuple[str, str], ...] = (
    (r"\.dora_scale$|\.lora_magnitude_vector(?:\..+)?$", "a DoRA, which replaces the size of a weight"),
    (r"\.oft_(?:blocks|diag)$|\.oft_[A-Za-z]+(?:\..+)?$", "an OFT, which turns weights instead of adding"),
    (r"\.boft_[A-Za-z]+(?:\..+)?$", "a BOFT, which turns weights instead of adding"),
    (r"\.on_input$|\.ia3_l(?:\..+)?$", "an (IA)³, which multiplies weights instead of adding"),
    (r"\.[ab][12]\.weight$|\.glora_[ab][12].*$", "a GLoRA"),
    (r"\.vera_lambda_[bd](?:\..+)?$", "a VeRA, whose matrices are not in its file"),
    (r"\.lora_embedding_[AB](?:\..+)?$", "a LoRA of an embedding table"),
    (r"\.lora_B(?:\.[^.]+)?\.bias$", "a LoRA with biases"),
)
_REFUSED = tuple((re.compile(pattern), words) for pattern, words in REFUSED)

# how a name begins -> the network; what is left is the layer's name within it
BEGINNINGS: tuple[tuple[str, str], ...] = (
    ("lora_unet_", "unet"),
    ("lycoris_unet_", "unet"),
    ("unet.", "unet"),
    ("model.diffusion_model.", "unet"),
    ("diffusion_model.", "unet"),
    ("lora_te_", "text"),
    ("lora_te1_", "text"),
    ("text_encoder.", "text"),
    ("lora_te2_", "text_2"),
    ("text_encoder_2.", "text_2"),
    ("lycoris_", ""),
    ("", ""),
)
_UNET = re.compile(
    "(?:down_blocks|up_blocks|mid_block|conv_in|conv_out|conv_norm_out|time_embedding|add_embedding"
    "|input_blocks|middle_block|output_blocks|time_embed|label_emb|out_[02])(?:_|$)"
)
_TEXT = re.compile("(?:text_model_|encoder_layers_)")

# names of other architectures -> what the file is for
FOREIGN: tuple[tuple[str, str], ...] = (
    (r"double_blocks|single_blocks|single_transformer_blocks", "Flux"),
    (r"joint_blocks|joint_transformer_blocks", "Stable Diffusion 3"),
    (r"(?:^|\.|_)motion_modules(?:\.|_)|temporal_transformer", "AnimateDiff's motion modules"),
    (r"lora_prior_|(?:^|\.)prior\.", "Stable Cascade"),
    (r"^(?:lora_)?transformer[._]|^lora_te3_|^text_encoder_3\.", "a diffusion transformer"),
    (r"^(?:base_model\.model\.)?model\.layers\.", "a language model"),
)


@dataclass(frozen=True)
class Part:
    """What one name of a file says.

    Attributes:
        key: the name.
        layer: the name without its ending, as the file has it.
        part: "unet", "text" or "text_2".
        module: the layer within its part, with `_` for every dot.
        form: a key of `delta.FORMS`; "" where the role belongs to any.
        role: of the tensor in the form, or "alpha".
    """

    key: str
    layer: str
    part: str
    module: str
    form: str
    role: str


def parse(key: str) -> Part | None:
    """What a name in a LoRA file says; None where it says nothing known."""
    for pattern, form, role in _ENDINGS:
        found = pattern.search(key)
        if found:
            place = _place(key[: found.start()], by_processor=found[0].startswith("_lora"))
            return place and Part(key, key[: found.start()], *place, form, role)
    return None


def refused(key: str) -> str:
    """What a file with such a name is that cannot be applied; "" where it can."""
    return next((words for pattern, words in _REFUSED if pattern.search(key)), "")


def foreign(keys: Iterable[str]) -> str:
    """Whose LoRA a file with such names is, where it is of another architecture; "" where none is known."""
    names = tuple(keys)
    found = (words for pattern, words in FOREIGN if any(re.search(pattern, key) for key in names))
    return next(found, "")


def _place(layer: str, by_processor: bool) -> tuple[str, str] | None:
    """(part, module) of a layer's name."""
    name = re.sub(r"(^|\.)base_model\.model\.", r"\1", layer)
    if by_processor:  # "attn1.processor.to_q" and "attn1.processor.to_out"
        name = re.sub(r"\.to_out$", ".to_out.0", name.replace(".processor.", "."))
    beginning, part = next(pair for pair in BEGINNINGS if name.startswith(pair[0]))
    module = name.removeprefix(beginning).replace(".", "_")
    if not part:
        part = "unet" if _UNET.match(module) else "text" if _TEXT.match(module) else ""
    return (part, module) if part else None
