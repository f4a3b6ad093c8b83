import copy

import pytest

from ldm import run_file
from ldm.errors import SettingsError
from ldm.views import VIEWS

from ..traces import TRACES, decode, make_trace, without_pictures


@pytest.mark.parametrize("trace", TRACES.values(), ids=TRACES)
@pytest.mark.parametrize("name", VIEWS)
def test_every_view_draws_every_trace(name, trace):
    for step in {0, len(trace.steps) - 1}:
        image = VIEWS[name](trace, step, decode)
        assert image.mode == "RGB"
        assert min(image.size) >= 48


@pytest.mark.parametrize("name", VIEWS)
def test_every_view_draws_a_run_without_pictures(name):
    assert VIEWS[name](without_pictures(make_trace()), 1, decode).mode == "RGB"


@pytest.mark.parametrize("name", VIEWS)
def test_no_view_changes_the_run(name):
    trace = make_trace()
    before = copy.deepcopy(trace)
    VIEWS[name](trace, 1, decode)
    assert run_file.equal(trace, before)


@pytest.mark.parametrize("name", VIEWS)
@pytest.mark.parametrize(
    ("trace", "step", "sentence"),
    [
        (make_trace(), 4, "step must be between 0 and 3, got 4."),
        (make_trace(), -1, "step must be between 0 and 3, got -1."),
        (make_trace(steps=0), 0, "The run has no steps to draw."),
    ],
)
def test_a_step_that_is_not_there_is_named(name, trace, step, sentence):
    with pytest.raises(SettingsError) as error:
        VIEWS[name](trace, step, decode)
    assert str(error.value) == sentence
