"""A run as files for elsewhere: animations, a video, and everything in one archive.

What is drawn is a lane, or several side by side.  Nothing here is held in memory for a whole run at full
size but the pictures of an animation, which are bounded in number and area.
"""

import io
import json
import shutil
import subprocess
import tempfile
import threading
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path
from typing import IO, cast

from PIL import Image

from . import player, run_file
from .errors import LdmError, SettingsError, check_choice
from .trace import Trace
from .views.layout import HOLD_MS, enlarge, gif, grid, webp
from .views.predictions import CHUNK, LANES, Decode, check_step, lane

MS = 120  # a picture
FRAMES, AREA = 150, 512 * 512  # of an animation; AREA in pixels, all lanes together
ARCHIVE_FRAMES, ARCHIVE_AREA = 250, 1024 * 1024  # of each lane in an archive
ARCHIVE_BYTES = 2 * 2**30
VIDEO_SECONDS = 30  # that the encoder may take
ENCODER = "ffmpeg"
NO_ENCODER = (
    f"MP4 needs the program {ENCODER}, which is not on this computer's PATH. GIF and WebP need nothing."
)
README = """{prompt}

Drawn by {model} with Latent Darkroom, in {steps} steps.

frames/      a folder for each lane, a PNG for each step; the number is the step's, from 1
             {lanes}
run.safetensors
             every step as it was: latents, predictions, noise levels. Latent Darkroom opens it, on the tab
             Denoising steps, and any program that reads .safetensors. In Python:

                 from ldm import run_file
                 trace = run_file.load("run.safetensors")
                 trace.steps[5].prediction.x0   # (B, C, H, W), the clean latents predicted at the sixth step

settings.json
             what was asked; ldm.Settings.from_dict takes it
"""


def frames(
    trace: Trace,
    names: Sequence[str],
    decode: Decode,
    picture: int = 0,
    *,
    most: int = FRAMES,
    area: float = AREA,
) -> Iterator[Image.Image]:
    """Lanes as pictures, one after the other; several lanes side by side.

    Args:
        names: keys of LANES.
        most: how many steps at most, evenly apart; the last one always.
        area: pixels of each picture at most.

    Raises:
        SettingsError: no steps, no lanes, or no lane or picture of that name or number.
    """
    _check(trace, names)
    kept = _kept(trace, most)
    each = [_lane(trace, name, decode, picture, kept, area / len(names)) for name in names]
    for images in zip(*each, strict=True):
        yield images[0] if len(images) == 1 else grid(images, len(images))


def _check(trace: Trace, names: Sequence[str]) -> None:
    """Refuse a run without steps, and lanes that are none, or too many."""
    check_step(trace, 0)
    if not names:
        raise SettingsError(f"Choose a lane to keep, one of: {', '.join(LANES)}.")
    for name in names:
        check_choice("lane", name, LANES)
    if len(names) > len(LANES):
        raise SettingsError(f"There are {len(LANES)} lanes, so at most that many are kept; got {len(names)}.")


