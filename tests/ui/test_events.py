from concurrent.futures import ThreadPoolExecutor

import pytest

from ldm.ui import events


@pytest.mark.parametrize("token", [None, "", "short", 5, "x" * 65, ["x" * 20]])
def test_a_page_without_an_owner_gets_one_and_keeps_it(monkeypatch, token):
    monkeypatch.setattr(events, "_owners", {})
    page = "one"
    monkeypatch.setattr(events, "session", lambda: page)
    with ThreadPoolExecutor(8) as pool:
        given = set(pool.map(events.owner_of, [token] * 64))
    assert len(given) == 1
    mine = given.pop()
    assert len(mine) >= 20
    page = "another"
    assert events.owner_of(token) not in (mine, token)
    assert events.owner_of("o" * 20) == "o" * 20
    page = ""  # no page: a program's own call
    assert len({events.owner_of(token) for _ in range(3)}) == 3


def test_owners_are_remembered_of_so_many_pages(monkeypatch):
    owners = {str(i): str(i) for i in range(events.PAGES)}
    monkeypatch.setattr(events, "_owners", owners)
    monkeypatch.setattr(events, "session", lambda: "new")
    assert events.owner_of(None) == owners["new"]
    assert len(owners) == events.PAGES
    assert "0" not in owners
