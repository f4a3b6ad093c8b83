"""What the first tab asks for, with the prompt of this one: what every tool here starts from."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from PIL import Image

from ....errors import LdmError
from ....settings import Settings
from ...events import owner_of
from .bench import Bench

Values = Mapping[Any, Any]


@dataclass(frozen=True, eq=False)
class Asking:
    """What is to be drawn, and for whom.

    Attributes:
        image, mask: what it starts from besides noise; None for what there is not.
        draft: by the draft of the model.
    """

    owner: str
    settings: Settings
    image: Image.Image | None = None
    mask: Image.Image | None = None
    draft: bool = False


def needed(bench: Bench) -> set[Any]:
    """What an event must carry for `asked`."""
    app = bench.app
    widgets = set() if app.asks is None else app.asks.inputs
    box = set() if app.switch is None else {app.switch.box}
    return {app.owner, app.run, bench.row.prompt, *bench.inputs, *widgets, *box}


def asked(bench: Bench, values: Values, picture: bool = True) -> Asking:
    """What the page asks for.

    Args:
        picture: whether the picture to start from counts; without it the run starts from noise, and the
            picture is only there for a network that draws nothing without one.

    Raises:
        SettingsError: a value cannot be used.
        ImageError: the picture cannot be read.
    """
    asks, switch = bench.app.asks, bench.app.switch
    if asks is None:
        raise LdmError("There is nothing that says what to draw.")
    owner = owner_of(values[bench.app.owner])
    settings = asks.read({**values, asks.of["prompt"]: values[bench.row.prompt]})
    draft = switch is not None and values[switch.box] is True
    image, mask = asks.start.read(values, settings) if picture or asks.start.needed else (None, None)
    if image is None or not picture:
        start = Settings.full_strength if image is None else "noise"
        settings = replace(settings, strength=Settings.strength, full_strength=start)
    return Asking(owner, settings, image, mask, draft)


def told(bench: Bench, asking: Asking) -> dict[Any, Any]:
    """What the page is to hold once a run was started: who asked, and the seed where that was drawn."""
    seed = {} if bench.app.asks is None else {bench.app.asks.of["seed"]: asking.settings.seed}
    return {bench.app.owner: asking.owner, **seed}


def tellable(bench: Bench) -> list[Any]:
    """What `told` changes."""
    return [bench.app.owner, *([] if bench.app.asks is None else [bench.app.asks.of["seed"]])]


def alone(settings: Settings) -> Settings:
    """The same for one picture, the first of the batch."""
    scales = None if settings.cfg_scales is None else settings.cfg_scales[:1]
    return replace(settings, batch_size=1, cfg_scales=scales)