def _kept(trace: Trace, most: int) -> list[int]:
    apart = -(-len(trace.steps) // most)
    return list(range(len(trace.steps) - 1, -1, -apart))[::-1]


def _lane(
    trace: Trace, name: str, decode: Decode, picture: int, kept: Sequence[int], area: float
) -> Iterator[Image.Image]:
    size = player.fitted(trace, area)
    if name in player.PIXELS:  # small, and on one scale for the whole run: all of them at once
        small = lane(trace, name, decode, picture, player.latent_size(trace))
        yield from (enlarge(small[k], size) for k in kept)
        return
    for start in range(0, len(kept), CHUNK):
        steps = tuple(trace.steps[k] for k in kept[start : start + CHUNK])
        yield from player.frames(replace(trace, steps=steps), name, decode, size, picture)


def has_encoder() -> bool:
    """Whether `mp4` can work here."""
    return shutil.which(ENCODER) is not None


def mp4(images: Sequence[Image.Image], ms: int = MS) -> bytes:
    """A video that every player takes, H.264, `ms` milliseconds a picture, resting on the last one.

    An odd row or column is cut off: the format has none.

    Raises:
        LdmError: there is no encoder on the PATH, it failed, or it took longer than VIDEO_SECONDS.
    """
    program = shutil.which(ENCODER)
    if program is None:
        raise LdmError(NO_ENCODER)
    width, height = (side // 2 * 2 for side in images[0].size)
    held = repeat(images[-1], max(0, HOLD_MS // ms - 1))
    raw = (image.convert("RGB").crop((0, 0, width, height)).tobytes() for image in chain(images, held))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "video.mp4"
        said = _encode(_command(program, width, height, ms, path), raw, Path(folder) / "said.txt")
        if not path.is_file() or path.stat().st_size == 0:
            raise LdmError(f"{ENCODER} made no video: {said}.")
        return path.read_bytes()


def _command(program: str, width: int, height: int, ms: int, path: Path) -> list[str]:
    pictures = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-framerate", f"1000/{ms}"]
    # the moov box first, so that a web page plays it while it still loads
    video = ["-an", "-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
    return [program, "-nostdin", "-loglevel", "error", *pictures, "-i", "pipe:0", *video, "-y", str(path)]


def _encode(command: Sequence[str], raw: Iterator[bytes], log: Path) -> str:
    """Feed pictures to the encoder; what it says last."""
    late = threading.Event()
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output)

        def stop() -> None:
            late.set()
            process.kill()

        ends = threading.Timer(VIDEO_SECONDS, stop)
        ends.start()
        try:
            with suppress(BrokenPipeError), cast(IO[bytes], process.stdin) as pipe:
                for data in raw:
                    pipe.write(data)
            code = process.wait()
        finally:
            ends.cancel()
            process.kill()  # nothing, once it is over
            process.wait()
    if late.is_set():
        raise LdmError(f"{ENCODER} took more than {VIDEO_SECONDS} seconds and was stopped.")
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    last = lines[-1] if lines else f"it ended with {code}"
    if code != 0:
        raise LdmError(f"{ENCODER} made no video: {last[:200].rstrip('.')}.")
    return last


def archive(trace: Trace, path: str | Path, decode: Decode, names: Sequence[str], picture: int = 0) -> None:
    """Everything in one .zip: a PNG for each step of the lanes named, the run file, settings and a README.

    Raises:
        SettingsError: no steps or no lanes; or it would be too large.
        LdmError: it cannot be written; what was at `path` before stays.
    """
    _check(trace, names)
    path = Path(path)
    _check_size(trace, names)
    try:
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / "all.zip"
            with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as file:
                _write(file, trace, Path(folder), decode, names, picture)
            made.replace(path)
    except OSError as error:
        raise LdmError(f"{path.name} could not be written: {error.strerror or error}.") from error


def _write(
    file: zipfile.ZipFile, trace: Trace, folder: Path, decode: Decode, names: Sequence[str], picture: int
) -> None:
    lanes = "\n             ".join(f"{name}: {LANES[name][0]}" for name in names if name in LANES)
    steps, model = len(trace.steps), trace.model_name
    file.writestr(
        "README.txt", README.format(prompt=trace.settings.prompt, model=model, steps=steps, lanes=lanes)
    )
    settings = trace.settings.of_picture(picture).to_dict()
    file.writestr("settings.json", json.dumps(settings, indent=2, ensure_ascii=False))
    run_file.save(trace, folder / "run.safetensors")
    file.write(folder / "run.safetensors", "run.safetensors", zipfile.ZIP_STORED)  # noise does not shrink
    kept = _kept(trace, ARCHIVE_FRAMES)
    for name in names:
        drawn = frames(trace, [name], decode, picture, most=ARCHIVE_FRAMES, area=ARCHIVE_AREA)
        for k, image in zip(kept, drawn, strict=True):
            buffer = io.BytesIO()
            image.save(buffer, "PNG")
            file.writestr(f"frames/{name}/{k + 1:04d}.png", buffer.getvalue(), zipfile.ZIP_STORED)


def _check_size(trace: Trace, names: Sequence[str]) -> None:
    """Before anything is drawn: pixels of noise hardly shrink."""
    width, height = player.fitted(trace, ARCHIVE_AREA)
    decoded = sum(name not in player.PIXELS for name in names)
    size = 3 * width * height * decoded * len(_kept(trace, ARCHIVE_FRAMES)) + _bytes(trace)
    if size > ARCHIVE_BYTES:
        raise SettingsError(
            f"The archive could take {size / 2**30:.1f} GB; at most {ARCHIVE_BYTES // 2**30} GB are made. "
            "Choose fewer lanes."
        )


def _bytes(trace: Trace) -> int:
    """Of the tensors of a run, about."""
    maps = [s.prediction.attention for s in trace.steps] + [
        s.prediction.attention_uncond for s in trace.steps
    ]
    tensors = [
        t for s in trace.steps for t in (s.x, s.prediction.x0, s.prediction.x0_cond, s.prediction.x0_uncond)
    ]
    tensors += [t for m in maps if m is not None for t in m.maps]
    return sum(t.nbytes for t in tensors if t is not None)


ANIMATIONS: dict[str, Callable[[Sequence[Image.Image], int], bytes]] = {"gif": gif, "webp": webp, "mp4": mp4}
