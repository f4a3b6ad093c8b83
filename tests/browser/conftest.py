"""An app, a browser, and pages of it that must not complain."""

import pytest

from ldm.checkpoints import weights_folder

from .story import running_app, running_browser, told


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    """Where the app answers, with the model that ships."""
    assert (weights_folder() / "default.safetensors").exists(), "the model that ships is not there"
    with running_app(tmp_path_factory.mktemp("app")) as found:
        yield found


@pytest.fixture(scope="module")
def browser():
    """One browser for a file of tests; every page is a visitor of its own."""
    with running_browser() as started:
        yield started


@pytest.fixture
def visit(browser, address, tmp_path):
    """A function: another visitor's page of the app, with Playwright's options for it."""
    return lambda **options: told(browser, address, tmp_path, **options)


@pytest.fixture
def story(visit):
    with visit() as made:
        yield made
