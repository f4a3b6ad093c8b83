"""The pages of the interface.  A tab is a module with `TITLE`, `ID` and `build(app)`; add it to TABS.

`build` lays a tab out, wires it, and gives the `App` with what the tabs after it may use of this one.
"""

from . import denoising, model, prompt, roundtrip

TABS = (prompt, roundtrip, denoising, model)
