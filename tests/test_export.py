import io
import json
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from ldm import export, run_file
from ldm.errors import LdmError, SettingsError
from ldm.settings import Settings
from ldm.views.layout import GAP
from ldm.views.predictions import lane

from .traces import decode, make_trace, with_a_small_disk

TRACE = make_trace(steps=5)


def ffmpeg():
    """An encoder: the system's, or one that came with Python."""
    try:
        import imageio_ffmpeg
    except ImportError:
        return shutil.which(export.ENCODER)
    return imageio_ffmpeg.get_ffmpeg_exe()


needs_ffmpeg = pytest.mark.skipif(ffmpeg() is None, reason="no ffmpeg here")


@pytest.fixture
def encoder(monkeypatch, tmp_path):
    """Put a program on the PATH as the encoder, alone."""

    def put(program=None, code=""):
        folder = tmp_path / "bin"
        folder.mkdir()
        if program:
            (folder / export.ENCODER).symlink_to(program)
        elif code:
            (folder / export.ENCODER).write_text(f"#!{sys.executable}\n{code}\n")
            (folder / export.ENCODER).chmod(0o755)
        monkeypatch.setenv("PATH", str(folder))

    return put


def test_frames_are_those_of_the_lane():
    for name in ("x0", "eps", "change"):
        drawn = list(export.frames(TRACE, [name], decode))
        assert [i.tobytes() for i in drawn] == [i.tobytes() for i in lane(TRACE, name, decode)]


def test_several_lanes_stand_side_by_side():
    first, *_ = export.frames(TRACE, ["x_t", "x0"], decode)
    assert first.size == (64 + GAP + 64, 64)
    left, right = (lane(TRACE, name, decode)[0] for name in ("x_t", "x0"))
    assert first.crop((0, 0, 64, 64)).tobytes() == left.tobytes()
    assert first.crop((64 + GAP, 0, 128 + GAP, 64)).tobytes() == right.tobytes()


@pytest.mark.parametrize("name", ["x0", "change"])
def test_of_a_long_run_some_steps_are_kept_and_the_last_always(name):
    trace = make_trace(steps=11)
    whole = lane(trace, name, decode)
    kept = list(export.frames(trace, [name], decode, most=4))
    assert [i.tobytes() for i in kept] == [whole[k].tobytes() for k in (1, 4, 7, 10)]


def test_pictures_keep_within_the_area():
    assert {i.size for i in export.frames(TRACE, ["x0"], decode, area=32 * 32)} == {(32, 32)}
    [*both] = export.frames(TRACE, ["x0", "eps"], decode, area=2 * 32 * 32)
    assert {i.size for i in both} == {(64 + GAP, 32)}


def test_the_second_picture_of_a_batch_is_another_one():
    trace = make_trace(batch=2)
    first, second = (next(export.frames(trace, ["x0"], decode, i)) for i in (0, 1))
    assert first.tobytes() != second.tobytes()


def test_no_steps_no_lanes_and_unknown_lanes_are_refused():
    with pytest.raises(SettingsError, match=r"The run has no steps to draw\."):
        list(export.frames(make_trace(steps=0), ["x0"], decode))
    with pytest.raises(SettingsError, match=r"Choose a lane to keep, one of: x_t, x0, "):
        list(export.frames(TRACE, [], decode))
    with pytest.raises(SettingsError, match="lane"):
        list(export.frames(TRACE, ["nothing"], decode))


