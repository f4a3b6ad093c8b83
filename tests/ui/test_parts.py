import re

import pytest

from ldm.ui.theme import ASSETS

PARTS = sorted(path.stem for path in ASSETS.glob("*.html"))


@pytest.mark.parametrize("name", PARTS)
def test_a_template_is_never_filled_in_by_gradio(name):
    for kind in ("html", "css"):
        path = ASSETS / f"{name}.{kind}"
        if path.exists():
            # gradio makes a template string of it, where a backslash begins an escape
            assert not re.search(r"\$\{|\{\{|@children|\\|`", path.read_text())


@pytest.mark.parametrize("name", PARTS)
def test_a_script_writes_text_and_no_markup(name):
    script = (ASSETS / f"{name}.js").read_text()
    for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
        assert way not in script


@pytest.mark.parametrize(
    "path", sorted(p for p in ASSETS.iterdir() if p.suffix != ".png"), ids=lambda path: path.name
)
def test_nothing_is_fetched_from_elsewhere(path):
    text = path.read_text().replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|//[a-z]+\.|@import|url\(", text)
