"""The player on the denoising tab, and what it is given: runs as packs, made once and kept a while."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr

from .. import player
from ..engine import Engine
from ..generation import forward
from ..latent_diffusion import FULL_DECODER, LatentDiffusion
from ..player import Context, Look
from ..speed import use_one_thread
from ..trace import Trace
from ..views.predictions import LANES, Decode
from ..writing import write_file
from . import files
from .events import visitor

NO_STEPS = "No steps at strength 0: the picture went through the autoencoder and back."
KEPT = 24  # packs; each is some kilobytes, its files lie on the disk
Pack = dict[str, Any]


@dataclass(frozen=True)
class Shown:
    """What of which run the player shows.

    Attributes:
        steps: how many there are; a paused run gets more.
        exact: decoded by the autoencoder.
        forward: with the noising before it, of a run that started from a picture.
    """

    run_id: str
    steps: int
    picture: int = 0
    exact: bool = False
    forward: bool = False

    @property
    def key(self) -> str:
        """Tells the page whether it is the same; does not give the run's id away."""
        what = f"{self.run_id} {self.picture} {self.exact}" + (" forward" if self.forward else "")
        return hashlib.sha256(what.encode()).hexdigest()[:24]


def build_player() -> gr.HTML:
    """The component; give it `{"run": a pack, "other": a second one, "live": a run in progress}`."""
    return gr.HTML(
        None,
        html_template=player.template(),
        css_template=player.style(),
        js_on_load=player.script(),
        apply_default_css=False,
        elem_id="ld-scrubber",
    )


class Packs:
    """Runs as the player gets them.

    Args:
        decoder: gives the decoder of what is to be shown exactly; the engine's queue is behind it.
    """

    def __init__(self, engine: Engine, decoder: Callable[[], Decode]) -> None:
        self._engine = engine
        self._decoder = decoder
        self._made: OrderedDict[Shown, tuple[Pack, tuple[Path, ...]]] = OrderedDict()  # and its files
        self._lock = threading.Lock()

    def show(self, shown: Shown, trace: Trace, first: Sequence[str] = player.DEFAULT_LANES) -> Iterator[Pack]:
        """The run with its first lanes at once, then with everything.

        Args:
            trace: the run.
            first: names of the lanes that are to be there first.
        """
        with self._lock:
            found, written = self._made.get(shown, (None, ()))
        # gradio sweeps its files after some hours
        if found is not None and all(path.exists() for path in written):
            yield found
            return
        if not trace.steps:
            yield {**_named(shown, trace), **_still(shown, trace)}
            return
        yield from self._make(shown, trace, first)

    def _make(self, shown: Shown, trace: Trace, first: Sequence[str]) -> Iterator[Pack]:
        model = self._engine.model
        decode: Decode = model.quick_decode
        words = model.quick_decoder
        if shown.exact:
            decode, words = self._decoder(), FULL_DECODER
        steps = len(trace.steps)
        if shown.forward:
            trace = self._with_noising(trace)
        written: list[Path] = []
        look, put = Look(shown.picture, tuple(first), words), putter(shown.run_id, written)
        made = {**_named(shown, trace), **player.run_pack(trace, look), "before": len(trace.steps) - steps}
        use_one_thread()  # the engine has the cores
        x0 = player.x0_frames(trace, decode, look)
        lanes = {lane["name"]: lane for lane in player.lanes_pack(trace, first, decode, look, put, x0)}
        yield {**made, "lanes": list(lanes.values())}
        use_one_thread()  # another thread may go on from here
        rest = [name for name in LANES if name not in lanes]
        lanes |= {lane["name"]: lane for lane in player.lanes_pack(trace, rest, decode, look, put, x0)}
        made["lanes"] = [lanes[name] for name in LANES]
        context = Context(look, decode, put, x0, player.linear_map(model), model.n_steps)
        parts = player.noising_parts if shown.forward else player.parts_pack
        made["parts"] = parts(trace, context)
        self._keep(shown, made, written)
        yield made

    def _with_noising(self, trace: Trace) -> Trace:
        """The run with the noising before it, as one run."""
        before = self._engine.call(partial(forward, trace=trace), visitor())
        steps = (*before.steps, *trace.steps)
        return replace(trace, steps=tuple(replace(step, index=i) for i, step in enumerate(steps)))

    def _keep(self, shown: Shown, made: Pack, written: list[Path]) -> None:
        with self._lock:
            self._made[shown] = (made, tuple(written))
            while len(self._made) > KEPT:
                self._made.popitem(last=False)


def write_page(model: LatentDiffusion, trace: Trace, path: Path, decode: Decode, look: Look) -> None:
    """The run as one HTML file.

    Raises:
        SettingsError: the run has no steps to show.
        LdmError: the file cannot be written.
    """
    use_one_thread()
    linear, named = player.linear_map(model), f"{files.stem(trace)}.safetensors"
    text = player.page(trace, decode, look, linear=linear, n_steps=model.n_steps, run_file=named)
    write_file(path, [text.encode()])


def _named(shown: Shown, trace: Trace) -> Pack:
    return {"key": shown.key, "address": shown.run_id}


def _still(shown: Shown, trace: Trace) -> Pack:
    """A run without steps: its picture."""
    settings = trace.settings
    return {
        "prompt": settings.prompt,
        "facts": player.facts(trace.model_name, settings, shown.picture),
        "steps": 0,
        "still": files.served(files.pictures(shown.run_id, trace)[shown.picture]),
        "said": NO_STEPS,
    }


def putter(run_id: str, written: list[Path]) -> Callable[[str, bytes], Pack]:
    """What puts files where the page finds them, and notes where they are in `written`."""

    def put(name: str, content: bytes) -> Pack:
        # named by its content: a run that goes on, and each of its pictures, has other files of that name
        digest = hashlib.sha256(content).hexdigest()[:16]
        path = files.folder(run_id) / f"{Path(name).stem}-{digest}{Path(name).suffix}"
        if not path.exists():
            write_file(path, [content])
        written.append(path)
        return files.served(path)

    return put
