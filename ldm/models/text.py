"""Prompts to context: CLIP's text encoder.

The transformer is transformers' `CLIPTextModel`; its import takes seconds, so it happens where a text
encoder is really built.  Version 5 of that package dropped the `text_model.` that every Stable Diffusion file
has in its keys; here the module sits under that name again, so that files load without a map.

Its layers are gone through here and not by its `forward`: which of them gives the context is a field of the
config, and taught words have vectors instead of ids.
"""

from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..errors import CheckpointError
from .config import TextConfig
from .text_reader import TextReader, causal_mask
from .tokenizer import Tokenizer


class CLIPTextEmbedder(TextReader):
    """The hidden state after a layer, mostly the last and its norm, without an attention mask.

    Source: Radford et al. 2021 (arXiv:2103.00020); CompVis's `FrozenCLIPEmbedder`.

    Raises:
        CheckpointError: the config's `hidden_layer` is none of its layers.
    """

    leftovers: ClassVar[tuple[str, ...]] = ("transformer.text_model.embeddings.position_ids",)

    def __init__(self, config: TextConfig, tokenizer: Tokenizer) -> None:
        super().__init__(tokenizer, config.vocab_size, config.hidden_size)
        from transformers import CLIPTextConfig, CLIPTextModel

        self.config = config
        self.depth = depth_of(config.hidden_layer, config.num_hidden_layers)
        self.transformer = nn.Module()
        self.transformer.text_model = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=config.vocab_size,
                hidden_size=config.hidden_size,
                intermediate_size=config.intermediate_size,
                num_hidden_layers=config.num_hidden_layers,
                num_attention_heads=config.num_attention_heads,
                max_position_embeddings=config.max_position_embeddings,
                hidden_act=config.hidden_act,
                layer_norm_eps=config.layer_norm_eps,
                bos_token_id=config.bos_token_id,
                eos_token_id=config.eos_token_id,
                pad_token_id=config.pad_token_id,
                attn_implementation="eager",  # type: ignore[call-arg]  # sequences are short: a plain product is the fastest on a CPU
            )
        )

    def encode_ids(self, ids: Tensor, heard: Tensor | None = None) -> Tensor:
        """(B, T) token numbers -> (B, T, D) context.

        Args:
            heard: (B, T) bool, False at positions nobody looks at; None is what the config asks for, with the
                first end mark as the end of the prompt.
        """
        model: Any = self.transformer.text_model
        if heard is None and self.config.attention_mask:
            ends = (ids == self.config.eos_token_id).int().argmax(1)  # (B,)
            heard = torch.arange(ids.shape[1], device=ids.device) <= ends[:, None]
        # positions are given: a model built on the meta device and assigned has no buffer of them
        positions = torch.arange(ids.shape[1], device=ids.device)[None]
        embedded = self.taught.embed(ids, model.embeddings.token_embedding)
        x: Tensor = model.embeddings(inputs_embeds=embedded, position_ids=positions)
        mask = causal_mask(ids.shape[1], x, heard)
        for layer in model.encoder.layers[: self.depth]:
            x = layer(x, mask)
        return model.final_layer_norm(x) if self.config.final_norm else x

    def forward(self, prompts: Sequence[str]) -> Tensor:
        """B prompts -> (B, T, D) context; what is longer than T tokens is cut off."""
        ids, heard = self.ids(prompts), None
        if self.config.attention_mask:
            used = torch.tensor([self.used(prompt) for prompt in prompts], device=ids.device)
            heard = torch.arange(ids.shape[1], device=ids.device) < used[:, None]
        return self.encode_ids(ids, heard)


def depth_of(hidden_layer: int, layers: int) -> int:
    """How many layers are gone through to give that layer's output, -1 being the last one's.

    Raises:
        CheckpointError: there is no such layer.
    """
    if not -layers <= hidden_layer <= -1:
        raise CheckpointError(f"hidden_layer must be between -{layers} and -1, got {hidden_layer}.")
    return layers + 1 + hidden_layer
