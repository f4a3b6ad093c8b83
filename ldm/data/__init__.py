"""Rendered, captioned pictures to train on: `ldm.data.scenes`."""
