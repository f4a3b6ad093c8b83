"""The networks of explainingai-code/StableDiffusion-PyTorch, under that repository's parameter names."""

from .autoencoder import StudyVAE, StudyVQVAE, study_autoencoder
from .unet import StudyUNet

__all__ = ["StudyUNet", "StudyVAE", "StudyVQVAE", "study_autoencoder"]
