"""Training of the default model: autoencoder, then text encoder and U-Net together."""
