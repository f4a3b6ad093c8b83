"""The networks, with CompVis's parameter names, each built from a frozen config."""
