import asyncio
import json

import pytest

from ldm.ui.streams import HEADER, Streams, page_that_listens, page_that_starts

START = {"type": "http.response.start", "status": 200, "headers": [(b"a", b"b")]}


def chunk(text):
    return {"type": "http.response.body", "body": text.encode(), "more_body": True}


def state(streams, page):
    """What the answer to a page that starts an event says."""
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(streams.told(page, send)(START))
    assert sent[0]["headers"][0] == (b"a", b"b")
    return dict(sent[0]["headers"])[HEADER].decode()


def test_a_stream_is_open_until_its_last_message_is_on_its_way():
    streams, seen = Streams(), []

    async def answer(send):
        for message in (START, chunk("process_completed"), chunk('{"msg": "close_stream"}')):
            await send(message)

    async def send(message):
        with_events = [page in streams._open for page in ("one", "two")]
        seen.append((message.get("body", b"").decode(), with_events))

    asyncio.run(streams.hold("one", answer, send))
    assert [opened for _, opened in seen] == [[True, False], [True, False], [False, False]]
    assert [body for body, _ in seen] == ["", "process_completed", '{"msg": "close_stream"}']
    assert state(streams, "one") == "ended"


def test_a_page_whose_line_broke_is_not_listened_to_and_a_newer_stream_counts():
    streams = Streams()
    told = []

    async def breaks(send):
        await send(START)
        told.append("one" in streams._open)
        raise ConnectionError

    async def none(message):
        pass

    async def newer(send):
        await send(START)
        await streams.hold("one", older_ends, none)
        told.append("one" in streams._open)

    async def older_ends(send):
        await send(chunk("close_stream"))
        told.append("one" in streams._open)

    with pytest.raises(ConnectionError):
        asyncio.run(streams.hold("one", breaks, none))
    assert (told, state(streams, "one")) == ([True], "ended")
    asyncio.run(streams.hold("one", newer, none))
    assert told == [True, False, False]


def test_while_it_is_open_an_answer_says_so():
    streams = Streams()
    said = []

    async def send(message):
        said.append(dict(message["headers"]).get(HEADER))

    async def answer(_):
        await streams.told("one", send)(START)
        await streams.told("two", send)(START)

    asyncio.run(streams.hold("one", answer, send))
    assert said == [b"open", b"ended"]


@pytest.mark.parametrize(
    ("body", "page"),
    [
        (json.dumps({"session_hash": "abc", "data": ['{"session_hash": "no"}']}), "abc"),
        (json.dumps({"data": []}), None),
        (json.dumps({"session_hash": 5}), None),
        ("[1]", None),
        ("[" * 100_000, None),
        ("\xff", None),
    ],
)
def test_the_page_that_starts_an_event_names_itself(body, page):
    scope = {"method": "POST", "path": "/gradio_api/queue/join", "query_string": b""}
    assert page_that_starts(scope, body.encode("latin-1")) == page
    assert page_that_starts({**scope, "path": "/gradio_api/upload"}, body.encode("latin-1")) is None


def test_the_page_that_listens_names_itself():
    scope = {"method": "GET", "path": "/gradio_api/queue/data", "query_string": b"session_hash=a%2Fb&x=1"}
    assert page_that_listens(scope) == "a/b"
    assert page_that_listens({**scope, "query_string": b""}) is None
    assert page_that_listens({**scope, "method": "POST"}) is None
    assert page_that_listens({**scope, "path": "/config"}) is None
