"""A run in progress as the player shows it, and a page's turn: what it looks at last is what it shows."""

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from PIL import Image

from ....engine import Run
from ....writing import write_file
from ... import files
from ...events import session
from ...scrubber import Pack
from ...tray import status_line

HEIGHT = 144  # pixels of a small picture: twice what the strip shows, for fine screens
AGAIN = 3  # frames that are sent once more: two values that come close together may be seen as one


class Strip:
    """What a page is sent while it follows one run: each time the frames that are new.

    Args:
        picture: which one of the batch.
    """

    def __init__(self, run_id: str, picture: int = 0) -> None:
        self._id, self._picture = run_id, picture
        self._key = hashlib.sha256(f"live {run_id}".encode()).hexdigest()[:24]
        self._urls: dict[int, str] = {}

    def value(self, run: Run) -> dict[str, Any]:
        """The player's value; the run that it shows below stays."""
        known = sorted(self._urls)[-AGAIN:]
        frames = []
        for step, images in run.frames:
            new = step not in self._urls
            if new:
                self._urls[step] = files.data_url(small(images[min(self._picture, len(images) - 1)]))
            if new or step in known:
                frames.append([step, self._urls[step]])
        return {
            "keep": True,
            "live": {
                "key": self._key,
                "address": self._id,
                "line": status_line(run),
                "fraction": run.step / max(1, run.steps),
                "frames": frames,
            },
        }


def small(image: Image.Image, height: int = HEIGHT) -> Image.Image:
    """A picture for a list or a strip."""
    if image.height <= height:
        return image
    return image.resize((max(1, round(image.width * height / image.height)), height), Image.Resampling.BOX)


def light(pack: Pack, run_id: str) -> Pack:
    """A pack as a file that the player fetches: a page copies what it holds as a value at every event."""
    if "parts" not in pack:
        return pack
    content = json.dumps(pack).encode()
    path = files.folder(run_id) / f"run-{hashlib.sha256(content).hexdigest()[:16]}.json"
    if not path.exists():
        write_file(path, [content])
    return {"key": pack["key"], "address": pack["address"], "file": files.served(path)}


class Turns:
    """Of each open page the one event that fills its player; an older one gives up."""

    def __init__(self) -> None:
        self._newest: dict[str, object] = {}

    @contextmanager
    def take(self) -> Iterator[Callable[[], bool]]:
        """The page's turn from now on; gives what says whether it still is."""
        page, mine = session(), object()
        self._newest[page] = mine

        def is_mine() -> bool:
            return self._newest.get(page) is mine

        try:
            yield is_mine
        finally:
            if is_mine():
                del self._newest[page]


class Pressed:
    """What each button of each open page began last; pressed again before that rests, it begins nothing.

    gradio can see to it that an event is not begun twice, but for as long as the first one says
    anything: also while a run that rests already is drawn.

    Args:
        goes_on: whether the run of that id is in progress.
    """

    def __init__(self, goes_on: Callable[[str], bool]) -> None:
        self._goes_on, self._lock = goes_on, Lock()
        self._begun: dict[tuple[str, str], str | None] = {}  # None is one that is just being begun

    def once(self, button: str, start: Callable[[], str]) -> str | None:
        """The id of the run that `start` begins; None where the button's last one goes on."""
        page = session()
        if not page:  # a program's
            return start()
        with self._lock:
            self._begun = {key: run_id for key, run_id in self._begun.items() if self._still(run_id)}
            if (page, button) in self._begun:
                return None
            self._begun[page, button] = None
        run_id = None
        try:
            run_id = start()
        finally:
            with self._lock:
                if run_id is None:
                    del self._begun[page, button]
                else:
                    self._begun[page, button] = run_id
        return run_id

    def _still(self, run_id: str | None) -> bool:
        return run_id is None or self._goes_on(run_id)
