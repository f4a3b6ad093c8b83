"""Numbers that name a step, a picture, a token: refused in one sentence whatever was given."""

import numpy as np
import pytest

from ldm.errors import SettingsError, check_index
from ldm.generation import guided, heads
from ldm.views.attention import daam, word_map
from ldm.views.equations import equations
from ldm.views.spectrum import spectra

from .traces import make_trace

TRACE = make_trace(steps=3, batch=2)
ODD = [True, None, "1", 1.5, float("nan"), 10**60, -1, [1], np.float32(1)]


@pytest.mark.parametrize("value", ODD, ids=str)
@pytest.mark.parametrize(
    "ask",
    [
        lambda v: guided(TRACE, v, 3.0),
        lambda v: heads(None, TRACE, v),
        lambda v: heads(None, TRACE, 0, v),
        lambda v: equations(TRACE, v),
        lambda v: spectra(TRACE, v),
        lambda v: word_map(TRACE, [v]),
        lambda v: word_map(TRACE, [1], [v]),
        lambda v: daam(TRACE, [1], v),
        TRACE.of_picture,
    ],
)
def test_what_is_no_number_of_one_is_refused(ask, value):
    with pytest.raises(SettingsError, match=r"^(step|picture|token) must be between 0 and \d, got .+\.$"):
        ask(value)


def test_whole_numbers_of_numpy_are_taken():
    check_index("step", np.int64(2), 3)
    with pytest.raises(SettingsError, match=r"step must be between 0 and 2, got 3\."):
        check_index("step", np.int64(3), 3)


@pytest.mark.parametrize("value", [True, "3", [3]], ids=str)
def test_guidance_that_is_no_number_is_refused(value):
    with pytest.raises(SettingsError, match="cfg_scale must be a number, got"):
        guided(TRACE, 0, value)
    with pytest.raises(SettingsError, match="cfg_rescale must be a number, got"):
        guided(TRACE, 0, 3.0, value)
