"""The whole story in a real browser, step by step, for the test and for the screenshots in README."""

import contextlib
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image, ImageDraw, ImageFilter
from playwright.sync_api import Page, expect, sync_playwright

ROOT = Path(__file__).parents[2]
PROMPT = "a red apple on a blue background"
PATIENCE = 120_000  # ms; machines that build are slow
expect.set_options(timeout=PATIENCE)
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def chromium():
    """A browser's path; None is Playwright's own."""
    named = os.environ.get("CHROMIUM")
    return named or next((path for name in BROWSERS if (path := shutil.which(name))), None)


@contextlib.contextmanager
def running_app(folder, *arguments):
    """app.py on a free port; gives its address, and ends it as a service manager would."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = folder / "app.log"
    environment = {**os.environ, "GRADIO_TEMP_DIR": str(folder / "gradio")}
    with log.open("w") as output:
        process = subprocess.Popen(
            [sys.executable, "app.py", "--port", str(port), *arguments],
            cwd=ROOT, env=environment, stdout=output, stderr=subprocess.STDOUT,
        )  # fmt: skip
        address = f"http://127.0.0.1:{port}"
        try:
            _wait(address, process, log)
            yield address
        finally:
            process.terminate()
            code = process.wait(timeout=PATIENCE / 1000)
    if code != 0:
        raise AssertionError(f"app.py ended with {code}:\n{log.read_text()}")


def _wait(address, process, log):
    end = time.monotonic() + PATIENCE / 1000
    while time.monotonic() < end:
        if process.poll() is not None:
            raise AssertionError(f"app.py ended with {process.returncode}:\n{log.read_text()}")
        with contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError):
            if urllib.request.urlopen(f"{address}/healthz", timeout=5).status == 200:
                return
        time.sleep(0.2)
    raise AssertionError(f"app.py did not answer:\n{log.read_text()}")


@dataclass
class Story:
    """A page of the app, and what must not happen on it."""

    page: Page
    address: str
    folder: Path
    complaints: list = field(default_factory=list)
    requests: list = field(default_factory=list)
    seconds: dict = field(default_factory=dict)  # from the last click to its first preview and its picture

    def __post_init__(self):
        self.page.set_default_timeout(PATIENCE)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(f"script: {error}"))
        self.page.on("request", self._request)

    def _console(self, message):
        if message.type == "error":
            self.complaints.append(f"console: {message.text}")

    def _request(self, request):
        self.requests.append(request.url)
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.complaints.append(f"another host: {request.url}")

    def open(self):
        self.page.goto(self.address)
        self.page.locator("#prompt textarea").wait_for()

    def reload(self):
        """Refresh the page.  That its own requests break off then is no complaint."""
        before = len(self.complaints)
        self.page.reload()
        self.page.locator("#prompt textarea").wait_for(state="attached")
        new = self.complaints[before:]
        self.complaints[before:] = [c for c in new if "AbortError" not in c and "errored out" not in c]

    def tab(self, name):
        self.page.get_by_role("tab", name=name).click()

    def quiet(self):
        """Wait until the page asks for nothing; gives how many times it has asked."""
        asked = -1
        while asked != len(self.requests):
            asked = len(self.requests)
            self.page.wait_for_timeout(1000)
        return asked

    def too_wide(self):
        """By how many pixels the page is wider than its window."""
        return self.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )

    def text(self, selector):
        return self.page.locator(selector).first.inner_text()

    def says(self, selector, text):
        """Wait until it reads just so; `text` may be a pattern."""
        expect(self.page.locator(selector).first).to_have_text(text, use_inner_text=True)

    def begins(self, selector, text):
        """Wait until it begins so."""
        self.says(selector, re.compile("^" + re.escape(text)))

    def mentions(self, selector, text):
        """Wait until it has these words in it."""
        expect(self.page.locator(selector).first).to_contain_text(text, use_inner_text=True)

    def draw(self, prompt=PROMPT, steps=None, seed=None):
        """Ask for a picture; gives the previews that were seen on the way."""
        page = self.page
        page.locator("#prompt textarea").fill(prompt)
        if steps is not None:
            page.locator("#steps input[type=number]").fill(str(steps))
        if seed is not None:
            page.locator("#seed input").fill(str(seed))
        page.evaluate(WATCH_PREVIEWS)
        page.locator("#generate").click()
        page.locator("#ld-tray .tray[data-state=done] figure a").first.wait_for()
        self.seconds = page.evaluate("() => window.seconds")
        return page.evaluate("() => [...window.previews]")

    def seed_in_the_tray(self):
        return int(re.search(r"[Ss]eed (\d+)", self.text("#ld-tray .line"))[1])

    def pixels(self, lane):
        """A fingerprint of what one lane's canvas shows."""
        return self.page.evaluate(PIXELS, lane)

    def press(self, key, on=None):
        """A key, where the focus is or on an element, and the frame that shows what it did."""
        if on is None:
            self.page.keyboard.press(key)
        else:
            on.press(key)
        self.page.evaluate(
            "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"
        )

    def see_the_steps(self):
        self.page.locator("#see-steps").click()
        self.page.locator("#ld-scrubber canvas").first.wait_for()
        self.page.locator("#ld-scrubber .scrub[data-step]").wait_for()
        self.page.locator("#ld-scrubber .scrub[data-whole]").wait_for()  # the server has said all it has to
        self.page.wait_for_function(DRAWN)

    def round_trip(self, photo=None):
        """Send a picture through the autoencoder; without one, the example of the first visit."""
        self.tab("Round trip")
        self.page.locator("#ld-report .value").first.wait_for()
        if photo is not None:
            before = self.text("#ld-report .numbers")
            self.page.locator("#trip-upload input[type=file]").set_input_files(photo)
            self.page.wait_for_function(
                "(before) => document.querySelector('#ld-report .numbers').innerText !== before", arg=before
            )

    def tool(self, name):
        """One of the tools below the player of the denoising tab."""
        self.page.locator("#tools").get_by_role("tab", name=name, exact=True).first.click()

    def save(self, click):
        """What a click downloads."""
        if click.startswith("#save-"):
            self.tool("Keep")
        with self.page.expect_download() as download:
            self.page.locator(click).first.click()
        path = self.folder / download.value.suggested_filename
        download.value.save_as(path)
        return path


