"""What a first stage alone is: its sizes, its scale, its name."""

import math
from dataclasses import asdict, dataclass, field
from typing import Any, Self, get_args

from ..errors import CheckpointError
from .autoencoder_config import FirstStageSizes, VQConfig
from .records import build_record

KINDS = {  # `kind` of the sizes -> (in a word, as a noun)
    "kl": ("KL", "a KL autoencoder"),
    "vq": ("VQ", "a VQ autoencoder"),
    "study_vae": ("KL", "the study's VAE"),
    "study_vqvae": ("VQ", "the study's VQVAE"),
    "taesd": ("TAESD", "TAESD, a tiny autoencoder"),
    "identity": ("pixels", "no autoencoder at all"),
}
WITH_DISTRIBUTION = ("kl", "study_vae")


@dataclass(frozen=True)
class FirstStageConfig:
    """Everything needed to build a `FirstStage`, an autoencoder without a U-Net.

    Attributes:
        name: for people.
        autoencoder: sizes of its networks; files from before there were others call the field `vq`.
        latent_scaling_factor: makes latents unit variance.
        training: how it was made; for people, free of structure.
        note: what was assumed because the file does not say it, in sentences; empty if nothing.
    """

    name: str = "VQ autoencoder"
    autoencoder: FirstStageSizes = field(default_factory=VQConfig)
    latent_scaling_factor: float = 1.0
    training: dict[str, Any] = field(default_factory=dict)
    note: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.autoencoder, get_args(FirstStageSizes)):
            raise CheckpointError(f"autoencoder must be the sizes of a network, got {self.autoencoder!r}.")
        if not 0 < self.latent_scaling_factor < math.inf:
            raise CheckpointError(
                f"latent_scaling_factor must be a number above 0, got {self.latent_scaling_factor}."
            )

    @property
    def vq(self) -> VQConfig:
        """The sizes, of a VQ autoencoder.

        Raises:
            CheckpointError: it is another kind.
        """
        if not isinstance(self.autoencoder, VQConfig):
            raise CheckpointError(f"{self.name} is {self.noun}, which has no codebook.")
        return self.autoencoder

    @property
    def kind(self) -> str:
        """What it is in a word: KL, VQ ..."""
        return KINDS[self.autoencoder.kind][0]

    @property
    def noun(self) -> str:
        """What it is."""
        return KINDS[self.autoencoder.kind][1]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            CheckpointError: a field this version does not know.
        """
        if isinstance(values, dict) and "vq" in values:
            old = values["vq"]
            sizes = {"kind": "vq", **old} if isinstance(old, dict) else old
            values = {key: value for key, value in values.items() if key != "vq"} | {"autoencoder": sizes}
        return build_record(cls, values)


def kind_of(sizes: FirstStageSizes) -> str:
    """What a first stage is in a word: KL, VQ ..."""
    return KINDS[sizes.kind][0]


def gives_distribution(sizes: FirstStageSizes) -> bool:
    """Whether the encoder gives a distribution of latents, of which a draw can be taken."""
    return sizes.kind in WITH_DISTRIBUTION
