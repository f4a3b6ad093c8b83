"""LoRAs: small files that change a model's weights, of every layout that people have.

`read_lora` reads one, `match` says what it would do, `apply` sets which of them are in a model, `remove`
restores what was loaded.  `docs/lora.md` says what loads.
"""

from .adapter import Adapter, find_loras, is_lora
from .applying import applied, apply, remove
from .delta import FORMS, Delta
from .matching import LoraReport, lora_family, match
from .metadata import LoraMetadata, read_lora_metadata
from .reading import LoRA, read_lora
from .state import forget

__all__ = [
    "FORMS",
    "Adapter",
    "Delta",
    "LoRA",
    "LoraMetadata",
    "LoraReport",
    "applied",
    "apply",
    "find_loras",
    "forget",
    "is_lora",
    "lora_family",
    "match",
    "read_lora",
    "read_lora_metadata",
    "remove",
]
