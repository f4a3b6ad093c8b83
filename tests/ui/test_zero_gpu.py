import sys
from functools import partial
from types import SimpleNamespace

import pytest

from ldm.settings import Settings
from ldm.ui import zero_gpu


def test_it_is_wanted_only_on_a_zero_gpu_space(monkeypatch):
    monkeypatch.delenv("SPACES_ZERO_GPU", raising=False)
    assert not zero_gpu.wanted()
    monkeypatch.setenv("SPACES_ZERO_GPU", "true")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert not zero_gpu.wanted()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    assert zero_gpu.wanted()


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [(Settings("a dog"), 10), (Settings("a dog", steps=1000, width=512, height=512), 60)],
)
def test_what_is_asked_for_grows_with_the_work(monkeypatch, settings, seconds):
    asked = {}

    def gpu(duration):
        def decorate(function):
            asked[function] = duration
            return function

        return decorate

    monkeypatch.setitem(sys.modules, "spaces", SimpleNamespace(GPU=gpu))
    draw = zero_gpu.on_device()(lambda settings, picture, draft: None)
    assert asked[draw](settings, None, False) == seconds
    assert asked[draw](partial(print)) == 20
