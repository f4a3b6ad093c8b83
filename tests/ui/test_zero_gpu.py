import sys
from functools import partial
from types import SimpleNamespace

import pytest

from ldm.engine.device import Asked
from ldm.settings import Settings
from ldm.ui import zero_gpu

from ..traces import make_trace

LONG = Settings("a dog", steps=1000, width=512, height=512)


def test_it_is_wanted_only_on_a_zero_gpu_space(monkeypatch):
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    assert not zero_gpu.wanted()
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not zero_gpu.wanted()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    assert zero_gpu.wanted()


@pytest.mark.parametrize(
    ("run", "seconds"),
    [
        (Asked(Settings("a dog")), 10),
        (Asked(LONG), 60),
        (Asked(LONG, base=make_trace(), at=880), 17),  # what was made already is not asked for again
    ],
)
def test_what_is_asked_for_grows_with_the_work(monkeypatch, run, seconds):
    asked = {}

    def gpu(duration):
        def decorate(function):
            asked[function] = duration
            return function

        return decorate

    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=gpu))
    draw = zero_gpu.on_device()(lambda run: None)
    assert asked[draw](run) == seconds
    assert asked[draw](partial(print)) == 20
