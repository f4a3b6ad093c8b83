"""The player on the denoising tab, and what it is given: runs as packs, made once and kept a while."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr

from .. import player
from ..engine import Engine
from ..latent_diffusion import FULL_DECODER, LatentDiffusion
from ..player import Context, Look
from ..trace import Trace
from ..views.predictions import LANES, Decode
from ..writing import write_file
from . import files

NO_STEPS = "No steps at strength 0: the picture went through the autoencoder and back."
KEPT = 24  # packs; each is some kilobytes, its files lie on the disk
Pack = dict[str, Any]


@dataclass(frozen=True)
class Shown:
    """What of which run the player shows.

    Attributes:
        steps: how many there are; a paused run gets more.
        exact: decoded by the autoencoder.
    """

    run_id: str
    steps: int
    picture: int = 0
    exact: bool = False

    @property
    def key(self) -> str:
        """Tells the page whether it is the same; does not give the run's id away."""
        return hashlib.sha256(f"{self.run_id} {self.picture} {self.exact}".encode()).hexdigest()[:24]


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
        self._made: OrderedDict[Shown, Pack] = OrderedDict()
        self._lock = threading.Lock()

    def show(self, shown: Shown, trace: Trace, first: Sequence[str] = player.DEFAULT_LANES) -> Iterator[Pack]:
        """The run with its first lanes at once, then with everything.

        Args:
            trace: the run.
            first: names of the lanes that are to be there first.
        """
        with self._lock:
            found = self._made.get(shown)
        if found is not None and _there(found):
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
        look, put = Look(shown.picture, tuple(first), words), _put(shown.run_id)
        made = {**_named(shown, trace), **player.run_pack(trace, look)}
        lanes = {lane["name"]: lane for lane in player.lanes_pack(trace, first, decode, look, put)}
        yield {**made, "lanes": list(lanes.values())}
        rest = [name for name in LANES if name not in lanes]
        lanes |= {lane["name"]: lane for lane in player.lanes_pack(trace, rest, decode, look, put)}
        made["lanes"] = [lanes[name] for name in LANES]
        x0 = player.x0_frames(trace, decode, look)
        context = Context(look, decode, put, x0, linear_map(model))
        made["parts"] = player.parts_pack(trace, context)
        with self._lock:
            self._made[shown] = made
            while len(self._made) > KEPT:
                self._made.popitem(last=False)
        yield made


def linear_map(model: LatentDiffusion) -> Any:  # noqa: ANN401 - see Context.linear
    """(C, 3, f, f) weight and (3,) bias of the model's linear map."""
    if model.preview is None:
        model.fit_preview()
    layer: Any = model.preview
    return layer.weight.detach().float().cpu(), layer.bias.detach().float().cpu()


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


def _put(run_id: str) -> Callable[[str, bytes], Pack]:
    def put(name: str, content: bytes) -> Pack:
        path = files.folder(run_id) / name
        if not path.exists():
            write_file(path, [content])
        return files.served(path)

    return put


def _there(pack: Pack) -> bool:
    """Whether the files still lie where they were put; gradio sweeps them after some hours."""
    return all(Path(lane["sheet"]["path"]).exists() for lane in pack.get("lanes", ()))
