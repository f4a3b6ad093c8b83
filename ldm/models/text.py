"""Prompts to context: CLIP's text encoder.

The transformer is transformers' `CLIPTextModel`; its import takes seconds, so it happens where a text
encoder is really built.  Version 5 of that package dropped the `text_model.` that every Stable Diffusion file
has in its keys; here the module sits under that name again, so that files load without a map.
"""

from collections.abc import Sequence
from typing import cast

import torch
from torch import Tensor, nn

from .config import TextConfig
from .tokenizer import Tokenizer


class CLIPTextEmbedder(nn.Module):
    """The last hidden state after the final norm, without an attention mask, as Stable Diffusion 1 uses it.

    Source: Radford et al. 2021 (arXiv:2103.00020); CompVis's `FrozenCLIPEmbedder`.
    """

    def __init__(self, config: TextConfig, tokenizer: Tokenizer) -> None:
        super().__init__()
        from transformers import CLIPTextConfig, CLIPTextModel

        self.config = config
        self.tokenizer = tokenizer
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

    def tokens(self, prompt: str) -> list[str]:
        """The prompt as the encoder reads it: T strings, padding included."""
        return self.tokenizer.strings(prompt)

    def ids(self, prompts: Sequence[str]) -> Tensor:
        """(B, T) token numbers on the encoder's device."""
        device = next(self.parameters()).device
        return torch.tensor([self.tokenizer.ids(prompt) for prompt in prompts], device=device)

    def encode_ids(self, ids: Tensor) -> Tensor:
        """(B, T) token numbers -> (B, T, D) context."""
        # positions are given: a model built on the meta device and assigned has no buffer of them
        positions = torch.arange(ids.shape[1], device=ids.device)[None]
        model = cast(nn.Module, self.transformer.text_model)
        return model(input_ids=ids, position_ids=positions).last_hidden_state

    def forward(self, prompts: Sequence[str]) -> Tensor:
        """B prompts -> (B, T, D) context; what is longer than T tokens is cut off."""
        return self.encode_ids(self.ids(prompts))
