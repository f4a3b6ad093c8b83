"""A run as one HTML file: the player with its run inside, for a disk, a mail or a web page of one's own.

Needs no server and asks none: a rule in the page itself forbids it.  Whatever somebody typed is escaped here,
or written by the player's scripts with `textContent`.
"""

import base64
import hashlib
import html
import io
import json
import mimetypes
from collections.abc import Sequence
from string import Template
from typing import Any

from PIL import Image
from torch import Tensor

from ..settings import Settings
from ..trace import Trace
from ..views.predictions import LANES, Decode, check_step
from .assets import page_script, page_style, page_template, script, style, template
from .pack import Look, finite, pack, seed_of, x0_frames
from .parts import Context, parts_pack

PICTURE_SIDE = 512  # pixels at most of the picture beside the settings
POLICY = (
    "default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data: blob:; "
    "connect-src data: blob:; base-uri 'none'; form-action 'none'"
)
LABELS = {  # what a page for everybody says first, and how; the others follow where they were changed
    "prompt": "Prompt",
    "negative_prompt": "Negative prompt",
    "seed": "Seed",
    "steps": "Steps",
    "sampler": "Sampler",
    "spacing": "Spacing of noise levels",
    "cfg_scale": "Guidance",
    "cfg_rescale": "Guidance rescale",
    "strength": "Strength",
    "width": "Width",
    "height": "Height",
}


def page(
    trace: Trace,
    decode: Decode,
    look: Look,
    *,
    linear: tuple[Tensor, Tensor],
    names: Sequence[str] = tuple(LANES),
    n_steps: int = 1000,
    run_file: str = "run.safetensors",
) -> str:
    """The whole page.

    Args:
        decode: latents to pictures; `look.decoder` says in words what it is.
        linear, n_steps: as `Context`.
        names: lanes that are in it, keys of LANES.
        run_file: what the page calls the run file that belongs to it.

    Raises:
        SettingsError: the run has no steps to show.
    """
    check_step(trace, 0)
    x0 = x0_frames(trace, decode, look)
    run = pack(trace, decode, look, inline, names, x0)
    run["parts"] = parts_pack(trace, Context(look, decode, inline, x0, linear, n_steps))
    code = f"(() => {{\n{page_script()}\n{script()}\n}})();"
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode("ascii")
    asked = trace.settings.of_picture(look.picture)
    return Template(page_template()).substitute(
        policy=POLICY.format(digest=digest),
        title=html.escape(f"{_shortened(asked.prompt)} - Latent Darkroom"),
        style=f"{page_style()}\n#player {{\n{style()}\n}}",
        player=template(),
        rows="\n".join(_row(*row) for row in settings_rows(trace, look)),
        settings=html.escape(json.dumps(asked.to_dict(), indent=2, ensure_ascii=False)),
        picture=_picture(trace, look),
        run_file=html.escape(run_file),
        run=as_json(run),
        script=code,
    )


def inline(name: str, content: bytes) -> dict[str, Any]:
    """A file inside the page; a `Put`."""
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return {"orig_name": name, "url": f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"}


def as_json(value: object) -> str:
    """JSON that can stand inside a script element: ASCII, nothing of it is read as markup, no NaN."""
    return json.dumps(finite(value), separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def settings_rows(trace: Trace, look: Look) -> list[tuple[str, str, str]]:
    """(label, value, name in `Settings`) of what matters: the usual ones, and all that were changed."""
    settings = trace.settings.of_picture(look.picture)
    usual = Settings(settings.prompt).to_dict()
    rows = [("Model", trace.model_name, "")]
    for name, value in settings.to_dict().items():
        changed = value != usual[name]
        if name == "strength" and trace.init_image is None:
            continue
        if changed or (name in LABELS and value != ""):
            rows.append((LABELS.get(name, name.replace("_", " ").capitalize()), _said(value), name))
    order = {name: i for i, name in enumerate(("", *LABELS))}
    rows.sort(key=lambda row: order.get(row[2], len(order)))
    if not trace.finished:
        made = ("Steps made", f"{len(trace.steps)}, then it was stopped", "")
        rows.insert(1 + [row[2] for row in rows].index("steps"), made)
    return rows


def _said(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(_said(one) for one in value)
    return f"{value:g}" if isinstance(value, float) else str(value)


def _row(label: str, value: str, name: str) -> str:
    cells = f"<td>{html.escape(value)}</td><td>{html.escape(name)}</td>"
    return f'<tr><th scope="row">{html.escape(label)}</th>{cells}</tr>'


def _picture(trace: Trace, look: Look) -> str:
    """The picture that came out, beside the settings; nothing of a run that has none yet."""
    if look.picture >= len(trace.images):
        return ""
    image = trace.images[look.picture].convert("RGB")
    image.thumbnail((PICTURE_SIDE, PICTURE_SIDE), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=92, subsampling=0)
    source = inline("picture.jpg", buffer.getvalue())["url"]
    words = html.escape(trace.settings.prompt)
    size = f'width="{image.width}" height="{image.height}"'
    told = f"The picture it gave, seed {html.escape(seed_of(trace.settings, look.picture))}"
    return f'<figure><img src="{source}" {size} alt="{words}"><figcaption>{told}</figcaption></figure>'


def _shortened(text: str, most: int = 80) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 1].rstrip()}..."
