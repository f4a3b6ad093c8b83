"""What all tests of checkpoints have in common."""

import pytest


@pytest.fixture(autouse=True)
def untraced(monkeypatch):
    """Networks run as they are: tracing one takes longer than the few steps that a test makes."""
    monkeypatch.setattr("ldm.speed._may_trace", lambda x: False)
