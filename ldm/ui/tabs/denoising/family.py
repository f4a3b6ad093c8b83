"""The runs of one browser as a tree: which branched off which, after which step, with what changed."""

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from ....engine import Run
from ....settings import Settings
from ... import files
from ...tray import listed
from .live import small

THUMB = 96  # pixels
KEPT = 256  # small pictures of runs
MOST = 60  # runs that are shown
LONG = 40  # letters of a text that changed
_thumbs: OrderedDict[tuple[str, str, int], str] = OrderedDict()


def tree(runs: list[Run], shown: str | None, other: str | None) -> dict[str, Any]:
    """What the page lists.

    Args:
        runs: of one owner, newest first, as the engine gives them.
        shown, other: the run in the player and the one it is compared with.

    Returns:
        JSON: roots, newest first, each with its branches, the oldest first; shown, other.
    """
    runs = listed(runs, shown, other)[:MOST]
    by_id = {run.id: run for run in runs}
    below: defaultdict[str | None, list[Run]] = defaultdict(list)
    for run in runs:
        parent = None if run.parent is None else run.parent[0]
        below[parent if parent in by_id else None].append(run)

    def tile(run: Run) -> dict[str, Any]:
        return {
            "run": run.id,
            "title": title(run),
            "name": run.name,
            "said": said(run, by_id),
            "state": state(run),
            "thumb": thumb(run),
            "branches": [tile(each) for each in reversed(below[run.id])],
        }

    return {"roots": [tile(run) for run in below[None]], "shown": shown, "other": other}


def title(run: Run) -> str:
    """What a run is called: its name, or what it draws."""
    return run.name or run.settings.prompt


def said(run: Run, by_id: Mapping[str, Run]) -> str:
    """Where a run comes from, in a line."""
    if run.parent is None:
        return f"{run.settings.sampler}, {run.steps} steps, seed {files.seed_of(run.settings, 0)}"
    run_id, at = run.parent
    where = f"from step {at + 1}"
    parent = by_id.get(run_id)
    # a branch off what its parent shares with a run before it takes the place of that one's steps
    while parent is not None and parent.parent is not None and at < parent.parent[1]:
        parent = by_id.get(parent.parent[0])
    if parent is None:
        return f"{where} of a run that is gone"
    return f"{where}: {difference(run, parent)}"


def difference(run: Run, parent: Run) -> str:
    """What a branch was told that its parent was not: "cfg_scale 3 → 7"."""
    tokens = () if parent.trace is None else parent.trace.tokens
    words = changes(parent.settings, run.settings, tokens)
    if mask_of(run) != mask_of(parent):
        words.append("only in a part")
    return ", ".join(words) or "nothing changed"


def mask_of(run: Run) -> int | None:
    """Tells the mask of a run from its parent's; None without one, or while it is not known yet."""
    mask = None if run.trace is None else run.trace.mask
    return None if mask is None else hash(mask.tobytes())


def changes(before: Settings, after: Settings, tokens: Sequence[str] = ()) -> list[str]:
    """The fields that differ, one by one: "cfg_scale 3 → 7".

    Args:
        tokens: of the prompt, to name those that are muted.
    """
    pairs = [
        (field.name, getattr(before, field.name), getattr(after, field.name)) for field in fields(Settings)
    ]
    changed = [(name, old, new) for name, old, new in pairs if old != new]
    words = [_change(*each) for each in changed if not each[0].startswith("mut")]
    if not any(name.startswith("mut") for name, _, _ in changed):
        return words
    places = after.muted_tokens or ()
    muted = "".join(tokens[k].replace("</w>", " ") for k in places if k < len(tokens)).strip()
    return [*words, f"without “{muted}” for a while" if muted else "other words muted"]


def state(run: Run) -> str:
    """How a run stands, where that is worth a word."""
    if run.status in ("paused", "stopped"):
        return f"{run.status} after step {run.step} of {run.steps}"
    return {"waiting": "in the queue", "running": "running", "failed": "failed"}.get(run.status, "")


def thumb(run: Run) -> str:
    """A small picture inside a URL, made once; empty where there is none yet."""
    made = run.trace.images if run.trace is not None and run.trace.images else run.preview
    if not made:
        return ""
    key = (run.id, run.status, run.step)
    if key not in _thumbs:
        _thumbs[key] = files.data_url(small(made[0], THUMB))
        while len(_thumbs) > KEPT:
            _thumbs.popitem(last=False)
    return _thumbs[key]


def names(runs: Iterable[Run]) -> list[tuple[str, str]]:
    """(what it is called, id) of runs that can be chosen; no two are called the same."""
    runs = list(runs)
    by_id = {run.id: run for run in runs}
    found: list[tuple[str, str]] = []
    for run in runs:
        found.append((f"{title(run)} · {said(run, by_id)}", run.id))
    seen: defaultdict[str, int] = defaultdict(int)
    for i, (name, run_id) in reversed(list(enumerate(found))):
        seen[name] += 1
        found[i] = (name if seen[name] == 1 else f"{name} ({seen[name]})", run_id)
    return found


def _change(name: str, old: object, new: object) -> str:
    """One field; of a text only the words that differ."""
    if isinstance(old, str) and isinstance(new, str):
        a, b = old.split(), new.split()
        most = min(len(a), len(b))
        first = next((i for i in range(most) if a[i] != b[i]), most)
        last = next((i for i in range(most - first) if a[-1 - i] != b[-1 - i]), most - first)
        old, new = " ".join(a[first : len(a) - last]), " ".join(b[first : len(b) - last])
    return f"{name} {_text(old)} → {_text(new)}"


def _text(value: object) -> str:
    if value is None:
        return "its own"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return f"{len(value)} numbers"
    text = str(value)
    if text == "":
        return "none"
    return text if len(text) <= LONG else f"{text[: LONG - 1]}…"