WATCH_PREVIEWS = """() => {
  // the picture that lies there is not the one waited for
  document.querySelector('#ld-tray .tray').dataset.state = 'asked';
  window.previews = new Set();
  window.seconds = {};
  document.querySelector('#generate').onclick = () => { window.clicked = performance.now(); };
  const since = () => (performance.now() - window.clicked) / 1000;
  const grid = document.querySelector('#ld-tray .grid');
  const look = () => {
    const image = grid.querySelector('figure[data-preview] img');
    if (image && image.src.startsWith('data:')) {
      window.previews.add(image.src.length + image.src.slice(-400));
      window.seconds.preview ??= since();
    }
    if (window.clicked && window.seconds.preview && !image) window.seconds.picture ??= since();
  };
  window.watcher?.disconnect();
  window.watcher = new MutationObserver(look);
  window.watcher.observe(grid, { childList: true, subtree: true, attributes: true });
}"""

DRAWN = """() => [...document.querySelectorAll('#ld-scrubber .lanes canvas')].every((canvas) =>
  canvas.getContext('2d').getImageData(0, 0, 1, 1).data[3] === 255)"""

PIXELS = """(lane) => {
  const canvas = document.querySelector(`#ld-scrubber figure[data-name="${lane}"] canvas`);
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  let hash = 0;
  for (let i = 0; i < data.length; i += 7) hash = (hash * 31 + data[i]) | 0;
  return hash;
}"""


@contextlib.contextmanager
def running_browser():
    """A Chromium without a window."""
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = playwright.chromium.launch(executable_path=chromium(), args=arguments)
        yield browser
        browser.close()


@contextlib.contextmanager
def told(browser, address, folder, **options):
    """A page for the app, as a visitor of its own has it; at the end nothing may have gone wrong on it."""
    context = browser.new_context(accept_downloads=True, **options)
    story = Story(context.new_page(), address, folder)
    yield story
    assert story.complaints == []
    context.close()


def photo(path, size=(331, 247)):
    """A picture with edges, gradients and texture, whose sides fit no autoencoder."""
    width, height = size
    sky = Image.linear_gradient("L").resize(size)
    image = Image.merge(
        "RGB",
        [
            sky.point(lambda v: 90 + v // 3),
            sky.point(lambda v: 140 + v // 4),
            sky.point(lambda v: 235 - v // 5),
        ],
    )
    draw = ImageDraw.Draw(image)
    draw.ellipse((width * 0.66, height * 0.1, width * 0.84, height * 0.34), fill=(255, 238, 180))
    draw.polygon([(0, height), (width * 0.3, height * 0.35), (width * 0.62, height)], fill=(70, 78, 96))
    draw.polygon(
        [(width * 0.3, height), (width * 0.68, height * 0.48), (width, height * 0.92), (width, height)],
        fill=(52, 60, 74),
    )
    draw.polygon(
        [(width * 0.22, height * 0.5), (width * 0.3, height * 0.35), (width * 0.39, height * 0.52)],
        fill=(236, 240, 246),
    )
    draw.rectangle((0, height * 0.84, width, height), fill=(44, 82, 58))
    grain = Image.effect_noise(size, 22).convert("RGB")
    Image.blend(image.filter(ImageFilter.GaussianBlur(0.6)), grain, 0.07).save(path)
    return path
