"""Training of the default model: autoencoder, then text encoder and U-Net together; each a generator of records."""