@needs_ffmpeg
def test_a_video_has_every_picture_and_rests_on_the_last(encoder, tmp_path):
    encoder(ffmpeg())
    images = [Image.new("RGB", (65, 33), (40 * i, 0, 200)) for i in range(5)]
    path = tmp_path / "x.mp4"
    path.write_bytes(export.mp4(images, 100))
    raw = subprocess.run(
        [ffmpeg(), "-loglevel", "error", "-i", path, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"],
        capture_output=True,
        check=True,
    ).stdout
    frames = np.frombuffer(raw, np.uint8).reshape(-1, 32, 64, 3)  # odd sides lose a row and a column
    held = 1500 // 100 - 1
    assert len(frames) == 5 + held
    assert np.abs(frames[:5].mean((1, 2)) - [(40 * i, 0, 200) for i in range(5)]).max() < 6
    assert np.abs(frames[5:].mean((1, 2)) - (160, 0, 200)).max() < 6
    data = path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # a web page plays it while it still loads
    assert b"avc1" in data


def test_without_an_encoder_a_video_is_refused_in_a_sentence(encoder):
    encoder()
    assert not export.has_encoder()
    with pytest.raises(LdmError) as error:
        export.mp4([Image.new("RGB", (64, 64))])
    assert str(error.value) == (
        "MP4 needs the program ffmpeg, which is not on this computer's PATH. GIF and WebP need nothing."
    )


def test_an_encoder_that_fails_is_quoted(encoder):
    encoder(code="import sys; sys.stderr.write('one\\nUnknown encoder libx264.\\n'); sys.exit(1)")
    assert export.has_encoder()
    with pytest.raises(LdmError, match=r"^ffmpeg made no video: Unknown encoder libx264\.$"):
        export.mp4([Image.new("RGB", (640, 640))] * 30)


def test_an_encoder_that_hangs_is_stopped(encoder, monkeypatch):
    encoder(code="import signal; signal.pause()")
    monkeypatch.setattr(export, "VIDEO_SECONDS", 0.5)
    with pytest.raises(LdmError, match=r"^ffmpeg took more than 0\.5 seconds and was stopped\.$"):
        export.mp4([Image.new("RGB", (640, 640))] * 30)


def test_an_archive_has_frames_tensors_settings_and_says_what_they_are(tmp_path):
    path = tmp_path / "all.zip"
    export.archive(TRACE, path, decode, ["x0", "guidance"])
    with zipfile.ZipFile(path) as file:
        assert file.testzip() is None
        frames = [f"frames/{name}/{k:04d}.png" for name in ("x0", "guidance") for k in range(1, 6)]
        assert sorted(file.namelist()) == sorted(["README.txt", "settings.json", "run.safetensors", *frames])
        for name in ("x0", "guidance"):
            for k, image in enumerate(lane(TRACE, name, decode)):
                with Image.open(io.BytesIO(file.read(f"frames/{name}/{k + 1:04d}.png"))) as there:
                    assert there.tobytes() == image.tobytes()
        assert Settings.from_dict(json.loads(file.read("settings.json"))) == TRACE.settings
        said = file.read("README.txt").decode()
        file.extract("run.safetensors", tmp_path)
    assert said.startswith("a red circle\n\nDrawn by tiny with Latent Darkroom, in 5 steps.")
    assert "x0: Predicted clean picture x0" in said
    assert run_file.equal(run_file.load(tmp_path / "run.safetensors"), TRACE)
    assert [p.name for p in tmp_path.iterdir() if p.suffix != ".safetensors"] == ["all.zip"]


def test_an_archive_that_would_be_too_large_is_refused_before_it_is_drawn(monkeypatch, tmp_path):
    monkeypatch.setattr(export, "ARCHIVE_BYTES", 2**16)
    drawn = []
    with pytest.raises(SettingsError, match=r"The archive could take .* GB; .* Choose fewer lanes\."):
        export.archive(TRACE, tmp_path / "all.zip", drawn.append, ["x0"])
    assert (drawn, list(tmp_path.iterdir())) == ([], [])


def test_a_prompt_in_braces_and_other_letters_is_in_the_archive(tmp_path):
    trace = replace(TRACE, settings=replace(TRACE.settings, prompt="{model} 猫"))
    export.archive(trace, tmp_path / "x.zip", decode, ["eps"])
    with zipfile.ZipFile(tmp_path / "x.zip") as file:
        assert file.read("README.txt").decode().startswith("{model} 猫\n\nDrawn by tiny")


def test_a_full_disk_is_a_sentence(tmp_path):
    call = "export.archive(make_trace(), sys.argv[1], decode, ['x0'])"
    imports = "from ldm import export; from tests.traces import decode, make_trace"
    said = with_a_small_disk(imports, call, tmp_path / "x.zip")
    assert said.startswith("TraceError run.safetensors could not be written: File too large")
    assert list(tmp_path.iterdir()) == []
