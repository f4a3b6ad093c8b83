"""The pages of the interface.  A tab is a module with `TITLE`, `ID` and `build(app)`; add it to TABS."""

from . import denoising, prompt, roundtrip

TABS = (prompt, roundtrip, denoising)
